"""Finding an encoder again by its name and the hash of its weights."""

from __future__ import annotations

import hashlib
import os

import pytest

from serplatform.encoders import places
from serplatform.encoders.open import find_encoder, open_encoder
from serplatform.errors import BadInputError
from tests.support.tiny_encoders import tiny_hubert, tiny_onnx, tiny_whisper


def test_the_hash_is_that_of_the_file(tmp_path):
    directory = tiny_hubert(tmp_path / "model")
    content = (directory / "model.safetensors").read_bytes()
    assert open_encoder(str(directory)).sha256 == hashlib.sha256(content).hexdigest()


def test_a_place_that_was_seen_is_remembered(tmp_path):
    encoder = open_encoder(str(tiny_hubert(tmp_path / "one")))
    found = find_encoder("another-name", encoder.sha256)
    assert (found.path, found.name) == (tmp_path / "one", "another-name")
    (tmp_path / "one").rename(tmp_path / "moved")
    with pytest.raises(BadInputError, match="SERPLATFORM_ENCODERS"):
        find_encoder("one", encoder.sha256)


def test_folders_and_the_environment_are_searched(tmp_path, remembered, monkeypatch):
    encoder = open_encoder(str(tiny_hubert(tmp_path / "bundle" / "renamed")))
    tiny_whisper(tmp_path / "bundle" / "hubert")  # of the name that is asked for, not the weights
    for file in (remembered / "encoders").iterdir():
        file.unlink()
    with pytest.raises(BadInputError, match="not on this machine"):
        find_encoder("hubert", encoder.sha256)
    assert find_encoder("hubert", encoder.sha256, [tmp_path / "bundle"]).kind == "hubert"
    assert find_encoder("x", encoder.sha256, [encoder.path]).path == encoder.path
    for file in (remembered / "encoders").iterdir():
        file.unlink()
    folders = os.pathsep.join([str(tmp_path / "nowhere"), str(tmp_path / "bundle")])
    monkeypatch.setenv("SERPLATFORM_ENCODERS", folders)
    assert find_encoder("hubert", encoder.sha256).path == encoder.path
    assert open_encoder("renamed").path == encoder.path


def test_the_message_names_what_has_the_name_and_other_weights(tmp_path):
    tiny_hubert(tmp_path / "hubert")
    with pytest.raises(BadInputError, match=r"hubert has other weights.*--with-encoder") as caught:
        find_encoder("hubert", 64 * "0", [tmp_path])
    assert "\n" not in str(caught.value)
    (tmp_path / "hubert" / "model.safetensors").unlink()
    with pytest.raises(BadInputError, match=r"holds no model\.safetensors"):
        find_encoder("hubert", 64 * "0", [tmp_path])


def test_models_in_the_cache_of_the_hub_are_found_by_id_and_by_hash(tmp_path):
    repository = tmp_path / "hub" / "models--someone--tiny-hubert"
    snapshot = tiny_hubert(repository / "snapshots" / "abc123")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")
    encoder = open_encoder("someone/tiny-hubert")
    assert (encoder.path, encoder.name) == (snapshot, "tiny-hubert")
    assert open_encoder(str(snapshot)).name == "tiny-hubert"
    assert find_encoder("tiny-hubert", encoder.sha256).path == snapshot
    with pytest.raises(BadInputError, match="nothing is downloaded"):
        open_encoder("someone/other")


def test_a_file_is_hashed_once_until_it_changes(tmp_path, monkeypatch):
    hashed = []
    real = places.file_sha256
    monkeypatch.setattr(places, "file_sha256", lambda path: hashed.append(path) or real(path))
    path = tiny_onnx(tmp_path / "a.onnx")
    first = places.content_sha256(path, [path])
    assert places.content_sha256(path, [path]) == first == real(path)
    assert len(hashed) == 1
    tiny_onnx(path, seed=1)
    assert places.content_sha256(path, [path]) == real(path) != first
    assert len(hashed) == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"files": 3}', '{"files": {"a": 3}}', "{}"])
def test_a_damaged_memory_is_no_harm(content, tmp_path, remembered):
    path = tiny_onnx(tmp_path / "a.onnx")
    expected = places.content_sha256(path, [path])
    (record,) = (remembered / "encoders").iterdir()
    record.write_text(content)
    assert list(places.places_of(expected)) == []
    assert places.content_sha256(path, [path]) == expected
    assert list(places.places_of(expected)) == [path]


def test_without_a_cache_nothing_is_remembered(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SERPLATFORM_CACHE", str(tmp_path / "file"))
    encoder = open_encoder(str(tiny_hubert(tmp_path / "model")))
    with pytest.raises(BadInputError, match="not on this machine"):
        find_encoder("model", encoder.sha256)


def test_changed_files_are_read_again_in_the_same_process(tmp_path):
    directory = tiny_hubert(tmp_path / "model")
    first = open_encoder(str(directory))
    assert open_encoder(str(directory)) is first
    tiny_hubert(directory, seed=1)
    assert open_encoder(str(directory)).sha256 != first.sha256
