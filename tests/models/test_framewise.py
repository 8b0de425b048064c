"""Classes inside utterances: what they are of, and that the whole follows from them."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from serplatform.models import attn_pool, can, cnn_blstm_asp, fgcme
from serplatform.models.base import ARCHITECTURES, InputSpec
from serplatform.models.layers import text_audio
from serplatform.models.layers.attentive_statistics import attentive_statistics, local_statistics
from serplatform.models.layers.words import batch_words
from serplatform.prediction.steps import model_steps
from serplatform.testing.batches import pick, random_batch

SPEC = InputSpec(feature_dim=6, num_classes=4, vocabulary_size=9)
LENGTHS = (41, 3, 17, 30)
SETTINGS = {
    "csa": {"context_frames": 8, "overlap_frames": 3, "channels": 6, "gamma_init": 0.7},
    "blstmatt": {"hidden_dim": 5, "num_layers": 1, "attention_dim": 4},
    "moma": {"hidden_dim": 5, "num_layers": 1, "attention_dim": 4},
    "lstm_attn_audio": {"hidden_dim": 5},
    "attn_pool": {"hidden_dim": 8, "num_heads": 2, "attention_dim": 4, "classifier_dim": 6},
    "cnn_blstm_asp": {"channels": 2, "hidden_dim": 3, "attention_dim": 4},
    "mha": {"embedding_dim": 5, "hidden_dim": 4, "num_hops": 3},
    "attn_fusion": {"embedding_dim": 5, "hidden_dim": 4, "projection_dim": 6},
    "utt_concat": {"embedding_dim": 5, "hidden_dim": 4, "pooling": "attention"},
}
#: their steps are words, which need not cover all frames
OF_WORDS = {
    "can": {"embedding_dim": 5, "hidden_dim": 4, "num_heads": 3, "alpha": 0.7},
    "fgcme": {
        **dict.fromkeys(("channels_1", "channels_2", "channels_3"), 5),
        "embedding_dim": 5,
        "text_dim": 4,
        "hidden_dim": 4,
        "classifier_dim": 6,
    },
}


def small(name, **changes):
    torch.manual_seed(0)
    architecture = ARCHITECTURES.get(name)
    settings = {**(SETTINGS | OF_WORDS)[name], **changes}
    return architecture.build(architecture.config(**settings), SPEC).double().eval()


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


@pytest.mark.parametrize("name", OF_WORDS)
def test_steps_of_words_lie_where_the_words_lie(name):
    model, batch = small(name), random_batch(LENGTHS, SPEC, dtype=torch.float64)
    words = batch_words(batch)
    with torch.inference_mode():
        found = model.framewise(batch)
        assert found.words
        assert found.lengths.tolist() == words.counts.tolist()
        assert max(found.lengths) > 2
        for row, count in enumerate(found.lengths):
            spans = found.spans[row, :count]
            assert torch.equal(spans, words.frames(batch.lengths)[row, :count])
            assert (spans[:, 0] < spans[:, 1]).all()
            assert spans.max() <= LENGTHS[row]
            alone = model.framewise(pick(batch, [row])).log_posteriors[0, :count]
            torch.testing.assert_close(alone, found.log_posteriors[row, :count])
            steps = model_steps(model, pick(batch, [row]), first=3, shift=0.01, length=0.025)
            np.testing.assert_allclose(steps.start, (3 + spans[:, 0].numpy()) * 0.01)
            assert np.mean(steps.attention) == pytest.approx(1.0)
            (*_, weights) = model(pick(batch, [row])).attention.values()
            np.testing.assert_allclose(steps.attention, weights[0, :count].numpy() * int(count))


def test_a_word_of_can_is_the_class_were_all_attention_on_it():
    model, batch = small("can"), random_batch(LENGTHS, SPEC, dtype=torch.float64)
    with torch.inference_mode():
        found, attend = model.framewise(batch), model.attention.forward
        place = 1

        def on_one(text, audio, valid):
            only = torch.zeros_like(valid)
            only[:, place] = True
            return attend(text, audio, only)

        model.attention.forward = on_one
        whole = model(batch).log_posteriors
    for row in torch.where(found.lengths > place)[0]:
        torch.testing.assert_close(found.log_posteriors[row, place], whole[row])


def test_a_word_of_fgcme_is_the_maximum_over_its_neighbours():
    model, batch = small("fgcme"), random_batch(LENGTHS, SPEC, dtype=torch.float64)
    row = int(batch.num_words.argmax())
    count = int(batch.num_words[row])
    assert count > 2
    with torch.inference_mode():
        found = model.framewise(batch).log_posteriors[row]
        hidden, _, _ = model._encode(batch, batch_words(batch), training=False)
        for middle in range(count):
            own = hidden[row : row + 1, max(0, middle - 1) : min(count, middle + 2)].amax(dim=1)
            logits = model.classifier(model.hidden(own).relu())
            torch.testing.assert_close(found[middle], logits.log_softmax(dim=-1)[0])


@pytest.mark.parametrize(("module", "name"), [(can, "can"), (fgcme, "fgcme")])
def test_words_around_every_word_are_the_whole_where_they_are_all(module, name, monkeypatch):
    model, batch = small(name), random_batch(LENGTHS, SPEC, dtype=torch.float64)
    near = model.framewise(batch).log_posteriors
    monkeypatch.setattr(module, "LOCAL_WORDS", 2 * max(LENGTHS) + 1)
    with torch.inference_mode():
        found, whole = model.framewise(batch), model(batch).log_posteriors
    assert not torch.allclose(near, found.log_posteriors, atol=1e-3)
    for row, count in enumerate(found.lengths):
        values = found.log_posteriors[row, :count]
        torch.testing.assert_close(values, whole[row].expand_as(values), rtol=0, atol=1e-6)


TEXT_AUDIO = [
    ("mha", {"num_hops": 1}),
    ("mha", {"num_hops": 2, "vectors": "all"}),
    ("attn_fusion", {"pooling": "attention"}),
    ("attn_fusion", {"alignment": "multihead", "pooling": "last"}),
    *(("utt_concat", {"pooling": kind}) for kind in ("last", "mean", "max", "attention")),
]


@pytest.mark.parametrize(("name", "settings"), TEXT_AUDIO)
def test_audio_around_every_step_is_the_whole_where_it_is_all(name, settings, monkeypatch):
    model, batch = small(name, **settings), random_batch(LENGTHS, SPEC, dtype=torch.float64)
    with torch.inference_mode():
        monkeypatch.setattr(text_audio, "LOCAL_FRAMES", 2 * max(LENGTHS) + 10)
        found, whole = model.framewise(batch), model(batch).log_posteriors
    assert found.lengths.tolist() == [5, 1, 2, 3]
    assert found.spans[0].tolist() == [[0, 10], [10, 20], [20, 30], [30, 40], [40, 41]]
    for row, count in enumerate(found.lengths):
        values = found.log_posteriors[row, :count]
        torch.testing.assert_close(values, whole[row].expand_as(values), rtol=0, atol=1e-6)
    monkeypatch.setattr(text_audio, "LOCAL_FRAMES", 14)
    with torch.inference_mode():
        near = model.framewise(batch)
        encoded = model.encode(pick(batch, [0]))
        around = slice(18, 32)  # of the third step, frames 20 to 29
        local = dataclasses.replace(
            encoded,
            audio=encoded.audio[:, around],
            valid=encoded.valid[:, around],
            lengths=torch.tensor([14]),
        )
        torch.testing.assert_close(
            near.log_posteriors[0, 2], model.classify(local).log_posteriors[0]
        )
    assert not torch.allclose(near.log_posteriors[0, 2], whole[0], atol=1e-4)


def test_attention_of_an_alignment_is_what_all_words_give_to_frames():
    model, batch = small("attn_fusion"), random_batch((41,), SPEC, dtype=torch.float64)
    with torch.inference_mode():
        steps = model_steps(model, batch, first=0, shift=0.01, length=0.025)
        weights = model(batch).attention["alignment"][0, : int(batch.num_words[0])].sum(dim=0)
    weights = weights / weights.mean()
    np.testing.assert_allclose(steps.attention[1], weights[10:20].mean())
    assert steps.attention[4] == pytest.approx(float(weights[40]))  # its one frame


def test_a_predicted_alignment_has_no_words_in_time():
    model, batch = small("fgcme", alignment="ctc"), random_batch(LENGTHS, SPEC, dtype=torch.float64)
    assert model.framewise(batch) is None
    assert "alignment=ctc" in model.no_steps
    assert not small("fgcme").no_steps
