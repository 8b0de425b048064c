"""``bundle.json``: what `export` writes."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from annotated_types import MinLen

from serplatform.artifacts.ensemble import BundledConfidences
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


class BundleDescription(Record):
    """``bundle.json``."""

    schema_version: int
    kind: Literal["run", "ensemble"]
    title: str
    classes: Classes
    synthetic: bool
    identity: NotRequired[str]
    folds: Annotated[list[BundledFold], MinLen(1)]
    description: dict[str, object]
    rejection: NotRequired[BundledConfidences | None]
    files: dict[PathText, str]
    plugins: NotRequired[list[PluginRecord]]
    encoders: NotRequired[list[BundledEncoder]]
    sha256: str
