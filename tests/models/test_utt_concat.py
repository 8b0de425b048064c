"""UttConcat in plain loops, for every pooling."""

import numpy as np
import pytest
import torch

from serplatform.models.base import ARCHITECTURES, Criterion, InputSpec
from serplatform.models.utt_concat import UttConcatConfig
from serplatform.testing.batches import random_batch
from tests.support.plain_loops import array, bilstm, pooled, softmax, word_vectors
from tests.support.training_checks import gradient_faults, learn_by_heart

build = ARCHITECTURES.get("utt_concat").build

SPEC = InputSpec(feature_dim=5, num_classes=4, vocabulary_size=9)
LENGTHS = (8, 1, 5)
POOLINGS = ("last", "mean", "max", "attention")


def small(pooling):
    torch.manual_seed(0)
    return build(UttConcatConfig(hidden_dim=4, embedding_dim=6, pooling=pooling, dropout=0.0), SPEC)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_model_equals_plain_loops(pooling):
    model = small(pooling).double().eval()
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    posteriors = model(batch).log_posteriors.exp()
    for row, length in enumerate(LENGTHS):
        ids = batch.word_ids[row, : int(batch.num_words[row])]
        audio = bilstm(array(batch.frames[row, :length]), model.audio_encoder.lstm)
        text = bilstm(word_vectors(ids, model.embedding), model.text_encoder.lstm)
        utterance = np.concatenate(
            [pooled(audio, model.audio_pooling), pooled(text, model.text_pooling)]
        )
        logits = array(model.classifier.weight) @ utterance + array(model.classifier.bias)
        np.testing.assert_allclose(array(posteriors[row]), softmax(logits), atol=1e-12)


def test_only_attention_gives_maps():
    batch = random_batch(LENGTHS, SPEC)
    assert small("last")(batch).attention == {}
    maps = small("attention")(batch).attention
    for name, counts in (("frames", batch.lengths), ("words", batch.num_words)):
        torch.testing.assert_close(maps[name].sum(dim=1), torch.ones(3), rtol=0, atol=1e-6)
        assert (maps[name] > 0).sum(dim=1).tolist() == counts.tolist()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_value_is_trained(pooling):
    model = small(pooling)
    batch = random_batch((30, 20, 25, 18), SPEC)
    assert gradient_faults(model, batch, Criterion()) == []


@pytest.mark.parametrize("pooling", POOLINGS)
def test_learns_thirty_two_utterances_by_heart(pooling):
    assert learn_by_heart(small(pooling), SPEC) == 1.0


def test_defaults():
    architecture = ARCHITECTURES.get("utt_concat")
    config = architecture.config()
    assert (config.hidden_dim, config.pooling, config.dropout) == (128, "last", 0.3)
    assert architecture.training == {"learning_rate": 5e-4}
    assert architecture.inputs == {"audio", "text"}
