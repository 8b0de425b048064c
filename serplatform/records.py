"""What the JSON files that stages exchange hold, and the one check of each when it is read.

The files stay plain dictionaries: :func:`checked` returns what it was given, or says which key of
which file is wrong. Keys that are not named here are kept and not looked at; those that only some
versions wrote are ``NotRequired``. A whole number may stand for a number, true and false may not,
and no number is NaN or infinite.
"""

from __future__ import annotations

import base64
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypeVar, cast

from annotated_types import Ge, Gt, Len, Lt, MinLen, Predicate
from typing_extensions import TypedDict, is_typeddict

from serplatform.artifacts import SCHEMA_VERSION, read_json
from serplatform.errors import ArtifactError
from serplatform.metrics import METRICS

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

_MOST_FAULTS = 5


def _file_name(text: str) -> bool:
    if text in ("", ".", "..") or "/" in text or "\\" in text or not _path(text):
        raise ValueError("is no file's name")
    return True


def _path(text: str) -> bool:
    parts = text.split("/")
    if "\0" in text or len(text) > 3000 or any(len(os.fsencode(part)) > 255 for part in parts):
        raise ValueError("is no path that can be")
    return True


def _different(names: Sequence[str]) -> bool:
    if len(set(names)) < len(names):
        raise ValueError("names one thing twice")
    return True


def _lists(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    def check(found: Mapping[str, Any]) -> bool:
        if lacking := [name for name in names if name not in found]:
            raise ValueError(f"lacks {', '.join(lacking)}")
        return True

    return check


def _square(found: Diversity) -> bool:
    size = len(found["members"])
    rows = found["disagreement"]
    if len(rows) != size or any(len(row) != size for row in rows):
        raise ValueError("disagreement is not one row and one column a member")
    return True


def _columns(found: Curve) -> bool:
    if not len(found["threshold"]) == len(found["coverage"]) == len(found["accuracy"]):
        raise ValueError("columns differ in length")
    return True


def _filled(found: SpectrogramRecord) -> bool:
    if len(base64.b64decode(found["values"])) != found["bands"] * found["frames"]:
        raise ValueError("holds another number of cells than bands times frames")
    return True


def _span(found: Sequence[Any]) -> bool:
    label, start, end, *kind = found
    if [type(one) for one in (label, *kind)] != [str] * (1 + len(kind)) or not all(
        isinstance(one, (int, float)) for one in (start, end)
    ):
        raise ValueError("is no label with a start and an end")
    return True


#: how many there are; what 64 bits hold
Count = Annotated[int, Ge(0), Lt(2**63)]
Positive = Annotated[int, Ge(1), Lt(2**31)]
#: of a fold or a trial
Number = Annotated[int, Ge(0), Lt(2**31)]
Seconds = Annotated[float, Ge(0)]
Weight = Annotated[float, Ge(0)]
Temperature = Annotated[float, Gt(0)]
FileName = Annotated[str, Predicate(_file_name)]
PathText = Annotated[str, Predicate(_path)]
Classes = Annotated[list[str], MinLen(1), Predicate(_different)]
#: metrics of a trial's dev rows
DevMetrics = dict[str, float]
#: every metric by name
Metrics = Annotated[dict[str, float], Predicate(_lists(*METRICS))]


class DatasetCounts(TypedDict):
    utterances: Count
    speakers: NotRequired[Count]
    listed: NotRequired[Count]
    copies: NotRequired[dict[str, Count]]
    rejected: NotRequired[Count]
    by_emotion: NotRequired[dict[str, Count]]
    by_speaker: NotRequired[dict[str, Count]]
    by_gender: NotRequired[dict[str, Count]]
    by_reason: NotRequired[dict[str, Count]]
    seconds: NotRequired[Seconds]


class Shard(TypedDict):
    file: FileName
    rows: Count
    frames: Count
    bytes: Count
    sha256: str


class FeatureRecord(TypedDict):
    dim: Positive
    frame_shift: Seconds
    frame_length: Seconds
    unit: str
    spec: dict[str, Any]
    shards: list[Shard]


class DatasetDescription(TypedDict):
    """``dataset.json``."""

    schema_version: int
    corpus: str
    title: str
    synthetic: bool
    classes: list[str]
    counts: DatasetCounts
    features: dict[str, FeatureRecord]
    fingerprint: str
    files: dict[FileName, str]
    language: NotRequired[str | None]
    licence: NotRequired[str | None]
    alignment: NotRequired[dict[str, Count]]
    unaligned: NotRequired[dict[str, Count]]
    notes: NotRequired[list[str]]
    default_protocol: NotRequired[str]
    versions: NotRequired[dict[str, str]]
    request: NotRequired[dict[str, Any]]
    word_rules: NotRequired[Count]


class FoldRecord(TypedDict):
    train: list[str]
    dev: list[str]
    test: list[str]


class FoldFile(TypedDict):
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


class DatasetOfRun(TypedDict):
    """What a run and an ensemble keep of their dataset."""

    path: PathText
    fingerprint: str
    corpus: NotRequired[str]
    title: NotRequired[str]
    synthetic: NotRequired[bool]
    counts: NotRequired[DatasetCounts]


class ProtocolOfRun(TypedDict):
    name: str
    speaker_independent: NotRequired[bool]
    label_map: NotRequired[dict[str, str]]
    num_folds: NotRequired[Positive]
    notes: NotRequired[list[str]]


class ObservationRecord(TypedDict):
    run: str
    trial: Number
    values: dict[str, Any]
    objectives: list[float] | None
    step: Count
    reached: float


class WarmStartRecord(TypedDict):
    run: str
    points: dict[str, list[dict[str, Any]]]
    observations: dict[str, list[ObservationRecord]]
    why_no_observations: list[str]
    remarks: list[str]
    same_data: bool
    num_points: NotRequired[Count]
    num_observations: NotRequired[Count]


class RosterEntry(TypedDict):
    architecture: str
    values: dict[str, Any]
    repeat: Count


class RunDescription(TypedDict):
    """``run.json``."""

    schema_version: int
    classes: Classes
    dataset: DatasetOfRun
    folds_hash: str
    folds_file: NotRequired[FileName]
    protocol: ProtocolOfRun
    command: NotRequired[list[str]]
    architectures: NotRequired[list[str]]
    spaces: dict[str, dict[str, Any]]
    settings: NotRequired[list[str]]
    roster: NotRequired[list[RosterEntry]]
    seed: int
    objective: Annotated[list[str], MinLen(1)]
    sampler: NotRequired[str]
    pruner: NotRequired[str]
    storage: NotRequired[str | None]
    study_prefix: NotRequired[str]
    selection: NotRequired[str]
    versions: NotRequired[dict[str, Any]]
    hardware: NotRequired[dict[str, Any]]
    warm_start: NotRequired[list[WarmStartRecord]]
    status: str
    started: NotRequired[str | None]
    ended: NotRequired[str | None]
    seconds: NotRequired[Seconds | None]
    trials: NotRequired[Count | None]
    time_budget: NotRequired[Seconds | None]
    combiner: NotRequired[str | None]
    resources: NotRequired[dict[str, Any]]
    notes: list[str]


TrialState = Literal["complete", "pruned", "failed"]


class HistoryEntry(TypedDict):
    """One epoch of one trial on one fold."""

    fold: Number
    epoch: Number
    train_loss: float
    learning_rate: NotRequired[float]
    dev: DevMetrics
    averaged_dev: NotRequired[DevMetrics]
    seconds: NotRequired[Seconds]
    padded_share: NotRequired[float]


class TrialRecord(TypedDict):
    """``trials/trial-00012.json``; ``dev`` holds means over the folds that ended."""

    schema_version: NotRequired[int]
    trial: Number
    architecture: str
    state: TrialState
    params: dict[str, Any]
    paper: NotRequired[bool]
    seed: NotRequired[int | None]
    device: NotRequired[str | None]
    error: NotRequired[str | None]
    dev: NotRequired[DevMetrics]
    fold_dev: NotRequired[list[DevMetrics]]
    fold_dev_uar: NotRequired[list[float | None]]
    history: NotRequired[list[HistoryEntry]]
    epochs: NotRequired[Count]
    seconds: NotRequired[Seconds]
    num_parameters: NotRequired[Count | None]
    peak_memory_mb: NotRequired[float | None]
    ended: NotRequired[float | None]
    host: NotRequired[str | None]
    notes: NotRequired[list[str]]
    posteriors_sha256: NotRequired[str | None]


class StudyAttribute(TypedDict):
    """What a study knows of a trial of ours, beside what Optuna does."""

    trial: Number
    paper: bool
    values: dict[str, Any]


class TrialProgress(TypedDict):
    """``state/trial-00012/progress.json`` of an unfinished trial."""

    schema_version: int
    architecture: str
    values: dict[str, Any]
    seed: int
    fold: Number
    trainer_state: FileName | None
    history: list[HistoryEntry]
    fold_dev: list[dict[str, float]]
    seconds: Seconds
    num_parameters: Count
    peak_memory_mb: float


class TensorFile(TypedDict):
    file: FileName
    sha256: str


class TrainingState(TypedDict):
    """``state.json`` of a model in training."""

    schema_version: int
    tensors: TensorFile
    values: dict[str, Any]


class InputSizes(TypedDict):
    feature_dim: Positive
    num_classes: Positive
    frame_shift: Seconds
    vocabulary_size: Count
    word_vectors: list[Positive] | None


class Preprocessing(TypedDict):
    """How new audio becomes a model's input."""

    feature: str
    spec: dict[str, Any]
    dim: Positive
    frame_shift: Seconds
    trim: bool
    normalization: str
    mean: list[float]
    deviation: list[float]
    deviation_floor: list[float]
    deltas: NotRequired[Count]
    words: NotRequired[dict[str, Any]]
    pooling: NotRequired[dict[str, Any]]


class ModelDescription(TypedDict):
    """``models/…/config.json``."""

    schema_version: int
    architecture: str
    model: dict[str, Any]
    training: dict[str, Any]
    data: dict[str, Any]
    input_spec: InputSizes
    classes: Classes
    preprocessing: Preprocessing
    metrics: dict[str, Any]
    weights: TensorFile


class IntervalRecord(TypedDict):
    value: float
    low: float | None
    high: float | None


class Spread(TypedDict):
    mean: float
    sd: float | None


Spreads = Annotated[dict[str, Spread], Predicate(_lists(*METRICS))]
Intervals = Annotated[dict[str, IntervalRecord], Predicate(_lists(*METRICS))]


class TrialOfEnsemble(TypedDict):
    run: PathText
    trial: Number
    architecture: NotRequired[str]
    member: NotRequired[str]


class PartGains(TypedDict):
    dev: dict[str, float] | None
    test: dict[str, float] | None


class MemberRecord(TypedDict):
    member: str
    run: PathText
    trial: Number
    architecture: str
    weight: Weight
    share: Weight
    temperature: Temperature | None
    dev: Metrics
    test: Metrics
    gain: PartGains


class PartMetrics(TypedDict):
    dev: Metrics
    test: Metrics


class EnsembleFold(TypedDict):
    fold: Number
    best_single: TrialOfEnsemble
    metrics: dict[str, PartMetrics]
    members: list[MemberRecord]
    parameters: dict[str, Any]


class EnsembleRun(TypedDict):
    path: PathText
    status: NotRequired[str | None]


class EnsembleCounts(TypedDict):
    candidates: Count
    folds: NotRequired[Count]
    test_rows: NotRequired[Count]
    test_speakers: NotRequired[Count]


class PermutationRecord(TypedDict):
    metric: str
    difference: float
    p_value: float
    num_permutations: Count
    exact: bool
    num_clusters: Count
    clustered_by: str


class McNemarRecord(TypedDict):
    only_a: Count
    only_b: Count
    p_value: float


class ComparisonRecord(TypedDict):
    difference: Intervals
    permutation: Annotated[dict[str, PermutationRecord], Predicate(_lists("uar"))]
    mcnemar: McNemarRecord


class Oracle(TypedDict):
    uar: float
    accuracy: float


class Diversity(TypedDict):
    members: list[str]
    disagreement: list[list[float]]
    mean_disagreement: float | None
    oracle: Oracle
    all_wrong: float


class GenderRow(TypedDict):
    gender: str
    utterances: Count
    ensemble: NotRequired[Metrics]
    best_single: NotRequired[Metrics]


class Curve(TypedDict):
    threshold: list[float]
    coverage: list[float]
    accuracy: list[float | None]


CurveColumns = Annotated[Curve, Predicate(_columns)]


class DevConfidences(TypedDict):
    """What a threshold for new recordings is chosen from."""

    rows: Count
    curve: CurveColumns


class BundledConfidences(DevConfidences):
    temperatures: list[Temperature]


class Answered(TypedDict):
    coverage: float
    accuracy: float | None


class AnsweredOfAll(Answered):
    accuracy_without_rejection: float


class WishRecord(TypedDict):
    kind: str
    value: float
    folds_granted: Count
    test: Answered


class RejectionFold(TypedDict):
    temperature: Temperature


class RejectionRecord(TypedDict):
    error_share: float
    folds: list[RejectionFold]
    test: AnsweredOfAll
    curve: CurveColumns
    dev: NotRequired[DevConfidences]
    wishes: NotRequired[list[WishRecord]]


class EnsembleRecord(TypedDict):
    """``ensemble.json``."""

    schema_version: int
    combiner: str
    classes: Classes
    runs: list[EnsembleRun]
    folds_hash: str
    folds: Annotated[list[EnsembleFold], MinLen(1)]
    pooled: Annotated[dict[str, Intervals], Predicate(_lists("ensemble"))]
    over_folds: Annotated[dict[str, Spreads], Predicate(_lists("ensemble"))]
    comparison: ComparisonRecord
    parameter_order: Annotated[list[str], Predicate(_different)]
    objective: NotRequired[str]
    temperature_scaling: NotRequired[bool]
    seed: NotRequired[Count]
    num_resamples: NotRequired[Annotated[int, Ge(1), Lt(10**8)]]
    dataset: NotRequired[DatasetOfRun | None]
    protocol: NotRequired[ProtocolOfRun | None]
    speaker_independent: NotRequired[bool]
    counts: NotRequired[EnsembleCounts]
    diversity: NotRequired[Annotated[Diversity, Predicate(_square)] | None]
    per_gender: NotRequired[list[GenderRow]]
    rejection: NotRequired[RejectionRecord | None]
    notes: NotRequired[list[str]]
    posteriors_sha256: NotRequired[str | None]


class CombinerParameters(TypedDict):
    """What any combiner's fit leaves; kinds of combiners add to it."""

    combiner: str


class PoolParameters(CombinerParameters):
    weights: list[Weight]


class GreedyParameters(PoolParameters):
    objective: str
    num_rounds: Positive
    num_initial: Count
    num_bags: Count
    bag_share: float
    max_members: Positive


class ProductParameters(PoolParameters):
    objective: str
    choice: str
    max_members: NotRequired[Positive]


class StackingParameters(PoolParameters):
    objective: str
    used: list[Number]
    present: list[Number]
    coefficients: list[list[float]]
    intercepts: list[float]
    strength: float
    held_out_by: str


class AutoParameters(CombinerParameters):
    objective: str
    chosen: dict[str, Any]
    held_out: dict[str, list[float]]
    held_out_by: str


class BundledMember(TypedDict):
    member: str
    architecture: str
    directory: PathText
    position: Number
    temperature: Temperature | None
    share: Weight


class BundledFold(TypedDict):
    fold: Number
    members: list[BundledMember]
    num_candidates: Positive
    parameters: dict[str, Any] | None


class BundleDescription(TypedDict):
    """``bundle.json``."""

    schema_version: int
    kind: Literal["run", "ensemble"]
    title: str
    classes: Classes
    synthetic: bool
    folds: Annotated[list[BundledFold], MinLen(1)]
    description: dict[str, Any]
    rejection: NotRequired[BundledConfidences | None]
    files: dict[PathText, str]
    sha256: str


class EmbeddingRecord(TypedDict):
    vectors: str
    dim: Positive
    method: str
    fold: Number
    purity: float
    chance: float


class ExplainedTrial(TypedDict):
    trial: Number
    architecture: str
    dev_uar: float
    num_parameters: NotRequired[Count | None]
    latency_seconds: NotRequired[Seconds | None]
    latency_utterance_seconds: NotRequired[Seconds | None]
    embedding: EmbeddingRecord | None


class PhonesRecord(TypedDict):
    least_agreement: float
    misaligned: Count
    sources: NotRequired[dict[str, Count]]


class PhoneTest(TypedDict):
    trial: Number
    map: str
    p_value: float
    num_groups: Count


class ConfidentError(TypedDict):
    utterance_id: str
    speaker_id: str
    truth: str
    prediction: str
    confidence: float


class ExplanationsRecord(TypedDict):
    """``explanations.json``."""

    schema_version: int
    dataset_fingerprint: str
    folds_hash: str
    classes: list[str]
    trials: list[ExplainedTrial]
    phones: PhonesRecord | None
    phone_tests: list[PhoneTest]
    ranked_by: Number
    confident_errors: list[ConfidentError]
    chosen_by: str
    licence: NotRequired[str | None]
    files: dict[FileName, str]


class CurveRecord(TypedDict):
    trial: Number
    architecture: str
    map: str
    kind: str
    starts: list[float]
    times_even: list[float]


class PredictionRecord(TypedDict):
    trial: Number
    architecture: str
    prediction: str
    confidence: float


class SpectrogramRecord(TypedDict):
    values: str
    bands: Positive
    frames: Positive
    start: float
    shift: float
    ticks: list[Annotated[list[float], Len(2, 2)]]


class SoundRecord(TypedDict):
    mime: str
    base64: str


class ShownRecord(TypedDict):
    """One utterance of ``utterances.json``; words and phones are label, start, end (, class)."""

    utterance_id: str
    speaker_id: str
    text: str | None
    truth: str
    fold: Number
    duration: Seconds
    shown: Seconds
    spectrogram: Annotated[SpectrogramRecord, Predicate(_filled)] | None
    audio: SoundRecord | None
    audio_fault: str | None
    words: list[Annotated[list[Any], Len(3, 3), Predicate(_span)]]
    phones: list[Annotated[list[Any], Len(4, 4), Predicate(_span)]]
    curves: list[CurveRecord]
    predictions: list[PredictionRecord]
    misaligned: bool


class ShownUtterances(TypedDict):
    """``utterances.json``."""

    schema_version: int
    utterances: list[ShownRecord]


for _kind in list(globals().values()):
    if is_typeddict(_kind):  # pydantic's settings, as a plain dictionary: its import takes 0.1 s
        _kind.__pydantic_config__ = {"extra": "allow", "strict": True, "allow_inf_nan": False}


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def read_record(kind: type[T], path: str | Path, what: str, remedy: str = "write it again") -> T:
    """Read a JSON file of ours and check it.

    Args:
        kind: what it must be, one of this module.
        path: the file.
        what: what it is, for messages.
        remedy: what to do where it is damaged.

    Raises:
        ArtifactError: it is missing, not JSON, altered, of another schema version, or a value
            is missing or of another kind; the key is named.
    """
    return checked(kind, read_json(path, what), path, what, remedy)


def checked(
    kind: type[T], value: Any, where: str | Path, what: str, remedy: str = "write it again"
) -> T:
    """``value`` itself, when it is of a kind.

    Raises:
        ArtifactError: it is not, see :func:`read_record`.
    """
    from pydantic import ValidationError

    if isinstance(value, dict):
        version = value.get("schema_version", SCHEMA_VERSION)
        if version != SCHEMA_VERSION:
            raise ArtifactError(
                f"{where}: schema version {str(version)[:40]}, this program reads "
                f"{SCHEMA_VERSION}; {remedy}"
            )
    try:
        _adapter(cast("Any", kind)).validate_python(value)
    except ValidationError as error:
        faults = [_fault(one) for one in error.errors(include_url=False)]
        more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        raise ArtifactError(
            f"{where}: the {what} is damaged: {'; '.join(faults[:_MOST_FAULTS])}{more}; {remedy}"
        ) from None
    return value  # not pydantic's copy, whose keys have moved


def read_ensemble(directory: Path) -> EnsembleRecord:
    """The content of ``ensemble.json``; see :func:`read_record`."""
    again = "combine again with `serplatform ensemble`"
    return read_record(EnsembleRecord, directory / "ensemble.json", "ensemble description", again)


def read_dataset_description(directory: Path) -> DatasetDescription:
    """The content of ``dataset.json``; see :func:`read_record`."""
    path, again = directory / "dataset.json", "prepare the dataset again"
    return read_record(DatasetDescription, path, "dataset description", again)


_WANTED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
}


def _fault(error: Any) -> str:
    """One of pydantic's errors in our words."""
    *keys, last = [str(key) for key in error["loc"]] or ["it"]
    place = ".".join([*keys, last])[:200]
    kind, found = error["type"], error["input"]
    if last == "[key]":
        place = f"{'.'.join(keys[:-1])}: the key '{keys[-1][:80]}'"
    if kind == "missing":
        return f"lacks {place}"
    if kind == "value_error":
        return f"{place} {error['ctx']['error']}"
    if kind in _WANTED:
        return f"{place} is {_named(found)} where {_WANTED[kind]} belongs"
    return f"{place} is {str(found)[:40]!r}: {error['msg'].replace('Input should', 'it should')}"


def _named(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text"}
    return {list: "a list", dict: "an object", type(None): "null", **names}.get(type(value), "?")
