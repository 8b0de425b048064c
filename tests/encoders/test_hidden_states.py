"""Hidden states of tiny encoders against plain calls of transformers on the same files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from serplatform.encoders.open import open_encoder
from tests.support.tiny_encoders import (
    DIM,
    HOP,
    WAVEFORM,
    WINDOW,
    edit_json,
    tiny_hubert,
    tiny_wav2vec2,
    tiny_wavlm,
    tiny_whisper,
)

ALL = [tiny_whisper, *WAVEFORM]
#: float32 sums in another order
NEAR = {"rtol": 1e-4, "atol": 1e-5}


def plain_waveform(directory, samples):
    """What transformers itself gives, its feature extractor included."""
    from transformers import AutoFeatureExtractor, AutoModel

    inputs = AutoFeatureExtractor.from_pretrained(directory)(
        samples, sampling_rate=16_000, return_tensors="pt"
    )
    model = AutoModel.from_pretrained(directory).eval()
    with torch.inference_mode():
        return model(inputs.input_values, output_hidden_states=True).hidden_states


def plain_whisper(directory, samples):
    """Hidden states of a padded clip, and those of the clip alone written by hand."""
    from torch.nn.functional import gelu
    from transformers import WhisperFeatureExtractor, WhisperModel

    extractor = WhisperFeatureExtractor.from_pretrained(directory)
    encoder = WhisperModel.from_pretrained(directory).eval().encoder
    with torch.inference_mode():
        padded = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features
        of_padded = encoder(padded, output_hidden_states=True).hidden_states
        mel = torch.from_numpy(extractor._torch_extract_fbank_features(samples[np.newaxis]))
        state = gelu(encoder.conv2(gelu(encoder.conv1(mel)))).mT
        states = [state + encoder.embed_positions.weight[: state.shape[1]]]
        for block in encoder.layers:
            states.append(block(states[-1], None))
        states[-1] = encoder.layer_norm(states[-1])
    return of_padded, states


#: layer norms first within blocks, and after each convolution
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}


@pytest.mark.parametrize(
    ("tiny", "changes"),
    [
        *((tiny, {}) for tiny in WAVEFORM),
        *((tiny, STABLE) for tiny in (tiny_wav2vec2, tiny_hubert, tiny_wavlm)),
    ],
)
def test_waveform_encoders_agree_with_transformers(tiny, changes, tmp_path, clip):
    directory = tiny(tmp_path / "model", **changes)
    encoder = open_encoder(str(directory))
    states = encoder.hidden_states(clip, [0, 1, 2])
    expected = plain_waveform(directory, clip)
    assert len(expected) == encoder.num_layers + 1 == 3
    for layer, frames in states.items():
        assert frames.dtype == np.float32
        np.testing.assert_allclose(frames, expected[layer][0].numpy(), **NEAR)
    assert states[1].shape == (1 + (len(clip) - WINDOW) // HOP, DIM)
    assert encoder.frame_shift == 0.02
    assert encoder.frame_length == 0.025
    assert encoder.shortest == WINDOW


@pytest.mark.parametrize("tiny", [tiny_hubert, tiny_wavlm])
def test_waveform_is_normalised_only_where_the_preprocessor_says_so(tiny, tmp_path, clip):
    directory = tiny(tmp_path / "model", feat_extract_norm="layer")
    normalised = open_encoder(str(directory))
    edit_json(directory / "preprocessor_config.json", do_normalize=False)
    raw = open_encoder(str(directory))
    assert normalised.spec() != raw.spec()
    assert normalised.sha256 == raw.sha256
    expected = plain_waveform(directory, clip)[1][0].numpy()
    np.testing.assert_allclose(raw.hidden_states(clip, [1])[1], expected, **NEAR)
    assert np.abs(normalised.hidden_states(clip, [1])[1] - expected).max() > 0.01


def test_whisper_sees_the_clip_and_no_padding(tmp_path, clip):
    directory = tiny_whisper(tmp_path / "model")
    states = open_encoder(str(directory)).hidden_states(clip, [0, 1, 2])
    of_padded, expected = plain_whisper(directory, clip)
    for layer, frames in states.items():
        assert frames.shape == (65, DIM)  # 1.3 s
        np.testing.assert_allclose(frames, expected[layer][0].numpy(), **NEAR)
    for layer in (1, 2):
        assert np.abs(states[layer] - of_padded[layer][0, :65].numpy()).max() > 0.01


@pytest.mark.parametrize("tiny", ALL)
def test_a_layer_does_not_depend_on_which_others_are_asked_for(tiny, tmp_path, clip):
    encoder = open_encoder(str(tiny(tmp_path / "model")))
    together = encoder.hidden_states(clip, [2, 0, 1])
    assert set(together) == {0, 1, 2}
    for layer, frames in together.items():
        np.testing.assert_array_equal(encoder.hidden_states(clip, [layer])[layer], frames)


@pytest.mark.parametrize("tiny", ALL)
def test_frames_do_not_depend_on_clips_before_nor_on_chance(tiny, tmp_path, clip):
    encoder = open_encoder(str(tiny(tmp_path / "model")))
    first = encoder.hidden_states(clip, [2])[2]
    encoder.hidden_states(-3 * clip[:5000], [1])
    torch.manual_seed(99)
    np.testing.assert_array_equal(encoder.hidden_states(clip, [2])[2], first)


@pytest.mark.parametrize("tiny", ALL)
@pytest.mark.parametrize("length", [0, 1, WINDOW - 1, WINDOW])
def test_the_shortest_clips_give_a_frame(tiny, length, tmp_path, clip):
    encoder = open_encoder(str(tiny(tmp_path / "model")))
    padded = np.pad(clip[:length], (0, WINDOW - length))
    frames = encoder.hidden_states(clip[:length], [2])[2]
    assert frames.shape == (1, DIM)
    np.testing.assert_array_equal(frames, encoder.hidden_states(padded, [2])[2])
    assert np.isfinite(encoder.hidden_states(np.zeros(4000, np.float32), [2])[2]).all()


@pytest.mark.parametrize(
    ("heads", "tiny"),
    [
        (("Model", "ForCTC", "ForSequenceClassification", "ForPreTraining"), tiny_wav2vec2),
        (("Model", "ForCTC", "ForSequenceClassification"), tiny_wavlm),
    ],
)
def test_what_the_encoder_was_saved_with_does_not_matter(heads, tiny, tmp_path, clip):
    from transformers import AutoModel

    first = tiny(tmp_path / "first", head="Model")
    model = AutoModel.from_pretrained(first)
    expected = open_encoder(str(first)).hidden_states(clip, [2])[2]
    for head in heads:
        whole = tiny(tmp_path / head, head=head, seed=5)
        body = type(model).from_pretrained(whole)
        body.save_pretrained(tmp_path / f"{head}-body")
        (tmp_path / f"{head}-body" / "preprocessor_config.json").write_text("{}")
        one, other = (open_encoder(str(tmp_path / name)) for name in (head, f"{head}-body"))
        assert one.num_parameters == other.num_parameters > 1000
        found = one.hidden_states(clip, [2])[2]
        np.testing.assert_array_equal(found, other.hidden_states(clip, [2])[2])
        assert not np.array_equal(found, expected)


@pytest.mark.parametrize("part", ["model", "encoder", "classifier"])
def test_whisper_of_any_saved_model_is_read_without_its_decoder(part, tmp_path, clip):
    from transformers import WhisperForAudioClassification, WhisperModel

    whole = tiny_whisper(tmp_path / "whole")
    expected = open_encoder(str(whole))
    model = WhisperModel.from_pretrained(whole)
    if part == "classifier":
        classifier = WhisperForAudioClassification(model.config)
        classifier.encoder.load_state_dict(model.encoder.state_dict())
        classifier.save_pretrained(tmp_path / "part")
    else:
        (model if part == "model" else model.encoder).save_pretrained(tmp_path / "part")
    found = open_encoder(str(tmp_path / "part"))
    assert found.num_parameters == expected.num_parameters
    assert found.num_parameters == sum(p.numel() for p in model.encoder.parameters())
    assert not any("decoder" in name for name in found.module.state_dict())
    np.testing.assert_array_equal(
        found.hidden_states(clip, [2])[2], expected.hidden_states(clip, [2])[2]
    )


def test_weights_in_half_precision_are_computed_with_in_single(tmp_path, clip):
    from transformers import HubertModel

    directory = tiny_hubert(tmp_path / "model")
    HubertModel.from_pretrained(directory).half().save_pretrained(tmp_path / "half")
    half = open_encoder(str(tmp_path / "half")).hidden_states(clip, [2])[2]
    whole = open_encoder(str(directory)).hidden_states(clip, [2])[2]
    assert 0 < np.abs(half - whole).max() < 0.02


@pytest.mark.parametrize("ends", [("weight_g", "weight_v"), ("original0", "original1")])
def test_both_names_of_weight_norm_are_read(ends, tmp_path, clip):
    from safetensors.torch import load_file, save_file

    directory = tiny_wav2vec2(tmp_path / "model")
    expected = open_encoder(str(directory)).hidden_states(clip, [2])[2]
    state, renamed = load_file(directory / "model.safetensors"), 0
    for place, end in enumerate(ends):
        (name,) = (n for n in state if n.endswith((f"weight_{'gv'[place]}", f"original{place}")))
        stem = name[: name.index(".conv.") + len(".conv.")]
        new = stem + (end if end.startswith("weight") else f"parametrizations.weight.{end}")
        renamed += new != name
        state[new] = state.pop(name)
    save_file(state, directory / "model.safetensors")
    found = open_encoder(str(directory)).hidden_states(clip, [2])[2]
    np.testing.assert_array_equal(found, expected)
    assert renamed in {0, 2}


def test_shards_give_what_one_file_gives(tmp_path, clip):
    from transformers import HubertModel

    directory = tiny_hubert(tmp_path / "model")
    HubertModel.from_pretrained(directory).save_pretrained(
        tmp_path / "sharded", max_shard_size="10KB"
    )
    index = json.loads((tmp_path / "sharded/model.safetensors.index.json").read_text())
    files = set(index["weight_map"].values())
    assert len(files) > 1
    sharded, whole = (open_encoder(str(tmp_path / name)) for name in ("sharded", "model"))
    np.testing.assert_array_equal(
        sharded.hidden_states(clip, [2])[2], whole.hidden_states(clip, [2])[2]
    )
    assert files <= {file.name for file in sharded.files}


def test_settings_that_change_no_value_do_not_change_the_spec(tmp_path):
    directory = tiny_hubert(tmp_path / "model")
    before = open_encoder(str(directory)).spec()
    edit_json(
        directory / "config.json", mask_time_prob=0.9, transformers_version="4.1", layerdrop=1
    )
    assert open_encoder(str(directory)).spec() == before
    edit_json(directory / "config.json", hidden_act="relu")
    assert open_encoder(str(directory)).spec() != before
    assert json.loads(json.dumps(before)) == before
    assert str(tmp_path) not in json.dumps(before)


def test_nothing_is_masked_whatever_the_configuration_says(tmp_path, clip):
    directory = tiny_wav2vec2(tmp_path / "model")
    expected = open_encoder(str(directory)).hidden_states(clip, [2])[2]
    edit_json(
        directory / "config.json",
        mask_time_prob=0.9,
        mask_feature_prob=0.9,
        layerdrop=1.0,
        hidden_dropout=0.9,
    )
    found = open_encoder(str(directory)).hidden_states(clip, [2])[2]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("tiny", ALL)
def test_a_gpu_gives_what_a_cpu_gives(tiny, tmp_path, clip, monkeypatch):
    place = str(tiny(tmp_path / "model"))
    on_gpu = open_encoder(place).hidden_states(clip, [0, 1, 2])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    encoder = tiny(tmp_path / "again")
    on_cpu = open_encoder(str(encoder)).hidden_states(clip, [0, 1, 2])
    for layer, frames in on_cpu.items():
        np.testing.assert_allclose(on_gpu[layer], frames, rtol=1e-3, atol=1e-4)
