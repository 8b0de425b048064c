"""Bring spans as a file gives them into order: repaired where that is safe, else refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from serplatform.alignment.base import AlignmentError
from serplatform.corpora.base import Span

#: An alignment may end this much before or after the audio without a word, in seconds.
TOLERANCE = 0.1

NOTE_OVERLAP = "overlapping spans: the earlier one was cut where the later begins"
NOTE_ORDER = "spans out of order: sorted by time"
NOTE_BEFORE = "spans before the audio: clipped"
NOTE_LONGER = "alignment longer than the audio: clipped"
NOTE_SHORTER = "alignment shorter than the audio: the rest is silence"
FAIL_BEYOND = "alignment does not belong to the audio: a word begins after the end"
FAIL_OVERLAP = "overlapping spans: one lies wholly within another"
FAIL_NO_WORDS = "no words in the alignment"


def tidy_tier(spans: Sequence[Span], duration: float) -> tuple[tuple[Span, ...], tuple[str, ...]]:
    """Order one tier, cut overlaps and clip it to the audio, ``duration`` seconds long.

    Returns:
        The spans, and what was repaired.

    Raises:
        AlignmentError: they cannot be used.
    """
    notes: list[str] = []
    ordered = sorted(spans, key=lambda span: (span.start, span.end))
    if [s.start for s in ordered] != [s.start for s in spans]:
        notes.append(NOTE_ORDER)
    if ordered and ordered[0].start < 0:
        notes.append(NOTE_BEFORE)
        ordered = [dataclasses.replace(s, start=max(s.start, 0.0)) for s in ordered if s.end > 0]
    tidy: list[Span] = []
    for position, span in enumerate(ordered):
        end = span.end
        if position + 1 < len(ordered) and end > ordered[position + 1].start + 1e-9:
            end = ordered[position + 1].start
            if end <= span.start or ordered[position + 1].end < span.end:
                raise AlignmentError(
                    FAIL_OVERLAP,
                    f"'{span.label}' and '{ordered[position + 1].label}' at {span.start:.2f} s",
                )
            notes.append(NOTE_OVERLAP)
        if span.start >= duration:
            # Silence after the end is no loss; a word there means the wrong file.
            if not is_special(span.label):
                raise AlignmentError(
                    FAIL_BEYOND,
                    f"'{span.label}' begins at {span.start:.2f} s, "
                    f"the audio ends at {duration:.2f} s",
                )
            continue
        tidy.append(Span(span.tier, span.label, span.start, min(end, duration)))
    covered = ordered[-1].end if ordered else 0.0
    if covered > duration + TOLERANCE:
        notes.append(NOTE_LONGER)
    return tuple(tidy), tuple(dict.fromkeys(notes))


def is_special(label: str) -> bool:
    """Whether a label is silence, a sentence mark or a filler rather than a word or phone.

    Example:
        >>> [is_special(x) for x in ("<s>", "<sil>", "++LAUGHTER++", "[NOISE]", "SIL", "")]
        [True, True, True, True, True, True]
        >>> [is_special(x) for x in ("what", "<unk>", "AH")]
        [False, False, False]
    """
    text = label.strip().lower()
    if text in ("", "sil", "sp", "<s>", "</s>", "<sil>", "<eps>", "<p:>"):
        return True
    pairs = (("+", "+"), ("[", "]"), ("{", "}"))
    return len(text) > 1 and any(text.startswith(a) and text.endswith(b) for a, b in pairs)


def plain_word(label: str) -> str:
    """The word itself: lower case, without the mark of a pronunciation variant.

    Example:
        >>> plain_word("WHAT(2)"), plain_word("I'M"), plain_word("++NAME++")
        ('what', "i'm", '++name++')
    """
    text = label.strip().lower()
    if text.endswith(")") and "(" in text[1:]:
        stem, _, variant = text[:-1].rpartition("(")
        if variant.isdigit():
            return stem
    return text
