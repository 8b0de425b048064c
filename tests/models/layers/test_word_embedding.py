"""Word vectors: padding, the unknown word, given vectors, and what training changes."""

import pytest
import torch

from serplatform.errors import BadInputError
from serplatform.models.base import InputSpec, count_parameters
from serplatform.models.layers.words import START_STD, WordEmbedding

GIVEN = torch.tensor([[9.0, 9.0], [5.0, 6.0], [1.0, 2.0], [3.0, 4.0]])
IDS = torch.tensor([[2, 1, 3], [1, 0, 0]])


def test_given_vectors_are_looked_up_and_padding_is_zero_whatever_was_given():
    for trainable in (True, False):
        values = WordEmbedding(4, 300, GIVEN, trainable)(IDS)
        assert values.tolist() == [
            [[1.0, 2.0], [5.0, 6.0], [3.0, 4.0]],
            [[5.0, 6.0], [0.0, 0.0], [0.0, 0.0]],
        ]


def step(layer):
    """One step of a decaying optimizer on every value but padding's would-be gradient."""
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.5)
    (layer(IDS) * torch.arange(1.0, 13.0).reshape(2, 3, 2)).sum().backward()
    optimizer.step()


def test_training_changes_words_and_the_unknown_word_apart_and_never_padding():
    layer = WordEmbedding(4, 0, GIVEN)
    step(layer)
    assert not layer(torch.tensor([[0]])).any()
    assert (layer.unknown != GIVEN[1]).all()
    assert (layer.vectors != GIVEN[2:]).all()
    assert not torch.equal(layer.unknown, layer.vectors[0])


def test_kept_vectors_stay_and_only_the_unknown_word_is_trained():
    layer = WordEmbedding(4, 0, GIVEN, trainable=False)
    step(layer)
    assert torch.equal(layer.vectors, GIVEN[2:])
    assert (layer.unknown != GIVEN[1]).all()
    assert count_parameters(layer) == 2
    assert set(layer.state_dict()) == {"unknown", "vectors"}


def test_vectors_that_are_not_given_have_the_asked_width_and_are_always_trained():
    torch.manual_seed(0)
    layer = WordEmbedding(500, 40, trainable=False)
    assert layer.embedding_dim == 40
    assert count_parameters(layer) == 499 * 40
    assert float(layer.vectors.detach().std()) == pytest.approx(START_STD, rel=0.02)
    assert layer.unknown.any()


def test_gradient_of_a_word_is_the_sum_over_where_it_stands():
    layer = WordEmbedding(4, 0, GIVEN)
    (layer(IDS) * torch.arange(1.0, 13.0).reshape(2, 3, 2)).sum().backward()
    assert layer.unknown.grad.tolist() == [3.0 + 7.0, 4.0 + 8.0]
    assert layer.vectors.grad.tolist() == [[1.0, 2.0], [5.0, 6.0]]


def test_layer_does_not_write_into_the_vectors_it_was_given():
    vectors = GIVEN.clone()
    step(WordEmbedding(4, 0, vectors))
    assert torch.equal(vectors, GIVEN)


def test_spec_gives_vocabulary_and_vectors():
    spec = InputSpec(feature_dim=3, num_classes=2, vocabulary_size=4, word_vectors=GIVEN)
    assert WordEmbedding.from_spec(spec, 300).embedding_dim == 2
    spec = InputSpec(feature_dim=3, num_classes=2, vocabulary_size=4)
    assert WordEmbedding.from_spec(spec, 300).embedding_dim == 300


def test_a_vocabulary_of_padding_and_unknown_alone_works():
    assert WordEmbedding(2, 3)(torch.tensor([[1, 0]])).shape == (1, 2, 3)


def test_data_without_words_are_refused_with_the_remedy():
    with pytest.raises(BadInputError, match=r"data give none; leave data\.words out"):
        WordEmbedding.from_spec(InputSpec(feature_dim=3, num_classes=2), 300)


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="a vocabulary of 1 ids"):
        WordEmbedding(1, 3)
    with pytest.raises(ValueError, match="embedding_dim = 0"):
        WordEmbedding(4, 0)
    with pytest.raises(ValueError, match=r"shape \(4, 2\) for 5 ids"):
        WordEmbedding(5, 3, GIVEN)
