"""predict and export through the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serplatform.cli.main import run
from tests.support.audio_run import TRIALS, AudioRun, make_audio_run, write_tone

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def audio_run(tmp_path_factory: pytest.TempPathFactory) -> AudioRun:
    return make_audio_run(tmp_path_factory.mktemp("audio_run"), trials=TRIALS[:2])


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
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def give(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(content)))

    return give


def objects(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_folder_as_a_table(command, audio_run):
    code, out, err = command("predict", audio_run.run, audio_run.audio / "s0")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["start", "end", "part", "emotion"]
    assert len(lines) == 7
    assert lines[1].endswith("s0/u0.wav")
    assert "6 recording(s)" in err
    assert "× real time" in err
    assert "mean of the posteriors of its 2 fold models" in err


def test_formats_hold_the_same_numbers(command, audio_run):
    path = audio_run.audio / "s1/u3.wav"
    arguments = ("predict", audio_run.run, path, "--window", "0.2", "--hop", "0.1", "--format")
    _, lines, _ = command(*arguments, "jsonl")
    rows = objects(lines)
    assert [r["part"] for r in rows] == ["window"] * 4 + ["whole"]
    assert [(r["start"], r["end"]) for r in rows[:4]] == [
        (0.0, 0.2),
        (0.1, 0.3),
        (0.2, 0.4),
        (0.25, 0.45),
    ]
    _, table, _ = command(*arguments, "csv")
    for row, found in zip(rows, csv.DictReader(io.StringIO(table)), strict=True):
        assert found["emotion"] == row["emotion"]
        for name, value in row["posteriors"].items():
            assert float(found[f"p_{name}"]) == value
        assert sum(row["posteriors"].values()) == pytest.approx(1.0, abs=1e-6)


def test_a_third_of_the_window_is_the_default_hop(command, audio_run):
    path = audio_run.audio / "s1/u3.wav"
    _, out, _ = command("predict", audio_run.run, path, "--window", "0.3", "--format", "jsonl")
    assert [r["start"] for r in objects(out)[:-1]] == [0.0, 0.1, 0.15]


def test_paths_from_standard_input(command, audio_run, stdin):
    wanted = [audio_run.audio / "s2/u1.wav", audio_run.audio / "s0/u4.wav"]
    stdin("\n".join(map(str, wanted)).encode() + b"\n")
    code, out, _ = command("predict", audio_run.run, "-", "--format", "jsonl")
    assert code == 0
    assert [r["file"] for r in objects(out)] == [str(p) for p in wanted]
    stdin(b"\n")
    code, out, err = command("predict", audio_run.run, "-")
    assert (code, out) == (2, "")
    assert "there is no recording to classify" in err


def test_one_object_is_the_last_line(command, audio_run, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"")
    code, out, _ = command("predict", audio_run.run, audio_run.audio / "s0", bad, "--json")
    assert code == 0
    (found,) = objects(out)
    assert (found["recordings"], found["rows"], found["folds"], found["models"]) == (6, 6, 2, 2)
    assert found["refused"] == [{"file": str(bad), "reason": "the file is empty (0 bytes)"}]
    assert found["predictions"][0]["posteriors"].keys() == set(found["classes"])
    assert found["times_real_time"] > 0


def test_output_goes_into_a_file(command, audio_run, tmp_path):
    target = tmp_path / "out" / "emotions.csv"
    target.parent.mkdir()
    arguments = ("predict", audio_run.run, audio_run.audio / "s0", "--out", target)
    code, out, err = command(*arguments, "--format", "csv")
    assert (code, out) == (0, "")
    assert "6 rows of 6 recording(s)" in err
    assert len(list(csv.DictReader(io.StringIO(target.read_text())))) == 6
    assert [p.name for p in target.parent.iterdir()] == ["emotions.csv"]


def test_a_bad_recording_is_named_and_the_others_go_on(command, audio_run, tmp_path):
    write_tone(tmp_path / "good.wav")
    (tmp_path / "text.wav").write_text("not audio")
    code, out, err = command("predict", audio_run.run, tmp_path, tmp_path / "gone.wav")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert f"Left out {tmp_path}/text.wav: a text file, not audio" in err
    assert f"Left out {tmp_path}/gone.wav: no such file" in err


def test_nothing_usable_is_an_error_and_writes_nothing(command, audio_run, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    target = tmp_path / "out.csv"
    code, out, err = command("predict", audio_run.run, tmp_path, "--out", target)
    assert (code, out) == (2, "")
    assert "none of the recordings could be classified" in err
    assert "a.wav: the file is empty (0 bytes)" in err
    assert not target.exists()


@pytest.mark.parametrize(
    "name", [b"new\nline.wav", b"\x1b[31mred.wav", b"caf\xe9.wav", b"=1+1,'\".wav", b"-dash.wav"]
)
def test_hostile_names_are_shown_and_not_obeyed(command, audio_run, tmp_path, name, monkeypatch):
    path = os.fsencode(tmp_path) + b"/" + name
    with open(path, "wb") as target:
        target.write((audio_run.audio / "s0/u0.wav").read_bytes())
    code, out, _ = command("predict", audio_run.run, tmp_path, "--format", "csv")
    assert code == 0
    assert len(list(csv.DictReader(io.StringIO(out, newline="")))) == 1
    out.encode()  # no lone surrogates
    code, out, _ = command("predict", audio_run.run, tmp_path)
    assert code == 0
    assert len(out.splitlines()) == 2
    assert "\x1b" not in out
    monkeypatch.chdir(tmp_path)
    code, _, _ = command("predict", audio_run.run, "--", os.fsdecode(name))
    assert code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--format", "xml"),
            "Unknown format 'xml'; known: audformat, csv, emobox, jsonl, nkululeko, table",
        ),
        (("--speaker", "me"), "--speaker me: must be one of folder, file, all"),
        (("--hop", "1"), "--hop needs --window"),
        (("--window", "0"), "--window 0: must be at least 0.1 seconds"),
        (("--max-duration", "0"), "--max-duration 0: must be more than 0"),
        (("--trial", "9"), "--trial 9: does not exist"),
        (("--text", "gone.csv"), "gone.csv: cannot be read"),
        (("--out", "."), "--out .: is a directory"),
        (("--device", "mars"), "--device mars: cannot be used"),
    ],
)
def test_a_wrong_option_is_one_message(command, audio_run, options, message):
    code, out, err = command("predict", audio_run.run, audio_run.audio, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("must be at least") <= 1  # the hop that follows from a window is no error


def test_transcripts_that_no_model_reads_are_mentioned(command, audio_run, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("file,text\nu0.wav,hello\n")
    path = audio_run.audio / "s0/u0.wav"
    code, _, err = command("predict", audio_run.run, path, "--text", table)
    assert code == 0
    assert "--text is not used" in err


def test_speaker_normalization_is_said(command, audio_run):
    path = audio_run.audio / "s0/u0.wav"
    _, _, err = command("predict", audio_run.run, path, "--trial", "1")
    assert "models normalise by speaker; the recordings of each folder are taken" in err
    _, _, err = command("predict", audio_run.run, path, "--trial", "0")
    assert "normalise" not in err


def test_an_exported_bundle_answers_as_the_run(command, audio_run, tmp_path):
    bundle = tmp_path / "bundle"
    code, out, _ = command("export", audio_run.run, "--out", bundle, "--json")
    assert code == 0
    (found,) = objects(out)
    assert found["models"] == 2
    assert found["bytes"] == sum(p.stat().st_size for p in bundle.rglob("*") if p.is_file())
    arguments = (audio_run.audio / "s3", "--format", "jsonl")
    _, ours, _ = command("predict", bundle, *arguments)
    _, theirs, _ = command("predict", audio_run.run, *arguments)
    for one, other in zip(objects(ours), objects(theirs), strict=True):
        assert one["posteriors"] == pytest.approx(other["posteriors"], abs=1e-6)
    code, _, err = command("export", audio_run.run, "--out", bundle)
    assert code == 2
    assert "is not empty" in err


def test_a_truncated_bundle_names_the_file(command, audio_run, tmp_path):
    bundle = tmp_path / "bundle"
    command("export", audio_run.run, "--out", bundle)
    file = next(bundle.rglob("model.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    code, out, err = command("predict", bundle, audio_run.audio)
    assert (code, out) == (2, "")
    assert f"{file.relative_to(bundle)}: is truncated or altered" in err


def test_the_command_says_not_sure_and_how_often(command, audio_run, tmp_path):
    folder = sorted(path for path in audio_run.audio.iterdir() if path.is_dir())[0]
    code, out, err = command(
        "predict", audio_run.run, folder, "--reject", "coverage=0.3", "--json", "--trial", "0"
    )
    assert code == 0
    values = json.loads(out.splitlines()[-1])
    answers = [row["answer"] for row in values["predictions"]]
    assert values["reject"]["wish"] == "coverage=0.3"
    assert values["reject"]["not_sure"] == answers.count("not sure")
    assert "answers where the calibrated posterior is at least" in err
    for row in values["predictions"]:
        sure = row["confidence"] >= values["reject"]["threshold"]
        assert row["answer"] == (row["emotion"] if sure else "not sure")
    code, out, err = command("predict", audio_run.run, folder, "--reject", "0.8")
    assert (code, out) == (2, "")
    assert "must be accuracy=A or coverage=C" in err


def test_every_file_of_a_folder_is_classified_or_named_and_the_rest_is_counted(
    command, audio_run, tmp_path
):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))  # a name that is not UTF-8
    folder.mkdir()
    tone = write_tone(tmp_path / "tone.wav", seconds=2.0)
    shutil.copy(tone, folder / "a.wav")
    samples, rate = soundfile.read(tone)
    kinds = {".opus": ("OGG", "OPUS"), ".sph": ("NIST", None)}
    for name in ("b.opus", "c.aiff", "d.au", "e.sph", "f.w64", "g.caf"):
        kind, subtype = kinds.get(Path(name).suffix, (Path(name).suffix[1:].upper(), None))
        soundfile.write(os.fsencode(folder / name), samples, rate, format=kind, subtype=subtype)
    (folder / "h.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(99))
    for name in (".DS_Store", "._a.wav", "labels.csv", "a.TextGrid"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    code, out, err = command("predict", audio_run.run, folder, "--format", "jsonl")
    assert code == 0
    assert [Path(row["file"]).name for row in objects(out)] == [
        *("a.wav", "b.opus", "c.aiff", "d.au", "e.sph", "f.w64", "g.caf")
    ]
    assert r"caf\xe9/h.m4a: M4A, MP4 or QuickTime" in err
    assert (
        "7 classified, 1 left out; passed over in folders: 2 hidden, 2 not audio: "
        "1 .textgrid, 1 .csv" in err
    )


def test_what_was_odd_about_a_recording_stands_beside_its_result(command, audio_run, tmp_path):
    samples, rate = soundfile.read(write_tone(tmp_path / "t.wav", seconds=2.0))
    soundfile.write(tmp_path / "a.wav", np.stack([samples, -samples], axis=1), rate)
    path = tmp_path / "a.wav"
    _, out, err = command("predict", audio_run.run, path, "--format", "jsonl")
    (row,) = objects(out)
    assert row["note"] == "its channels cancel each other: the louder one alone is read"
    assert f"Note: {path}: {row['note']}" in err
    _, out, _ = command(
        *("predict", audio_run.run, path, "--window", "1", "--hop", "0.25"), "--format", "jsonl"
    )
    assert objects(out)[-1]["note"] == f"mean of 5 window(s); {row['note']}"


def test_a_list_with_backslashes_is_read(command, audio_run, stdin, monkeypatch):
    monkeypatch.chdir(audio_run.audio)
    stdin('s2\\u1.wav\r\n"s0\\u4.wav"\r\ns0\\gone.wav\r\n'.encode("utf-16"))
    code, out, err = command("predict", audio_run.run, "-", "--format", "jsonl")
    assert code == 0
    assert [r["file"] for r in objects(out)] == ["s2\\u1.wav", '"s0\\u4.wav"']
    assert r"Left out s0\gone.wav: no such file; folders are separated by / here" in err
