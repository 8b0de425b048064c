"""The feature ``pretrained``: layers in one pass, stored values, and finding its encoder again."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from serplatform.encoders.open import open_encoder
from serplatform.errors import BadInputError
from serplatform.features.base import FEATURES, WHOLE_UTTERANCE
from serplatform.features.clip import Clip
from serplatform.features.shards import write_feature_shard
from tests.support.tiny_encoders import DIM, edit_json, tiny_hubert, tiny_onnx, tiny_whisper


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SERPLATFORM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def samples():
    return np.random.default_rng(1).normal(0, 0.1, 9_000).astype(np.float32)


def makers(given):
    return [FEATURES.make(name) for name in FEATURES.expand(given)]


@pytest.mark.parametrize("tiny", [tiny_whisper, tiny_hubert, tiny_onnx])
def test_what_is_stored_is_what_new_audio_gives(tiny, tmp_path, samples):
    place = tiny(tmp_path / "tiny.onnx")
    extractors = makers(f"pretrained:{place}@all") + makers(f"pretrained:{place}@1:pooled")
    clip = Clip(samples)
    for extractor in extractors:
        frames = extractor.extract_clip(clip)
        assert frames.dtype == np.float32
        assert frames.shape[1] == extractor.dim
        file = tmp_path / "shard.arrow"
        write_feature_shard(file, extractor, ["one"], [frames])
        with pa.memory_map(str(file)) as source:
            stored = pa.ipc.open_stream(source).read_all()["frames"][0].values.to_numpy()
        assert stored.dtype == np.dtype(extractor.stored_as)
        again = FEATURES.restore(extractor.name, json.loads(json.dumps(extractor.spec())))
        np.testing.assert_array_equal(again.extract(samples).ravel(), stored.astype(np.float32))


def test_layers_of_a_clip_are_computed_in_one_pass(tmp_path, samples, monkeypatch):
    place = tiny_whisper(tmp_path / "tiny")
    encoder = open_encoder(str(place))
    calls = []
    real = encoder.hidden_states
    monkeypatch.setattr(
        encoder, "hidden_states", lambda s, layers: calls.append(layers) or real(s, layers)
    )
    extractors = makers(f"pretrained:{place}@0,2") + makers(f"pretrained:{place}@2:pooled")
    for number in range(2):
        clip = Clip(samples[number:])
        for extractor in extractors:
            extractor.extract_clip(clip)
        assert calls == [[0, 2]] * (number + 1)
    del extractors[0], extractor
    extractors[0].extract_clip(Clip(samples))
    assert calls[-1] == [2]  # nobody wants layer 0 any more


def test_encoders_of_one_clip_do_not_share_layers(tmp_path, samples):
    clip = Clip(samples)
    extractors = [
        *makers(f"pretrained:{tiny_whisper(tmp_path / 'one')}@1"),
        *makers(f"pretrained:{tiny_whisper(tmp_path / 'two', seed=1)}@1"),
    ]
    one, two = (extractor.extract_clip(clip) for extractor in extractors)
    assert one.shape == two.shape
    assert np.abs(one - two).max() > 0.01
    np.testing.assert_array_equal(two, extractors[1].extract(samples))


def test_frames_are_the_hidden_states_in_half_precision(tmp_path, samples):
    place = tiny_hubert(tmp_path / "tiny")
    (extractor,) = makers(f"pretrained:{place}@2")
    states = open_encoder(str(place)).hidden_states(samples, [2])[2]
    found = extractor.extract(samples)
    np.testing.assert_array_equal(found, states.astype(np.float16))
    assert 0 < np.abs(found - states).max() < 2e-3
    assert (extractor.dim, extractor.frame_shift, extractor.frame_length) == (DIM, 0.02, 0.025)


def test_values_beyond_half_precision_are_kept_finite(tmp_path, samples, monkeypatch):
    place = tiny_hubert(tmp_path / "tiny")
    frames, pooled = makers(f"pretrained:{place}@1") + makers(f"pretrained:{place}@1:pooled")
    huge = np.array([[1e6, -1e6, 1.0], [1e6, -3e6, 1e-9]], dtype=np.float32)
    monkeypatch.setattr(frames.encoder, "hidden_states", lambda samples, layers: {1: huge})
    found = frames.extract(samples)
    np.testing.assert_array_equal(found, [[65504, -65504, 1], [65504, -65504, 0]])
    np.testing.assert_allclose(pooled.extract(samples)[0, :2], [1e6, -2e6])


def test_pooled_is_mean_and_deviation_of_exact_frames(tmp_path, samples):
    place = tiny_hubert(tmp_path / "tiny")
    (pooled,) = makers(f"pretrained:{place}@2:pooled")
    states = open_encoder(str(place)).hidden_states(samples, [2])[2].astype(np.float64)
    expected = np.concatenate([states.mean(axis=0), states.std(axis=0)])[np.newaxis]
    np.testing.assert_array_equal(pooled.extract(samples), expected.astype(np.float32))
    assert pooled.name == "pretrained:tiny@2:pooled"
    assert pooled.dim == 2 * DIM
    assert pooled.frame_shift == pooled.frame_length == WHOLE_UTTERANCE


def test_names_expand_to_one_layer_each(tmp_path, monkeypatch):
    place = tiny_whisper(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    names = FEATURES.expand("pretrained:tiny@all:pooled")
    assert names == [f"pretrained:{place}@{layer}:pooled" for layer in range(3)]
    assert [FEATURES.make(name).name for name in names] == [
        f"pretrained:tiny@{layer}:pooled" for layer in range(3)
    ]
    assert FEATURES.expand("pretrained:tiny@2,0")[0] == f"pretrained:{place}@2"
    with pytest.raises(BadInputError, match="there is no layer 9; tiny has layers 0 to 2"):
        FEATURES.expand("pretrained:tiny@9")
    with pytest.raises(BadInputError, match="of one layer; name one"):
        FEATURES.make("pretrained:tiny@1,2")


def test_specs_say_which_weights_layer_and_settings(tmp_path):
    place = tiny_hubert(tmp_path / "tiny")
    one, two, pooled = (
        makers(f"pretrained:{place}@{what}")[0].spec() for what in ("1", "2", "1:pooled")
    )
    assert len({json.dumps(spec) for spec in (one, two, pooled)}) == 3
    assert one["encoder"]["sha256"] == open_encoder(str(place)).sha256
    assert (one["layer"], one["pooled"], one["stored_as"]) == (1, False, "float16")
    assert (pooled["pooled"], pooled["stored_as"]) == (True, "float32")
    tiny_hubert(place, seed=1)
    assert makers(f"pretrained:{place}@1")[0].spec() != one


def test_an_encoder_is_restored_by_its_weights_or_not_at_all(tmp_path, samples):
    place = tiny_hubert(tmp_path / "tiny")
    (extractor,) = makers(f"pretrained:{place}@1")
    spec, expected = extractor.spec(), extractor.extract(samples)
    place.rename(tmp_path / "elsewhere")
    with pytest.raises(BadInputError, match=r"encoder tiny with weights .* is not on this mach"):
        FEATURES.restore(extractor.name, spec)
    again = FEATURES.restore(extractor.name, spec, [tmp_path])
    assert (again.name, again.spec()) == (extractor.name, spec)
    np.testing.assert_array_equal(again.extract(samples), expected)
    edit_json(tmp_path / "elsewhere" / "preprocessor_config.json", do_normalize=False)
    with pytest.raises(BadInputError, match=r"other settings .*\(preprocessing\)"):
        FEATURES.restore(extractor.name, spec, [tmp_path])
    with pytest.raises(BadInputError, match="does not say which weights"):
        FEATURES.restore(extractor.name, {"kind": "pretrained"})
