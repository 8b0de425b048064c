"""What a search explains at its end: briefly, and never at the search's cost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from serplatform.api.execute import explain_at_end
from serplatform.artifacts.files import read_json
from serplatform.explanations.explain_run import explain_run
from tests.support.audio_run import AudioRun, make_audio_run

TRIALS = (("blstmatt", {"training.max_epochs": 1, "model.hidden_dim": 4, "model.num_layers": 1}),)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AudioRun:
    return make_audio_run(tmp_path_factory.mktemp("at_end"), trials=TRIALS)


@pytest.fixture
def finished(made: AudioRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.run, tmp_path / "run"))


def test_two_errors_and_two_right_answers_are_shown(finished: Path, capsys) -> None:
    found = explain_at_end(finished, audio=None, seed=0)
    assert found is not None
    assert len(found["shown"]) == 4
    assert (finished / "explanations" / "explanations.json").is_file()
    assert "what they attend to" in capsys.readouterr().err


def test_a_missing_dataset_is_said_and_ends_nothing(finished: Path, capsys) -> None:
    info = read_json(finished / "run.json")
    info["dataset"]["path"] = str(finished / "gone")
    (finished / "run.json").write_text(json.dumps(info))
    assert explain_at_end(finished, audio=None, seed=0) is None
    said = capsys.readouterr().err
    assert "nothing is explained" in said
    assert f"`serplatform explain {finished}`" in said


def test_an_unforeseen_fault_is_said_and_ends_nothing(finished: Path, capsys, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr("serplatform.explanations.explain_run.explain_run", fail)
    assert explain_at_end(finished, audio=None, seed=0) is None
    assert "nothing is explained (ZeroDivisionError: by hand)" in capsys.readouterr().err


def test_an_interrupt_is_heeded(finished: Path, monkeypatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("serplatform.explanations.explain_run.explain_run", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        explain_at_end(finished, audio=None, seed=0)


def test_what_the_user_chose_is_kept(finished: Path, capsys) -> None:
    chosen = explain_run(finished, audio=False)["shown"][:1]
    explain_run(finished, utterances=chosen, audio=False)
    before = (finished / "explanations" / "explanations.json").read_bytes()
    assert explain_at_end(finished, audio=None, seed=0) is None
    assert (finished / "explanations" / "explanations.json").read_bytes() == before
    assert "are kept" in capsys.readouterr().err
