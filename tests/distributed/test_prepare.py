"""From a corpus to a dataset: whole, resumable, the same wherever and by however many made."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from serplatform.artifacts.dataset import has_been
from serplatform.artifacts.files import read_json
from serplatform.corpora.base import Manifest, RejectedUtterance, Utterance
from serplatform.datasets.dataset import Dataset
from serplatform.distributed import dataset_target, extraction
from serplatform.distributed import prepare as prepare_module
from serplatform.distributed.extraction import ExtractionProgress, run_shard, shard_size
from serplatform.distributed.prepare import PrepareSummary, ensure_demo, prepare
from serplatform.errors import BadInputError, InterruptedRunError, SerplatformError
from serplatform.protocols.plan import make_plan

Writer = Callable[..., Path]
FEATURES = ("log_mel_23", "mfcc_40_window")


def demo(out: Path, utterances: int = 40, **arguments: Any) -> PrepareSummary:
    options = {"utterances": utterances, "speakers": 4, **arguments.pop("options", {})}
    return prepare("demo", None, out, features=FEATURES, workers=2, options=options, **arguments)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are extracted here instead of in Ray tasks, and no cluster is started."""
    monkeypatch.setattr(prepare_module, "connect", lambda **_: None)
    monkeypatch.setattr(extraction, "_run", lambda tasks, workers: map(run_shard, tasks))


def kept_and_rejected(summary: PrepareSummary) -> tuple[int, int]:
    return summary.meta["counts"]["utterances"], summary.meta["counts"]["rejected"]


def rejected(out: Path) -> dict[str, str]:
    with (out / "rejected.csv").open(newline="") as stream:
        return {row["utterance_id"]: row["reason"] for row in csv.DictReader(stream)}


@pytest.mark.ray
def test_dataset_made_by_ray_tasks_is_whole(ray_cluster: None, tmp_path: Path) -> None:
    told: list[ExtractionProgress] = []
    summary = demo(tmp_path / "d", utterances=70, progress=told.append)
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.check() == []
    assert (len(dataset), *kept_and_rejected(summary)) == (70, 70, 0)
    assert dataset.synthetic
    assert dataset.classes == ("neutral", "happy", "sad", "angry")
    assert dataset.feature_names == FEATURES
    assert [shard["rows"] for shard in dataset.meta["features"]["log_mel_23"]["shards"]] == [
        32,
        32,
        6,
    ]
    assert (told[0].done, told[-1].done, len(told)) == (0, 70, 1 + 3)
    assert not (tmp_path / "d" / ".partial").exists()
    row = dataset.utterances.slice(33, 1).to_pylist()[0]
    samples, rate = soundfile.read(tmp_path / "d" / row["path"], dtype="float32")
    assert rate == 16_000
    frames = dataset.frames("log_mel_23", 33)
    expected = prepare_module.FEATURES.get("log_mel_23")().extract(samples)
    np.testing.assert_allclose(frames, expected, atol=1e-5)


@pytest.mark.ray
def test_place_and_number_of_workers_do_not_change_the_fingerprint(
    ray_cluster: None, tmp_path: Path
) -> None:
    first = demo(tmp_path / "a")
    second = prepare(
        "demo",
        None,
        tmp_path / "deep" / "b",
        features=FEATURES,
        workers=1,
        options={"utterances": 40, "speakers": 4},
    )
    assert first.meta["fingerprint"] == second.meta["fingerprint"]
    other = demo(tmp_path / "c", options={"seed": 1})
    assert other.meta["fingerprint"] != first.meta["fingerprint"]


@pytest.mark.ray
def test_fault_in_a_worker_is_one_message(ray_cluster: None, tmp_path: Path) -> None:
    task = extraction.ShardTask(
        number=0,
        utterances=(),
        request={},
        digest="",
        root=tmp_path,
        features=("log_mel_99",),
        extra_columns=(),
        folder=tmp_path,
    )
    with pytest.raises(BadInputError, match="Unknown feature 'log_mel_99'"):
        extraction.extract_shards([task], workers=1)


def test_interrupted_call_goes_on_shard_by_shard(
    in_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = demo(tmp_path / "whole", utterances=100)

    def stop_after_two(tasks: list[extraction.ShardTask], workers: int | None) -> Any:
        yield run_shard(tasks[0])
        yield run_shard(tasks[1])
        raise InterruptedRunError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(extraction, "_run", stop_after_two)
        with pytest.raises(InterruptedRunError, match="stopped"):
            demo(tmp_path / "d", utterances=100)
    assert not (tmp_path / "d" / "dataset.json").exists()
    done: list[int] = []
    monkeypatch.setattr(
        extraction,
        "_run",
        lambda tasks, workers: (run_shard(t) for t in tasks if done.append(t.number) is None),
    )
    summary = demo(tmp_path / "d", utterances=100)
    assert done == [2, 3]
    assert (summary.shards, summary.shards_reused) == (4, 2)
    assert summary.meta["fingerprint"] == whole.meta["fingerprint"]
    assert Dataset.open(tmp_path / "d").check() == []


def test_partial_shards_of_another_request_are_not_reused(
    in_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_after_one(tasks: list[extraction.ShardTask], workers: int | None) -> Any:
        yield run_shard(tasks[0])
        raise InterruptedRunError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(extraction, "_run", stop_after_one)
        with pytest.raises(InterruptedRunError, match="stopped"):
            demo(tmp_path / "d")
    summary = demo(tmp_path / "d", options={"seed": 1})
    assert summary.shards_reused == 0


@pytest.mark.parametrize("damage", ["record", "arrow", "table"])
def test_shard_that_is_not_whole_is_made_again(
    in_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "assemble", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError, match="division"):
            demo(tmp_path / "d")
    partial = tmp_path / "d" / ".partial"
    if damage == "record":
        record = partial / "shard-00001.json"
        record.write_text(record.read_text()[:50])
    elif damage == "arrow":
        shard = partial / "log_mel_23-00001.arrow"
        shard.write_bytes(shard.read_bytes()[:-8])
    else:
        (partial / "utterances-00001.parquet").unlink()
    summary = demo(tmp_path / "d")
    assert (summary.shards, summary.shards_reused) == (2, 1)
    assert Dataset.open(tmp_path / "d").check() == []


def test_same_request_again_does_nothing(in_process: None, tmp_path: Path) -> None:
    first = demo(tmp_path / "d")
    before = (tmp_path / "d" / "dataset.json").stat().st_mtime_ns
    again = demo(tmp_path / "d")
    assert again.reused
    assert again.meta == first.meta
    assert (tmp_path / "d" / "dataset.json").stat().st_mtime_ns == before
    fewer = prepare(
        "demo",
        None,
        tmp_path / "d",
        features=["log_mel_23"],
        options={"utterances": 40, "speakers": 4},
    )
    assert fewer.reused


def test_features_are_added_to_a_dataset_and_the_others_stay(
    in_process: None, tmp_path: Path
) -> None:
    first = prepare(
        "demo",
        None,
        tmp_path / "d",
        features=["log_mel_23"],
        options={"utterances": 40, "speakers": 4},
    )
    file = tmp_path / "d" / "log_mel_23-00000.arrow"
    before = file.stat().st_mtime_ns
    second = prepare(
        "demo",
        None,
        tmp_path / "d",
        features=["mfcc_40"],
        options={"utterances": 40, "speakers": 4},
    )
    at_once = prepare(
        "demo",
        None,
        tmp_path / "e",
        features=["log_mel_23", "mfcc_40"],
        options={"utterances": 40, "speakers": 4},
    )
    assert second.added_to == ("log_mel_23",)
    assert not second.reused
    assert file.stat().st_mtime_ns == before
    assert list(second.meta["features"]) == ["log_mel_23", "mfcc_40"]
    assert second.meta["fingerprint"] == at_once.meta["fingerprint"]
    opened = Dataset.open(tmp_path / "d")
    assert opened.check() == []
    assert has_been(opened.meta, first.meta["fingerprint"])
    whole = Dataset.open(tmp_path / "e")
    np.testing.assert_array_equal(opened.frames("mfcc_40", 3), whole.frames("mfcc_40", 3))
    again = prepare(
        "demo",
        None,
        tmp_path / "d",
        features=["mfcc_40"],
        options={"utterances": 40, "speakers": 4},
    )
    assert again.reused


def test_another_request_needs_overwrite(in_process: None, tmp_path: Path) -> None:
    demo(tmp_path / "d", utterances=70)
    with pytest.raises(BadInputError, match=r"holds another dataset \(demo, 70 .*--overwrite"):
        demo(tmp_path / "d")
    summary = demo(tmp_path / "d", overwrite=True)
    assert kept_and_rejected(summary) == (40, 0)
    assert Dataset.open(tmp_path / "d").check() == []
    assert len(list((tmp_path / "d").glob("log_mel_23-*.arrow"))) == 2


@pytest.mark.parametrize("damage", [None, "cut"])
def test_overwrite_removes_the_old_datasets_own_files_alone(
    in_process: None, tmp_path: Path, damage: str | None
) -> None:
    out = tmp_path / "d"
    demo(out, utterances=70)
    theirs = ["my.arrow", "features.parquet", "sub/log_mel_23-00000.arrow", ".notes.partial"]
    for name in theirs:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    if damage:
        content = (out / "dataset.json").read_text()
        (out / "dataset.json").write_text(content[: content.index('"alignment"')])
    demo(out, overwrite=True)
    assert Dataset.open(out).check() == []
    assert {(out / name).read_text() for name in theirs} == {"mine"}
    assert sorted(p.name for p in out.glob("*-*.arrow")) == [
        f"{feature}-{number:05d}.arrow" for feature in FEATURES for number in (0, 1)
    ]
    assert not (out / ".partial").exists()


def test_overwrite_that_was_killed_goes_on_with_the_old_datasets_list(
    in_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "d"
    demo(out, utterances=70)
    unlink = Path.unlink

    def die(path: Path, missing_ok: bool = False) -> None:
        if path.name == "log_mel_23-00002.arrow":
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patch.setattr(Path, "unlink", die)
        demo(out, overwrite=True)
    assert (out / "log_mel_23-00002.arrow").exists()
    demo(out)
    assert Dataset.open(out).check() == []
    assert not (out / "log_mel_23-00002.arrow").exists()
    assert not (out / ".partial").exists()


def test_dataset_json_of_another_program_is_not_overwritten(
    in_process: None, tmp_path: Path
) -> None:
    (tmp_path / "dataset.json").write_text('{"files": {"utterances.parquet": ""}}')
    (tmp_path / "utterances.parquet").write_text("mine")
    with pytest.raises(BadInputError, match=r"not of a dataset \(dataset\.json, utterances"):
        demo(tmp_path, overwrite=True)
    assert (tmp_path / "utterances.parquet").read_text() == "mine"


def test_file_whose_name_is_not_utf8_is_left_out_with_its_reason(
    in_process: None, tmp_path: Path, write_audio: Writer
) -> None:
    for number, name in enumerate(["03a01Fa", "08a01Fa", "03a02Fa", "08a01Wa"]):
        write_audio(tmp_path / "c" / "wav" / f"{name}.wav", frequency=200 + 30 * number)
    (tmp_path / "c" / "w\udcff").mkdir()
    (tmp_path / "c" / "wav" / "08a01Wa.wav").rename(tmp_path / "c" / "w\udcff" / "08a01Wa.wav")
    summary = prepare("emodb", tmp_path / "c", tmp_path / "d", features=["log_mel_23"])
    assert kept_and_rejected(summary) == (3, 1)
    reason = "its path is not UTF-8 text; rename the folder or file"
    assert rejected(tmp_path / "d") == {"08a01Wa": reason}


def test_dataset_lies_in_a_folder_whose_name_is_not_utf8(in_process: None, tmp_path: Path) -> None:
    demo(tmp_path / "d")
    (tmp_path / "d").rename(tmp_path / "d\udcff")
    dataset = Dataset.open(tmp_path / "d\udcff")
    assert dataset.check() == []
    assert dataset.frames("log_mel_23", 0).shape[1] == 23


def test_damaged_dataset_needs_overwrite(in_process: None, tmp_path: Path) -> None:
    demo(tmp_path / "d")
    (tmp_path / "d" / "log_mel_23-00001.arrow").unlink()
    with pytest.raises(BadInputError, match="damaged dataset"):
        demo(tmp_path / "d")
    assert not demo(tmp_path / "d", overwrite=True).reused


def test_directory_of_other_things_is_left_alone(in_process: None, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BadInputError, match=r"holds what is not of a dataset \(thesis\.txt\)"):
        demo(tmp_path, overwrite=True)
    with pytest.raises(BadInputError, match="is a file; give a directory"):
        demo(tmp_path / "thesis.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_calls_do_not_write_the_same_dataset(in_process: None, tmp_path: Path) -> None:
    with (
        dataset_target.partial_folder(tmp_path / "d"),
        pytest.raises(BadInputError, match="another 'prepare' is writing it"),
    ):
        demo(tmp_path / "d")


def test_faults_of_a_command_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"Unknown corpus 'demos'.*Did you mean 'demo'"):
        prepare("demos", None, tmp_path / "d")
    with pytest.raises(BadInputError, match="Unknown feature 'log_mel'") as caught:
        prepare("demo", None, tmp_path / "d", features=["log_mel", "x", "mfcc_40"])
    assert len(caught.value.faults) == 2
    with pytest.raises(BadInputError, match="corpus 'ravdess' needs SOURCE"):
        prepare("ravdess", None, tmp_path / "d")
    with pytest.raises(BadInputError, match="makes its own audio"):
        prepare("demo", tmp_path, tmp_path / "d")
    with pytest.raises(BadInputError, match="does not take these options") as caught:
        prepare("demo", None, tmp_path / "d", options={"speaker": 2})
    assert "Did you mean 'speakers'" in caught.value.faults[0]
    with pytest.raises(BadInputError, match="the command has faults") as caught:
        prepare("csv", None, tmp_path / "d", workers=0, max_duration=-1.0)
    assert len(caught.value.faults) == 3
    assert not (tmp_path / "d").exists()


@pytest.fixture
def messy_table(tmp_path: Path, write_audio: Writer) -> Path:
    """A table with every fault that an utterance may have, and six good rows."""
    folder = tmp_path / "corpus"
    rows = []
    for number in range(6):
        write_audio(folder / f"good{number}.wav", frequency=200.0 + 30 * number)
        rows.append(f"good{number}.wav,{'sad' if number % 2 else 'happy'},s{number // 2},")
    write_audio(folder / "low.wav", rate=8_000, channels=2, frequency=300)
    write_audio(folder / "high.wav", rate=48_000, subtype="PCM_24", frequency=310)
    shutil.copy(folder / "good0.wav", folder / "copy.wav")
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("I am a text.\n" * 99)
    (folder / "pointer.wav").write_text("version https://git-lfs.github.com/spec/v1\n")
    soundfile.write(folder / "none.wav", np.zeros(0), 16_000)
    soundfile.write(folder / "silent.wav", np.zeros(9_000), 16_000)
    soundfile.write(folder / "nan.wav", np.full(9_000, np.nan), 16_000, subtype="FLOAT")
    write_audio(folder / "long.wav", seconds=61.0, rate=8_000)
    rows += [f"{n}.wav,sad,s0," for n in ("low", "high", "copy", "empty", "text", "pointer")]
    rows += [f"{n}.wav,sad,s0," for n in ("none", "silent", "nan", "long", "absent")]
    rows += ["good1.wav,sad,s0,", "../outside.wav,sad,s0,", "good2.wav,,s0,again"]
    rows += ["good3.wav,angy,s0,typo", "good4.wav,weird,s0,odd"]
    table = folder / "index.csv"
    table.write_text("file,emotion,speaker,id\n" + "\n".join(rows) + "\n")
    return table


def test_every_utterance_is_kept_or_rejected_with_a_reason(
    in_process: None, tmp_path: Path, messy_table: Path
) -> None:
    summary = prepare("csv", messy_table, tmp_path / "d", features=FEATURES)
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.check() == []
    kept = set(dataset.utterance_ids)
    assert kept == {*(f"good{n}" for n in range(6)), "low", "high", "copy"}
    found = rejected(tmp_path / "d")
    beginnings = {
        "empty": "the file is empty",
        "text": "a text file, not audio",
        "pointer": "git-lfs pointer",
        "none": "holds 0 samples",
        "silent": "is digital silence",
        "nan": "holds samples that are not numbers",
        "long": "lasts 61.0 s, longer than is allowed (60 s",
        "absent": "no such file",
        "good1": "duplicate utterance id",
        "../outside.wav": "its path leaves the table's directory",
        "again": "has no label",
        "typo": "unknown label 'angy'; if it means 'angry'",
        "odd": "unknown label 'weird', used 1 time(s)",
    }
    assert set(found) == set(beginnings)
    for name, beginning in beginnings.items():
        assert found[name].startswith(beginning), name
    assert kept_and_rejected(summary)[1] == len(beginnings)
    assert sum(summary.meta["counts"]["by_reason"].values()) == len(beginnings)
    notes = " ".join(summary.meta["notes"])
    assert "1 utterances were recorded at 8000 Hz" in notes
    assert "2 utterances share 1 recording(s), sample by sample" in notes
    assert "good0 = copy" in notes
    assert dataset.classes == ("happy", "sad")
    assert summary.meta["default_protocol"] == "loso"
    make_plan(dataset.utterances, "loso")


def test_label_map_brings_labels_back(in_process: None, tmp_path: Path, messy_table: Path) -> None:
    summary = prepare(
        "csv", messy_table, tmp_path / "d", features=FEATURES, label_map={"angy": "angry"}
    )
    assert summary.meta["counts"]["by_emotion"] == {"happy": 3, "sad": 6, "angry": 1}


def test_nothing_left_is_an_error_with_the_reasons(in_process: None, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("file,emotion,speaker\na.wav,sad,s\nb.wav,happy,s\nc.wav,,s\n")
    with pytest.raises(BadInputError, match="no utterance of corpus 'csv' can be used") as caught:
        prepare("csv", table, tmp_path / "d", features=FEATURES)
    assert set(caught.value.faults) == {
        "2 × no such file",
        "1 × has no label",
        "note: read as: file=file, emotion=emotion, speaker=speaker",
    }
    assert not (tmp_path / "d" / "dataset.json").exists()


def test_rows_that_are_lost_stop_the_call(
    in_process: None, tmp_path: Path, messy_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = prepare_module.validate

    def losing(*arguments: Any, **options: Any) -> Manifest:
        manifest = real(*arguments, **options)
        return dataclasses.replace(manifest, rejections=manifest.rejections[1:])

    monkeypatch.setattr(prepare_module, "validate", losing)
    with pytest.raises(SerplatformError, match=r"22 utterances were listed, but 9 are kept and 12"):
        prepare("csv", messy_table, tmp_path / "d", features=FEATURES)
    assert not (tmp_path / "d" / "dataset.json").exists()


def test_names_that_are_not_utf_8_are_refused_with_the_remedy(
    in_process: None, tmp_path: Path, write_audio: Writer
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xff"))
    write_audio(tmp_path / "d" / "1001_DFA_ANG_XX.wav")
    try:
        (tmp_path / "d").rename(odd)
    except OSError:
        pytest.skip("the file system refuses such names")
    for source, out in ((odd, tmp_path / "o"), (tmp_path, odd / "o")):
        with pytest.raises(BadInputError, match=r"d\\xff.*: the name is not UTF-8 text; rename"):
            prepare("cremad", source, out, features=FEATURES)
    with pytest.raises(BadInputError, match="1 × its path is not UTF-8 text"):
        prepare("cremad", tmp_path, tmp_path / "o", features=FEATURES)


def test_speakers_that_differ_are_part_of_the_request(
    in_process: None, tmp_path: Path, write_audio: Writer
) -> None:
    for name in ("a", "b"):
        write_audio(tmp_path / f"{name}.wav", frequency=300.0 + ord(name))
    table = tmp_path / "t.csv"
    table.write_text("file,emotion,speaker\na.wav,sad,01\nb.wav,happy,1\n")
    with pytest.raises(BadInputError, match="--speakers-differ"):
        prepare("csv", table, tmp_path / "d", features=FEATURES)
    for reused in (False, True):
        summary = prepare("csv", table, tmp_path / "d", features=FEATURES, speakers_differ=True)
        assert summary.reused == reused
    assert summary.meta["counts"]["by_speaker"] == {"01": 1, "1": 1}
    assert summary.meta["counts"]["listed"] == 2


def test_changed_source_is_another_request(
    in_process: None, tmp_path: Path, messy_table: Path, write_audio: Writer
) -> None:
    prepare("csv", messy_table, tmp_path / "d", features=FEATURES)
    assert prepare("csv", messy_table, tmp_path / "d", features=FEATURES).reused
    write_audio(messy_table.parent / "good0.wav", frequency=999.0, seconds=0.7)
    with pytest.raises(BadInputError, match="or its source has changed since"):
        prepare("csv", messy_table, tmp_path / "d", features=FEATURES)


def test_columns_of_the_table_and_spans_are_kept(
    in_process: None, tmp_path: Path, write_audio: Writer
) -> None:
    write_audio(tmp_path / "c" / "a.wav", seconds=3.0)
    table = tmp_path / "c" / "t.csv"
    table.write_text(
        "file,emotion,speaker,start,end,age\n"
        "a.wav,sad,s,0.5,1.5,31\na.wav,happy,s,1.5,2.5,\na.wav,sad,t,,,7\n"
    )
    prepare("csv", table, tmp_path / "d", features=FEATURES)
    rows = Dataset.open(tmp_path / "d").utterances.to_pylist()
    assert [row["utterance_id"] for row in rows] == ["a_0.500-1.500", "a_1.500-2.500", "a"]
    assert [row["parent_id"] for row in rows] == ["a", "a", "a"]
    assert [row["age"] for row in rows] == ["31", "", "7"]
    assert [row["duration"] for row in rows] == [1.0, 1.0, 3.0]


def test_demo_alignment_names_its_source(in_process: None, tmp_path: Path) -> None:
    summary = demo(tmp_path / "d")
    assert summary.meta["alignment"] == {"corpus": 40}
    spans = Dataset.open(tmp_path / "d").alignment.to_pylist()
    row = Dataset.open(tmp_path / "d").utterances.slice(0, 1).to_pylist()[0]
    words = [s for s in spans if s["utterance_id"] == row["utterance_id"] and s["tier"] == "word"]
    assert " ".join(word["label"] for word in words) == row["text"]


def test_demo_of_the_cache_is_made_once(
    in_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = prepare_module.prepare
    calls: list[Path] = []

    def quick(corpus: str, source: Path | None, out: Path, **arguments: Any) -> PrepareSummary:
        calls.append(out)
        return original(corpus, source, out, options={"utterances": 16}, **arguments)

    monkeypatch.setattr(prepare_module, "prepare", quick)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = ensure_demo()
    assert path.parent == tmp_path / "serplatform"
    assert ensure_demo() == path
    assert len(calls) == 1
    next(path.glob("log_mel_23-*.arrow")).unlink()
    assert ensure_demo() == path
    assert len(calls) == 2
    assert Dataset.open(path).check() == []
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_dataset_json_is_plain(in_process: None, tmp_path: Path) -> None:
    summary = demo(tmp_path / "d")
    values = read_json(tmp_path / "d" / "dataset.json")
    assert values == json.loads(json.dumps(summary.meta))
    assert set(values["versions"]) >= {"serplatform", "python", "numpy", "soxr", "pyarrow"}
    assert values["counts"]["by_speaker"] == {
        f"speaker_{n:02d}": 12 if n < 2 else 8 for n in range(4)
    }
    assert values["features"]["log_mel_23"]["spec"]["floor"] == 1e-10


def test_file_names_that_are_not_text_can_be_listed() -> None:
    odd = RejectedUtterance(
        utterance_id="a", path=b"b\xff.wav".decode("utf-8", "surrogateescape"), reason="r"
    )
    assert odd.path == "b\\udcff.wav"


def test_shards_do_not_depend_on_the_machine() -> None:
    assert [shard_size(n) for n in (1, 288, 1440, 4_096, 20_000)] == [32, 32, 90, 128, 128]


def test_render_is_not_needed_for_real_corpora(tmp_path: Path) -> None:
    corpus = prepare_module.make_corpus("csv", {})
    listed = Utterance(utterance_id="a", path=tmp_path / "a.wav", speaker_id="s", emotion="sad")
    assert corpus.render(listed) is listed
