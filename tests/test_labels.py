"""The emotion vocabulary."""

from __future__ import annotations

import pytest

from serplatform.labels import (
    EMOTIONS,
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


MISSING = "xxx N/A None ? nan NaT <NA> #N/A n.a. null (unknown) - — ... unk Unspecified"


@pytest.mark.parametrize(
    "raw",
    [
        "",
        " ",
        "Not available",
        *MISSING.split(),
        "#NV",
        "#REF!",
        "\\N",
        "Unknown speaker",
        "'nan'",
        "不明",
    ],
)
def test_cells_that_say_nothing_are_missing(raw: str) -> None:
    assert is_missing(raw)


@pytest.mark.parametrize("raw", ["0", "Ann", "no", "s-1", "-1", "_a_", "nana", "sad", "#1", "#sad"])
def test_cells_that_say_something_are_not(raw: str) -> None:
    assert not is_missing(raw)


def test_misspellings_are_found_and_foreign_labels_are_not() -> None:
    assert nearest_alias("hapy") == "happy"
    assert nearest_alias("netural") == "neutral"
    assert nearest_alias("suprised") == "surprised"
    assert nearest_alias("disgustt") == "disgust"
    assert nearest_alias("sarcastic") is None
    assert nearest_alias("angry") is None
    assert nearest_alias("zlosc", ["radość", "złość"]) == "złość"
    assert nearest_alias("złość", ["złość"]) is None
    assert [nearest_alias(word) for word in ("unhappy", "gladness", "distrust", "content")] == (
        [None] * 4
    )


def test_classes_are_ordered_by_the_vocabulary_then_by_name() -> None:
    assert class_order({"zeal", "sad", "awe", "neutral"}) == ("neutral", "sad", "awe", "zeal")
