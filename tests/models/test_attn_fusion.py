"""Learned alignment in plain loops, of both kinds, and its settings."""

import dataclasses

import numpy as np
import pytest
import torch

from serplatform.config import config_faults
from serplatform.models.attn_fusion import AttnFusionConfig
from serplatform.models.base import ARCHITECTURES, Criterion, InputSpec
from serplatform.testing.batches import random_batch
from tests.support.plain_loops import array, bilstm, pooled, softmax, word_vectors
from tests.support.training_checks import gradient_faults, learn_by_heart

build = ARCHITECTURES.get("attn_fusion").build

SPEC = InputSpec(feature_dim=5, num_classes=4, vocabulary_size=9)
LENGTHS = (8, 1, 5)
SMALL = AttnFusionConfig(hidden_dim=4, embedding_dim=6, projection_dim=5, num_heads=2, dropout=0.0)
VARIANTS = (("tanh", "max"), ("tanh", "attention"), ("multihead", "mean"), ("multihead", "last"))


def small(alignment, pooling, **sizes):
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, alignment=alignment, pooling=pooling, **sizes)
    return build(config, SPEC)


def tanh_alignment(layer, s, h):
    """(L, D) aligned frames and (L, T) weights, word by word and frame by frame."""
    v, u, b = array(layer.word.weight[0]), array(layer.frame.weight[0]), array(layer.frame.bias)[0]
    aligned, weights = np.zeros_like(s), np.zeros((len(s), len(h)))
    for j, word in enumerate(s):
        weights[j] = softmax(np.array([np.tanh(v @ word + u @ frame + b) for frame in h]))
        for i, frame in enumerate(h):
            aligned[j] = aligned[j] + weights[j, i] * frame
    return aligned, weights


def multi_head_alignment(layer, s, h):
    """The same by heads of scaled dot products; the weights are the heads' mean."""
    size = s.shape[1] // layer.num_heads
    heads, weights = np.zeros_like(s), np.zeros((len(s), len(h)))
    for m in range(layer.num_heads):
        part = slice(m * size, (m + 1) * size)
        w_q, w_k, w_v = (array(x.weight[part]) for x in (layer.query, layer.key, layer.value))
        for j, word in enumerate(s):
            scores = [(w_q @ word) @ (w_k @ frame) / np.sqrt(size) for frame in h]
            own = softmax(np.array(scores))
            weights[j] += own / layer.num_heads
            for i, frame in enumerate(h):
                heads[j, part] += own[i] * (w_v @ frame)
    return np.array([array(layer.output.weight) @ head for head in heads]), weights


@pytest.mark.parametrize(("alignment", "pooling"), VARIANTS)
def test_model_equals_plain_loops(alignment, pooling):
    model = small(alignment, pooling).double().eval()
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    output = model(batch)
    align = tanh_alignment if alignment == "tanh" else multi_head_alignment
    for row, length in enumerate(LENGTHS):
        count = int(batch.num_words[row])
        h = bilstm(array(batch.frames[row, :length]), model.audio_encoder.lstm)
        s = bilstm(
            word_vectors(batch.word_ids[row, :count], model.embedding), model.text_encoder.lstm
        )
        aligned, weights = align(model.alignment, s, h)
        c = bilstm(np.concatenate([s, aligned], axis=1), model.fusion.lstm)
        dense = array(model.projection.weight) @ pooled(c, model.pooling)
        dense = np.maximum(dense + array(model.projection.bias), 0.0)
        logits = array(model.classifier.weight) @ dense + array(model.classifier.bias)
        np.testing.assert_allclose(
            array(output.log_posteriors[row].exp()), softmax(logits), atol=1e-12
        )
        found = array(output.attention["alignment"][row])
        np.testing.assert_allclose(found[:count, :length], weights, atol=1e-12)
        assert not found[count:].any()
        assert not found[:, length:].any()


@pytest.mark.parametrize(("alignment", "pooling"), VARIANTS)
def test_every_value_is_trained(alignment, pooling):
    model = small(alignment, pooling)
    torch.nn.init.ones_(model.projection.bias)  # no unit starts where its slope is zero
    batch = random_batch((30, 20, 25, 18), SPEC)
    assert gradient_faults(model, batch, Criterion()) == []


@pytest.mark.parametrize(("alignment", "pooling"), VARIANTS)
def test_learns_thirty_two_utterances_by_heart(alignment, pooling):
    model = small(alignment, pooling, hidden_dim=12, projection_dim=24)
    assert learn_by_heart(model, SPEC) == 1.0


def test_word_times_are_not_read():
    model = small("tanh", "max").eval()
    batch = random_batch(LENGTHS, SPEC)
    expected = model(batch).log_posteriors
    batch.word_spans[:] = 0
    assert torch.equal(model(batch).log_posteriors, expected)


def test_heads_must_divide_the_width():
    values = {"alignment": "multihead", "hidden_dim": 5, "num_heads": 4}
    faults = config_faults(AttnFusionConfig, values)
    assert len(faults) == 1
    assert "num_heads = 4: must divide 2 · hidden_dim = 10" in faults[0]
    assert config_faults(AttnFusionConfig, {**values, "alignment": "tanh"}) == []


def test_defaults():
    architecture = ARCHITECTURES.get("attn_fusion")
    config = architecture.config()
    assert (config.alignment, config.pooling) == ("tanh", "max")
    assert (config.hidden_dim, config.projection_dim, config.dropout) == (128, 128, 0.3)
    assert architecture.training == {"learning_rate": 5e-4}
    assert architecture.inputs == {"audio", "text"}
