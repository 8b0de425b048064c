"""Read the posterior tables of every finished trial and align them by ``utterance_id``.

Shapes: M candidates, R rows (an utterance in a fold and part), K classes.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.dataset import has_been, read_dataset_description
from serplatform.artifacts.ensemble import TrialOfEnsemble
from serplatform.artifacts.files import file_sha256, read_parquet
from serplatform.artifacts.posteriors import check_recorded, checked_posteriors
from serplatform.artifacts.run import DatasetOfRun, FoldFile, RunDescription
from serplatform.artifacts.trial import REFIT_NOTE, TrialRecord, ranked
from serplatform.ensembles.base import PosteriorSet
from serplatform.errors import ArtifactError, BadInputError, LeakError
from serplatform.run_directory import RunDirectory

_MOST_ERRORS = 20
_KEYS = ("fold", "part", "utterance_id")

Part = Literal["dev", "test"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A finished trial that may become a member.

    Attributes:
        name: unique among the candidates, e.g. ``ravdess/trial-00012``.
        run: absolute path of its run.
        params: what the search chose, by dotted name.
        num_parameters: trainable values; None where the record does not say.
        refit: the models that gave its test posteriors were fitted on dev rows too.
        fold: the only one that it has posteriors of, in a nested search; None: it has all.
        digest: of its posteriors.
    """

    name: str
    run: str
    trial: int
    architecture: str
    params: Mapping[str, Any]
    num_parameters: int | None
    refit: bool = False
    fold: int | None = None
    digest: str = ""

    def described(self) -> TrialOfEnsemble:
        """Which trial it is, for ``ensemble.json``."""
        return {
            "member": self.name,
            "run": self.run,
            "trial": self.trial,
            "architecture": self.architecture,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOfLibrary:
    """One of the runs that were combined: its ``run.json``, its address, trials by state.

    ``exported`` is the trial that prediction and export take of it.
    """

    content: RunDescription
    path: str
    num_trials: Mapping[str, int]
    exported: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Library:
    """Every candidate on the same rows, in the order of fold, part and utterance id.

    Attributes:
        runs: what was combined.
        plan: the content of the fold file.
        classes: K names.
        candidates: M.
        fold: (R,) outer fold of each row.
        part: R, ``dev`` or ``test``.
        utterance_ids: R.
        speaker_ids: R.
        truth: (R,) class indices.
        values: (M, R, K), rows sum to 1; NaN where a candidate has no posteriors.
        damaged: a sentence on each finished trial that is left out because a file is damaged.
        sealed: there are no test rows yet; ``take`` gives none.
    """

    runs: tuple[RunOfLibrary, ...]
    plan: FoldFile
    classes: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    fold: IntArray
    part: tuple[str, ...]
    utterance_ids: tuple[str, ...]
    speaker_ids: tuple[str, ...]
    truth: IntArray
    values: DoubleArray
    damaged: tuple[str, ...] = ()
    sealed: bool = False

    @property
    def folds(self) -> tuple[int, ...]:
        """The outer folds, sorted."""
        return tuple(int(k) for k in np.unique(self.fold))

    def rows(self, fold: int, part: str) -> slice:
        """The rows of one part of one fold, which lie together."""
        found = np.flatnonzero((self.fold == fold) & (np.asarray(self.part) == part))
        return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0)

    def of_fold(self, fold: int) -> list[int]:
        """Positions of the candidates that a fold has, among the M."""
        return [m for m, c in enumerate(self.candidates) if c.fold in (None, fold)]

    def take(self, fold: int, part: str) -> PosteriorSet:
        """A fold's candidates on one part of it; a view, not a copy, where they are all."""
        rows, held = self.rows(fold, part), self.of_fold(fold)
        values = self.values[:, rows]
        return PosteriorSet(
            part=part,
            utterance_ids=self.utterance_ids[rows],
            speaker_ids=self.speaker_ids[rows],
            truth=self.truth[rows],
            posteriors=values if len(held) == len(values) else values[held],
            members=tuple(self.candidates[m].name for m in held),
            classes=self.classes,
            architectures=tuple(self.candidates[m].architecture for m in held),
        )


def read_library(runs: Sequence[str | Path]) -> Library:
    """Read the posteriors of every finished trial of one or several runs.

    Raises:
        BadInputError: no run or no finished trial; runs that differ in dataset, folds or
            classes; tables that differ in truth or from the folds in rows (each is named).
        LeakError: an utterance, or a speaker of a speaker-independent protocol, is in the dev
            and in the test part of one fold.
        ArtifactError: a run's own file is missing, damaged or of another schema version, or so
            are those of all trials; single damaged trials are left out, see ``damaged``.
    """
    if not runs:
        raise BadInputError("no run was given; name at least one directory that holds a run.json")
    directories = [RunDirectory(Path(run).resolve()) for run in runs]
    paths = [d.path for d in directories]
    twice = sorted({str(p) for p in paths if paths.count(p) > 1})
    if twice:
        raise BadInputError(f"{twice[0]}: the run was given twice; give each run once")
    contents = [directory.read_run() for directory in directories]
    _check_same(paths, contents)
    classes = tuple(contents[0]["classes"])
    plan = directories[0].read_folds(contents[0])
    sealed = bool(contents[0].get("sealed"))

    labels = _run_labels(paths)
    candidates: list[Candidate] = []
    tables: list[tuple[Path, pa.Table]] = []
    described: list[RunOfLibrary] = []
    damaged: list[str] = []
    seen: dict[tuple[Any, Any], Path] = {}
    for directory, content, label in zip(directories, contents, labels, strict=True):
        records = directory.records(damaged)
        states = [record["state"] for record in records.values()]
        counts = {name: states.count(name) for name in ("complete", "pruned", "failed")}
        best = ranked(records.values(), content["objective"][0])[:1]
        described.append(
            RunOfLibrary(
                content=content,
                path=directory.address,
                num_trials=counts,
                exported=best[0]["trial"] if best else None,
            )
        )
        for number, record in sorted(records.items()):
            if record["state"] != "complete":
                continue
            file = directory.posteriors_file(number)
            try:
                check_recorded(file, record.get("posteriors_sha256"))
                table = read_parquet(file, "posterior table")
            except ArtifactError as error:
                damaged.append(str(error))
                continue
            _check_copy(file, record, seen)
            table = checked_posteriors(table, file, classes)
            if sealed:  # what a killed `unseal` has written is not read
                table = table.filter(pc.equal(table["part"], "dev"))
            candidates.append(
                Candidate(
                    name=f"{label}/trial-{number:05d}",
                    run=directory.address,
                    trial=number,
                    architecture=record["architecture"],
                    params=record["params"],
                    num_parameters=record.get("num_parameters"),
                    refit=REFIT_NOTE in record.get("notes", ()),
                    fold=record.get("fold"),
                    digest=record.get("posteriors_sha256") or file_sha256(file),
                )
            )
            tables.append((file, table.sort_by([(key, "ascending") for key in _KEYS])))
    if damaged and not candidates:
        raise ArtifactError("no trial is left whole:", damaged[:_MOST_ERRORS])
    if not candidates:
        raise BadInputError(
            f"{', '.join(map(str, paths))}: no finished trial, so there is nothing to combine; "
            f"go on with\n  serplatform search --resume --out {paths[0]}"
        )
    parts: tuple[Part, ...] = ("dev",) if sealed else ("dev", "test")
    reference = _check_rows(tables, [c.fold for c in candidates], plan, parts)
    position = {name: k for k, name in enumerate(classes)}
    values = np.full((len(tables), len(reference), len(classes)), np.nan)
    of_row = reference["fold"].to_numpy()
    for m, (_, table) in enumerate(tables):
        fold = candidates[m].fold
        rows = slice(None) if fold is None else of_row == fold
        for k, name in enumerate(classes):
            values[m, rows, k] = table[f"p_{name}"].to_numpy()
    values /= values.sum(axis=2, keepdims=True)  # each sum is within 1e-4 of 1 by now
    library = Library(
        runs=tuple(described),
        plan=plan,
        classes=classes,
        candidates=tuple(candidates),
        fold=reference["fold"].to_numpy().astype(np.int64),
        part=tuple(reference["part"].to_pylist()),
        utterance_ids=tuple(reference["utterance_id"].to_pylist()),
        speaker_ids=tuple(reference["speaker_id"].to_pylist()),
        truth=np.array([position[t] for t in reference["truth"].to_pylist()], dtype=np.int64),
        values=values,
        damaged=tuple(damaged),
        sealed=sealed,
    )
    _check_leaks(library)
    _check_facts(tables[0][0], reference, contents[0]["dataset"], plan)
    return library


def _check_copy(file: Path, record: TrialRecord, seen: dict[tuple[Any, Any], Path]) -> None:
    """Refuse a trial of a copied run: it would count twice."""
    key = (record.get("ended"), record.get("posteriors_sha256"))
    if None in key:
        return
    if key in seen:
        raise BadInputError(
            f"{file}: is the very training of {seen[key]}: one run is a copy of the other; "
            "give one of them"
        )
    seen[key] = file


def _check_same(paths: Sequence[Path], contents: Sequence[RunDescription]) -> None:
    """Refuse runs whose rows cannot be the same.

    Features that were added to the dataset between two runs change no row.
    """

    def described(content: RunDescription) -> dict[str, object]:
        return {
            "dataset fingerprint": content["dataset"]["fingerprint"],
            "folds (folds_hash)": content["folds_hash"],
            "classes": content["classes"],
            "sealed": bool(content.get("sealed")),
        }

    first, known = described(contents[0]), _fingerprints(contents[0])
    errors = []
    for path, content in zip(paths[1:], contents[1:], strict=True):
        same = described(content)
        if known & _fingerprints(content):
            same["dataset fingerprint"] = first["dataset fingerprint"]
        for what, value in same.items():
            if value != first[what]:
                errors.append(f"{what}: {paths[0]} has {first[what]}, {path} has {value}")
    if errors:
        raise BadInputError(
            "the runs cannot be combined; combine runs on one dataset with the same folds and "
            "classes (the same --data, --protocol and --seed):",
            errors,
        )


def _fingerprints(content: RunDescription) -> set[str]:
    """All that a run's dataset has had: before the run, and since where it still lies there."""
    dataset = content["dataset"]
    found = {dataset["fingerprint"], *dataset.get("earlier_fingerprints", ())}
    try:
        meta = read_dataset_description(Path(dataset["path"]))
    except (ArtifactError, OSError):  # moved, or on object storage
        return found
    if has_been(meta, dataset["fingerprint"]):
        found |= {meta["fingerprint"], *meta.get("earlier_fingerprints", ())}
    return found


def _run_labels(paths: Sequence[Path]) -> list[str]:
    """Short names of the runs: the last part of the path, with more of it where two agree."""
    labels = [path.name for path in paths]
    depth = 2
    while len(set(labels)) < len(labels):
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        depth += 1
    return labels


def _check_rows(
    tables: Sequence[tuple[Path, pa.Table]],
    folds: Sequence[int | None],
    plan: FoldFile,
    parts: Sequence[Part],
) -> pa.Table:
    """Every table has the rows of the fold file, or of its one fold of it; return all rows."""
    of_fold = list(zip(folds, tables, strict=True))
    whole = [table for fold, table in of_fold if fold is None]
    if whole:
        _check_same_rows(whole, plan, range(len(plan["folds"])), parts)
    firsts = []
    for fold in range(len(plan["folds"])):
        own = [(f, t.filter(pc.equal(t["fold"], fold))) for f, t in whole[:1]]
        own += [table for of, table in of_fold if of == fold]
        if not own:
            raise BadInputError(
                f"fold {fold}: has no finished trial in a nested search, so there is nothing to "
                "combine; continue the search with --resume"
            )
        if len(own) > len(whole[:1]):
            _check_same_rows(own, plan, [fold], parts)
        firsts.append(own[0][1])
    return whole[0][1] if whole else pa.concat_tables(firsts).combine_chunks()


def _check_same_rows(
    tables: Sequence[tuple[Path, pa.Table]],
    plan: FoldFile,
    folds: Iterable[int],
    parts: Sequence[Part],
) -> None:
    """Every table has the fold file's rows of these folds, and speakers and truth of the first."""
    wanted = {
        (fold, part, name) for fold in folds for part in parts for name in plan["folds"][fold][part]
    }
    expected = dict(zip(_KEYS, zip(*sorted(wanted), strict=True), strict=True))
    columns = {key: pa.chunked_array([v], tables[0][1][key].type) for key, v in expected.items()}
    fitting: list[tuple[Path, pa.Table]] = []
    errors: list[str] = []
    for file, table in tables:
        if all(table[key].equals(column) for key, column in columns.items()):
            fitting.append((file, table))
            continue
        counts = collections.Counter(_row_keys(table))
        lacking, other = sorted(wanted - counts.keys()), sorted(counts.keys() - wanted)
        twice = sorted(key for key, count in counts.items() if count > 1)
        errors += [f"{file}: lacks {_say(key)}" for key in lacking[:3]]
        errors += [f"{file}: {_say(key)} is not in the fold file" for key in other[:3]]
        errors += [f"{file}: {_say(key)} is there twice" for key in twice[:1]]
    for file, table in fitting[1:]:
        first_file, first = fitting[0]
        for column in ("truth", "speaker_id"):
            if table[column].equals(first[column]):
                continue
            ours, theirs = table[column].to_pylist(), first[column].to_pylist()
            row = next(i for i in range(len(ours)) if ours[i] != theirs[i])
            errors.append(
                f"{file}: {_say(_row_keys(table)[row])} has {column} '{ours[row]}', "
                f"{first_file.name} has '{theirs[row]}'"
            )
    if errors:
        raise BadInputError(
            "the posterior tables do not fit together; each must have the rows of the run's fold "
            "file, and one speaker and truth an utterance:",
            errors[:_MOST_ERRORS],
        )


def _check_facts(file: Path, table: pa.Table, data: DatasetOfRun, plan: FoldFile) -> None:
    """Refuse speakers and labels that are not the dataset's, as far as the dataset is known here:
    its table where it still lies there, else the speakers that the run counted."""
    names, speakers, truths = (
        table[name].to_pylist() for name in ("utterance_id", "speaker_id", "truth")
    )
    path, errors = Path(data["path"]), []
    label_map, units = plan["label_map"], plan.get("speaker_units", {})
    facts = {n: (s, t) for n, s, t in zip(names, speakers, truths, strict=True)}
    try:
        meta = read_dataset_description(path)
        known = read_parquet(path / "utterances.parquet", "utterance table")
        lies_there = has_been(meta, data["fingerprint"])
    except (ArtifactError, OSError):  # moved, or on object storage
        lies_there = False
    if lies_there:
        columns = (known[name].to_pylist() for name in ("utterance_id", "speaker_id", "emotion"))
        for name, person, emotion in zip(*columns, strict=True):
            speaker = units.get(person, person)
            given = facts.get(name, (speaker, label_map.get(emotion)))
            if given != (speaker, label_map.get(emotion)):
                errors.append(
                    f"{file}: '{name}' is of speaker '{given[0]}', labelled '{given[1]}'; in "
                    f"{path} of '{speaker}', labelled '{emotion}'"
                )
    elif counted := data.get("counts", {}).get("by_speaker"):
        held = collections.Counter(speaker for speaker, _ in facts.values())
        had: collections.Counter[str] = collections.Counter()
        for person, count in counted.items():
            had[units.get(person, person)] += count
        errors += [
            f"{file}: {count} utterances are of speaker '{speaker}'; the run's dataset had "
            f"{had[speaker]}"
            for speaker, count in held.items()
            if count > had[speaker]
        ]
    if errors:
        raise BadInputError(
            "the posterior tables were altered: speakers and labels are not those of the run's "
            "dataset; search again, or restore the tables:",
            errors[:_MOST_ERRORS],
        )


def _check_leaks(library: Library) -> None:
    """No utterance, and no speaker if the protocol says so, is dev and test in one fold."""
    errors = []
    for fold in library.folds:
        dev, test = library.take(fold, "dev"), library.take(fold, "test")
        shared = {"utterance": set(dev.utterance_ids) & set(test.utterance_ids)}
        if library.plan["speaker_independent"]:
            shared["speaker"] = set(dev.speaker_ids) & set(test.speaker_ids)
        errors += [
            f"fold {fold}: {kind} '{name}' is in dev and in test"
            for kind, names in shared.items()
            for name in sorted(names)
        ]
    if errors:
        raise LeakError(
            "weights fitted on dev rows would have seen the test part; make the folds again:",
            errors[:_MOST_ERRORS],
        )


def _row_keys(table: pa.Table) -> list[tuple[int, str, str]]:
    return list(zip(*(table[key].to_pylist() for key in _KEYS), strict=True))


def _say(key: tuple[int, str, str]) -> str:
    return f"utterance '{key[2]}' ({key[1]}, fold {key[0]})"
