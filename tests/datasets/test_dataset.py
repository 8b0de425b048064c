"""The dataset reader: views without copies, and damage that is named."""

import json
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc

from serplatform.artifacts.dataset import UTTERANCE_SCHEMA
from serplatform.artifacts.files import (
    file_sha256,
    read_json,
    read_parquet,
    write_json,
    write_parquet,
)
from serplatform.datasets.dataset import Dataset
from serplatform.errors import ArtifactError, BadInputError
from serplatform.models.kernels.memory import release
from serplatform.testing.synthetic import make_dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_dataset(
        tmp_path_factory.mktemp("data") / "set",
        num_speakers=3,
        per_speaker=8,
        features={"log_mel_23": 23, "windows": (5, 1.0, 2.0)},
        num_shards=3,
    )


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def test_frames_are_a_readonly_view_into_the_mapped_shard(made):
    dataset = Dataset.open(made)
    views = dataset.mapped("log_mel_23")
    for row in range(len(dataset)):
        frames = dataset.frames("log_mel_23", row)
        shard = views.values[views.shard[row]]
        assert not frames.flags.owndata
        assert not frames.flags.writeable
        assert np.shares_memory(frames, shard)
        offset = frames.__array_interface__["data"][0] - shard.__array_interface__["data"][0]
        assert offset == 4 * views.start[row]


def test_frames_lie_in_the_mapping_of_the_file(made):
    views = Dataset.open(made).mapped("log_mel_23")
    with open("/proc/self/maps", encoding="utf-8") as maps:
        mapped = [line.split()[0].split("-") for line in maps if "log_mel_23-00001" in line]
    address = views.values[1].__array_interface__["data"][0]
    assert any(int(low, 16) <= address < int(high, 16) for low, high in mapped)


def test_frames_equal_a_plain_read_of_the_shards(made):
    dataset = Dataset.open(made)
    row = 0
    for shard in dataset.meta["features"]["windows"]["shards"]:
        table = ipc.open_stream((made / shard["file"]).read_bytes()).read_all()
        for utterance_id, values in zip(*table.to_pydict().values(), strict=True):
            assert dataset.utterance_ids[row] == utterance_id
            np.testing.assert_array_equal(
                dataset.frames("windows", row), np.float32(values).reshape(-1, 5)
            )
            assert dataset.num_frames("windows")[row] == len(values) // 5
            row += 1
    assert row == len(dataset) == 24


def test_part_of_an_utterance_is_a_slice_of_its_frames(made):
    views = Dataset.open(made).mapped("log_mel_23")
    np.testing.assert_array_equal(views.frames(20, 3, 9), views.frames(20)[3:9])


def test_large_offsets_are_read_too(copy):
    entry = read_json(copy / "dataset.json")["features"]["log_mel_23"]
    expected = Dataset.open(copy).frames("log_mel_23", 1).copy()
    file = copy / entry["shards"][0]["file"]
    batch = ipc.open_stream(file.read_bytes()).read_next_batch()
    large = batch.column("frames").cast(pa.large_list(pa.float32()))
    batch = pa.record_batch({"utterance_id": batch.column("utterance_id"), "frames": large})
    with ipc.new_file(str(file), batch.schema) as writer:
        writer.write_batch(batch)
    meta = read_json(copy / "dataset.json")
    meta["features"]["log_mel_23"]["shards"][0]["bytes"] = file.stat().st_size
    write_json(copy / "dataset.json", meta)
    np.testing.assert_array_equal(Dataset.open(copy).frames("log_mel_23", 1), expected)


def test_description_and_counts(made):
    dataset = Dataset.open(made.as_uri())
    assert dataset.classes == ("angry", "happy", "neutral", "sad")
    assert dataset.synthetic
    assert dataset.feature_names == ("log_mel_23", "windows")
    assert dataset.class_counts() == dict.fromkeys(dataset.classes, 6)
    assert dataset.feature_info("windows").frame_shift == 1.0
    assert dataset.row_of["spk02_007"] == 23
    assert set(dataset.alignment.column("tier").to_pylist()) == {"word", "phone"}
    assert len(dataset.fingerprint) == 64


def test_another_process_gets_the_path_and_opens_it_again(made):
    dataset = Dataset.open(made)
    dataset.cache["big"] = np.zeros(100_000)
    sent = pickle.dumps(dataset)
    assert len(sent) < 500
    np.testing.assert_array_equal(
        pickle.loads(sent).frames("log_mel_23", 7),  # noqa: S301 - our own bytes
        dataset.frames("log_mel_23", 7),
    )


def test_whole_dataset_has_no_faults(made):
    assert Dataset.open(made).check() == []


def test_check_names_an_altered_shard(copy):
    file = copy / "windows-00001.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    (fault,) = Dataset.open(copy).check()
    assert "windows-00001.arrow" in fault
    assert "checksum" in fault


def test_check_names_reordered_rows(copy):
    meta = read_json(copy / "dataset.json")
    file = copy / "log_mel_23-00000.arrow"
    batch = ipc.open_stream(file.read_bytes()).read_next_batch()
    order = [0, 2, 1, *range(3, batch.num_rows)]
    with ipc.new_file(str(file), batch.schema) as writer:
        writer.write_batch(batch.take(pa.array(order)))

    meta["features"]["log_mel_23"]["shards"][0].update(
        bytes=file.stat().st_size, sha256=file_sha256(file)
    )
    write_json(copy / "dataset.json", meta)
    (fault,) = Dataset.open(copy).check()
    assert "log_mel_23-00000.arrow" in fault
    assert "order" in fault


def test_first_row_of_another_utterance_is_refused_without_a_full_check(copy):
    meta = read_json(copy / "dataset.json")
    shards = meta["features"]["log_mel_23"]["shards"]
    shards[0], shards[1] = shards[1], shards[0]
    write_json(copy / "dataset.json", meta)
    with pytest.raises(ArtifactError, match=r"log_mel_23-00001.arrow: row \d+ is 'spk"):
        Dataset.open(copy).num_frames("log_mel_23")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "dataset.json").unlink(), "holds no dataset.json"),
        (
            lambda d: (d / "dataset.json").write_text("{"),
            "dataset.json: the dataset descr.*damaged",
        ),
        (lambda d: (d / "utterances.parquet").unlink(), "utterances.parquet: no such"),
        (
            lambda d: (d / "utterances.parquet").write_bytes(b"PAR1"),
            "utterances.parquet: the utterance table is damaged",
        ),
        (lambda d: (d / "windows-00002.arrow").unlink(), "windows-00002.arrow is missing"),
        (
            lambda d: (d / "windows-00002.arrow").write_bytes(b"ARROW1"),
            r"windows-00002.arrow has 6 bytes instead of \d+",
        ),
    ],
)
def test_damage_is_named_when_opening(copy, damage, message):
    damage(copy)
    with pytest.raises(ArtifactError, match=message):
        Dataset.open(copy)


def test_a_label_changed_by_hand_is_refused(copy):
    path = copy / "utterances.parquet"
    table = read_parquet(path)
    labels = table.column("emotion").to_pylist()
    column = table.column_names.index("emotion")
    write_parquet(path, table.set_column(column, "emotion", [[labels[-1], *labels[1:]]]))
    with pytest.raises(ArtifactError, match=r"utterances.parquet: its checksum is .*was altered"):
        Dataset.open(copy)


def test_a_table_without_a_checksum_is_refused(copy):
    meta = read_json(copy / "dataset.json")
    del meta["files"]["utterances.parquet"]
    write_json(copy / "dataset.json", meta)
    with pytest.raises(ArtifactError, match=r"utterances.parquet: dataset.json holds no checksum"):
        Dataset.open(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "schema version 99, this program reads 1"),
        ({"counts": {"utterances": 23}}, "feature 'log_mel_23' has 24 rows for 23"),
        ({"features": {"f": {"dim": 3}}}, "lacks features.f.frame_shift"),
        ({"features": 3}, "features is a number where an object belongs"),
    ],
)
def test_description_that_does_not_fit_is_refused(copy, change, message):
    path = copy / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ArtifactError, match=message):
        Dataset.open(copy)


def test_missing_keys_are_all_listed(copy):
    meta = read_json(copy / "dataset.json")
    del meta["classes"], meta["fingerprint"]
    write_json(copy / "dataset.json", meta)
    with pytest.raises(ArtifactError, match="lacks classes; lacks fingerprint"):
        Dataset.open(copy)


def test_shard_that_is_no_feature_shard_is_refused(copy):
    file = copy / "windows-00000.arrow"
    meta = read_json(copy / "dataset.json")
    batch = pa.record_batch({"utterance_id": ["a"], "frames": [1.0]})
    with ipc.new_file(str(file), batch.schema) as writer:
        writer.write_batch(batch)
    meta["features"]["windows"]["shards"][0]["bytes"] = file.stat().st_size
    write_json(copy / "dataset.json", meta)
    with pytest.raises(ArtifactError, match=r"windows-00000.arrow: its columns are"):
        Dataset.open(copy).frames("windows", 0)


def test_unknown_feature_suggests_the_nearest(made):
    with pytest.raises(BadInputError, match="Did you mean 'log_mel_23'"):
        Dataset.open(made).frames("logmel_23", 0)


def test_missing_directory_and_unknown_address(tmp_path):
    with pytest.raises(ArtifactError, match="nowhere: no such dataset directory"):
        Dataset.open(tmp_path / "nowhere")
    with pytest.raises(BadInputError, match=r"ftp://host/set: unknown kind of address 'ftp'"):
        Dataset.open("ftp://host/set")


def test_dataset_without_alignment_has_an_empty_table(copy):
    meta = read_json(copy / "dataset.json")
    del meta["files"]["alignment.parquet"]
    write_json(copy / "dataset.json", meta)
    assert Dataset.open(copy).alignment.num_rows == 0


def test_synthetic_dataset_is_deterministic_and_complete(tmp_path):
    one = make_dataset(tmp_path / "one", num_speakers=2, per_speaker=4, seed=3)
    two = make_dataset(tmp_path / "two", num_speakers=2, per_speaker=4, seed=3)
    other = make_dataset(tmp_path / "other", num_speakers=2, per_speaker=4, seed=4)
    prints = [Dataset.open(p).fingerprint for p in (one, two, other)]
    assert prints[0] == prints[1] != prints[2]
    table = read_parquet(one / "utterances.parquet")
    assert table.schema.names == UTTERANCE_SCHEMA.names
    words = Dataset.open(one).alignment.filter(pa.compute.field("tier") == "word")
    texts = dict(zip(table["utterance_id"].to_pylist(), table["text"].to_pylist(), strict=True))
    spoken: dict[str, list[str]] = {}
    for span in words.to_pylist():
        spoken.setdefault(span["utterance_id"], []).append(span["label"])
    assert {name: " ".join(w) for name, w in spoken.items()} == texts


def test_synthetic_classes_can_be_told_apart_and_separation_sets_how_well(tmp_path):
    def accuracy(separation):
        path = make_dataset(
            tmp_path / f"{separation}", num_speakers=6, per_speaker=20, separation=separation
        )
        dataset = Dataset.open(path)
        means = np.stack([dataset.frames("log_mel_23", r).mean(axis=0) for r in range(120)])
        truth = np.array(dataset.utterances["emotion"].to_pylist())
        train = np.arange(120) < 80
        centres = np.stack([means[train & (truth == c)].mean(axis=0) for c in dataset.classes])
        nearest = np.square(means[~train, None] - centres).sum(axis=2).argmin(axis=1)
        return (np.array(dataset.classes)[nearest] == truth[~train]).mean()

    assert accuracy(3.0) > 0.8
    assert accuracy(0.0) < 0.5


def test_released_pages_leave_resident_memory_and_come_back_the_same(tmp_path):
    path = make_dataset(
        tmp_path / "set", num_speakers=2, per_speaker=20, seconds=(20, 20), num_shards=1
    )
    views = Dataset.open(path).mapped("log_mel_23")
    before = views.values[0].copy()

    def resident():
        address = views.values[0].__array_interface__["data"][0]
        with open("/proc/self/smaps", encoding="utf-8") as maps:
            inside = False
            for line in maps:
                if "-" in line.split()[0] and ":" not in line.split()[0]:
                    low, high = (int(x, 16) for x in line.split()[0].split("-"))
                    inside = low <= address < high
                elif inside and line.startswith("Rss:"):
                    return int(line.split()[1]) * 1024
        return 0

    assert resident() >= before.nbytes
    release(views.pages.regions)
    assert resident() < before.nbytes / 10
    np.testing.assert_array_equal(views.values[0], before)


def test_compressed_shard_is_refused(copy):
    file = copy / "log_mel_23-00000.arrow"
    batch = ipc.open_stream(file.read_bytes()).read_next_batch()
    options = ipc.IpcWriteOptions(compression="zstd")
    with ipc.new_file(str(file), batch.schema, options=options) as writer:
        writer.write_batch(batch)
    meta = read_json(copy / "dataset.json")
    meta["features"]["log_mel_23"]["shards"][0]["bytes"] = file.stat().st_size
    write_json(copy / "dataset.json", meta)
    with pytest.raises(ArtifactError, match=r"log_mel_23-00000.arrow: is compressed"):
        Dataset.open(copy).frames("log_mel_23", 0)


def test_shards_in_the_file_format_of_earlier_versions_are_mapped_too(made, copy):
    meta = read_json(copy / "dataset.json")
    for shard in meta["features"]["log_mel_23"]["shards"]:
        file = copy / shard["file"]
        batch = ipc.open_stream(file.read_bytes()).read_next_batch()
        with ipc.new_file(str(file), batch.schema) as writer:
            writer.write_batch(batch)
        assert file.read_bytes().startswith(b"ARROW1")
        shard.update(bytes=file.stat().st_size, sha256=file_sha256(file))
    write_json(copy / "dataset.json", meta)
    old, new = Dataset.open(copy), Dataset.open(made)
    assert old.check() == []
    for row in range(len(new)):
        frames = old.frames("log_mel_23", row)
        assert not frames.flags.owndata
        np.testing.assert_array_equal(frames, new.frames("log_mel_23", row))
