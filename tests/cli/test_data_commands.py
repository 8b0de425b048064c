"""corpora, download, prepare and data through the command line."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serplatform.cli.main import run
from serplatform.corpora.base import CORPORA
from serplatform.distributed import extraction
from serplatform.distributed import prepare as prepare_module
from serplatform.distributed.extraction import run_shard

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line; returns exit code, stdout and stderr."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are extracted here instead of in Ray tasks."""
    monkeypatch.setattr(prepare_module, "connect", lambda **_: None)
    monkeypatch.setattr(extraction, "_run", lambda tasks, workers: map(run_shard, tasks))


def last_object(out: str) -> dict[str, Any]:
    lines = out.splitlines()
    assert len(lines) == 1
    return dict(json.loads(lines[0]))


def test_corpora_are_listed_with_licence_and_source(command: Command) -> None:
    code, out, _ = command("corpora")
    assert code == 0
    for name in ("demo", "ravdess", "csv"):
        assert f"\n  {name}: " in out
    assert (
        out.index("Formats") < out.index("  csv:") < out.index("Corpora") < out.index("  ravdess:")
    )
    assert "CC BY-NC-SA 4.0" in out
    code, out, _ = command("corpora", "--json")
    entries = {entry["name"]: entry for entry in last_object(out)["corpora"]}
    assert entries["ravdess"]["download"]
    assert entries["ravdess"]["default_protocol"] == "ravdess-speaker-6fold"
    assert not entries["csv"]["download"]


@pytest.mark.ray
def test_demo_is_prepared_and_shown(ray_cluster: None, command: Command, tmp_path: Path) -> None:
    data = tmp_path / "d"
    prepare = ("prepare", "demo", "--out", data, "--utterances", "48", "--workers", "2", "--json")
    code, out, err = command(*prepare)
    assert code == 0, err
    values = last_object(out)
    assert values["counts"]["utterances"] == 48
    assert values["synthetic"] is True
    assert "48 of 48 utterances, 0 left out" in err
    code, out, err = command(*prepare)
    assert (code, last_object(out)["reused"]) == (0, True)
    assert "nothing done" in err
    code, out, _ = command("data", data, "--check")
    assert code == 0
    assert "synthetic speech" in out
    assert "neutral 12, happy 12, sad 12, angry 12" in out
    assert "speaker-kfold:4 (no speaker in two parts" in out
    assert "(checked)" in out


def test_one_feature_and_a_table(
    in_process: None, command: Command, tmp_path: Path, write_audio: Callable[..., Path]
) -> None:
    rows = ["file,emotion,speaker"]
    for number in range(24):
        name = f"{number}.wav"
        write_audio(tmp_path / "c" / name, frequency=200 + 10 * number)
        label = "sad" if number % 2 else "anger" if number % 6 else "angy"
        rows.append(f"{name},{label},s{number // 6}")
    (tmp_path / "c" / "t.csv").write_text("\n".join(rows))
    table, data = tmp_path / "c" / "t.csv", tmp_path / "d"
    prepare = ("prepare", "csv", table, "--out", data, "--features", "log_mel_23")
    code, out, err = command(*prepare)
    assert code == 0, err
    assert "20 utterances of 4 speakers" in out
    assert "4 left out of 24" in out
    assert "\n  read as: file=file, emotion=emotion, speaker=speaker\n" in out
    assert "labels mapped: anger → angry (8)" in out
    assert "4 × unknown label 'angy'; if it means 'angry', say --map angy=angry" in out
    code, _, err = command(*prepare, "--map", "angy=angry")
    assert code == 2
    assert "--overwrite" in err
    code, out, _ = command(*prepare, "--map", "angy=angry", "--overwrite")
    assert code == 0
    assert "angry 12" in out
    code, out, _ = command(
        "data", data, "--protocol", "loso", "--protocol", "random-kfold:3", "--json"
    )
    assert code == 0
    values = last_object(out)
    assert [len(plan["folds"]) for plan in values["protocols"]] == [4, 3]
    assert values["protocols"][0]["folds"][0]["test"] == {"utterances": 6, "speakers": 1}
    assert values["by_emotion"] == {"sad": 12, "angry": 12}


def test_altered_file_fails_the_check_by_name(
    in_process: None, command: Command, tmp_path: Path
) -> None:
    data = tmp_path / "d"
    assert command("prepare", "demo", "--out", data, "--utterances", "8")[0] == 0
    shard = data / "mfcc_40-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert command("data", data)[0] == 0
    code, _, err = command("data", data, "--check")
    assert code == 1
    assert "1 file(s) are not as they were written" in err
    assert "mfcc_40-00000.arrow: its checksum is" in err
    shard.unlink()
    code, _, err = command("data", data, "--check")
    assert code == 2
    assert "mfcc_40-00000.arrow is missing" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prepare", "demos", "--out", "d"), "Unknown corpus 'demos'"),
        (("prepare", "csv", "--out", "d"), "needs SOURCE"),
        (("prepare", "csv", "absent.csv", "--out", "d"), "absent.csv: no such file"),
        (("prepare", "ravdess", "absent", "--out", "d"), "absent: no such directory"),
        (("prepare", "demo", "--out", "d", "--features", "mel"), "Unknown feature 'mel'"),
        (("prepare", "demo", "--out", "d", "--features", ","), "--features is empty"),
        (("prepare", "demo", "--out", "d", "--align", "magic"), "magic"),
        (
            ("prepare", "demo", "--out", "d", "--utterances", "0"),
            "--utterances 0: must be a whole number of at least 1",
        ),
        (("prepare", "demo", "--out", "d", "--map", "x"), "write LABEL=EMOTION"),
        (("prepare", "demo", "--out", "d", "--map", "x=y"), "no utterance is labelled 'x'"),
        (("prepare", "csv", "t", "--out", "d", "--seed", "1"), "Unknown option of corpus 'csv'"),
        (("prepare", "demo", "--out", "s3:///d"), "it names no bucket"),
        (("data", "absent"), "no such dataset directory"),
        (("download", "csv", "d"), "cannot be downloaded here"),
        (("download", "nothing", "d"), "Unknown corpus 'nothing'"),
        (("download", "ravdess", "d", "--url", "ftp://x"), "not an http:// or https:// address"),
    ],
)
def test_bad_input_is_one_message(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*arguments)
    assert code == 2, err
    assert out == ""
    assert message in err


def test_download_unpacks_what_is_there(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serplatform.corpora import download

    kind = CORPORA.get("ravdess")

    def fetched(archive: object, folder: Path, **_: object) -> Path:
        assert archive is kind.archive
        folder.mkdir()
        with zipfile.ZipFile(folder / "a.zip", "w") as content:
            content.writestr("Actor_01/03-01-01-01-01-01-01.wav", b"x")
        return folder / "a.zip"

    monkeypatch.setattr(download, "fetch", fetched)
    code, out, err = command("download", "ravdess", tmp_path / "r")
    assert code == 0
    assert "licence CC BY-NC-SA 4.0" in err
    assert "1 files in" in out
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["Actor_01"]


def test_interrupted_prepare_names_the_command_that_goes_on(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_module, "prepare", stopped)
    monkeypatch.setattr("sys.argv", ["serplatform", "prepare", "demo", "--out", "my data"])
    code, _, err = command("prepare", "demo", "--out", tmp_path / "d")
    assert code == 130
    assert "serplatform prepare demo --out 'my data'" in err


#: every command that writes, with RUN and OUT in their places
WRITERS = {
    "prepare": ["prepare", "demo", "--out", "OUT", "--utterances", "4"],
    "search": ["search", "moma", "--data", "nowhere", "--out", "OUT"],
    "train": ["train", "moma", "--data", "nowhere", "--out", "OUT"],
    "ensemble": ["ensemble", "RUN", "--out", "OUT"],
    "report": ["report", "RUN", "--out", "OUT"],
    "predict": ["predict", "RUN", "clip.wav", "--out", "OUT"],
    "explain": ["explain", "RUN", "--out", "OUT"],
    "export": ["export", "RUN", "--out", "OUT"],
    "reproduce": ["reproduce", "vrnn-table1", "--out", "OUT"],
    "download": ["download", "ravdess", "OUT", "--url", "http://127.0.0.1:9/x"],
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        (".", "is the current directory|is a directory"),
        ("~", "is the home directory|is a directory"),
        ("..", "is above the current one|is a directory"),
        ("$HOME/x", r"has not replaced \$HOME"),
        ("theirs", "holds what is not of|is a directory"),
        ("dangling", "is a link to nothing"),
        ("file/x", "is a file; give another place"),
        ("n" * 300, "is too long for a name"),
    ],
)
def test_every_command_refuses_a_place_that_is_not_its_own(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    writer: str,
    out: str,
    message: str,
) -> None:
    for name in ("here/theirs", "home"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    Path("theirs/notes.txt").write_text("mine")
    Path("file").write_text("mine")
    Path("dangling").symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    words = [{"OUT": out, "RUN": "no-such-run"}.get(word, word) for word in WRITERS[writer]]
    code, stdout, err = command(*words)
    assert (code, stdout) == (2, "")
    assert re.search(message, err), err
    assert err.strip().count("\n") <= 1  # but for a line on what a command is about
    assert sorted(tmp_path.rglob("*")) == before
