"""The packaged portfolio: sound, made concrete for a dataset, recorded and read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from serplatform.datasets.dataset import Dataset
from serplatform.models.base import ARCHITECTURES
from serplatform.strict_yaml import read_yaml
from serplatform.studies.feature_choice import FEATURE
from serplatform.studies.portfolio import cheapest_first, with_portfolio
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import create_run, reopen_run
from serplatform.studies.space import first_points, load_space
from serplatform.studies.space_choice import candidate_spaces
from serplatform.studies.study import Studies
from serplatform.testing.synthetic import make_dataset
from serplatform.training.trial_config import resolve

WHOLE = (86_400.0, 86_400.0)
OWN = {"log_mel_23": 23, "log_mel_40": 40, "mfcc_40": 40, "mfcc_40_window": 40}
VECTORS = {"descriptors": (1104, *WHOLE)}
ENCODER = {
    **{f"pretrained:tiny@{k}:pooled": (64, *WHOLE) for k in range(5)},
    **{f"pretrained:tiny@{k}": (32, 0.02, 0.025) for k in (1, 2, 3)},
}
AUDIO = tuple(
    name
    for name in ARCHITECTURES.names()
    if "text" not in ARCHITECTURES.get(name).inputs and ARCHITECTURES.get(name).encoder is None
)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def dataset(**features: object) -> Path:
        return make_dataset(tmp_path / "data", per_speaker=4, seconds=(0.2, 0.3), features=features)

    return dataset


def request(data: Path) -> SearchRequest:
    return SearchRequest(architectures=AUDIO, dataset=data, portfolio=True)


def content() -> dict[str, list[dict[str, object]]]:
    import serplatform.studies.portfolio as portfolio

    return dict(read_yaml(portfolio.FILE, "portfolio"))  # type: ignore[arg-type]


@pytest.mark.parametrize("regime", ["with_encoder", "without_encoder"])
def test_every_configuration_is_used_where_its_features_are(
    make: Callable[..., Path], regime: str
) -> None:
    entries = content()[regime]
    assert 10 <= len(entries) <= 30
    encoder = ENCODER if regime == "with_encoder" else {}
    dataset = Dataset.open(make(**OWN, **VECTORS, **encoder))
    asked = request(dataset.path)
    spaces, gains = with_portfolio(candidate_spaces(asked, dataset)[0], dataset)
    used = 0
    for name, kinds in spaces.items():
        space = next(iter(kinds.values()))
        points = first_points(space)[: len(gains[name][next(iter(kinds))])]
        used += len(points)
        for point in points:
            config = resolve(name, {**space.fixed, **point}, "portfolio")
            dataset.feature_info(config.data.feature)
    assert used == len(entries)


def test_a_space_of_which_it_has_no_configuration_keeps_its_own(make: Callable[..., Path]) -> None:
    dataset = Dataset.open(make(**OWN, **VECTORS, **ENCODER))
    candidates = candidate_spaces(request(dataset.path), dataset)[0]
    spaces, gains = with_portfolio(candidates, dataset)
    known = {entry["architecture"] for entry in content()["with_encoder"]}
    own = {name for name in spaces if name not in known and "encoder" in candidates[name]}
    assert own >= {"functionals_mlp", "csa"}
    for name in own:
        assert spaces[name]["encoder"].try_first == candidates[name]["encoder"].try_first != ()
        assert gains[name]["encoder"] == []


def test_a_feature_that_is_lacking_takes_its_configurations_along(
    make: Callable[..., Path],
) -> None:
    dataset = Dataset.open(make(**OWN))
    asked = request(dataset.path)
    spaces, _ = with_portfolio(candidate_spaces(asked, dataset)[0], dataset)
    tried = {str(p[FEATURE]) for k in spaces["lda"].values() for p in k.try_first}
    assert tried == {"log_mel_40"}  # of frames, and of functionals, whose place they take


def test_a_run_keeps_it_and_tries_it_first(make: Callable[..., Path], tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", request(make(**OWN, **VECTORS)), ["test"])
    again = reopen_run(tmp_path / "run")
    for name in AUDIO:
        assert again.spaces[name].try_first == run.spaces[name].try_first
        assert dict(again.candidates[name]).keys() == dict(run.candidates[name]).keys()
    assert again.gains("lda") == run.gains("lda") != []
    studies = Studies(
        {"lda": again.spaces["lda"]},
        storage=str(tmp_path / "journal"),
        records={},
        max_epochs=1,
        num_folds=2,
        seed=0,
        points_first=True,
    )
    suggestion = studies.ask()
    assert not isinstance(suggestion, str)
    first = first_points(again.spaces["lda"])[0]
    assert {k: v for k, v in suggestion.values.items() if k in first} == first


def test_a_run_on_clips_without_words_is_opened_again(tmp_path: Path) -> None:
    """Its spaces lack what pools words, and their conditions still name it."""
    data = make_dataset(
        tmp_path / "data",
        per_speaker=4,
        seconds=(0.2, 0.3),
        features={**OWN, **VECTORS, **ENCODER},
        wordless=24,
    )
    run = create_run(tmp_path / "run", request(data), ["test"])
    pooling = run.spaces["functionals_mlp"].parameters["data.pooling"]
    assert "words" not in pooling.values
    again = reopen_run(tmp_path / "run")
    assert {n: s.parameters for n, s in again.spaces.items()} == {
        n: s.parameters for n, s in run.spaces.items()
    }


def test_architectures_without_their_features_are_left_out(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    run = create_run(tmp_path / "run", request(make(log_mel_23=23, **VECTORS)), ["test"])
    assert {"lda", "svm", "logistic", "moma"} <= set(run.spaces)
    assert "cnn_lstm" not in run.spaces
    assert run.description["left_out"]["cnn_lstm"] == "the dataset lacks log_mel_40"
    assert any("Left out of the portfolio: " in note for note in run.description["notes"])


def test_the_cheapest_are_known_and_the_unknown_come_last() -> None:
    known = content()["cheapest_first"]
    assert set(map(str, known)) <= set(ARCHITECTURES.names())
    assert cheapest_first(["newcomer", "moma", "lda"]) == ["lda", "moma", "newcomer"]
    for regime in ("with_encoder", "without_encoder"):
        for entry in content()[regime]:
            assert load_space(str(entry["space"])).architecture == entry["architecture"]
