import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from serplatform.artifacts.files import read_json
from serplatform.datasets.dataset import Dataset
from serplatform.errors import ArtifactError, BadInputError
from serplatform.storage.cache import (
    cache_error,
    cache_folder,
    cache_limit,
    evict,
    fetch_tables,
    stage,
)
from serplatform.storage.location import parse
from serplatform.storage.remote import RemoteError, remote
from serplatform.testing.synthetic import make_dataset
from tests.support.object_storage import put_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("made") / "set", num_speakers=3, per_speaker=6)


def _bytes(folder):
    return sum(file.stat().st_size for file in folder.iterdir())


def _open_elsewhere(uri):
    program = f"""
from serplatform.datasets.dataset import Dataset
dataset = Dataset.open({uri!r})
name = dataset.feature_names[0]
print(dataset.fingerprint, float(dataset.frames(name, 0).sum()))
"""
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_four_processes_that_open_at_once_download_once(folder, wire):
    put_folder(folder, "s3://lab/once")
    before = wire.received
    processes = [_open_elsewhere("s3://lab/once") for _ in range(4)]
    answers = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        answers.append(out)
    received = wire.received - before
    local = Dataset.open(folder)
    expected = float(local.frames(local.feature_names[0], 0).sum())
    assert set(answers) == {f"{local.fingerprint} {expected}\n"}
    descriptions = 4 * (folder / "dataset.json").stat().st_size
    assert _bytes(folder) < received < 1.2 * (_bytes(folder) + descriptions) + 20_000


def test_staged_dataset_is_mapped_and_opened_by_uri_elsewhere(folder, lab, node):
    put_folder(folder, lab)
    dataset = Dataset.open(lab)
    assert dataset.path.is_relative_to(node)
    assert dataset.address == lab
    assert dataset.__reduce__()[1] == (lab,)
    frames = dataset.frames(dataset.feature_names[0], 0)
    assert not frames.flags.writeable
    assert frames.base is not None
    assert isinstance(dataset.utterances, pa.Table)
    assert dataset.check() == []


def test_download_that_was_cut_is_gone_on_with(folder, wire, node, monkeypatch):
    monkeypatch.setenv("SERPLATFORM_STORAGE_PATIENCE", "0")
    put_folder(folder, "s3://lab/cut")
    largest = max(file.stat().st_size for file in folder.iterdir())
    wire.cut_after(_bytes(folder) - largest // 2)
    with pytest.raises(RemoteError, match=r"s3://lab/cut/.*cannot read"):
        Dataset.open("s3://lab/cut")
    (staging,) = (node / "datasets").glob("*.staging")
    assert not list((node / "datasets").glob("*/dataset.json"))
    whole = {f.name for f in staging.iterdir() if not f.name.startswith(".")}
    assert whole
    for name in whole:
        assert (staging / name).read_bytes() == (folder / name).read_bytes()
    (staging / ".x.partial").write_bytes(b"half")
    damaged = staging / sorted(whole)[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    wire.set("open")
    before = wire.received
    dataset = Dataset.open("s3://lab/cut")
    kept = sum((dataset.path / n).stat().st_size for n in whole - {damaged.name})
    assert wire.received - before < _bytes(folder) - kept + 30_000
    assert dataset.check() == []
    assert not (dataset.path / ".x.partial").exists()


def test_staged_dataset_needs_the_storage_for_its_description_alone(folder, lab, node):
    put_folder(folder, lab)
    path = stage(parse(lab))
    for name in read_json(folder / "dataset.json")["files"]:
        remote(parse(lab)).delete(name)
    assert stage(parse(lab)) == path
    assert fetch_tables(parse(lab)) == path


def test_tables_alone_are_fetched_where_features_are_not_needed(folder, lab, node):
    put_folder(folder, lab)
    path = fetch_tables(parse(lab))
    assert sorted(f.name for f in path.iterdir()) == ["dataset.json", "utterances.parquet"]
    assert not (node / "datasets").exists()


def test_altered_missing_and_escaping_files_are_refused(folder, lab, node):
    put_folder(folder, lab)
    store = remote(parse(lab))
    shard = next(file.name for file in folder.glob("*.arrow"))
    content = (folder / shard).read_bytes()
    store.put(shard, content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=f"{lab}/{shard}: its checksum is"):
        Dataset.open(lab)
    store.delete(shard)
    with pytest.raises(ArtifactError, match=rf"not whole[\s\S]*{shard} is missing"):
        Dataset.open(lab)
    meta = read_json(folder / "dataset.json")
    meta["files"]["../escaped"] = "0" * 64
    store.put("dataset.json", json.dumps(meta).encode())
    with pytest.raises(ArtifactError, match=r"files: the key '\.\./escaped' is no file's name"):
        Dataset.open(lab)
    store.put("dataset.json", b"{")
    with pytest.raises(ArtifactError, match="is damaged"):
        Dataset.open(lab)
    store.delete("dataset.json")
    with pytest.raises(ArtifactError, match=r"holds no dataset\.json"):
        Dataset.open(lab)
    with pytest.raises(RemoteError, match="no such bucket"):
        Dataset.open("s3://absent/set")


def test_least_used_dataset_makes_room_and_one_in_use_stays(lab, node, tmp_path, monkeypatch):
    folders = [
        make_dataset(tmp_path / f"set{seed}", num_speakers=2, per_speaker=3, seed=seed)
        for seed in range(4)
    ]
    for seed, folder in enumerate(folders):
        put_folder(folder, f"{lab}/{seed}")
    size = _bytes(folders[0])
    monkeypatch.setenv("SERPLATFORM_CACHE_LIMIT", str(int(2.5 * size)))
    in_use = stage(parse(f"{lab}/0"))
    programs = [
        f"from serplatform.storage import cache, location\n"
        f"print(cache.stage(location.parse({f'{lab}/{seed}'!r})))"
        for seed in (1, 2, 3)
    ]
    staged = []
    for at, program in enumerate(programs):  # each ends, and gives its dataset free
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
        )
        staged.append(done.stdout.strip())
        os.utime(f"{staged[-1]}/.used", (1000 + at, 1000 + at))
    assert (in_use / "dataset.json").exists()
    assert [os.path.exists(path) for path in staged] == [False, False, True]
    assert not evict(in_use)
    assert evict(type(in_use)(staged[2]))
    assert not os.path.exists(staged[2])


def test_dataset_is_known_by_its_content_not_its_address(folder, lab, node):
    put_folder(folder, f"{lab}/one")
    put_folder(folder, f"{lab}/two")
    assert stage(parse(f"{lab}/one")) == stage(parse(f"{lab}/two"))
    name = hashlib.sha256((folder / "dataset.json").read_bytes()).hexdigest()[:32]
    assert stage(parse(f"{lab}/one")).name == name


def test_faulty_settings_and_cache_folder_are_named(folder, lab, node, monkeypatch):
    monkeypatch.setenv("SERPLATFORM_CACHE_LIMIT", "many")
    with pytest.raises(BadInputError, match="SERPLATFORM_CACHE_LIMIT=many: must be a size"):
        cache_limit()
    monkeypatch.setenv("SERPLATFORM_CACHE_LIMIT", "1.5 GiB")
    assert cache_limit() == 3 * 2**29
    put_folder(folder, lab)
    node.write_text("a file")
    with pytest.raises(BadInputError, match="set SERPLATFORM_CACHE to a folder that can be"):
        Dataset.open(lab)


@pytest.mark.parametrize(
    ("environment", "expected", "named"),
    [
        ({"SERPLATFORM_CACHE": "/c/a"}, "/c/a", None),
        ({"SERPLATFORM_CACHE": " ", "XDG_CACHE_HOME": "/x"}, "/x/serplatform", "XDG_CACHE_HOME"),
        ({"SERPLATFORM_CACHE": "~/c", "HOME": "/h"}, "/h/c", None),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/serplatform", "HOME"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/serplatform", "HOME"),
    ],
)
def test_cache_follows_the_variables_and_a_fault_names_the_one(
    environment, expected, named, monkeypatch
):
    for name in ("SERPLATFORM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)
    fault = cache_error(PermissionError(13, "Permission denied", f"{expected}/demo"))
    assert "set SERPLATFORM_CACHE to a folder that can be" in str(fault)
    assert (f"because of {named}" in str(fault)) == (named is not None)
    assert cache_error(PermissionError(13, "Permission denied", "/elsewhere")) is None


def test_without_a_home_the_cache_must_be_named(monkeypatch):
    for name in ("SERPLATFORM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "somewhere")
    with pytest.raises(BadInputError, match="set the environment variable SERPLATFORM_CACHE"):
        cache_folder()


def test_folders_of_others_beside_staged_datasets_are_never_evicted(folder, lab, node, monkeypatch):
    put_folder(folder, lab)
    (node / "datasets" / "thesis").mkdir(parents=True)
    (node / "datasets" / "thesis" / "only-copy").write_text("mine")
    monkeypatch.setenv("SERPLATFORM_CACHE_LIMIT", "1")
    stage(parse(lab))
    assert (node / "datasets" / "thesis" / "only-copy").read_text() == "mine"


def test_connection_that_drops_while_staging_is_tried_again(folder, wire):
    put_folder(folder, "s3://lab/retried")
    wire.cut_after(_bytes(folder) // 2)
    threading.Timer(1.0, wire.set, ["open"]).start()
    assert Dataset.open("s3://lab/retried").check() == []
