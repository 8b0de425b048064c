"""A fine-tuned encoder begins as the frozen one, and nothing but its adapters changes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from serplatform.encoders.open import open_encoder
from serplatform.errors import BadInputError
from serplatform.models.base import ARCHITECTURES, Batch, Criterion, InputSpec
from tests.support.tiny_encoders import (
    tiny_data2vec,
    tiny_hubert,
    tiny_onnx,
    tiny_wav2vec2,
    tiny_wavlm,
    tiny_whisper,
)

ARCHITECTURE = ARCHITECTURES.get("encoder_lora")
SPEC = InputSpec(feature_dim=1, num_classes=3, frame_shift=1 / 16_000)
ENCODERS = {
    "whisper": tiny_whisper,
    "wav2vec2": tiny_wav2vec2,
    "stable": lambda folder: tiny_wav2vec2(
        folder, do_stable_layer_norm=True, feat_extract_norm="layer"
    ),
    "hubert": tiny_hubert,
    "wavlm": tiny_wavlm,
    "data2vec": tiny_data2vec,
}


@pytest.fixture(params=ENCODERS)
def encoder(request, tmp_path) -> Path:
    return ENCODERS[request.param](tmp_path / request.param)


def build(encoder, seed=0, spec=SPEC, **settings):
    torch.manual_seed(seed)
    chosen = {
        "encoder": encoder and str(encoder),
        "rank": 2,
        "adapter_dropout": 0.0,
        "dropout": 0.0,
    }
    return ARCHITECTURE.build(ARCHITECTURE.config(**{**chosen, **settings}), spec)


def clips(count, num_samples, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((count, num_samples))).astype(np.float32)


def batch_of(samples):
    lengths = [len(row) for row in samples]
    frames = torch.zeros(len(samples), max(lengths), 1)
    for target, row in zip(frames, samples, strict=True):
        target[: len(row), 0] = torch.from_numpy(row)
    return Batch(
        frames=frames,
        lengths=torch.tensor(lengths),
        labels=torch.arange(len(samples)) % 3,
    )


def hidden(model, samples):
    with torch.inference_mode():
        return model.eval()._hidden(samples).numpy()


@pytest.mark.parametrize("num_samples", [100, 9_000])
def test_it_begins_as_the_frozen_encoder(encoder, num_samples):
    samples = clips(2, num_samples)
    frozen = open_encoder(str(encoder))
    for depth, last in ((0.5, 1), (1.0, 2)):
        found = hidden(build(encoder, layers="last", depth=depth), samples)
        expected = [frozen.hidden_states(row, [last])[last] for row in samples]
        np.testing.assert_allclose(found, np.stack(expected), rtol=0, atol=2e-5)
    found = hidden(build(encoder, layers="weighted"), samples)
    states = [list(frozen.hidden_states(row, [0, 1, 2]).values()) for row in samples]
    np.testing.assert_allclose(found, np.mean(states, axis=1), rtol=0, atol=2e-5)


def test_long_clips_go_through_in_the_frozen_encoders_pieces(tmp_path):
    folder = tiny_whisper(tmp_path / "whisper", max_positions=50)  # a second
    samples = clips(2, 40_000)
    expected = [open_encoder(str(folder)).hidden_states(row, [2])[2] for row in samples]
    found = hidden(build(folder, layers="last"), samples)
    np.testing.assert_allclose(found, np.stack(expected), rtol=0, atol=2e-5)


@pytest.mark.parametrize("targets", ["q_proj,v_proj", "q_proj,k_proj,v_proj,out_proj"])
def test_every_adapter_acts_and_is_trained(encoder, targets):
    model = build(encoder, target_modules=targets)
    batch = batch_of(clips(2, 3_000))
    before = model.eval()(batch).log_posteriors.detach()
    adapters = {name: p for name, p in model.named_parameters() if "lora" in name}
    assert len(adapters) == 2 * 2 * len(targets.split(","))  # A and B in two blocks
    with torch.no_grad():
        for name, parameter in adapters.items():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    assert not torch.allclose(model(batch).log_posteriors, before, atol=1e-4)
    model.train()(batch).log_posteriors[:, 0].sum().backward()
    for name, parameter in adapters.items():
        if "k_proj" not in name:  # a softmax over one frame has no gradient; over many, a small one
            assert parameter.grad.abs().max() > 0, name


def test_an_adapter_changes_what_the_encoder_gives_as_its_equation_says(tmp_path):
    """WavLM's attention reads the weights of its projections: W + alpha / r · B A."""
    folder = tiny_wavlm(tmp_path / "wavlm")
    model = build(folder, layers="last", alpha=6.0, rank=2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.normal_(0.0, 0.2)
    samples = clips(1, 4_000)
    found = hidden(model, samples)
    frozen = open_encoder(str(folder))
    network = frozen.copy()
    for block, adapted in zip(network.encoder.layers, model.encoder.encoder.layers, strict=True):
        for name in ("q_proj", "v_proj"):
            layer = getattr(adapted.attention, name)
            change = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
            getattr(block.attention, name).weight.add_(6.0 / 2 * change.detach())
    expected = frozen.states(network, frozen.prepared(samples[0])[None], 2)[2]
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=2e-5)


def test_the_weights_are_adapters_layer_weights_and_head_alone(encoder):
    model = build(encoder)
    names = {name for name, _ in model.named_parameters()}
    assert set(model.state_dict()) == names
    assert {name for name in names if "lora" not in name} == {
        "mix",
        "pooling.attention.query.weight",
        "classifier.weight",
        "classifier.bias",
    }
    assert build(encoder, layers="last").mix is None
    whole = sum(buffer.numel() for buffer in model.encoder.buffers())
    assert whole >= open_encoder(str(encoder)).num_parameters


def test_the_first_adapters_depend_on_the_seed_alone(encoder):
    states = [build(encoder, seed).state_dict() for seed in (3, 3, 4)]
    names = [name for name in states[0] if "lora_A" in name]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not any(torch.equal(states[0][name], states[2][name]) for name in names)


def test_checkpointing_changes_no_gradient(encoder):
    batch = batch_of([*clips(2, 3_000), *clips(1, 2_000, seed=1)])
    gradients = []
    for checkpointing in (False, True):
        model = build(encoder, checkpointing=checkpointing, adapter_dropout=0.3).train()
        torch.manual_seed(5)
        loss = Criterion()(model(batch, Criterion()).logits, batch.labels).mean()
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


def test_dropout_of_adapters_acts_in_training_only(encoder):
    model = build(encoder, adapter_dropout=0.5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    batch = batch_of(clips(2, 3_000))
    with torch.no_grad():
        trained = [model.train()(batch).log_posteriors for _ in range(2)]
        evaluated = [model.eval()(batch).log_posteriors for _ in range(2)]
    assert not torch.equal(*trained)
    assert torch.equal(*evaluated)


def test_bfloat16_is_near_float32(encoder):
    model, batch = build(encoder).eval(), batch_of(clips(2, 3_000))
    with torch.no_grad():
        expected = model(batch).log_posteriors
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(batch).log_posteriors
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("settings", "spec", "message"),
    [
        ({"target_modules": "q_proj,query"}, SPEC, r"'query'; they have .*q_proj"),
        ({"target_modules": ""}, SPEC, r"linear layer ''; they have .*q_proj"),
        ({"encoder": None}, SPEC, r"no encoder is named; .*--set model\.encoder="),
        ({"encoder": "/nowhere/w"}, SPEC, r"^/nowhere/w: no such directory"),
        ({"encoder": f"w@sha256:{'0' * 64}"}, SPEC, r"encoder w with weights 000000000000… is not"),
        ({}, InputSpec(feature_dim=23, num_classes=3), r"set data\.feature = waveform"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_sentence(tmp_path, settings, spec, message):
    folder = tiny_wav2vec2(tmp_path / "w")
    with pytest.raises(BadInputError, match=message) as caught:
        build(spec=spec, **{"encoder": folder, **settings})
    assert len(str(caught.value).splitlines()) == 1


def test_an_onnx_file_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"an ONNX file cannot be fine-tuned"):
        build(tiny_onnx(tmp_path / "w.onnx"))


def test_without_peft_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(BadInputError, match=r"peft, which is not installed; .*\[pretrained\]"):
        build(tiny_wav2vec2(tmp_path / "w"))
