"""What cannot be an encoder is refused in one sentence, before anything is computed."""

from __future__ import annotations

import importlib.util
import json
import struct
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from serplatform.encoders.open import open_encoder
from serplatform.errors import BadInputError
from tests.support.tiny_encoders import (
    edit_json,
    tiny_hubert,
    tiny_onnx,
    tiny_wav2vec2,
    tiny_whisper,
)


def refused(place, match):
    """Opening raises one sentence that names the place."""
    with pytest.raises(BadInputError, match=match) as caught:
        open_encoder(str(place))
    assert "\n" not in str(caught.value)
    assert str(place) in str(caught.value)


def test_a_place_that_is_not_there(tmp_path):
    refused(tmp_path / "nowhere", "no such directory or ONNX file")
    refused("nobody/no-such-model", "no model of this id in the Hugging Face cache")


def test_a_directory_or_file_of_something_else(tmp_path):
    refused(tmp_path, "holds no config.json")
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path / "notes.txt", "neither a directory nor an ONNX file")


def test_a_text_model(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": 8}')
    save_file({"encoder.layer.0.output.dense.bias": torch.zeros(8)}, tmp_path / "model.safetensors")
    refused(tmp_path, "model_type 'bert', which is not a speech encoder")
    refused(tmp_path, f"name it pretrained-text:{tmp_path}@LAYER if it reads text")


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_code_of_the_models_own(file, tmp_path):
    directory = tiny_hubert(tmp_path / "model")
    edit_json(directory / file, auto_map={"AutoModel": "modeling.Mine"})
    refused(directory, "code of the model's own")


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", ["{", "[]", "\\udc00"])
def test_settings_that_are_no_json_object(file, content, tmp_path):
    directory = tiny_hubert(tmp_path / "model")
    (directory / file).write_text(content)
    with pytest.raises(BadInputError, match=file):
        open_encoder(str(directory))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_weights_in_a_pickle(name, tmp_path):
    directory = tiny_hubert(tmp_path / "model")
    (directory / "model.safetensors").rename(directory / name)
    refused(directory, r"a pickle can run code.*safe_serialization=True")
    (directory / name).unlink()
    refused(directory, "holds no model.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_truncated_weights(kept, tmp_path):
    directory = tiny_whisper(tmp_path / "model")
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    refused(directory, "truncated or damaged" if kept == -1 else "not a whole safetensors file")


@pytest.mark.parametrize("header", [b"[1]", b'{"a": {}}', b'{"a": 3}', b"\xff\xff"])
def test_a_damaged_header(header, tmp_path):
    directory = tiny_hubert(tmp_path / "model")
    content = struct.pack("<Q", len(header)) + header
    (directory / "model.safetensors").write_bytes(content)
    refused(directory, "its header cannot be read")


def test_shards_that_are_missing_or_lie_elsewhere(tmp_path):
    directory = tiny_hubert(tmp_path / "model")
    file = directory / "model.safetensors"
    index = directory / "model.safetensors.index.json"
    file.rename(directory / "model-00001-of-00002.safetensors")
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index.write_text(json.dumps({"weight_map": dict(zip("ab", names, strict=True))}))
    refused(directory, "model-00002-of-00002.safetensors: is missing")
    for weight_map in ({"a": "../other.safetensors"}, {}, None, {"a": 3}):
        index.write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(BadInputError, match=r"names no files of weights|is missing"):
            open_encoder(str(directory))


def test_another_sampling_rate(tmp_path):
    directory = tiny_whisper(tmp_path / "model")
    edit_json(directory / "preprocessor_config.json", sampling_rate=8000)
    refused(directory, "asks for audio at 8000 Hz")


def test_another_number_of_mel_bands(tmp_path):
    directory = tiny_whisper(tmp_path / "model")
    edit_json(directory / "preprocessor_config.json", feature_size=128)
    refused(directory, "128 mel bands and config.json asks for 80")


@pytest.mark.parametrize("value", [None, 0, "two", [], 1.5, True])
def test_a_size_that_is_none(value, tmp_path):
    directory = tiny_hubert(tmp_path / "model")
    edit_json(directory / "config.json", num_hidden_layers=value)
    with pytest.raises(BadInputError, match="num_hidden_layers must be a positive whole number"):
        open_encoder(str(directory))


def test_strides_that_are_no_list(tmp_path):
    directory = tiny_hubert(tmp_path / "model")
    edit_json(directory / "config.json", conv_stride=320)
    with pytest.raises(BadInputError, match="conv_stride and conv_kernel must be lists"):
        open_encoder(str(directory))


def test_weights_of_another_architecture(tmp_path):
    whisper, hubert = tiny_whisper(tmp_path / "whisper"), tiny_hubert(tmp_path / "hubert")
    (whisper / "model.safetensors").replace(hubert / "model.safetensors")
    with pytest.raises(BadInputError, match="not the weights of a hubert model"):
        open_encoder(str(hubert))


def test_fewer_blocks_than_the_configuration_says(tmp_path):
    directory = tiny_hubert(tmp_path / "model")
    edit_json(directory / "config.json", num_hidden_layers=3)
    refused(directory, r"no tensor encoder\.layers\.2\.")


def test_quantised_weights(tmp_path):
    directory = tiny_hubert(tmp_path / "model")
    state = load_file(directory / "model.safetensors")
    name = "encoder.layers.0.attention.k_proj.weight"
    save_file({**state, name: state[name].char()}, directory / "model.safetensors")
    with pytest.raises(BadInputError, match=f"{name} is stored as I8"):
        open_encoder(str(directory))


def test_a_missing_tensor_is_never_filled_with_random_numbers(tmp_path, clip):
    directory = tiny_wav2vec2(tmp_path / "model")
    state = load_file(directory / "model.safetensors")
    del state["wav2vec2.encoder.layers.1.final_layer_norm.bias"]
    save_file(state, directory / "model.safetensors")
    encoder = open_encoder(str(directory))
    for act in (encoder.check_weights, lambda: encoder.hidden_states(clip, [1])):
        with pytest.raises(BadInputError, match=r"no tensor wav2vec2\.encoder\.layers\.1\.final_l"):
            act()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"intermediate_size": 64}, r"has shape \[32, 16\], and config.json asks for \[64, 16\]"),
        ({"num_attention_heads": 3}, "describes no hubert model"),
        ({"hidden_act": "no-such"}, "describes no hubert model"),
        ({"conv_kernel": [80, 5]}, "describes no hubert model"),
        ({"layer_norm_eps": "small"}, "describes no hubert model"),
    ],
)
def test_settings_of_another_model(changes, match, tmp_path):
    directory = tiny_hubert(tmp_path / "model")
    edit_json(directory / "config.json", **changes)
    with pytest.raises(BadInputError, match=match):
        open_encoder(str(directory)).check_weights()


def test_weights_that_are_not_finite(tmp_path, clip):
    directory = tiny_hubert(tmp_path / "model")
    state = load_file(directory / "model.safetensors")
    state["encoder.layer_norm.bias"][0] = float("nan")
    save_file(state, directory / "model.safetensors")
    with pytest.raises(BadInputError, match="layer 1 gives values that are not finite"):
        open_encoder(str(directory)).hidden_states(clip, [1])


@pytest.mark.parametrize("layer", [-1, 3, 9])
def test_a_layer_that_is_not_there(layer, tmp_path, clip):
    encoder = open_encoder(str(tiny_hubert(tmp_path / "model")))
    for act in (encoder.check_layers, lambda layers: encoder.hidden_states(clip, layers)):
        with pytest.raises(BadInputError, match=f"no layer {layer}; model has layers 0 to 2"):
            act([0, layer])


@pytest.mark.parametrize(
    ("tiny", "package"), [(tiny_hubert, "transformers"), (tiny_onnx, "onnxrunt")]
)
def test_a_package_that_is_not_installed(tiny, package, tmp_path, monkeypatch):
    place = tiny(tmp_path / "model.onnx")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name.startswith(package) else find(name)
    )
    refused(place, rf"needs the package {package}.*pip install 'serplatform\[pretrained\]'")


@pytest.mark.parametrize(
    ("tiny", "package"), [(tiny_hubert, "transformers"), (tiny_onnx, "onnxruntime")]
)
def test_a_package_that_cannot_be_imported(tiny, package, tmp_path, monkeypatch):
    place = tiny(tmp_path / "model.onnx")
    (tmp_path / f"{package}.py").write_text("raise ImportError('a library is too old')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, package, raising=False)
    refused(place, rf"the package {package}, whose installation is damaged \(a library is too old")
