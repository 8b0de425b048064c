"""The emotion vocabulary."""

from __future__ import annotations

import pytest

from serplatform.labels import (
    EMOTIONS,
    alias_note,
    canonical_emotion,
    class_order,
    is_known,
    is_missing,
    nearest_alias,
)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("ang", "angry"),
        (" Anger ", "angry"),
        ("hap", "happy"),
        ("Happiness", "happy"),
        ("fear", "fearful"),
        ("ps", "surprised"),
        ("pleasant surprise", "surprised"),
        ("NEU", "neutral"),
        ("Boredom", "bored"),
        ("Whispered Speech", "whispered_speech"),
    ],
)
def test_labels_of_corpora_become_canonical(raw: str, name: str) -> None:
    assert canonical_emotion(raw) == name


def test_canonical_names_stay_as_they_are() -> None:
    assert [canonical_emotion(name) for name in EMOTIONS] == list(EMOTIONS)
    assert all(map(is_known, EMOTIONS))


@pytest.mark.parametrize("raw", ["", " ", "xxx", "N/A", "None", "?", "nan"])
def test_labels_that_say_nothing_are_missing(raw: str) -> None:
    assert is_missing(raw)


def test_misspellings_are_found_and_foreign_labels_are_not() -> None:
    assert nearest_alias("hapy") == "happy"
    assert nearest_alias("netural") == "neutral"
    assert nearest_alias("sarcastic") is None
    assert nearest_alias("angry") is None


def test_classes_are_ordered_by_the_vocabulary_then_by_name() -> None:
    assert class_order({"zeal", "sad", "awe", "neutral"}) == ("neutral", "sad", "awe", "zeal")


def test_note_lists_what_was_renamed_only() -> None:
    assert alias_note({"sad": 2, "Anger": 3}) == "labels mapped: Anger → angry (3)"
    assert alias_note({"sad": 2}) == ""
