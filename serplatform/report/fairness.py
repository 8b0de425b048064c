r"""Who is understood worse: recall by gender and by speaker, and whether the largest gap is chance.

The gap is the largest difference of one class's recall between two groups. Under the null
hypothesis a recall depends on the class alone, so right and wrong answers are permuted: genders
between whole speakers, whose utterances are not independent; speakers between the utterances of
each class. The gap of each draw is the largest again, which holds the chance of a single false
finding among all classes and groups. Phipson and Smyth, SAGMB 9(1), 2010, Eq. (2) for the + 1.

Shapes: N rows, K classes, G groups, R draws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import numpy as np

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.evaluation import FairnessRecord, GapRecord, RecallRecord
from serplatform.report.load import Posteriors
from serplatform.report.speaker_intervals import mean_interval

#: utterances of a class that a group needs to be compared in it
LEAST = 5
_EQUAL = 1e-9
Kind = Literal["gender", "speaker"]


class AnsweredRows(Protocol):
    """N rows with their (N,) truth, as positions among K classes, and whether the answer is right:
    (N,) shares, 0 and 1 where a row was answered once."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def truth(self) -> IntArray: ...
    @property
    def right(self) -> DoubleArray: ...
    @property
    def speakers(self) -> tuple[str, ...]: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswersOnTest:
    """A system's answers on its own test rows, one row an utterance, see :class:`AnsweredRows`."""

    classes: tuple[str, ...]
    truth: IntArray
    right: DoubleArray
    speakers: tuple[str, ...]


def fairness(
    measured: AnsweredRows, kind: Kind, names: Sequence[str], *, draws: int = 2000, seed: int = 0
) -> FairnessRecord:
    """Compare the groups that N names make; rows without a name are in none. Without two groups
    that can be compared there is no gap.

    Args:
        measured: N rows.
        kind: ``gender``: speakers are permuted whole; ``speaker``: utterances within each class.
        names: N.
        draws: R.
        seed: of the draws.
    """
    group = np.array(names, dtype=object)
    speakers, right = np.array(measured.speakers, dtype=object), measured.right
    recalls: list[RecallRecord] = []
    for name in sorted(set(names) - {""}):
        for k in np.unique(measured.truth[group == name]).tolist():
            rows = (group == name) & (measured.truth == k)
            found = mean_interval(right[rows], speakers[rows].tolist(), "share")
            recalls.append(
                RecallRecord(
                    group=name,
                    emotion=measured.classes[k],
                    utterances=int(rows.sum()),
                    recall=found.as_dict(),
                )
            )
    known = np.flatnonzero(group != "")
    if not len(known):
        return FairnessRecord(kind=kind, recalls=[], gap=None)
    places, code = np.unique(group[known].astype(str), return_inverse=True)
    truth, answers = measured.truth[known], right[known]
    permute = (_whole_speakers if kind == "gender" else _within_classes)(
        code.astype(np.int64), truth, speakers[known].astype(str)
    )
    observed = _recall_table(code.astype(np.int64), truth, answers, len(measured.classes))
    value, k = _largest(observed)
    if value is None:
        return FairnessRecord(kind=kind, recalls=recalls, gap=None)
    rng = np.random.default_rng(seed)
    above = 0
    for _ in range(draws):
        drawn = _largest(_recall_table(permute(rng), truth, answers, len(measured.classes)))[0]
        above += drawn is not None and drawn >= value - _EQUAL
    return FairnessRecord(
        kind=kind,
        recalls=recalls,
        gap=GapRecord(
            emotion=measured.classes[k],
            best=str(places[int(np.nanargmax(observed[:, k]))]),
            worst=str(places[int(np.nanargmin(observed[:, k]))]),
            value=value,
            p_value=(above + 1) / (draws + 1),
        ),
    )


def fairness_on_test(
    test: Posteriors, classes: Sequence[str], genders: Mapping[str, str]
) -> list[FairnessRecord]:
    """By gender and by speaker on pooled test rows; utterances that test in several folds count
    once, with the share of right answers.

    Args:
        test: N rows.
        classes: K.
        genders: by utterance id, as far as they are known.
    """
    names, first, index = np.unique(test.utterance_ids, return_index=True, return_inverse=True)
    right = np.bincount(index, weights=test.prediction == test.truth) / np.bincount(index)
    answers = AnswersOnTest(
        classes=tuple(classes),
        truth=test.truth[first],
        right=right,
        speakers=tuple(test.speaker_ids[first].tolist()),
    )
    kinds: dict[Kind, Sequence[str]] = {
        "gender": [genders.get(name, "") for name in names.tolist()],
        "speaker": answers.speakers,
    }
    return [fairness(answers, kind, groups) for kind, groups in kinds.items()]


def _recall_table(code: IntArray, truth: IntArray, right: DoubleArray, size: int) -> DoubleArray:
    """(G, K) recalls; NaN where a group has fewer than :data:`LEAST` utterances of a class."""
    shape = int(code.max()) + 1, size
    cell = code * size + truth
    count = np.bincount(cell, minlength=shape[0] * size).reshape(shape)
    hits = np.bincount(cell, weights=right, minlength=shape[0] * size).reshape(shape)
    return np.where(count >= LEAST, hits / np.maximum(count, 1), np.nan)


def _largest(recalls: DoubleArray) -> tuple[float | None, int]:
    """The largest gap of a class that two groups can be compared in, and the class."""
    both = np.isfinite(recalls).sum(axis=0) > 1
    if not both.any():
        return None, 0
    low = np.where(np.isfinite(recalls), recalls, np.inf).min(axis=0)
    high = np.where(np.isfinite(recalls), recalls, -np.inf).max(axis=0)
    gaps = np.where(both, high - low, -1.0)
    return float(gaps.max()), int(gaps.argmax())


def _whole_speakers(
    code: IntArray, truth: IntArray, speakers: np.ndarray
) -> Callable[[np.random.Generator], IntArray]:
    _, first, index = np.unique(speakers, return_index=True, return_inverse=True)
    return lambda rng: rng.permutation(code[first])[index]


def _within_classes(
    code: IntArray, truth: IntArray, speakers: np.ndarray
) -> Callable[[np.random.Generator], IntArray]:
    order = np.argsort(truth, kind="stable")

    def draw(rng: np.random.Generator) -> IntArray:
        found = np.empty_like(code)
        found[order] = code[np.lexsort((rng.random(len(code)), truth))]
        return found

    return draw
