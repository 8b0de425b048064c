"""The command explain: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serplatform.cli.main import run
from tests.support.audio_run import AudioRun, make_audio_run

TRIALS = (
    (
        "blstmatt",
        {"training.max_epochs": 1, "model.hidden_dim": 4, "model.num_layers": 1},
    ),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AudioRun:
    return make_audio_run(tmp_path_factory.mktemp("explain"), trials=TRIALS)


def test_errors_are_listed_and_the_page_written(made: AudioRun, tmp_path: Path, capsys) -> None:
    page = tmp_path / "page.html"
    assert run(["explain", str(made.run), "--out", str(page), "--json", "--audio"]) == 0
    captured = capsys.readouterr()
    values = json.loads(captured.out.splitlines()[-1])
    assert values["report"] == str(page)
    assert len(values["shown"]) == 6
    wrong = {entry["utterance_id"] for entry in values["confident_errors"]}
    assert set(values["shown"][:4]) <= wrong
    assert not set(values["shown"][4:]) & wrong
    assert "Most confident errors of blstmatt #0" in captured.err
    assert values["confident_errors"][0]["utterance_id"] in captured.err
    assert "no alignment; prepare it with --align" in captured.err
    assert "<audio " in page.read_text(encoding="utf-8")
    assert not (made.run / "report.html").exists()


def test_named_utterances_without_sound(made: AudioRun, capsys) -> None:
    assert run(["explain", str(made.run), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])["shown"]
    assert run(["explain", str(made.run), shown[1], "--no-audio", "--json"]) == 0
    values = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert values["shown"] == [shown[1]]
    assert "<audio " not in (made.run / "report.html").read_text(encoding="utf-8")


def test_sound_needs_a_licence_or_the_word_of_the_user(made: AudioRun, capsys) -> None:
    assert run(["explain", str(made.run), "--json"]) == 0
    captured = capsys.readouterr()
    values = json.loads(captured.out.splitlines()[-1])
    assert values["audio"] == 0
    assert (
        f"licence is {values['licence'] or 'unknown'}; --audio puts it into the page"
        in captured.err
    )
    assert "<audio " not in (made.run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "'nobody': no such utterance"),
        (["--trial", "5"], "trial 5: no such trial"),
        (["--data", "nowhere"], "is not there any more; say where it lies now with --data"),
    ],
)
def test_bad_input_is_one_message(made: AudioRun, arguments, said: str, capsys) -> None:
    assert run(["explain", str(made.run), *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_a_folder_that_is_no_run_or_page_is_refused(made: AudioRun, tmp_path: Path, capsys) -> None:
    assert run(["explain", str(tmp_path)]) == 2
    assert "not a run directory" in capsys.readouterr().err
    assert run(["explain", str(made.run), "--out", str(tmp_path)]) == 2
    assert "is a directory" in capsys.readouterr().err
