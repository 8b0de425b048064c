"""What `evaluate --out` writes: a trained system on another dataset."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from annotated_types import Predicate

from serplatform.artifacts.ensemble import IntervalRecord
from serplatform.artifacts.records import Classes, Count, Record, holds

#: what stands in ``left_out``
LEFT_OUT = {
    "label": "whose label is none of the system's classes",
    "recording": "recordings that training has seen",
    "speaker": "other recordings of speakers whom training has seen",
    "unusable": "that could not be read",
}
READ_AS = {
    "all": "all classes of the system may be answered; one that the data lacks is wrong",
    "shared": "posteriors restricted to the classes that the data has",
}
#: metrics that are shown, in this order
SHOWN = ("uar", "accuracy", "macro_f1", "nll", "brier", "ece")


def _square(found: ReadingRecord) -> bool:
    size = len(found["classes"])
    if [len(row) for row in found["confusion"]] != [size] * size:
        raise ValueError("has a confusion matrix of other classes")
    return True


class LabelRecord(Record):
    """A label of the data, and the class of the system that it is; None: it has none, and the
    utterances are left out."""

    theirs: str
    ours: str | None
    utterances: Count


class ReadingRecord(Record):
    """Rows under one reading of the classes that the data lacks."""

    classes: Classes
    metrics: Annotated[dict[str, IntervalRecord], Predicate(holds(*SHOWN))]
    chance_uar: float
    confusion: list[list[Count]]


class GroupRecord(Record):
    """Rows of one speaker, or of all speakers of one gender.

    ``uar`` is over the classes that the group has, ``accuracy`` the share of right answers; their
    intervals are over speakers, and one speaker has none.
    """

    name: str
    utterances: Count
    speakers: Count
    uar: IntervalRecord
    accuracy: IntervalRecord


class DifferenceRecord(Record):
    """UAR of one group minus that of another."""

    one: str
    other: str
    uar: IntervalRecord


class ConditionRecord(Record):
    """UAR of the main reading on changed audio, and its difference to the same recordings as they
    are, paired by speaker."""

    group: str
    condition: str
    utterances: Count
    uar: IntervalRecord
    difference_to_clean: IntervalRecord


class RecallRecord(Record):
    """Recall of one class in one group; the interval is over its speakers."""

    group: str
    emotion: str
    utterances: Count
    recall: IntervalRecord


class GapRecord(Record):
    """The largest difference of a recall between two groups, in the class ``emotion``."""

    emotion: str
    best: str
    worst: str
    value: float
    p_value: float


class FairnessRecord(Record):
    """Recalls of groups of one kind, and the largest gap between two."""

    kind: Literal["gender", "speaker"]
    recalls: list[RecallRecord]
    gap: GapRecord | None


class EvaluationRecord(Record):
    """The file; ``evaluated`` is the identity of the system, see ``trial_identity``."""

    schema_version: int
    system: str
    system_title: str
    evaluated: NotRequired[str]
    data: str
    data_title: str
    synthetic: bool
    training_rows_excluded: bool
    labels: list[LabelRecord]
    classes_the_data_lacks: list[str]
    utterances: Count
    speakers: Count
    left_out: dict[str, Count]
    reading: Literal["all", "shared"]
    readings: Annotated[
        dict[str, Annotated[ReadingRecord, Predicate(_square)]],
        Predicate(holds(*READ_AS)),
    ]
    by_gender: list[GroupRecord]
    gender_differences: list[DifferenceRecord]
    by_speaker: list[GroupRecord]
    robustness: list[ConditionRecord]
    fairness: list[FairnessRecord]
    notes: list[str]
