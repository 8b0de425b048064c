"""Copies, segments and overlapping spans are one group, from the table to the folds."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from serplatform.artifacts.dataset import LATER_COLUMNS
from serplatform.artifacts.files import file_sha256, read_json, write_json
from serplatform.datasets.dataset import Dataset
from serplatform.distributed import extraction
from serplatform.distributed import prepare as prepare_module
from serplatform.distributed.extraction import run_shard
from serplatform.distributed.prepare import prepare
from serplatform.errors import BadInputError, LeakError
from serplatform.protocols.base import PARTS
from serplatform.protocols.plan import make_plan, plan_from_json, plan_to_json
from tests.support.speech_like import speech_like

RATE = 16_000
PROTOCOLS = ("speaker-kfold:3", "random-kfold:3", "loso")
CLASSES = ("happy", "sad", "angry")


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are extracted here instead of in Ray tasks, and no cluster is started."""
    monkeypatch.setattr(prepare_module, "connect", lambda **_: None)
    monkeypatch.setattr(extraction, "_run", lambda tasks, workers: map(run_shard, tasks))


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    """Six speakers say three things each; every clip is a file of its own."""
    listed = []
    for number in range(18):
        file = f"s{number // 3}-{number % 3}.wav"
        soundfile.write(tmp_path / file, speech_like(1.6, seed=number), RATE)
        listed.append({"file": file, "speaker": f"s{number // 3}", "emotion": CLASSES[number % 3]})
    return listed


def prepared(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> Dataset:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / "t.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    prepare("csv", folder / "t.csv", folder / "d", features=["log_mel_23"], **options)
    return Dataset.open(folder / "d")


def groups(dataset: Dataset) -> list[set[str]]:
    """Ids of each group of at least two."""
    members: dict[str, set[str]] = {}
    names = dataset.utterances["group_id"].to_pylist()
    for name, group in zip(dataset.utterance_ids, names, strict=True):
        members.setdefault(group, set()).add(name)
    return [each for each in members.values() if len(each) > 1]


def assert_kept_together(dataset: Dataset, *families: set[str]) -> None:
    for protocol in PROTOCOLS:
        for fold in make_plan(dataset.utterances, protocol, 0).folds:
            for family in families:
                parts = [part for part in PARTS if family & set(getattr(fold, part))]
                assert len(parts) == 1, (protocol, family, parts)


def louder(samples: Any) -> Any:
    return samples * 1.4


def delayed(samples: Any) -> Any:
    return np.r_[np.zeros(160), samples]


def cut(samples: Any) -> Any:
    return samples[1:]


@pytest.mark.parametrize("change", [louder, delayed, cut])
@pytest.mark.parametrize("speaker", ["s0", "s4"])
def test_copy_is_grouped_whoever_is_said_to_speak(
    tmp_path: Path, rows: list[dict[str, Any]], change: Callable[..., Any], speaker: str
) -> None:
    samples, _ = soundfile.read(tmp_path / "s0-0.wav")
    soundfile.write(tmp_path / "twin.ogg", change(samples), RATE, subtype="VORBIS")
    dataset = prepared(
        tmp_path, [*rows, {"file": "twin.ogg", "speaker": speaker, "emotion": "happy"}]
    )
    assert groups(dataset) == [{"s0-0", "twin"}]
    assert_kept_together(dataset, {"s0-0", "twin"})
    notes = "\n".join(dataset.meta["notes"])
    assert "2 utterances are copies by their sound, in 1 group(s)" in notes
    assert "s0-0 = twin" in notes
    assert ("several speakers" in notes) == (speaker == "s4")
    assert dataset.meta["counts"]["copies"] == {"identical": 0, "by_sound": 2, "overlapping": 0}
    plan = make_plan(dataset.utterances, "loso", 0)
    assert len(plan.folds) == (5 if speaker == "s4" else 6)
    tied = "Speakers who share recordings are kept in one part: s0 + s4."
    assert any(note.startswith(tied) for note in plan.notes) == (speaker == "s4")
    units = {"s0": "s0 + s4", "s4": "s0 + s4"} if speaker == "s4" else {}
    assert plan.speaker_units == units
    assert plan_from_json(plan_to_json(plan)) == plan
    assert len(set(plan.units(dataset.speaker_ids))) == len(plan.folds)
    assert any(note.startswith("2 utterances in 1 group(s) share sound") for note in plan.notes)


def test_file_and_its_segments_are_one_group_whatever_their_ids(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    for number, row in enumerate(rows):
        row["utterance_id"] = f"u{number}"
    spans = [
        {"file": "s0-0.wav", "start": 0.4 * k, "end": 0.4 * (k + 1), "utterance_id": f"seg{k}"}
        for k in range(4)
    ]
    listed = [*rows, *({**span, "speaker": "s0", "emotion": "happy"} for span in spans)]
    dataset = prepared(tmp_path, listed)
    family = {"u0", "seg0", "seg1", "seg2", "seg3"}
    assert groups(dataset) == [family]
    assert_kept_together(dataset, family)


def test_overlapping_spans_are_one_group_and_adjacent_ones_follow_their_parents(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    def span(file: str, start: float, end: float, name: str, speaker: str) -> dict[str, Any]:
        names = {"utterance_id": name, "parent_id": name, "speaker": speaker, "emotion": "sad"}
        return {"file": file, "start": start, "end": end, **names}

    for name in ("dialog", "lecture"):
        soundfile.write(tmp_path / f"{name}.wav", speech_like(3.0, seed=len(name) + 90), RATE)
    listed = [
        *({**row, "utterance_id": row["file"][:4]} for row in rows),
        span("dialog.wav", 0, 1.5, "a", "s1"),
        span("dialog.wav", 1.5, 3, "b", "s2"),
        span("lecture.wav", 0, 2, "c", "s3"),
        span("lecture.wav", 0.5, 2.5, "d", "s3"),
    ]
    dataset = prepared(tmp_path, listed)
    assert groups(dataset) == [{"c", "d"}]
    assert_kept_together(dataset, {"c", "d"})
    assert "2 utterances are spans of one file that overlap" in "\n".join(dataset.meta["notes"])


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_one_file_under_two_names_is_one_file(
    tmp_path: Path, rows: list[dict[str, Any]], link: Callable[..., None]
) -> None:
    """Spans too short to be told by their sound."""
    link(tmp_path / "s0-0.wav", tmp_path / "link.wav")
    short = [
        {"file": file, "start": start, "end": start + 0.4, "speaker": "s0", "emotion": "sad"}
        for file, start in (("s0-0.wav", 0.5), ("link.wav", 0.6))
    ]
    dataset = prepared(tmp_path, [*rows[1:], *short])
    assert groups(dataset) == [{"s0-0_0.500-0.900", "link_0.600-1.000"}]


def test_segment_cut_out_under_another_name_is_grouped(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    whole = np.concatenate([speech_like(1.6, seed=seed) for seed in (50, 51, 52)])
    soundfile.write(tmp_path / "long.wav", whole, RATE)
    soundfile.write(tmp_path / "part.wav", 0.5 * whole[30_000:50_000], RATE)
    more = [{"file": f"{n}.wav", "speaker": "s5", "emotion": "sad"} for n in ("long", "part")]
    assert groups(prepared(tmp_path, [*rows, *more])) == [{"long", "part"}]


def test_given_split_that_parts_a_copy_is_refused_by_name(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    samples, _ = soundfile.read(tmp_path / "s0-0.wav")
    soundfile.write(tmp_path / "twin.wav", louder(samples), RATE)
    for row in rows:
        row["split"] = {"s0": "test", "s1": "dev"}.get(row["speaker"], "train")
    rows.append({"file": "twin.wav", "speaker": "s9", "emotion": "happy", "split": "train"})
    dataset = prepared(tmp_path, rows)
    with pytest.raises(LeakError, match=r"a copy or a part of 's0-0' is in .*'twin' and 's0-0'"):
        make_plan(dataset.utterances, "column", 0)


def test_too_few_speakers_apart_are_named(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    samples, _ = soundfile.read(tmp_path / "s0-0.wav")
    for speaker in ("s1", "s2", "s3", "s4"):
        soundfile.write(tmp_path / f"{speaker}.wav", (0.5 + int(speaker[1]) / 9) * samples, RATE)
        rows.append({"file": f"{speaker}.wav", "speaker": speaker, "emotion": "happy"})
    dataset = prepared(tmp_path, rows)
    with pytest.raises(BadInputError, match=r"has 2, where those who .*s0 \+ s1 \+ s2 \+ s3 \+ s4"):
        make_plan(dataset.utterances, "speaker-kfold:3", 0)


def test_dataset_without_the_columns_is_read_and_its_overlaps_are_known(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    """As made by earlier versions."""
    spans = [
        {"file": "s0-0.wav", "start": start, "end": start + 1, "parent_id": name, "speaker": "s0"}
        for start, name in ((0.0, "p"), (0.5, "q"))
    ]
    prepared(tmp_path, [*rows[1:], *({**span, "emotion": "sad"} for span in spans)])
    table = tmp_path / "d" / "utterances.parquet"
    later = [column.name for column in LATER_COLUMNS]
    pq.write_table(pq.read_table(table).drop_columns(later), table)
    meta = read_json(tmp_path / "d" / "dataset.json")
    meta["files"][table.name] = file_sha256(table)
    write_json(tmp_path / "d" / "dataset.json", meta, checksum=True)
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.utterances["group_id"].null_count == len(dataset)
    assert_kept_together(dataset, {"s0-0_0.000-1.000", "s0-0_0.500-1.500"})


def test_dataset_of_an_earlier_version_is_not_taken_for_this_one(
    tmp_path: Path, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "FINGERPRINT_VERSION", 0)
        earlier = prepared(tmp_path, rows)
    with pytest.raises(BadInputError, match=r"another version of serplatform made it.*--overwrite"):
        prepared(tmp_path, rows)
    again = prepared(tmp_path, rows, overwrite=True)
    assert again.fingerprint == earlier.fingerprint  # the same audio and labels: runs still fit


def test_synthetic_voices_are_not_compared(tmp_path: Path) -> None:
    options = {"utterances": 120, "speakers": 8}
    prepare("demo", None, tmp_path / "d", features=["log_mel_23"], options=options)
    dataset = Dataset.open(tmp_path / "d")
    assert groups(dataset) == []
    assert dataset.meta["counts"]["copies"]["by_sound"] == 0
    assert dataset.utterances["fingerprint"].null_count == 0
