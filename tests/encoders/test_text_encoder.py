"""Contextual vectors of words: whose they are, against the model itself, long texts, refusals."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from serplatform.encoders.text import TextEncoder
from serplatform.errors import BadInputError
from tests.support.tiny_encoders import tiny_hubert
from tests.support.tiny_text import tiny_bert, tiny_roberta

transformers = pytest.importorskip("transformers", reason="the extra 'pretrained' is missing")

WORDS = ["kids", "unbelievably", "by", "the", "door"]


@pytest.mark.parametrize("make", [tiny_bert, tiny_roberta])
@pytest.mark.parametrize("layer", [0, 2])
def test_vector_i_is_the_mean_of_the_pieces_of_word_i(tmp_path, make, layer):
    path = make(tmp_path / "model")
    encoder = TextEncoder(path, "model")
    assert (encoder.num_layers, encoder.dim) == (2, 16)
    found = encoder.word_vectors(WORDS, layer)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    pieces = [tokenizer.tokenize(f" {word}") for word in WORDS]
    assert len(pieces[1]) > 1
    ids = [tokenizer.convert_tokens_to_ids(each) for each in pieces]
    start, end = tokenizer("").input_ids
    flat = torch.tensor([[start, *(i for each in ids for i in each), end]])
    model = transformers.AutoModel.from_pretrained(path).eval()
    with torch.no_grad():
        states = model(flat, output_hidden_states=True).hidden_states[layer][0].numpy()
    edges = np.cumsum([1, *map(len, ids)])
    expected = [states[a:b].mean(axis=0) for a, b in itertools.pairwise(edges)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_words_without_pieces_are_zero_and_no_words_give_no_vectors(tmp_path):
    encoder = TextEncoder(tiny_bert(tmp_path / "model"), "model")
    found = encoder.word_vectors(["kids", "\u200b", "door"], 2)
    assert found.shape == (3, 16)
    assert not found[1].any()
    assert found[2].any()
    assert encoder.word_vectors([], 2).shape == (0, 16)


def test_long_texts_are_read_in_windows_of_whole_words(tmp_path):
    encoder = TextEncoder(tiny_bert(tmp_path / "model", positions=12), "model")
    words = ["kids", "are", "talking", "by", "the", "door"] * 5 + ["unbelievably" * 9]
    found = encoder.word_vectors(words, 2)
    assert found.shape == (31, 16)
    assert np.abs(found).sum(axis=1).all()


def test_other_models_are_refused(tmp_path):
    with pytest.raises(BadInputError, match="type 'hubert', which is no text encoder"):
        TextEncoder(tiny_hubert(tmp_path / "hubert"), "hubert")
    path = Path(tiny_bert(tmp_path / "bert"))
    (path / "tokenizer.json").unlink()
    with pytest.raises(BadInputError, match=r"lacks tokenizer.json"):
        TextEncoder(path, "bert")
