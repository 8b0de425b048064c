"""Multi-hop attention in plain loops, hop by hop."""

import numpy as np
import pytest
import torch

from serplatform.models.base import ARCHITECTURES, Criterion, InputSpec
from serplatform.models.mha import MhaConfig
from serplatform.testing.batches import random_batch
from tests.support.plain_loops import array, bilstm, softmax, word_vectors
from tests.support.training_checks import gradient_faults, learn_by_heart

build = ARCHITECTURES.get("mha").build

SPEC = InputSpec(feature_dim=5, num_classes=4, vocabulary_size=9)
LENGTHS = (8, 1, 5)
HOPS = (1, 2, 3, 4)
MAPS = ("hop1_words", "hop2_frames", "hop3_words", "hop4_frames")


def small(num_hops, vectors="last_two"):
    torch.manual_seed(0)
    config = MhaConfig(
        hidden_dim=4, embedding_dim=6, num_hops=num_hops, vectors=vectors, dropout=0.0
    )
    return build(config, SPEC)


@pytest.mark.parametrize("vectors", ["last_two", "all"])
@pytest.mark.parametrize("num_hops", HOPS)
def test_model_equals_plain_loops(num_hops, vectors):
    model = small(num_hops, vectors).double().eval()
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    output = model(batch)
    assert tuple(output.attention) == MAPS[:num_hops]
    for row, length in enumerate(LENGTHS):
        ids = batch.word_ids[row, : int(batch.num_words[row])]
        audio = bilstm(array(batch.frames[row, :length]), model.audio_encoder.lstm)
        text = bilstm(word_vectors(ids, model.embedding), model.text_encoder.lstm)
        vector = np.concatenate([audio[-1, :4], audio[0, 4:]])
        found_vectors = [vector]
        for hop in range(num_hops):
            steps = text if hop % 2 == 0 else audio
            weights = softmax(np.array([vector @ step for step in steps]))
            total = np.zeros(8)
            for weight, step in zip(weights, steps, strict=True):
                total = total + weight * step
            vector = total
            found_vectors.append(vector)
            found = array(output.attention[MAPS[hop]][row])
            np.testing.assert_allclose(found[: len(steps)], weights, atol=1e-12)
            assert not found[len(steps) :].any()
        read = found_vectors if vectors == "all" else found_vectors[-2:]
        utterance = np.concatenate(read)
        logits = array(model.classifier.weight) @ utterance + array(model.classifier.bias)
        np.testing.assert_allclose(
            array(output.log_posteriors[row].exp()), softmax(logits), atol=1e-12
        )


@pytest.mark.parametrize("num_hops", HOPS)
def test_every_value_is_trained(num_hops):
    batch = random_batch((30, 20, 25, 18), SPEC)
    assert gradient_faults(small(num_hops), batch, Criterion()) == []


@pytest.mark.parametrize("num_hops", [1, 3])
def test_learns_thirty_two_utterances_by_heart(num_hops):
    assert learn_by_heart(small(num_hops), SPEC) == 1.0


def test_defaults():
    architecture = ARCHITECTURES.get("mha")
    config = architecture.config()
    assert (config.hidden_dim, config.num_hops, config.dropout) == (128, 2, 0.3)
    assert architecture.training == {"learning_rate": 5e-4}
    assert architecture.inputs == {"audio", "text"}
