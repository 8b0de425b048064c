"""LSTM + attention over words in plain loops, and its settings."""

import dataclasses

import numpy as np
import pytest
import torch

from serplatform.errors import BadInputError
from serplatform.models.base import ARCHITECTURES, InputSpec, count_parameters
from serplatform.models.lstm_attn import LstmAttnTextConfig
from serplatform.testing.batches import random_batch
from tests.support.plain_loops import array, bilstm, softmax, word_vectors

build = ARCHITECTURES.get("lstm_attn_text").build

SPEC = InputSpec(feature_dim=5, num_classes=4, vocabulary_size=9)
LENGTHS = (8, 1, 5)
SMALL = LstmAttnTextConfig(hidden_dim=4, embedding_dim=6)


def test_model_equals_plain_loops():
    torch.manual_seed(0)
    model = build(SMALL, SPEC).double().eval()
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    batch.word_ids[0, 0] = 1
    output = model(batch)
    for row in range(len(LENGTHS)):
        count = int(batch.num_words[row])
        y = bilstm(word_vectors(batch.word_ids[row, :count], model.embedding), model.encoder.lstm)
        query = array(model.pooling.query.weight[0])
        weights = softmax(np.array([query @ y[i] for i in range(count)]))
        utterance = np.zeros(y.shape[1])
        for i in range(count):
            utterance = utterance + weights[i] * y[i]
        logits = array(model.classifier.weight) @ utterance + array(model.classifier.bias)
        np.testing.assert_allclose(
            array(output.log_posteriors[row].exp()), softmax(logits), atol=1e-12
        )
        np.testing.assert_allclose(
            array(output.attention["words"][row, :count]), weights, atol=1e-12
        )


def test_audio_is_not_read():
    model = build(SMALL, SPEC).eval()
    batch = random_batch(LENGTHS, SPEC)
    expected = model(batch).log_posteriors
    changed = dataclasses.replace(batch, frames=torch.full_like(batch.frames, torch.nan))
    assert torch.equal(model(changed).log_posteriors, expected)


def test_a_word_of_one_word_utterances_gets_all_attention():
    model = build(SMALL, SPEC).eval()
    batch = random_batch((1, 1), SPEC)
    assert batch.num_words.tolist() == [1, 1]
    assert model(batch).attention["words"].tolist() == [[1.0], [1.0]]


def test_given_vectors_are_used_and_kept_when_asked():
    vectors = torch.randn(9, 7, generator=torch.Generator().manual_seed(0))
    spec = dataclasses.replace(SPEC, word_vectors=vectors)
    trained = build(SMALL, spec)
    kept = build(dataclasses.replace(SMALL, train_word_vectors=False), spec)
    assert torch.equal(trained.embedding.vectors, vectors[2:])
    assert trained.encoder.lstm.input_size == 7
    assert count_parameters(trained) - count_parameters(kept) == 7 * 7


def test_data_without_words_are_refused():
    with pytest.raises(BadInputError, match="reads words, but the data give none"):
        build(SMALL, InputSpec(feature_dim=5, num_classes=4))


def test_number_of_parameters_at_default_sizes():
    h, e, v, k = 128, 300, 1000, 4
    expected = (v - 1) * e + 2 * 4 * h * (e + h + 2) + 2 * h + k * 2 * h + k
    spec = InputSpec(feature_dim=40, num_classes=k, vocabulary_size=v)
    assert count_parameters(build(LstmAttnTextConfig(), spec)) == expected


def test_settings_are_those_of_the_papers():
    architecture = ARCHITECTURES.get("lstm_attn_text")
    config = architecture.config()
    assert (config.embedding_dim, config.hidden_dim, config.dropout) == (300, 128, 0.3)
    assert architecture.training == {"learning_rate": 5e-4}
    assert architecture.inputs == {"text"}
