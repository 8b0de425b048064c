"""``bundle.json``: what `export` writes."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from annotated_types import MinLen

from serplatform.artifacts.ensemble import BundledConfidences, IntervalRecord, Spread
from serplatform.artifacts.looks import LookRecord
from serplatform.artifacts.records import (
    Classes,
    Count,
    Number,
    PathText,
    PluginRecord,
    Positive,
    Record,
    Temperature,
    Weight,
)
from serplatform.artifacts.speaker_statistics import SpeakerStatistics

SystemKind = Literal["run", "ensemble"]


class BundledMember(Record):
    member: str
    architecture: str
    directory: PathText
    position: Number
    temperature: Temperature | None
    share: Weight


class BundledFold(Record):
    fold: Number
    members: list[BundledMember]
    num_candidates: Positive
    parameters: dict[str, object] | None


class BundledEncoder(Record):
    """A pretrained encoder that models need; ``directory`` is null where it is not in the bundle.

    ``about`` is what is known of its training data.
    """

    name: str
    sha256: str
    directory: PathText | None
    licence: str | None
    bytes: Count | None
    about: str


class DescribedData(Record, total=False):
    """What is known of a system's dataset; not where it lay."""

    fingerprint: str
    corpus: str
    title: str
    synthetic: bool
    counts: dict[str, object]
    earlier_fingerprints: list[str]
    language: str | None
    licence: str | None


class DescribedProtocol(Record):
    name: str | None
    speaker_independent: bool | None
    label_map: dict[str, str] | None
    num_folds: int | None
    folds_hash: str
    notes: list[str] | None


class DescribedMember(Record):
    """A trial; ``mean_share`` is over all folds, ``folds`` of which it is in."""

    member: str
    architecture: str
    mean_share: float
    folds: int


class DescribedMetric(IntervalRecord, Spread):
    """Of pooled rows with its interval, and over folds."""


class RefittedMember(Record):
    """How long a trial was trained on all rows; None in closed form."""

    member: str
    epochs: int | None
    best_epochs: list[int] | None


class RefitRecord(Record):
    """That each member was trained once on all rows of the dataset."""

    rows: int
    speakers: int
    members: list[RefittedMember]


class SystemDescription(Record, total=False):
    """What a bundle says of its system; those of earlier versions say less."""

    title: str
    data: DescribedData
    protocol: DescribedProtocol
    members: list[DescribedMember]
    parameters: dict[str, object]
    num_parameters: int | None
    selection: str
    metrics: dict[str, DescribedMetric]
    look: LookRecord
    sealed: bool
    notes: list[str]
    speaker_statistics: SpeakerStatistics
    refit: RefitRecord


class _BundleFields(Record):
    schema_version: int
    kind: SystemKind
    title: str
    classes: Classes
    synthetic: bool
    identity: NotRequired[str]
    folds: Annotated[list[BundledFold], MinLen(1)]
    rejection: NotRequired[BundledConfidences | None]
    files: dict[PathText, str]
    plugins: NotRequired[list[PluginRecord]]
    encoders: NotRequired[list[BundledEncoder]]
    sha256: str


class PackedEncoders(Record):
    """What a bundle says of encoders: nothing, where none is needed."""

    encoders: NotRequired[list[BundledEncoder]]


class BundleDescription(_BundleFields):
    """``bundle.json`` as it is read, of any version."""

    description: dict[str, object]


class WrittenBundle(_BundleFields):
    """``bundle.json`` as it is written."""

    description: SystemDescription
    made: str
    versions: dict[str, str]
