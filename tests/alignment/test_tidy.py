"""Spans that overlap, run out of order or leave the audio: repaired and said, or refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serplatform.alignment import tidy
from serplatform.alignment.base import AlignmentError
from serplatform.corpora.base import Span


def span(label: str, start: float, end: float) -> Span:
    return Span(tier="word", label=label, start=start, end=end)


def plain(spans: tuple[Span, ...]) -> list[tuple[str, float, float]]:
    return [(s.label, s.start, s.end) for s in spans]


def test_a_partial_overlap_is_cut_and_said() -> None:
    found = tidy.tidy_tier([span("a", 0, 0.6), span("b", 0.5, 1.0)], 1.0)
    assert plain(found[0]) == [("a", 0, 0.5), ("b", 0.5, 1.0)]
    assert found[1] == (tidy.NOTE_OVERLAP,)


def test_one_span_within_another_is_refused_and_named() -> None:
    with pytest.raises(AlignmentError) as failed:
        tidy.tidy_tier([span("a", 0, 0.9), span("b", 0.5, 0.7)], 1.0)
    assert failed.value.args == (tidy.FAIL_OVERLAP, "'a' and 'b' at 0.00 s")


def test_disorder_is_sorted_and_said() -> None:
    found = tidy.tidy_tier([span("b", 0.5, 1.0), span("a", 0, 0.5)], 1.0)
    assert [s.label for s in found[0]] == ["a", "b"]
    assert found[1] == (tidy.NOTE_ORDER,)


def test_an_alignment_longer_than_the_audio_is_clipped_and_said() -> None:
    found = tidy.tidy_tier([span("a", 0, 0.9), span("b", 0.9, 1.5), span("</s>", 1.5, 2)], 1.0)
    assert plain(found[0]) == [("a", 0, 0.9), ("b", 0.9, 1.0)]
    assert found[1] == (tidy.NOTE_LONGER,)


def test_what_begins_before_the_audio_is_clipped_and_said() -> None:
    found = tidy.tidy_tier([span("x", -0.4, -0.1), span("a", -0.1, 0.5), span("b", 0.5, 1)], 1.0)
    assert plain(found[0]) == [("a", 0.0, 0.5), ("b", 0.5, 1.0)]
    assert found[1] == (tidy.NOTE_BEFORE,)


def test_a_frame_too_many_is_clipped_without_a_word() -> None:
    found = tidy.tidy_tier([span("a", 0, 1.02)], 1.0)
    assert plain(found[0]) == [("a", 0, 1.0)]
    assert found[1] == ()


def test_a_word_after_the_end_means_the_wrong_file() -> None:
    with pytest.raises(AlignmentError) as failed:
        tidy.tidy_tier([span("a", 0, 0.5), span("b", 1.2, 1.5)], 1.0)
    assert failed.value.reason == tidy.FAIL_BEYOND
    assert failed.value.detail == "'b' begins at 1.20 s, the audio ends at 1.00 s"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 5), st.floats(0.001, 2)), max_size=20), st.floats(0.1, 5))
def test_tidied_spans_are_ordered_disjoint_and_inside(
    raw: list[tuple[float, float]], duration: float
) -> None:
    try:
        spans, _ = tidy.tidy_tier([span("a", s, s + n) for s, n in raw], duration)
    except AlignmentError as error:
        if error.reason not in (tidy.FAIL_OVERLAP, tidy.FAIL_BEYOND):
            raise
        return
    assert all(0 <= s.start < s.end <= duration for s in spans)
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(spans))
