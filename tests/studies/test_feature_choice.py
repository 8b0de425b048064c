"""Spaces over the layers that a dataset holds of pretrained encoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from serplatform.artifacts.files import read_json, write_json
from serplatform.datasets.dataset import Dataset
from serplatform.errors import BadInputError
from serplatform.models.base import ARCHITECTURES
from serplatform.studies.feature_choice import feature_choices, for_dataset, roles
from serplatform.studies.parameter import FeatureQuery
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import OpenRun, create_run, reopen_run
from serplatform.studies.space import first_points, load_space, packaged_spaces, parse_space
from serplatform.testing.synthetic import make_dataset
from serplatform.training.trial_config import resolve

FRAMES = (300, 0.02, 0.025)
VECTORS = (600, 86_400.0, 86_400.0)
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def dataset(*names: str) -> Path:
        kinds = {"log_mel_23": 23, "log_mel_40": 40, "egemaps_v02": (88, *VECTORS[1:])}
        features = {
            name: kinds.get(name, VECTORS if name.endswith(":pooled") else FRAMES) for name in names
        }
        path = tmp_path / "data"
        return make_dataset(path, per_speaker=4, seconds=(0.2, 0.3), features=features)

    return dataset


def encoder(name: str, count: int, end: str = "") -> list[str]:
    return [f"pretrained:{name}@{layer}{end}" for layer in range(count + 1)]


def create(data: Path, *architectures: str, **asked: object) -> OpenRun:
    request = SearchRequest(architectures=architectures, dataset=data, **asked)
    return create_run(data.parent / "run", request, ["test"])


def test_the_middle_layers_come_first_then_all_together(make: Make) -> None:
    names = [*encoder("tiny", 5), *encoder("base", 10), *encoder("tiny", 1, ":pooled")]
    dataset = Dataset.open(make("log_mel_23", *names))
    found = feature_choices(dataset, FeatureQuery(joined=True))
    assert found[:3] == ("pretrained:tiny@3", "pretrained:base@6", "pretrained:tiny@0,1,2,3,4,5")
    assert found[3:6] == (
        "pretrained:base@0,1,2,3,4,5,6,7,8,9,10",
        "pretrained:tiny@2,3,4",
        "pretrained:base@5,6,7",
    )
    assert found[6] == "pretrained:tiny@0"
    assert len(found) == 17 + 4
    assert set(feature_choices(dataset, FeatureQuery())) == {n for n in names if "pooled" not in n}
    assert feature_choices(dataset, FeatureQuery(pooled=True)) == (
        "pretrained:tiny@1:pooled",
        "pretrained:tiny@0:pooled",
    )


def test_vectors_of_several_encoders_are_joined(make: Make) -> None:
    names = [*encoder("tiny", 2, ":pooled"), *encoder("base", 1, ":pooled")]
    found = feature_choices(Dataset.open(make(*names)), FeatureQuery(pooled=True, joined=True))
    assert found[:3] == (
        "pretrained:tiny@1:pooled",
        "pretrained:base@1:pooled",
        "pretrained:tiny@0,1,2:pooled+pretrained:base@0,1:pooled",
    )


def test_frames_stand_in_for_pooled_statistics_but_not_these_for_frames(make: Make) -> None:
    frames = Dataset.open(make("pretrained:tiny@1"))
    assert feature_choices(frames, FeatureQuery(pooled=True)) == ("pretrained:tiny@1",)
    pooled = Dataset.open(make("pretrained:tiny@1:pooled"))
    assert feature_choices(pooled, FeatureQuery()) == ()


def test_the_middle_is_that_of_the_whole_encoder(make: Make) -> None:
    path = make("pretrained:base@2", "pretrained:base@4")
    meta = read_json(path / "dataset.json", "dataset")
    for entry in meta["features"].values():
        entry["spec"]["encoder"] = {"num_layers": 3}  # of which the second is the middle
    write_json(path / "dataset.json", meta)
    assert feature_choices(Dataset.open(path), FeatureQuery())[0] == "pretrained:base@2"


def test_what_is_fitted_in_seconds_takes_every_feature_the_encoders_first(make: Make) -> None:
    run = create(make("log_mel_23", "mfcc_40", "pretrained:base@1", "egemaps_v02"), "lda")
    assert run.spaces["lda"].parameters["data.feature"].values == (
        "pretrained:base@1",
        "egemaps_v02",
        "mfcc_40",
        "log_mel_23",
    )
    assert first_points(run.spaces["lda"])[0]["data.feature"] == "pretrained:base@1"


def test_vectors_of_layers_are_joined_to_functionals(make: Make) -> None:
    dataset = Dataset.open(make("egemaps_v02", *encoder("base", 2, ":pooled")))
    joined = "pretrained:base@1:pooled+egemaps_v02"
    query = FeatureQuery(pooled=True, joined=True, functionals=True)
    assert joined in feature_choices(dataset, query)
    assert roles(dataset) == {
        "middle": "pretrained:base@1:pooled",
        "around": "pretrained:base@0,1,2:pooled",
        "whole": "pretrained:base@0,1,2:pooled",
        "both": joined,
        "functionals": "egemaps_v02",
    }


def test_without_an_encoder_the_own_features_are_searched(make: Make) -> None:
    without = create(make("log_mel_23", "log_mel_40", "mfcc_40"), "lda")
    found = without.spaces["lda"].parameters["data.feature"].values
    assert found == ("log_mel_40", "mfcc_40", "log_mel_23")


@pytest.mark.parametrize("name", [n for n in packaged_spaces() if n.endswith("-pretrained")])
def test_packaged_spaces_are_made_of_the_dataset_and_read_back(make: Make, name: str) -> None:
    data = make("log_mel_23", *encoder("base", 3), *encoder("base", 3, ":pooled"))
    architecture = name.removesuffix("-pretrained")
    run = create(data, architecture, spaces=(name,))
    space = run.spaces[architecture]
    assert space.parameters["data.feature"].values[0].startswith("pretrained:base@2")
    point = first_points(space)[0]
    assert point["data.feature"] == space.parameters["data.feature"].values[0]
    resolve(architecture, {**space.fixed, **point}, "first point")
    again = reopen_run(run.directory.path)
    assert again.spaces[architecture].parameters == space.parameters
    assert first_points(again.spaces[architecture]) == first_points(space)


def test_every_architecture_over_audio_of_the_papers_has_one() -> None:
    papers = ["moma", "blstmatt", "csa", "can", "fgcme", "vrnn", "cnn_lstm", "lstm_attn_audio"]
    own = ["cnn_blstm_asp", "functionals_mlp", "attn_pool"]
    assert {f"{name}-pretrained" for name in [*papers, *own]} <= set(packaged_spaces())
    assert set(papers + own) <= set(ARCHITECTURES.names())


@pytest.mark.parametrize("wordless", [0, 24])
def test_pooling_over_words_is_searched_where_there_are_words(
    tmp_path: Path, wordless: int
) -> None:
    data = make_dataset(
        tmp_path / "data",
        per_speaker=4,
        seconds=(0.2, 0.3),
        features={"pretrained:base@1": FRAMES},
        wordless=wordless,
    )
    space = for_dataset(load_space("functionals_mlp-pretrained"), Dataset.open(data))
    assert ("words" in space.parameters["data.pooling"].values) == (wordless == 0)


def test_a_dataset_without_an_encoder_is_told_how_to_get_one(make: Make) -> None:
    data = make("log_mel_23")
    remedy = r"--features pretrained:DIRECTORY_OR_ID@all to add them$"
    with pytest.raises(BadInputError, match=f"holds no frames of one; prepare .* {remedy}"):
        create(data, "moma", spaces=("moma-pretrained",))
    assert not (data.parent / "run").exists()


def test_an_own_space_gives_way_where_its_features_are_lacking(make: Make) -> None:
    data = make("log_mel_40", *encoder("base", 3))
    run = create(data, "moma", "blstmatt", "csa", settings=("csa.feature=log_mel_40",), small=False)
    notes = run.description["notes"]
    for name in ("moma", "blstmatt"):
        assert run.spaces[name].fixed["training.max_epochs"] == 15
        assert f"{name}: the dataset lacks log_mel_23; it searches" in " ".join(notes)
    assert run.spaces["csa"].fixed == {"data.feature": "log_mel_40"}


def test_an_own_space_stays_where_its_features_are_there(make: Make) -> None:
    run = create(make("log_mel_23", *encoder("base", 3)), "moma")
    assert "data.feature" not in run.spaces["moma"].parameters
    assert not any("searches the space" in note for note in run.description["notes"])


def test_given_names_become_those_of_the_dataset(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "architecture: csa\ndescription: own\nparameters:\n  data.feature:\n    type: choice\n"
        "    values: ['pretrained:/m/base@all', pretrained:/m/base@2+log_mel_40]\n"
        "try_first:\n  - {data.feature: 'pretrained:/m/base@all'}\n"
    )
    dataset = Dataset.open(make("log_mel_40", *encoder("base", 2)))
    space = for_dataset(load_space(str(file)), dataset)
    values = ("pretrained:base@0,1,2", "pretrained:base@2+log_mel_40")
    assert space.parameters["data.feature"].values == values
    assert space.try_first[0]["data.feature"] == values[0]


def test_the_vrnn_searches_the_windows_that_the_dataset_holds(make: Make) -> None:
    both = ("mfcc_40_window", "mfcc_40_window_librosa")
    for held, points in ((both, 3), (both[:1], 1), (both[1:], 3)):
        space = for_dataset(load_space("vrnn"), Dataset.open(make(*held)))
        assert space.parameters["data.feature"].values == held
        assert len(space.try_first) == points
    lacking = make("log_mel_23")
    with pytest.raises(BadInputError, match="mfcc_40_window"):
        create(lacking, "vrnn", small=False)


def test_all_layers_of_an_unknown_encoder_are_refused(make: Make) -> None:
    data = make("log_mel_40", "pretrained:base@2")
    with pytest.raises(BadInputError, match=r"no layer of pretrained:large@all \(it has log_mel"):
        create(data, "csa", settings=("data.feature=pretrained:large@all",), exact=True)


def test_what_lacks_is_named_as_prepare_takes_it(make: Make) -> None:
    data = make("log_mel_40", "pretrained:base@2")
    for lacking in ("base@1", "large@2:pooled"):
        remedy = rf"--features pretrained:DIRECTORY/{lacking} to add them"
        with pytest.raises(BadInputError, match=remedy):
            create(data, "csa", settings=(f"data.feature=pretrained:{lacking}",), exact=True)


def test_what_cannot_be_joined_or_summed_is_said_before_the_first_trial(make: Make) -> None:
    data = make("log_mel_40", "pretrained:base@2", "pretrained:base@2:pooled")
    both = "data.feature=log_mel_40+pretrained:base@2"
    with pytest.raises(BadInputError, match="cannot be joined with log_mel_40"):
        create(data, "csa", settings=(f"{both}:pooled",), exact=True)
    with pytest.raises(BadInputError, match="equally many values a frame"):
        create(data, "csa", settings=(both, "data.layers=weighted_sum"), exact=True)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{type: feature, pooled: 1}", "pooled: must be true or false"),
        ("{type: feature, joint: true}", "joint"),
        ("{type: feature, when: 3}", "when: must map"),
    ],
)
def test_faults_of_a_feature_parameter_are_said(entry: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        f"architecture: csa\ndescription: own\nparameters:\n  data.feature: {entry}\n"
        "  model.channels: {type: int, low: 8, high: 9}\n"
    )
    with pytest.raises(BadInputError, match=said):
        load_space(str(file))


def test_only_the_feature_can_be_of_its_type() -> None:
    raw = {
        "architecture": "csa",
        "description": "wrong",
        "parameters": {"data.normalization": {"type": "feature"}},
    }
    assert "only data.feature can be of type feature" in " ".join(parse_space(raw, "x")[1])
