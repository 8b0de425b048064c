"""One shard of utterances: frames, rows, spans, rejections; and the shard file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from pyarrow import ipc

from serplatform.artifacts.files import file_sha256
from serplatform.corpora.audio import CANCEL
from serplatform.corpora.base import Utterance
from serplatform.corpora.csv_table import CsvTable
from serplatform.corpora.demo import Demo
from serplatform.features.base import FEATURES
from serplatform.features.extract import ShardContent, extract_shard, relative_path
from serplatform.features.shards import write_feature_shard

Writer = Callable[..., Path]


def extract(root: Path, *utterances: Utterance, extra: tuple[str, ...] = ()) -> ShardContent:
    return extract_shard(
        utterances,
        {name: FEATURES.get(name)() for name in ("log_mel_23", "mfcc_40_window")},
        corpus=CsvTable(),
        root=root,
        extra_columns=extra,
    )


def utterance(path: Path, name: str | None = None, **values: object) -> Utterance:
    given = {"speaker_id": "s", "emotion": "sad", **values}
    return Utterance(utterance_id=name or path.stem, path=path, **given)  # type: ignore[arg-type]


def test_frames_are_those_of_the_file(tmp_path: Path, write_audio: Writer) -> None:
    path = write_audio(tmp_path / "a.wav", seconds=1.0)
    content = extract(tmp_path, utterance(path))
    samples, _ = soundfile.read(path, dtype="float32")
    expected = FEATURES.get("log_mel_23")().extract(samples)
    np.testing.assert_array_equal(content.frames["log_mel_23"][0], expected)
    assert content.frames["mfcc_40_window"][0].shape == (1, 40)


def test_row_holds_what_was_measured(tmp_path: Path, write_audio: Writer) -> None:
    path = write_audio(tmp_path / "x" / "a.wav", seconds=2.0, rate=8_000, channels=2)
    listed = utterance(
        path, "u", start=0.5, end=1.5, gender="female", parent_id="p", extra={"age": "31"}
    )
    (row,) = extract(tmp_path, listed, extra=("age", "mood")).rows
    assert row["path"] == "x/a.wav"
    assert (row["start"], row["end"], row["duration"]) == (0.5, 1.5, 1.0)
    assert (row["sampling_rate"], row["parent_id"]) == (8_000, "p")
    assert row["level_db"] == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=0.1)
    assert (row["age"], row["mood"]) == ("31", None)
    assert 0 <= row["speech_start"] < row["speech_end"] <= 1.0


def test_bad_utterance_leaves_the_others_alone(tmp_path: Path, write_audio: Writer) -> None:
    good = [write_audio(tmp_path / f"{n}.wav", frequency=200 + n) for n in range(2)]
    (tmp_path / "bad.wav").touch()
    content = extract(
        tmp_path, utterance(good[0]), utterance(tmp_path / "bad.wav"), utterance(good[1])
    )
    assert [row["utterance_id"] for row in content.rows] == ["0", "1"]
    assert [len(frames) for frames in content.frames.values()] == [2, 2]
    (rejection,) = content.rejections
    assert (rejection.path, rejection.reason) == ("bad.wav", "the file is empty (0 bytes)")


def test_what_was_odd_about_a_recording_is_noted(tmp_path: Path, write_audio: Writer) -> None:
    samples, rate = soundfile.read(write_audio(tmp_path / "a.wav"))
    soundfile.write(tmp_path / "b.wav", np.stack([samples, -samples], axis=1), rate)
    content = extract(tmp_path, utterance(tmp_path / "a.wav"), utterance(tmp_path / "b.wav"))
    assert content.audio_notes == [(CANCEL, "b.wav")]
    assert content.rows[0]["audio_hash"] == content.rows[1]["audio_hash"]


@pytest.mark.parametrize("peak", [30_000.0, 1e25])
def test_samples_far_above_full_scale_are_rejected(tmp_path: Path, peak: float) -> None:
    loud = peak * np.sin(np.arange(8_000))
    soundfile.write(tmp_path / "a.wav", loud.astype(np.float32), 16_000, subtype="FLOAT")
    content = extract(tmp_path, utterance(tmp_path / "a.wav"))
    assert content.rejections[0].reason.endswith("where full scale is 1: scale the file")


def test_synthetic_corpus_is_spoken_on_the_way(tmp_path: Path) -> None:
    demo = Demo(utterances=2)
    content = extract_shard(
        demo.scan(tmp_path).utterances,
        {"log_mel_23": FEATURES.get("log_mel_23")()},
        corpus=demo,
        root=tmp_path,
    )
    assert [row["path"].split("/")[0] for row in content.rows] == ["audio", "audio"]
    assert {span["tier"] for span in content.spans} == {"word", "phone"}
    assert {span["source"] for span in content.spans} == {"corpus"}
    assert (tmp_path / content.rows[0]["path"]).is_file()


def test_digest_follows_the_rows(tmp_path: Path, write_audio: Writer) -> None:
    path = write_audio(tmp_path / "a.wav")
    first = extract(tmp_path, utterance(path)).digest()
    assert extract(tmp_path, utterance(path)).digest() == first
    assert extract(tmp_path, utterance(path, emotion="happy")).digest() != first


def test_paths_elsewhere_stay_as_they_are(tmp_path: Path) -> None:
    assert relative_path(tmp_path / "a" / ".." / "b.wav", tmp_path) == "b.wav"
    assert relative_path(tmp_path / "b.wav", tmp_path / "c") == str(tmp_path / "b.wav")


def test_shard_is_mapped_without_a_copy(tmp_path: Path) -> None:
    extractor = FEATURES.get("log_mel_23")()
    rng = np.random.default_rng(0)
    frames = [rng.standard_normal((t, 23), dtype=np.float32) for t in (3, 1, 7)]
    path = tmp_path / "log_mel_23-00000.arrow"
    entry = write_feature_shard(path, extractor, ["a", "b", "c"], frames)
    assert (entry["file"], entry["rows"], entry["frames"]) == (path.name, 3, 11)
    assert entry["bytes"] == path.stat().st_size
    reader = ipc.open_stream(pa.memory_map(str(path)))
    assert reader.schema.metadata[b"feature"] == b"log_mel_23"
    (batch,) = reader
    column = batch.column("frames")
    assert column.type == pa.list_(pa.float32())
    values = column.values.to_numpy(zero_copy_only=True)
    assert not values.flags.writeable
    np.testing.assert_array_equal(values.reshape(-1, 23), np.concatenate(frames))
    assert column.offsets.to_pylist() == [0, 69, 92, 253]


def test_same_frames_give_the_same_file(tmp_path: Path) -> None:
    extractor = FEATURES.get("log_mel_23")()
    frames = [np.ones((2, 23), dtype=np.float32)]
    entries = [write_feature_shard(tmp_path / "a.arrow", extractor, ["a"], frames) for _ in "ab"]
    assert entries[0] == entries[1]


def test_the_content_of_a_shard_is_digested_as_earlier_versions_did(tmp_path: Path) -> None:
    extractor = FEATURES.get("log_mel_23")()
    path = tmp_path / "a.arrow"
    entry = write_feature_shard(path, extractor, ["a"], [np.ones((2, 23), dtype=np.float32)])
    batch = ipc.open_stream(path.read_bytes()).read_next_batch()
    with ipc.new_file(str(path), batch.schema) as writer:  # what they wrote
        writer.write_batch(batch)
    assert entry["content"] == file_sha256(path) != entry["sha256"]
