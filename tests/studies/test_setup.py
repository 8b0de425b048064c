"""Where a run may be begun, and what it searches."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serplatform.api.execute import resume_command
from serplatform.api.open_run import open_or_create
from serplatform.datasets.dataset import Dataset
from serplatform.distributed.tune.placement import SearchLimits
from serplatform.errors import BadInputError
from serplatform.models.base import ARCHITECTURES
from serplatform.registry import temporary
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import OpenRun, create_run, reopen_run
from serplatform.studies.space import packaged_spaces
from serplatform.testing.synthetic import make_dataset
from serplatform.training.trial_config import known_parameters


def test_a_run_is_not_written_into_its_dataset(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", per_speaker=4, seconds=(0.2, 0.3))
    before = sorted(data.iterdir())
    request = SearchRequest(architectures=("csa",), dataset=data)
    with pytest.raises(BadInputError, match=r"data: holds a dataset \(dataset.json\)"):
        create_run(data, request, ["test"])
    assert sorted(data.iterdir()) == before


@pytest.mark.parametrize("marker", ["ensemble.json", "bundle.json"])
def test_a_run_is_not_written_over_other_results(tmp_path: Path, marker: str) -> None:
    (tmp_path / marker).write_text("{}")
    request = SearchRequest(architectures=("csa",), dataset=tmp_path / "data")
    with pytest.raises(BadInputError, match=rf"\({marker}\); give another directory"):
        create_run(tmp_path, request, ["test"])


def test_every_architecture_has_a_search_space() -> None:
    assert set(ARCHITECTURES.names()) <= set(packaged_spaces())


SPACE = """
architecture: moma
description: without the paper's learning rate
parameters: {training.learning_rate: {type: float, low: 1e-3, high: 1e-2}}
"""


def command(data: Path, out: Path, *, resume: bool = False, **more: Any) -> OpenRun:
    """What ``search`` and ``train`` do before they start anything."""
    asked = {name: tuple(v) if isinstance(v, list) else v for name, v in more.items()}
    request = SearchRequest(dataset=data, **{"trials": "3", "pruner": "none", **asked})
    return open_or_create(request, SearchLimits(), out, resume=resume)[0]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    features = {"log_mel_23": 23, "log_mel_40": 40, "log_mel_64": 64, "mfcc_40": 40}
    features |= {"mfcc_40_window": 40, "egemaps_v02_lld": 25, "compare_2016_lld": 130}
    return make_dataset(tmp_path / "data", per_speaker=4, seconds=(0.2, 0.3), features=features)


def test_what_is_trained_is_resumed_by_train(data: Path, tmp_path: Path) -> None:
    out, asked = tmp_path / "run", SearchRequest(architectures=("csa",), dataset=data)
    run = command(data, out, architectures=["csa"])
    assert resume_command(run) == f"serplatform search --resume --out {out}"
    thrice = dataclasses.replace(asked, repeats=3).of_one_configuration()
    run = open_or_create(thrice, SearchLimits(), out)[0]
    assert resume_command(run) == f"serplatform train --resume --out {out}"
    limits = SearchLimits(retries=3)  # which `train` has no option for
    assert resume_command(run, limits) == f"serplatform search --resume --out {out} --retries 3"
    once = SearchRequest(dataset=data).of_one_configuration()
    again = open_or_create(once, SearchLimits(), out, resume=True)[0]
    assert (again.description["combiner"], again.description["trials"]) == ("mean", 3)


@pytest.fixture
def newcomer() -> Iterator[str]:
    """An architecture that nobody has written a search space for."""
    architecture = dataclasses.replace(ARCHITECTURES.get("csa"), name="newcomer")
    with temporary():
        ARCHITECTURES.register("newcomer")(architecture)
        yield "newcomer"


def without_encoder() -> set[str]:
    """The architectures that need no pretrained encoder to be named."""
    return {name for name in ARCHITECTURES.names() if ARCHITECTURES.get(name).encoder is None}


def test_all_are_those_with_a_space_and_the_others_are_named(
    tmp_path: Path, data: Path, newcomer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = command(data, tmp_path / "run", architectures=["all"])
    assert set(run.spaces) == without_encoder() - {newcomer}
    told = capsys.readouterr().err
    assert told.count("Left out of `all`, having no search space: newcomer; see --space.") == 1
    again = command(data, tmp_path / "run", architectures=["all"], resume=True, trials="+1")
    assert set(again.spaces) == set(run.spaces)
    trained = command(data, tmp_path / "trained", architectures=["all"], exact=True)
    assert newcomer in trained.spaces


def test_all_leaves_out_in_one_line_what_reads_text_where_there_is_none(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = make_dataset(
        tmp_path / "silent",
        per_speaker=4,
        seconds=(0.2, 0.3),
        features=dict.fromkeys(Dataset.open(data).feature_names, 23),
        wordless=24,
    )
    run = command(silent, tmp_path / "run", architectures=["all"], exact=True)
    readers = {name for name in without_encoder() if "text" in ARCHITECTURES.get(name).inputs}
    assert set(run.spaces) == without_encoder() - readers
    lines = capsys.readouterr().err.splitlines()
    (told,) = (line for line in lines if "no text" in line)
    assert told.startswith("Left out of `all`, because 24 of 24 utterances have no text: attn_fus")
    assert "--align pocketsphinx" in told
    left = run.description["left_out"]
    assert {name for name, why in left.items() if "no text" in why} == readers
    command(silent, tmp_path / "run", architectures=["all"], resume=True, trials="+1")
    assert "left_out" not in command(data, tmp_path / "other", architectures=["csa"]).description


def test_a_portfolio_leaves_out_what_settings_do_not_fit(tmp_path: Path, data: Path) -> None:
    run = command(data, tmp_path / "run", architectures=[], settings=["data.pooling=time"])
    assert {"svm", "logistic", "functionals_mlp"} <= set(run.spaces)
    left = run.description["left_out"]
    assert "data.pooling has derivatives of its own" in left["cnn_lstm"]
    assert not set(left) & set(run.spaces)
    again = command(data, tmp_path / "run", resume=True, trials="+1")
    assert set(again.spaces) == set(run.spaces)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "data.feature=nonsense",
            r"lacks features .* --features nonsense to add them",
        ),
        ("data.feature=log_mel_40,mfcc_40", r"join features by '\+': log_mel_40\+mfcc_40"),
    ],
)
def test_settings_that_fit_no_architecture_are_refused(
    tmp_path: Path, data: Path, setting: str, message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        command(data, tmp_path / "run", architectures=[], settings=[setting])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("architectures", [[], ["svm"]])
def test_words_are_not_pooled_where_there_are_none(
    tmp_path: Path, architectures: list[str]
) -> None:
    silent = make_dataset(tmp_path / "silent", per_speaker=4, seconds=(0.2, 0.3), wordless=24)
    asked = {"architectures": architectures, "settings": ["data.pooling=words"]}
    with pytest.raises(BadInputError, match=r"neither transcripts .* data\.pooling = words"):
        command(silent, tmp_path / "run", **asked)


def test_a_space_of_ones_own_makes_an_architecture_one_of_all(
    tmp_path: Path, data: Path, newcomer: str
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(SPACE.replace("moma", newcomer), encoding="utf-8")
    out = tmp_path / "run"
    run = command(data, out, architectures=["all"], spaces=[str(path)])
    assert set(run.spaces) == without_encoder()
    assert list(run.spaces[newcomer].parameters) == ["training.learning_rate"]
    again = command(data, out, architectures=["all"], resume=True, trials="+1")
    assert set(again.spaces) == set(run.spaces)


def test_an_architecture_without_a_space_gets_one_of_the_ranges_it_declares(
    tmp_path: Path, data: Path, newcomer: str
) -> None:
    run = command(data, tmp_path / "run", architectures=[newcomer])
    parameters = run.spaces[newcomer].parameters
    assert {"training.learning_rate", "training.batch_size"} < set(parameters)
    for name, field in known_parameters(newcomer).items():
        low, high = field.metadata["low"], field.metadata["high"]
        if name.startswith("model.") and name in parameters and low is not None:
            assert (parameters[name].low, parameters[name].high) == (low, high)


def test_a_trial_that_is_not_the_papers_is_said_and_recorded(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(SPACE, encoding="utf-8")
    run = command(data, tmp_path / "run", architectures=["moma"], spaces=[str(path)])
    note = (
        "The paper's configuration of moma is no trial: its space does not hold "
        "training.learning_rate = 0.0001 (float from 0.001 to 0.01)."
    )
    assert run.description["notes"].count(note) == 1
    assert reopen_run(tmp_path / "run").description["notes"].count(note) == 1
    assert f"Note: {note}\n" in capsys.readouterr().err
    usual = command(
        data, tmp_path / "usual", architectures=["moma"], settings=["batch_size=4"], small=False
    )
    assert not any("is no trial" in text for text in usual.description["notes"])
    assert "the paper's included: training.batch_size=4\n" in capsys.readouterr().err


def test_a_setting_is_refused_for_what_it_is_and_nothing_is_written(
    tmp_path: Path, data: Path
) -> None:
    sets = ["learning_rate=nan", "momentum=.inf", "batch_size=1e30", "trim=yes"]
    with pytest.raises(BadInputError, match=r"--set: 4 fault\(s\)") as caught:
        command(data, tmp_path / "run", architectures=["moma", "csa"], settings=sets)
    assert caught.value.faults == (
        "training.learning_rate = 'nan': must be a finite number",
        "training.momentum = inf: must be a finite number",
        "training.batch_size = 1e+30: must be at most 9007199254740992",
        "data.trim = 'yes': must be true or false",
    )
    broken = ["context_frames=10", "overlap_frames=10"]
    with pytest.raises(BadInputError, match=r"--set: the configuration has 1 fault\(s\):\n"):
        command(data, tmp_path / "run", architectures=["csa"], settings=broken, exact=True)
    assert not (tmp_path / "run").exists()
