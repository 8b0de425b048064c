"""Classes inside utterances: what they are of, and that the whole follows from them."""

import itertools

import pytest
import torch

from serplatform.models import attn_pool, cnn_blstm_asp
from serplatform.models.base import ARCHITECTURES, InputSpec
from serplatform.models.layers.attentive_statistics import attentive_statistics, local_statistics
from serplatform.testing.batches import pick, random_batch

SPEC = InputSpec(feature_dim=6, num_classes=4)
LENGTHS = (41, 3, 17, 30)
SETTINGS = {
    "csa": {"context_frames": 8, "overlap_frames": 3, "channels": 6, "gamma_init": 0.7},
    "blstmatt": {"hidden_dim": 5, "num_layers": 1, "attention_dim": 4},
    "moma": {"hidden_dim": 5, "num_layers": 1, "attention_dim": 4},
    "lstm_attn_audio": {"hidden_dim": 5},
    "attn_pool": {"hidden_dim": 8, "num_heads": 2, "attention_dim": 4, "classifier_dim": 6},
    "cnn_blstm_asp": {"channels": 2, "hidden_dim": 3, "attention_dim": 4},
}


def small(name):
    torch.manual_seed(0)
    architecture = ARCHITECTURES.get(name)
    return architecture.build(architecture.config(**SETTINGS[name]), SPEC).double().eval()


@pytest.mark.parametrize("name", SETTINGS)
def test_steps_cover_the_frames_and_do_not_depend_on_the_batch(name):
    model, batch = small(name), random_batch(LENGTHS, SPEC, dtype=torch.float64)
    with torch.inference_mode():
        found = model.framewise(batch)
        for row, length in enumerate(LENGTHS):
            spans = found.spans[row, : found.lengths[row]].tolist()
            assert spans[0][0] == 0
            assert spans[-1][1] == length
            assert all(a < b <= length for a, b in spans)
            assert all(one[1] >= two[0] for one, two in itertools.pairwise(spans))
            alone = model.framewise(pick(batch, [row]))
            values = found.log_posteriors[row, : len(spans)]
            torch.testing.assert_close(alone.log_posteriors[0], values)
            torch.testing.assert_close(values.exp().sum(dim=1), torch.ones_like(values[:, 0]))


def test_csa_pools_its_chunks_to_the_whole():
    model, batch = small("csa"), random_batch(LENGTHS, SPEC, dtype=torch.float64)
    with torch.inference_mode():
        found, whole = model.framewise(batch), model(batch).log_posteriors
    assert found.lengths.tolist() == [8, 1, 3, 6]  # chunks of 8 every 5 frames, and the rest
    assert found.spans[2, :3].tolist() == [[0, 8], [5, 13], [9, 17]]
    for row, count in enumerate(found.lengths):
        mean = found.log_posteriors[row, :count].mean(dim=0).log_softmax(dim=0)
        torch.testing.assert_close(mean, whole[row], rtol=0, atol=1e-6)
    assert not torch.allclose(found.log_posteriors[0, 0], found.log_posteriors[0, 1], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "map"), [("blstmatt", "layer1"), ("moma", "layer2"), ("lstm_attn_audio", "frames")]
)
def test_attention_over_frames_gives_the_whole(name, map):
    model, batch = small(name), random_batch(LENGTHS, SPEC, dtype=torch.float64)
    with torch.inference_mode():
        found, output = model.framewise(batch), model(batch)
    weights = output.attention[map]
    weights = weights / weights.sum(dim=1, keepdim=True)  # of MOMA to the sum of its γ
    for row, length in enumerate(LENGTHS):
        logits = weights[row, :length] @ found.log_posteriors[row, :length]
        torch.testing.assert_close(
            logits.log_softmax(dim=0), output.log_posteriors[row], rtol=0, atol=1e-6
        )


def test_local_statistics_are_those_of_the_frames_around():
    torch.manual_seed(1)
    frames = torch.randn(2, 20, 6, dtype=torch.float64) + 50
    weights = torch.randn(2, 3, 20, dtype=torch.float64).mul(3).softmax(dim=2)
    found = local_statistics(weights, frames, 7)
    for middle in range(20):
        around = slice(max(0, middle - 3), middle + 4)
        share = weights[:, :, around] / weights[:, :, around].sum(dim=2, keepdim=True)
        torch.testing.assert_close(found[:, middle], attentive_statistics(share, frames[:, around]))


@pytest.mark.parametrize(
    ("module", "around"), [(attn_pool, "LOCAL_FRAMES"), (cnn_blstm_asp, "LOCAL_STEPS")]
)
def test_statistics_around_every_step_are_the_whole_where_that_is_all(module, around, monkeypatch):
    name = module.__name__.rpartition(".")[2]
    model, batch = small(name), random_batch(LENGTHS, SPEC, dtype=torch.float64)
    monkeypatch.setattr(module, around, 2 * max(LENGTHS) + 1)
    with torch.inference_mode():
        found, whole = model.framewise(batch), model(batch).log_posteriors
    for row, length in enumerate(found.lengths):
        values = found.log_posteriors[row, :length]
        torch.testing.assert_close(values, whole[row].expand_as(values), rtol=0, atol=1e-6)
