"""Rows of the data that training has seen: the same recordings, or other ones of its speakers.

A system's training rows are those of the train and dev parts of all its folds: dev rows chose
the trial and fitted the combiner. A bundle does not say which rows they were, so that all rows of
its dataset count.

Shapes: N rows of the data, M of the training dataset.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from serplatform.arrays import BoolArray, IntArray
from serplatform.artifacts.dataset import has_been
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.recordings import recording_path
from serplatform.errors import ArtifactError, BadInputError
from serplatform.features.fingerprint import find_copies
from serplatform.prediction.system import PredictionSystem
from serplatform.protocols.selection import column, overlapping_spans
from serplatform.run_directory import RunDirectory

#: why a row is left out
RECORDING, SPEAKER = "recording", "speaker"
_SHOWN = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """What a system was trained on.

    Attributes:
        dataset: opened.
        seen: (M,) which of its rows were.
        merged: label of the dataset to class, as the protocol had it.
    """

    dataset: Dataset
    seen: BoolArray
    merged: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeenRows:
    """What of the data is left out, and how it was looked for.

    Attributes:
        reason: for each of N rows, :data:`RECORDING`, :data:`SPEAKER` or empty.
        notes: sentences to show.
    """

    reason: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def kept(self) -> BoolArray:
        """(N,) rows that training has not seen."""
        return np.array([not reason for reason in self.reason], dtype=bool)


def training_rows(system: PredictionSystem, trained_on: str | Path | None = None) -> TrainingRows:
    """The rows that a system was trained on.

    Args:
        system: opened.
        trained_on: where the dataset lies now; None: where it lay when the run was begun.

    Raises:
        BadInputError: it is not there, is another one, or a bundle does not say where it is.
    """
    if not system.members:
        raise BadInputError(f"{system.title}: has no member, so there is nothing to evaluate")
    home = RunDirectory(system.members[0].directory.parents[2])
    if not (home.path / "run.json").is_file():  # a bundle
        if trained_on is None:
            raise BadInputError(
                f"{system.source}: is a bundle, which does not say where its training data lies, "
                "so nobody can tell which rows of the data it was trained on: name the dataset "
                "with --trained-on DATA, or, if it is gone, say so with --unchecked"
            )
        dataset = Dataset.open(trained_on)
        about = system.description
        _check_dataset(dataset, about["data"].get("fingerprint"), system.source)
        merged = about["protocol"].get("label_map") or {}
        return TrainingRows(
            dataset=dataset, seen=np.ones(len(dataset), dtype=bool), merged=dict(merged)
        )
    run = home.read_run()
    plan = home.read_folds(run)
    where = run["dataset"]["path"] if trained_on is None else trained_on
    try:
        dataset = Dataset.open(where)
    except ArtifactError as error:
        raise BadInputError(
            f"{error}\nWithout the data that {system.source} was trained on, nobody can tell which "
            "rows of the data it has seen: name the place with --trained-on DATA, or, if it is "
            "gone, say so with --unchecked"
        ) from None
    _check_dataset(dataset, run["dataset"]["fingerprint"], system.source)
    sealed = run.get("sealed") and not run.get("unsealed")
    folds = {fold.fold for fold in system.folds}
    names = {
        name
        for number, fold in enumerate(plan["folds"])
        if number in folds
        for name in (*fold["train"], *fold["dev"], *(fold["test"] if sealed else ()))
    }
    seen = np.array([name in names for name in dataset.utterance_ids], dtype=bool)
    return TrainingRows(dataset=dataset, seen=seen, merged=dict(plan["label_map"]))


def _check_dataset(dataset: Dataset, fingerprint: str | None, source: Path) -> None:
    """See that it is the one that a system was trained on."""
    if fingerprint is not None and not has_been(dataset.meta, fingerprint):
        raise BadInputError(
            f"{dataset.path}: is not the dataset that {source} was trained on (its fingerprint is "
            "another); name that one with --trained-on DATA, or, if it is gone, say so with "
            "--unchecked"
        )


def find_seen(training: TrainingRows, data: Dataset, *, speakers_differ: bool = False) -> SeenRows:
    """Which rows of the data are recordings, or of speakers, that training has seen.

    Recordings are the same where the hash of the audio is, where spans of one file overlap, and
    where they are copies by their sound. A speaker who shares a recording with training is a
    training speaker; so is one of the same name, where both datasets are of the same corpus.

    Args:
        training: from :func:`training_rows`.
        data: to be evaluated on.
        speakers_differ: speakers of one name are different people.
    """
    known, notes = training.dataset, list[str]()
    rows = np.flatnonzero(training.seen)
    first = len(rows)  # rows of the data come after it

    def both(name: str) -> list[str]:
        return [*column(known.utterances.take(rows), name), *column(data.utterances, name)]

    hashes, files = both("audio_hash"), _files(known, rows) + _files(data, np.arange(len(data)))
    starts, ends = (
        np.concatenate([known.utterances[n].to_numpy()[rows], data.utterances[n].to_numpy()])
        for n in ("start", "end")
    )
    spans = overlapping_spans(files, starts.tolist(), ends.tolist())
    same = np.zeros(len(data), dtype=bool)
    for keys in (hashes, spans):
        trained = {key for key in keys[:first] if key}
        same |= [key in trained for key in keys[first:]]
    prints = known.utterances["fingerprint"].take(rows).to_pylist()
    others = data.utterances["fingerprint"].to_pylist()
    if known.synthetic or data.synthetic:
        notes.append("Copies were looked for by digest alone: synthetic voices are too alike.")
    elif lacking := sum(not value for value in (*prints, *others)):
        notes.append(
            f"{lacking} row(s) are too short, or were prepared by too early a version, to be "
            "compared by their sound; they were compared by digest."
        )
    if not (known.synthetic or data.synthetic):
        groups = np.repeat([0, 1], [first, len(data)])
        for one, other in find_copies([*prints, *others], groups):
            same[max(one, other) - first] = True
    speakers = data.speaker_ids
    familiar = {speakers[row] for row in np.flatnonzero(same)}
    shared = sorted({known.speaker_ids[row] for row in rows} & set(speakers))
    if shared:
        shown = ", ".join(shared[:_SHOWN]) + (", …" if len(shared) > _SHOWN else "")
        one_corpus = known.meta["corpus"] == data.meta["corpus"]
        if one_corpus and not speakers_differ:
            familiar |= set(shared)
            notes.append(
                f"Speakers of one name in both ({shown}) are taken for the same people, since both "
                f"datasets are of the corpus {data.meta['corpus']}; --speakers-differ says that "
                "they are not."
            )
        else:
            notes.append(f"Speakers of one name in both ({shown}) are taken for different people.")
    reason = tuple(
        RECORDING if same[row] else SPEAKER if speakers[row] in familiar else ""
        for row in range(len(data))
    )
    return SeenRows(reason=reason, notes=tuple(notes))


def _files(dataset: Dataset, rows: IntArray) -> list[object]:
    """The file of each row; a name of its own where a corpus made its audio itself."""
    if (dataset.meta.get("request") or {}).get("root") is None:
        return [(dataset.fingerprint, int(row)) for row in rows]
    return [str(recording_path(dataset, int(row))) for row in rows]
