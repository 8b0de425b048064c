"""Attention on each word and each phone, emotion by emotion, and whether emotions differ in it.

Attention is taken within speech: what lies on the words (or phones) of an utterance, silence cut
out, is set to 1, so that a longer silence in one emotion moves nothing. A word's relative attention
is its share of that over its share of the words' frames, 1 where attention is even; of an attention
over words (CAN, FG-CME), its weight over that of an even attention.

Shapes: T frames, L words, N utterances.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from serplatform.alignment.phone_classes import Notation, phone_class, plain_phone
from serplatform.alignment.tidy import is_special, plain_word
from serplatform.arrays import DoubleArray
from serplatform.artifacts.explanations import LabelAttention, LabelAttentions, LabelMean
from serplatform.artifacts.files import SCHEMA_VERSION, csv_text, write_json, write_text
from serplatform.corpora.base import Span
from serplatform.explanations.attention import FrameGrid
from serplatform.report.speaker_intervals import mean_interval
from serplatform.statistics.stratified_permutation import stratified_permutation_test

#: utterances of one emotion that a mean is taken of, at least
LEAST_UTTERANCES = 5
NUM_DRAWS = 2000
FILE = "attention_by_label"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpokenLabels:
    """Relative attention on what one utterance says: a word or phone to its mean there."""

    fold: int
    speaker_id: str
    emotion: str
    relative: dict[str, float]


def spoken_words(spans: Iterable[Span]) -> list[Span]:
    """Words without silence and noises, written alike."""
    return [
        dataclasses.replace(span, label=plain_word(span.label))
        for span in spans
        if not is_special(span.label)
    ]


def spoken_phones(spans: Iterable[Span], notation: Notation) -> list[Span]:
    """Vowels and consonants, without marks of stress."""
    return [
        dataclasses.replace(span, label=plain_phone(span.label, notation))
        for span in spans
        if phone_class(span.label, notation) in ("vowel", "consonant")
    ]


def relative_to_time(
    share: DoubleArray, grid: FrameGrid, spans: Sequence[Span]
) -> dict[str, float]:
    """Attention of each label's frames over an even one's, from (T,) shares; see the module.

    Empty where there are not two labels to compare, or no attention on any.

    Example:
        >>> grid = FrameGrid(first=0, count=4, shift=1.0, length=1.0)
        >>> said = [Span(tier="word", label=w, start=s, end=s + 1) for w, s in (("a", 0), ("b", 1))]
        >>> relative_to_time(np.array([0.3, 0.1, 0.5, 0.1]), grid, said)
        {'a': 1.5, 'b': 0.5}
    """
    before = np.concatenate([[0.0], np.cumsum(share)])
    ends = [[span.start, span.end] for span in spans]
    found: dict[str, list[float]] = {}
    edges = np.searchsorted(grid.centres, np.array(ends).reshape(-1, 2), side="left")
    for span, (first, last) in zip(spans, edges.tolist(), strict=True):
        if last > first:
            entry = found.setdefault(span.label, [0.0, 0.0])
            entry[0] += float(before[last] - before[first])
            entry[1] += last - first
    mass = sum(entry[0] for entry in found.values())
    time = sum(entry[1] for entry in found.values())
    if len(found) < 2 or not mass > 0:
        return {}
    return {label: round(m / mass / (t / time), 9) for label, (m, t) in found.items()}


def relative_to_count(share: DoubleArray, spans: Sequence[Span]) -> dict[str, float]:
    """Attention of each word over an even one's, from (L,) shares of L spans, at least two."""
    found: dict[str, list[float]] = {}
    for span, value in zip(spans, share.tolist(), strict=True):
        found.setdefault(span.label, []).append(value * len(spans))
    return {label: float(np.mean(values)) for label, values in found.items()}


def measure_labels(
    said: Sequence[SpokenLabels], classes: Sequence[str], *, seed: int
) -> list[LabelAttention]:
    """Mean relative attention of each label in each emotion, and the test of their difference.

    The means have intervals over speakers. Emotions are permuted within the utterances of one
    speaker in one fold, that is under one model; labels are tested that two emotions have in at
    least :data:`LEAST_UTTERANCES` utterances each, and corrected for each other.

    Returns:
        labels in such a number of utterances of any emotion, the most frequent first.
    """
    rows: dict[str, list[int]] = {}
    for place, one in enumerate(said):
        for label in one.relative:
            rows.setdefault(label, []).append(place)
    emotions = np.array([one.emotion for one in said], dtype=object)
    found: dict[str, LabelAttention] = {}
    columns: dict[str, DoubleArray] = {}
    for label, places in sorted(rows.items(), key=lambda item: (-len(item[1]), item[0])):
        values = np.full(len(said), np.nan)
        values[places] = [said[place].relative[label] for place in places]
        means: dict[str, LabelMean] = {}
        for emotion in classes:
            own = [place for place in places if emotions[place] == emotion]
            if len(own) >= LEAST_UTTERANCES:
                interval = mean_interval(values[own], [said[place].speaker_id for place in own])
                low, high = interval.low, interval.high
                means[emotion] = {
                    "value": interval.value,
                    "low": low,
                    "high": high,
                    "utterances": len(own),
                }
        if not means:
            continue
        found[label] = {
            "label": label,
            "utterances": len(places),
            "speakers": len({said[place].speaker_id for place in places}),
            "emotions": means,
            "p_value": None,
            "corrected": None,
        }
        if len(means) > 1:
            columns[label] = np.where(np.isin(emotions, list(means)), values, np.nan)
    if columns:
        test = stratified_permutation_test(
            np.stack(list(columns.values()), axis=1),
            [one.emotion for one in said],
            [(one.fold, one.speaker_id) for one in said],
            num_draws=NUM_DRAWS,
            seed=seed,
        )
        for label, p, corrected in zip(columns, test.p_value, test.corrected, strict=True):
            if np.isfinite(p):
                found[label]["p_value"], found[label]["corrected"] = float(p), float(corrected)
    return list(found.values())


def write_labels(folder: Path, maps: Sequence[LabelAttentions]) -> list[str]:
    """Write what was measured of every map as JSON and CSV; return the names of the files."""
    record = {
        "schema_version": SCHEMA_VERSION,
        "least_utterances": LEAST_UTTERANCES,
        "num_draws": NUM_DRAWS,
        "maps": list(maps),
    }
    write_json(folder / f"{FILE}.json", record)
    whose = ["trial", "architecture", "map", "tier"]
    values = ["utterances", "value", "low", "high"]
    lines: list[list[object]] = [[*whose, "label", "emotion", *values, "p_value", "corrected"]]
    for one in maps:
        for entry in one["labels"]:
            for emotion, mean in entry["emotions"].items():
                numbers = [mean[name] for name in ("utterances", "value", "low", "high")]
                test = [entry["p_value"], entry["corrected"]]
                what = [one["trial"], one["architecture"], one["map"], one["tier"]]
                lines.append([*what, entry["label"], emotion, *numbers, *test])
    write_text(folder / f"{FILE}.csv", csv_text(lines))
    return [f"{FILE}.json", f"{FILE}.csv"]
