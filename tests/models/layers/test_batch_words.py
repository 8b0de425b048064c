"""Words of a batch, and utterances without any."""

import pytest
import torch

from serplatform.models.base import Batch, InputSpec
from serplatform.models.layers.words import batch_words
from serplatform.testing.batches import random_batch

SPEC = InputSpec(feature_dim=3, num_classes=2, vocabulary_size=9)


def test_words_are_given_as_they_are():
    batch = random_batch((9, 1, 7), SPEC)
    words = batch_words(batch)
    assert torch.equal(words.ids, batch.word_ids)
    assert torch.equal(words.spans, batch.word_spans)
    assert torch.equal(words.counts, batch.num_words)
    assert words.valid.sum(dim=1).tolist() == batch.num_words.tolist()
    assert words.counts[1] == 1


def test_an_utterance_without_words_is_one_unknown_word_over_all_its_frames():
    batch = random_batch((9, 4, 7), SPEC)
    batch.word_ids[1], batch.word_spans[1], batch.num_words[1] = 0, 0, 0
    words = batch_words(batch)
    assert words.ids[1].tolist() == [1] + [0] * (words.ids.shape[1] - 1)
    assert words.spans[1, 0].tolist() == [0, 4]
    assert not words.spans[1, 1:].any()
    assert words.counts.tolist() == [int(batch.num_words[0]), 1, int(batch.num_words[2])]
    assert torch.equal(words.ids[0], batch.word_ids[0])
    assert not batch.word_ids[1].any(), "the batch itself was changed"


def test_a_batch_without_any_words_works():
    empty = torch.zeros(2, 0, dtype=torch.int64)
    batch = Batch(torch.zeros(2, 5, 3), torch.tensor([5, 2]), torch.tensor([0, 1]), empty)
    batch.word_spans, batch.num_words = (
        empty.unsqueeze(2).expand(2, 0, 2),
        torch.zeros_like(batch.lengths),
    )
    words = batch_words(batch)
    assert words.ids.tolist() == [[1], [1]]
    assert words.spans.tolist() == [[[0, 5]], [[0, 2]]]
    assert words.counts.tolist() == [1, 1]
    assert words.valid.tolist() == [[True], [True]]


def test_a_batch_that_carries_no_words_is_refused():
    batch = Batch(torch.zeros(1, 5, 3), torch.tensor([5]), torch.tensor([0]))
    with pytest.raises(ValueError, match="reads words, but the batch has none"):
        batch_words(batch)
