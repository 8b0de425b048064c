"""Functionals against NumPy, and the perceptron over them."""

import numpy as np
import pytest
import torch

from serplatform.features.base import WHOLE_UTTERANCE
from serplatform.models.base import ARCHITECTURES, InputSpec
from serplatform.models.functionals_mlp import FunctionalsMlpConfig, functionals, num_functionals
from serplatform.models.layers.masks import valid_steps
from serplatform.testing.batches import random_batch
from tests.support.plain_loops import array, softmax

build = ARCHITECTURES.get("functionals_mlp").build

SPEC = InputSpec(feature_dim=3, num_classes=4)
LENGTHS = (21, 1, 8, 2)


def plain(frames, kind):
    """(T, D) frames to functionals, by NumPy."""
    parts = [frames.mean(axis=0)]
    if kind != "mean":
        parts.append(np.sqrt(np.maximum(frames.var(axis=0), 1e-8)))
    if kind == "percentiles":
        parts.extend(np.percentile(frames, [5, 25, 50, 75, 95], axis=0))
    return np.concatenate(parts)


def plain_functionals(frames, kind, deltas):
    if not deltas:
        return plain(frames, kind)
    steps = np.concatenate([np.zeros((1, frames.shape[1])), np.diff(frames, axis=0)])
    return np.concatenate([plain(frames, kind), plain(steps, kind)])


@pytest.mark.parametrize("deltas", [False, True])
@pytest.mark.parametrize("kind", ["mean", "moments", "percentiles"])
def test_functionals_are_numpys(kind, deltas):
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    batch.frames[1, 1:] = 50.0  # padding that would show
    valid = valid_steps(batch.lengths, batch.frames.shape[1])
    result = functionals(batch.frames, batch.lengths, valid, kind, deltas)
    assert result.shape == (len(LENGTHS), num_functionals(3, kind, deltas))
    for row, length in enumerate(LENGTHS):
        expected = plain_functionals(array(batch.frames[row, :length]), kind, deltas)
        np.testing.assert_allclose(array(result[row]), expected, atol=1e-12)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_model_equals_plain_loops(num_layers):
    torch.manual_seed(0)
    config = FunctionalsMlpConfig(hidden_dim=5, num_layers=num_layers, clip=1.0)
    model = build(config, SPEC).double()
    for _ in range(3):
        model.train()(random_batch((30, 20, 9), SPEC, dtype=torch.float64))
    model.eval()

    def norm(values, layer):
        values = (values - array(layer.running_mean)) / np.sqrt(
            array(layer.running_variance) + layer.epsilon
        )
        return values * array(layer.weight) + array(layer.bias)

    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    posteriors = model(batch).log_posteriors.exp()
    clipped = 0
    for row, length in enumerate(LENGTHS):
        values = plain_functionals(array(batch.frames[row, :length]), "percentiles", True)
        values = norm(values, model.standardise)
        clipped += int((np.abs(values) > 1.0).sum())
        values = np.clip(values, -1.0, 1.0)
        for layer, layer_norm in zip(model.hidden, model.norms, strict=True):
            values = np.maximum(norm(array(layer.weight) @ values, layer_norm), 0.0)
        logits = array(model.classifier.weight) @ values + array(model.classifier.bias)
        np.testing.assert_allclose(array(posteriors[row]), softmax(logits), atol=1e-12)
    assert clipped > 0


def test_a_feature_of_one_frame_is_taken_as_it_is():
    frames = torch.tensor([[[1.0, -2.0, 3.0]]])
    valid = torch.tensor([[True]])
    result = functionals(frames, torch.tensor([1]), valid, "mean", False)
    assert result.tolist() == [[1.0, -2.0, 3.0]]


def test_what_is_one_vector_an_utterance_is_not_summed_up_again():
    summed = build(
        FunctionalsMlpConfig(), InputSpec(feature_dim=5, num_classes=3, frame_shift=WHOLE_UTTERANCE)
    )
    frames = build(FunctionalsMlpConfig(), InputSpec(feature_dim=5, num_classes=3))
    assert summed.hidden[0].in_features == 5
    assert frames.hidden[0].in_features == 5 * 7 * 2


def test_percentiles_are_the_same_with_and_without_a_gradient():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(4, 9, 3, generator=generator)
    lengths = torch.tensor([9, 1, 4, 7])
    valid = torch.arange(9) < lengths.unsqueeze(1)
    asked = frames.clone().requires_grad_()
    given = functionals(asked, lengths, valid, "percentiles", True)
    assert torch.equal(functionals(frames, lengths, valid, "percentiles", True), given)
    given.sum().backward()
    assert asked.grad[valid].abs().sum() > 0
