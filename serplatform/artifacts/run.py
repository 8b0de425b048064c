"""``run.json`` and ``folds.json``: what a run is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, NotRequired

from annotated_types import MinLen

from serplatform.artifacts.dataset import DatasetCounts
from serplatform.artifacts.records import (
    Classes,
    Count,
    FileName,
    Number,
    PathText,
    PluginRecord,
    Positive,
    Record,
    Seconds,
)

#: what a space is: ``given`` by the user, over layers of an ``encoder``, of the ``paper``'s sizes
#: or of ``reduced`` ones
SpaceKind = Literal["given", "encoder", "paper", "reduced"]


class FoldRecord(Record):
    train: list[str]
    dev: list[str]
    test: list[str]


class FoldFile(Record):
    """``folds.json``."""

    schema_version: int
    protocol: str
    speaker_independent: bool
    classes: Classes
    label_map: dict[str, str]
    folds: Annotated[list[FoldRecord], MinLen(1)]
    seed: int
    notes: list[str]
    hash: NotRequired[str]
    #: speakers who share recordings, to a name of all who do; lacking: none do, or an old file
    speaker_units: NotRequired[dict[str, str]]


def dev_tests_elsewhere(plan: FoldFile) -> bool:
    """Whether a dev row of one fold is a test row of another: a mean over folds holds test rows.

    Example:
        >>> folds = [{"train": ["a"], "dev": ["b"], "test": ["c"]}]
        >>> dev_tests_elsewhere({"folds": folds})
        False
        >>> dev_tests_elsewhere({"folds": [*folds, {"train": ["c"], "dev": ["a"], "test": ["b"]}]})
        True
    """
    folds = plan["folds"]
    tested = {name for fold in folds for name in fold["test"]}
    return any(name in tested for fold in folds for name in fold["dev"])


class DatasetOfRun(Record):
    """What a run and an ensemble keep of their dataset."""

    path: PathText
    fingerprint: str
    corpus: NotRequired[str]
    title: NotRequired[str]
    synthetic: NotRequired[bool]
    counts: NotRequired[DatasetCounts]
    earlier_fingerprints: NotRequired[list[str]]


class ProtocolOfRun(Record):
    name: str
    speaker_independent: NotRequired[bool]
    label_map: NotRequired[dict[str, str]]
    num_folds: NotRequired[Positive]
    notes: NotRequired[list[str]]


class ObservationRecord(Record):
    run: str
    trial: Number
    values: dict[str, object]
    objectives: list[float] | None
    step: Count
    reached: float


class WarmStartRecord(Record):
    run: str
    points: dict[str, list[dict[str, object]]]
    observations: dict[str, list[ObservationRecord]]
    why_no_observations: list[str]
    remarks: list[str]
    #: test rows of this run that are dev rows of that one, whose folds differ
    test_rows_seen: NotRequired[Count]
    same_data: NotRequired[bool]  # of older runs
    num_points: NotRequired[Count]
    num_observations: NotRequired[Count]


class ListedTrial(Record):
    architecture: str
    values: dict[str, object]
    repeat: Count


class RunDescription(Record):
    """``run.json``."""

    schema_version: int
    classes: Classes
    dataset: DatasetOfRun
    folds_hash: str
    folds_file: NotRequired[FileName]
    protocol: ProtocolOfRun
    command: NotRequired[list[str]]
    architectures: NotRequired[list[str]]
    left_out: NotRequired[dict[str, str]]  # architecture to why `all` did not stand for it
    spaces: dict[str, dict[str, object]]
    #: by architecture: what its space is; without those whose sizes are to be decided
    sizes: NotRequired[dict[str, SpaceKind]]
    #: seconds of the time budget that sizes are decided by, also when the run is resumed
    sized_for: NotRequired[Seconds | None]
    #: by architecture: seconds that a trial takes at most, on one core
    costs: NotRequired[dict[str, Seconds]]
    #: by architecture and kind of space: what its first points are worth, points of UAR
    portfolio: NotRequired[dict[str, dict[SpaceKind, list[float]]]]
    reference: NotRequired[bool]
    nested: NotRequired[bool]  # a study, and trials, of every outer fold of its own
    settings: NotRequired[list[str]]
    roster: NotRequired[list[ListedTrial]]
    seed: int
    objective: Annotated[list[str], MinLen(1)]
    sampler: NotRequired[str]
    pruner: NotRequired[str]
    storage: NotRequired[str | None]
    study_prefix: NotRequired[str]
    selection: NotRequired[str]
    #: no test posteriors are computed; lacking: begun by a version that did not count looks either
    sealed: NotRequired[bool]
    #: when `unseal` closed the choice
    unsealed: NotRequired[str]
    versions: NotRequired[Mapping[str, object]]
    hardware: NotRequired[Mapping[str, object]]
    warm_start: NotRequired[list[WarmStartRecord]]
    plugins: NotRequired[list[PluginRecord]]
    status: str
    started: NotRequired[str | None]
    ended: NotRequired[str | None]
    seconds: NotRequired[Seconds | None]
    trials: NotRequired[Count | None]
    time_budget: NotRequired[Seconds | None]
    combiner: NotRequired[str | None]
    resources: NotRequired[dict[str, object]]
    #: experiment trackers that it is sent to, as ``--log`` names them, without passwords
    log: NotRequired[list[str]]
    notes: list[str]
