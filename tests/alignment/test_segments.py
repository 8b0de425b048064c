"""From spans to segments and frames: silence divided, overlap, rounding, special tokens."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serplatform.alignment.segments import (
    divide_silence,
    equal_segments,
    frame_spans,
    overlap_neighbours,
    words_of,
)
from serplatform.alignment.tidy import is_special, plain_word
from serplatform.corpora.base import Span


def span(label: str, start: float, end: float, tier: str = "word") -> Span:
    return Span(tier=tier, label=label, start=start, end=end)


#: Table 1 of Lee, Yoon and Jung 2020 has this shape: word, silence, word, in 10 ms units
EXAMPLE = [
    span("<s>", 0.0, 0.3),
    span("THAT'S", 0.3, 0.58),
    span("OKAY(2)", 0.58, 0.89),
    span("<sil>", 0.89, 1.41),
    span("THANKS", 1.41, 1.8),
    span("</s>", 1.8, 2.0),
]


def test_time_of_special_tokens_is_divided_equally_between_neighbours() -> None:
    words, times = words_of(EXAMPLE)
    assert words == ["that's", "okay", "thanks"]
    divided = divide_silence(times, 0.0, 2.0)
    np.testing.assert_allclose(divided, [[0.0, 0.58], [0.58, 1.15], [1.15, 2.0]], atol=1e-12)


def test_a_run_of_special_tokens_is_divided_as_one() -> None:
    spans = [
        span("a", 0.0, 0.2),
        span("<sil>", 0.2, 0.3),
        span("++LAUGHTER++", 0.3, 0.9),
        span("<sil>", 0.9, 1.0),
        span("b", 1.0, 1.2),
    ]
    np.testing.assert_allclose(
        divide_silence(words_of(spans)[1], 0.0, 1.2), [[0.0, 0.6], [0.6, 1.2]], atol=1e-12
    )


def test_one_word_gets_all_the_time() -> None:
    assert divide_silence(np.array([[0.5, 0.7]]), 0.0, 3.0).tolist() == [[0.0, 3.0]]


def test_no_words_give_no_segments() -> None:
    assert divide_silence(np.zeros((0, 2)), 0.0, 1.0).shape == (0, 2)
    assert overlap_neighbours(np.zeros((0, 2))).shape == (0, 2)
    assert words_of([span("<sil>", 0, 1), span("AH", 0, 1, "phone")])[0] == []


def test_neighbours_overlap_by_the_share_and_the_ends_stay() -> None:
    segments = equal_segments(3, 0.0, 3.0)
    stretched = overlap_neighbours(segments, 0.1)
    np.testing.assert_allclose(stretched, [[0, 1.05], [0.95, 2.05], [1.95, 3]], atol=1e-12)
    assert overlap_neighbours(segments, 0.0).tolist() == segments.tolist()


def test_frames_after_trimming_count_from_the_first_kept_one() -> None:
    spans = frame_spans(np.array([[0.0, 0.5], [0.5, 1.0], [1.0, 2.0]]), 0.01, 60, first_frame=45)
    assert spans.tolist() == [[0, 5], [5, 55], [55, 60]]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 5)), min_size=1, max_size=30),
    st.sampled_from([0.01, 0.0125, 1.0]),
    st.integers(1, 400),
    st.integers(0, 300),
    st.floats(0, 0.5),
)
def test_every_word_has_frames_inside_the_clip(
    raw: list[tuple[float, float]], shift: float, num_frames: int, first: int, share: float
) -> None:
    times = np.array(sorted((a, a + b) for a, b in raw))
    kept = (first * shift, (first + num_frames) * shift)
    divided = divide_silence(times, *kept)
    assert divided[0, 0] == kept[0]
    assert divided[-1, 1] == kept[1]
    assert (divided[1:, 0] == divided[:-1, 1]).all()
    for segments in (times, divided, overlap_neighbours(divided, share)):
        frames = frame_spans(segments, shift, num_frames, first)
        assert (frames[:, 0] >= 0).all()
        assert (frames[:, 1] > frames[:, 0]).all()
        assert (frames[:, 1] <= num_frames).all()


@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_segments_without_gaps_stay_so_in_frames(count: int, scale: int) -> None:
    frames = frame_spans(equal_segments(count, 0.0, count * scale * 0.01), 0.01, count * scale)
    assert (frames[1:, 0] == frames[:-1, 1]).all()
    assert (np.diff(frames, axis=1) == scale).all()


def test_special_tokens_of_every_source_are_known() -> None:
    special = [
        "<s>",
        "</s>",
        "<sil>",
        "++NAME++",
        "+BREATHING+",
        "[NOISE]",
        "SIL",
        "",
        "sp",
        "<eps>",
    ]
    assert all(map(is_special, special))
    assert not any(map(is_special, ["a", "<unk>", "silly", "+", "I'M", "AH"]))


def test_only_numbered_variants_are_stripped() -> None:
    assert [plain_word(w) for w in ("WHAT(2)", "a(b)", "(2)", "The")] == [
        "what",
        "a(b)",
        "(2)",
        "the",
    ]
