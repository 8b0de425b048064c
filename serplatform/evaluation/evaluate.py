"""Everything that ``serplatform evaluate`` does, from a system and a dataset to their numbers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from serplatform.arrays import IntArray
from serplatform.artifacts.evaluation import ConditionRecord, LabelRecord
from serplatform.console import say, stage
from serplatform.datasets.dataset import Dataset
from serplatform.errors import BadInputError
from serplatform.evaluation.label_names import match_labels
from serplatform.evaluation.measures import READINGS, Measured, measure
from serplatform.evaluation.seen_rows import RECORDING, SPEAKER, find_seen, training_rows
from serplatform.prediction.open import open_system
from serplatform.prediction.speaker_needs import FEW_CLIPS
from serplatform.prediction.system import PredictionSystem
from serplatform.protocols.selection import column, components, recording_groups
from serplatform.statistics.intervals import metric_differences
from serplatform.storage.mirror import open_copy

if TYPE_CHECKING:
    from serplatform.evaluation.conditions import Condition
    from serplatform.evaluation.dataset_clips import DatasetClips, RowPosteriors
    from serplatform.prediction.predictor import Predictor


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What is asked.

    Attributes:
        system: a run, an ensemble or a bundle, path or URI.
        data: a prepared dataset, path or URI.
        label_map: label of the data to class of the system; an empty class leaves it out.
        reading: of the classes that the data lacks, see ``measures``.
        trial: of a run; None: the best on dev.
        trained_on: where the training data lies now; None: where it lay.
        unchecked: go on where the training data is gone; the result says so.
        speakers_differ: speakers of one name in both datasets are different people.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        conditions: groups of changes of the audio to measure under, too, see ``conditions``; None:
            none, empty: all.
        seed: of their draws, and of permutations.
        fairness: compare recalls between genders and between speakers.
    """

    system: str
    data: str
    label_map: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reading: str = "all"
    trial: int | None = None
    trained_on: str | None = None
    unchecked: bool = False
    speakers_differ: bool = False
    device: str = "cpu"
    conditions: tuple[str, ...] | None = None
    seed: int = 0
    fairness: bool = False

    def __post_init__(self) -> None:
        if self.reading not in READINGS:
            raise BadInputError(f"--classes {self.reading}: must be one of {', '.join(READINGS)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """What was found.

    Attributes:
        request: what was asked.
        system: opened; ``dataset``: opened.
        labels: which label is which class.
        left_out: utterances that are not in the numbers, by reason.
        unusable: utterance id of each that could not be read, and why.
        measured: under each reading, the one that was asked for first.
        rows: (N,) of the dataset that the numbers are of.
        genders: N, empty where unknown.
        features: ``stored`` or ``computed`` from the audio.
        notes: sentences to show.
        checked: rows that training has seen were looked for.
        robustness: under each condition that was asked for.
    """

    request: EvaluationRequest
    system: PredictionSystem
    dataset: Dataset
    labels: list[LabelRecord]
    left_out: dict[str, int]
    unusable: dict[str, str]
    measured: tuple[Measured, ...]
    rows: IntArray
    genders: tuple[str, ...]
    features: str
    notes: list[str]
    checked: bool
    robustness: tuple[ConditionRecord, ...] = ()

    @property
    def lacking(self) -> list[str]:
        """Classes of the system that no row has."""
        return [name for name in self.system.classes if name not in self.measured[0].recalls]

    def table(self) -> pa.Table:
        """One row per utterance: ``utterance_id, speaker_id, gender, label, truth, prediction,
        p_<class>…``; under the reading that was asked for."""
        main, table = self.measured[0], self.dataset.utterances.take(self.rows)
        answers = main.posteriors.argmax(axis=1)
        return pa.table(
            {
                "utterance_id": table["utterance_id"],
                "speaker_id": list(main.speakers),
                "gender": table["gender"],
                "label": table["emotion"],
                "truth": [main.classes[k] for k in main.truth],
                "prediction": [main.classes[k] for k in answers],
                **{f"p_{name}": main.posteriors[:, k] for k, name in enumerate(main.classes)},
            }
        )


def evaluate(request: EvaluationRequest) -> EvaluationResult:
    """Evaluate a system on a dataset; no row that its training has seen is in a number.

    Raises:
        BadInputError: the system or the data cannot be used, too few labels are shared, whether
            training saw the rows cannot be told, or it saw all of them.
    """
    stage("opening the system and the data")
    system = open_system(open_copy(request.system), request.trial)
    data = Dataset.open(request.data)
    notes: list[str] = []
    reasons: Sequence[str] = [""] * len(data)
    merged: Mapping[str, str] = {}
    if request.unchecked:
        notes.append(
            "NOT CHECKED: the training data was not at hand, so rows that training has seen may "
            "be in these numbers. They are no evidence for new speakers."
        )
    else:
        training = training_rows(system, request.trained_on)
        merged = training.merged
        stage("looking for rows that training has seen")
        seen = find_seen(training, data, speakers_differ=request.speakers_differ)
        reasons, notes = seen.reason, [*seen.notes]
    labels = match_labels(
        data.class_counts(), system.classes, merged=merged, given=request.label_map
    )
    class_of = {row["theirs"]: row["ours"] for row in labels}
    ours = [class_of.get(label) for label in data.utterances.column("emotion").to_pylist()]
    left_out: Counter[str] = Counter()
    kept = []
    for row, (name, reason) in enumerate(zip(ours, reasons, strict=True)):
        if name is None:
            left_out["label"] += 1
        elif reason:
            left_out[reason] += 1
        else:
            kept.append(row)
    if not kept:
        raise BadInputError(
            f"{data.path}: nothing is left to evaluate on: {left_out[RECORDING]} row(s) are "
            f"recordings that {system.source} was trained on, {left_out[SPEAKER]} others are of "
            "speakers whom it was trained on; give other data, or, where speakers of one name are "
            "different people, --speakers-differ"
        )
    from serplatform.evaluation.dataset_clips import DatasetClips, row_posteriors
    from serplatform.prediction.predictor import Predictor

    speakers = speaker_units(data)
    changes = None
    if request.conditions is not None:
        from serplatform.evaluation.conditions import changed, conditions

        changes = conditions(data, speakers, request.conditions)
    predictor = Predictor(system, device=request.device)
    clips = DatasetClips(predictor, data)
    say(system.describe())
    if clips.from_audio:
        what = ", ".join(clips.lacking) or "its words"
        say(f"Computed from the audio, since the data does not hold it so: {what}.")
    stage("classifying")
    found = row_posteriors(predictor, data, np.array(kept, dtype=np.int64), clips)
    rows = found.rows
    truth = np.array([system.classes.index(str(ours[row])) for row in rows], dtype=np.int64)
    if len(np.unique(truth)) < 2:
        raise BadInputError(
            f"{data.path}: what is left has one class only ({system.classes[truth[0]]}), of which "
            "no recall can be compared"
        )
    genders = column(data.utterances, "gender")
    own = [speakers[row] for row in rows]
    notes += _notes(predictor, data, clips, own)
    robustness = []
    for change in changes or ():
        stage(change.name)
        other = DatasetClips(predictor, data, changed(change, data, request.seed))
        again = row_posteriors(predictor, data, rows, other)
        robustness.append(_under(change, request.reading, (rows, truth, own), found, again))
    readings = [request.reading, *(name for name in READINGS if name != request.reading)]
    return EvaluationResult(
        request=request,
        system=system,
        dataset=data,
        labels=labels,
        left_out={**left_out, **({"unusable": len(u)} if (u := found.unusable) else {})},
        unusable=found.unusable,
        measured=tuple(
            measure(name, system.classes, truth, found.posteriors, own) for name in readings
        ),
        rows=rows,
        genders=tuple(genders[row] for row in rows),
        features="computed" if clips.from_audio else "stored",
        notes=notes,
        checked=not request.unchecked,
        robustness=tuple(robustness),
    )


def _under(
    change: Condition,
    reading: str,
    clean: tuple[IntArray, IntArray, Sequence[str]],
    before: RowPosteriors,
    after: RowPosteriors,
) -> ConditionRecord:
    """Compare the rows that both have; ``clean`` is (N,) rows, (N,) truth and N speakers."""
    rows, truth, speakers = clean
    kept = np.flatnonzero(np.isin(rows, after.rows))
    own = [speakers[k] for k in kept.tolist()]
    one, other = (
        measure(reading, [str(k) for k in range(values.shape[1])], truth[kept], values, own)
        for values in (after.posteriors, before.posteriors[kept])
    )
    found = metric_differences(one.truth, one.posteriors, other.posteriors, own)
    return ConditionRecord(
        group=change.group,
        condition=change.name,
        utterances=len(kept),
        uar=one.metrics["uar"].as_dict(),
        difference_to_clean=found["uar"].as_dict(),
    )


def speaker_units(data: Dataset) -> list[str]:
    """Speaker of each row; those who share recordings are one."""
    numbers = components(data.speaker_ids, recording_groups(data.utterances).tolist()).tolist()
    names: dict[int, set[str]] = {}
    for number, speaker in zip(numbers, data.speaker_ids, strict=True):
        names.setdefault(number, set()).add(speaker)
    return [" + ".join(sorted(names[number])) for number in numbers]


def _notes(
    predictor: Predictor, data: Dataset, clips: DatasetClips, speakers: Sequence[str]
) -> list[str]:
    """What belongs beside the numbers."""
    notes = []
    pipelines = predictor.speaker_pipelines
    if pipelines:
        least = max(FEW_CLIPS[pipeline.normalization.kind] for pipeline in pipelines)
        fewest = min(Counter(speakers).values())
        notes.append(
            "Models normalise by speaker: each speaker's unlabelled rows, those that were "
            f"measured, stand for the speaker (fewest: {fewest})."
        )
        if fewest < least:
            notes.append(
                f"Below {least} clips of a speaker, this normalisation can be worse than none."
            )
    notes += [
        f"What the encoder {encoder} was trained on is not known here, and was not compared."
        for encoder in predictor.encoders
    ]
    if len(set(speakers)) < 3:
        notes.append(f"{len(set(speakers))} speaker(s): intervals over speakers say little.")
    if predictor.system.synthetic or data.synthetic:
        notes.append("Synthetic speech: a demonstration, nothing more.")
    if clips.words is not None:
        notes += clips.words.notes()
    return notes
