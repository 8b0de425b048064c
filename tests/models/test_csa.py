"""CSA in plain loops, its chunks' losses, short utterances, and the paper's settings."""

import numpy as np
import pytest
import torch

from serplatform.config import config_faults
from serplatform.models.base import ARCHITECTURES, Criterion, InputSpec
from serplatform.models.csa import CsaConfig
from serplatform.testing.batches import pick, random_batch
from tests.support.plain_loops import array, convolution_block, softmax

build = ARCHITECTURES.get("csa").build

SPEC = InputSpec(feature_dim=5, num_classes=4)
LENGTHS = (25, 3, 8, 14)
SMALL = {"context_frames": 8, "overlap_frames": 3, "channels": 6, "downsample": 3}


def small(**settings):
    torch.manual_seed(0)
    model = build(CsaConfig(**{**SMALL, "gamma_init": 0.7, **settings}), SPEC).double()
    with torch.no_grad():
        for block in model.blocks:
            block.norm.running_mean.normal_()
            block.norm.running_variance.uniform_(0.5, 2.0)
            block.norm.weight.normal_()
            block.norm.bias.normal_()
    return model


def plain_chunk_logits(model, chunk, pooling):
    """Evaluation logits of one chunk of (c, D) frames, c at most C."""
    maps = chunk.T
    for block in model.blocks:
        maps = convolution_block(maps, block)
    attention = model.attention
    j, k, values = (
        array(part.weight)[:, :, 0] @ maps for part in (attention.j, attention.k, attention.l)
    )
    size = maps.shape[1]
    energy = np.zeros((size, size))
    for q in range(size):
        energy[:, q] = softmax(np.array([j[:, p] @ k[:, q] for p in range(size)]))  # Eq. (3)
    mapped = np.zeros_like(maps)
    for q in range(size):
        for p in range(size):
            mapped[:, q] += values[:, p] * energy[p, q]  # Eq. (5)
    maps = maps + array(attention.gamma) * mapped  # Eq. (1)
    if pooling == "mean":
        features = maps.mean(axis=1)
    else:
        whole = np.zeros((len(maps), model.context_frames))
        whole[:, :size] = maps
        features = whole.flatten()
    return array(model.classifier.weight) @ features + array(model.classifier.bias)


def plain_chunks(frames):
    """The chunks of SMALL, cut one after another; the last one ends at the last frame."""
    if len(frames) <= 8:
        return [frames]
    starts = [0]
    while starts[-1] + 8 < len(frames):
        starts.append(min(starts[-1] + 5, len(frames) - 8))
    return [frames[start : start + 8] for start in starts]


@pytest.mark.parametrize("pooling", ["flatten", "mean"])
def test_model_equals_the_equations_in_plain_loops(pooling):
    model = small(pooling=pooling).eval()
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    output = model(batch)
    for row, length in enumerate(LENGTHS):
        mean = np.zeros(4)
        chunks = plain_chunks(array(batch.frames[row, :length]))
        for chunk in chunks:
            mean += np.log(softmax(plain_chunk_logits(model, chunk, pooling))) / len(chunks)
        np.testing.assert_allclose(
            array(output.log_posteriors[row].exp()), softmax(mean), atol=1e-12
        )


@pytest.mark.parametrize("weights", [None, [1.0, 0.2, 3.0, 0.7]])
def test_mean_loss_is_the_mean_over_chunks(weights):
    """As the loop divides: losses over the sum of the utterances' class weights."""
    model = small().eval()
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    losses = model(batch, Criterion(weights)).losses
    logits, labels = [], []
    for row, length in enumerate(LENGTHS):
        for chunk in plain_chunks(array(batch.frames[row, :length])):
            logits.append(plain_chunk_logits(model, chunk, "flatten"))
            labels.append(int(batch.labels[row]))
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(np.array(logits)), torch.tensor(labels), weight=weights
    )
    divisor = len(LENGTHS) if weights is None else float(weights[batch.labels].sum())
    torch.testing.assert_close(losses.sum() / divisor, expected)


def test_dropped_short_utterances_leave_training_but_not_the_posteriors():
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    model = small(drop_short=True).train()
    losses = model(batch, Criterion()).losses
    assert losses[1].item() == 0.0
    others = small(drop_short=True).train()
    expected = others(pick(batch, [0, 2, 3]), Criterion()).losses
    torch.testing.assert_close(losses[[0, 2, 3]] / 4, expected / 3)
    for one, two in zip(model.buffers(), others.buffers(), strict=True):
        torch.testing.assert_close(one, two)
    posteriors = model.eval()(batch).log_posteriors.exp()
    torch.testing.assert_close(posteriors.sum(dim=1), torch.ones(4, dtype=torch.float64))


def test_batch_of_short_utterances_only_has_zero_loss_when_dropped():
    model = small(drop_short=True).train()
    losses = model(random_batch((3, 5), SPEC, dtype=torch.float64), Criterion()).losses
    assert losses.tolist() == [0.0, 0.0]
    losses.mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_padding_does_not_reach_training():
    """A longer padding changes neither the losses nor the running statistics."""
    batch = random_batch((20, 6, 3), SPEC, dtype=torch.float64)
    longer = random_batch((20, 6, 3), SPEC, dtype=torch.float64)
    longer.frames = torch.nn.functional.pad(longer.frames, (0, 0, 0, 5))
    one, two = small().train(), small().train()
    torch.testing.assert_close(one(batch, Criterion()).losses, two(longer, Criterion()).losses)
    for first, second in zip(one.buffers(), two.buffers(), strict=True):
        torch.testing.assert_close(first, second)


def test_frame_attention_sums_to_one():
    output = small().eval()(random_batch(LENGTHS, SPEC, dtype=torch.float64))
    maps = output.attention["chunks"]
    assert maps.shape == (4, 25)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(4, dtype=torch.float64))
    assert not maps[1, 3:].any()


def test_gamma_of_zero_leaves_the_convolutions_alone():
    """The paper's first γ: attention weights do not matter until γ has moved."""
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    model = small(gamma_init=0.0).eval()
    before = model(batch).log_posteriors
    with torch.no_grad():
        model.attention.l.weight.normal_()
    assert torch.equal(model(batch).log_posteriors, before)


def test_defaults_are_the_papers():
    architecture = ARCHITECTURES.get("csa")
    config = architecture.config()
    assert (config.context_frames, config.overlap_frames, config.channels) == (30, 10, 128)
    assert all(2 <= kernel <= 6 for kernel in (config.kernel_1, config.kernel_2, config.kernel_3))
    assert (config.gamma_init, config.drop_short, config.dropout) == (0.0, False, 0.0)
    assert architecture.training["plateau_factor"] == 0.8
    assert architecture.training["learning_rate"] == 1e-4


def test_overlap_must_be_shorter_than_a_chunk():
    faults = config_faults(CsaConfig, {"context_frames": 10, "overlap_frames": 10}, "model.")
    assert faults == ["model: overlap_frames = 10 must be less than context_frames = 10"]
