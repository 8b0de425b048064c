"""Vocabulary: training words only, padding and unknown apart."""

from __future__ import annotations

import pytest

from serplatform.errors import BadInputError
from serplatform.inputs.vocabulary import PADDING_ID, UNKNOWN_ID, Vocabulary


def test_padding_and_unknown_are_different_ids_that_no_word_has() -> None:
    vocabulary = Vocabulary.fit([["by", "the", "door"]])
    assert (PADDING_ID, UNKNOWN_ID) == (0, 1)
    assert vocabulary.encode(["by", "the", "door", "window"]).tolist() == [2, 4, 3, 1]
    assert len(vocabulary) == 5


def test_frequent_words_come_first_and_ties_by_name() -> None:
    vocabulary = Vocabulary.fit([["b", "a"], ["c", "b"], ["c", "a", "b"]])
    assert vocabulary.words == ("b", "a", "c")


def test_rare_words_stay_unknown() -> None:
    vocabulary = Vocabulary.fit([["the", "dogs"], ["the", "kids"]], min_count=2)
    assert vocabulary.words == ("the",)
    assert vocabulary.encode(["the", "kids"]).tolist() == [2, UNKNOWN_ID]


def test_marks_are_never_words() -> None:
    assert Vocabulary.fit([["<unk>", "<pad>", "", "so"]]).words == ("so",)
    with pytest.raises(BadInputError, match="'<unk>' cannot be a word"):
        Vocabulary(("a", "<unk>"))
    with pytest.raises(BadInputError, match="the word 'a' occurs twice"):
        Vocabulary(("a", "b", "a"))


def test_nothing_to_fit_leaves_two_ids() -> None:
    assert len(Vocabulary.fit([])) == 2
    assert Vocabulary.fit([]).encode(["so"]).tolist() == [UNKNOWN_ID]
