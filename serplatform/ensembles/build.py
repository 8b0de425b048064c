"""The ``ensemble`` command: runs in, ``ENS/ensemble.json`` and ``ENS/posteriors.parquet`` out."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from serplatform import plugins
from serplatform.arrays import DoubleArray
from serplatform.artifacts.dataset import SOURCE_COLUMN, has_been, read_dataset_description
from serplatform.artifacts.files import (
    SCHEMA_VERSION,
    atomic_path,
    file_sha256,
    fill_parquet,
    json_bytes,
    read_parquet,
)
from serplatform.artifacts.looks import SEALED, digest_of
from serplatform.artifacts.model import WITHIN_SPEAKER
from serplatform.artifacts.posteriors import posterior_table
from serplatform.artifacts.records import MadeWith
from serplatform.artifacts.run import DatasetOfRun
from serplatform.artifacts.trial import NESTED_NOTE, REFIT_NOTE
from serplatform.ensembles import evaluation
from serplatform.ensembles.base import COMBINERS, find_combiner
from serplatform.ensembles.dev_selection import OBJECTIVES
from serplatform.ensembles.leaderboard import diversity, mean_shares, member_rows, solo_metrics
from serplatform.ensembles.nested import FoldEnsemble, nested_ensemble, pool_test
from serplatform.ensembles.posteriors import Library, RunOfLibrary, read_library
from serplatform.ensembles.sources import per_source
from serplatform.environment import versions
from serplatform.errors import ArtifactError, BadInputError, unknown_name
from serplatform.run_directory import RunDirectory
from serplatform.statistics.speaker_clips import SpeakerClips
from serplatform.storage.cache import fetch_tables
from serplatform.storage.destination import ENSEMBLE, check_directory
from serplatform.storage.location import parse
from serplatform.storage.remote import RemoteError

#: how each system that is measured was chosen, for people
SYSTEMS = {
    "ensemble": "members and weights of each fold were chosen on the dev rows of that fold",
    "best_single": "for each fold the trial with the best objective on the dev rows of that fold",
    "mean_of_all": "mean of all finished trials with equal weights; nothing is chosen",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SealedEnsemble:
    """What dev rows chose of sealed runs.

    Attributes:
        combiner: registered name.
        candidates: finished trials.
        members: their names, fold by fold.
        dev_uar: mean over folds, of the rows that it was fitted on.
    """

    combiner: str
    candidates: int
    members: list[list[str]]
    dev_uar: float

    def __str__(self) -> str:
        sizes = sorted(map(len, self.members))
        counted = f"{sizes[0]}" if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
        return (
            f"{self.combiner} of {self.candidates} finished trials, {counted} members in each "
            f"fold: dev UAR {100 * self.dev_uar:.1f} %, on the rows on which it was fitted"
        )


def build_ensemble(
    runs: Sequence[Path],
    out: Path,
    *,
    combiner: str = "product",
    temperature: bool = False,
    seed: int = 0,
    objective: str = "uar",
    test_values: bool = False,
) -> dict[str, Any]:
    """Combine the posteriors of every finished trial of the runs; nothing is trained again.

    For each outer fold everything is chosen and fitted on that fold's dev rows; its test rows
    are combined and measured, and each run notes that they were looked at.

    Args:
        runs: directories of runs with one dataset, fold plan and label order.
        out: where ``ensemble.json`` and ``posteriors.parquet`` are written.
        combiner: a registered name, with its argument after a colon where it takes one.
        temperature: calibrate each trial by temperature scaling first.
        seed: of bags.
        objective: what choices on dev rows maximise: uar, accuracy or nll.
        test_values: measure every trial alone on test rows, too.

    Returns:
        the content of ``ensemble.json``.

    Raises:
        BadInputError: a name is unknown, runs or tables do not fit together, or runs are sealed.
        LeakError: the dev and test rows of a fold are not apart.
        ArtifactError: a file is missing or damaged.
    """
    begun = time.monotonic()
    name = combiner.partition(":")[0]
    if name not in COMBINERS.names():  # a plugin's, that the runs were made with
        for run in runs:
            plugins.restore(run, RunDirectory(run).read_run())
    _check_arguments(out, combiner, objective)
    library = read_library(runs)
    if library.sealed:
        raise BadInputError(
            f"{library.runs[0].path}: {SEALED}, so an ensemble cannot be measured; `serplatform "
            "unseal` opens them, and after that no trial can be added"
        )
    systems: dict[str, tuple[FoldEnsemble, ...]] = {
        "ensemble": nested_ensemble(
            library, combiner=combiner, objective=objective, temperature=temperature, seed=seed
        ),
        "best_single": nested_ensemble(library, combiner="single", objective=objective),
        "mean_of_all": nested_ensemble(library, combiner="mean", objective=objective),
    }
    measured = _digests(library, systems, test_values=test_values)
    looks = [RunDirectory(run).look(measured, combiner=combiner, seed=seed) for run in runs]
    first = library.runs[0].content
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "combiner": combiner,
        "objective": objective,
        "temperature_scaling": temperature,
        "seed": seed,
        "runs": [_run_row(run) for run in library.runs],
        "dataset": first["dataset"],
        "protocol": first.get("protocol"),
        "folds_hash": first["folds_hash"],
        **plugins.made_with(combiner=[name]),
        "speaker_independent": library.plan["speaker_independent"],
        "classes": list(library.classes),
        "look": max(look.number for look in looks),
        **_measured(library, systems, read_reference(library, runs), test_values=test_values),
        "versions": versions(),
    }
    if said := evaluation.no_better_than_chance(content):
        content["notes"].insert(0, said)
    content["seconds"] = round(time.monotonic() - begun, 3)
    _write(out, _combined_table(library, systems["ensemble"]), content)
    return content


def _measured(
    library: Library,
    systems: Mapping[str, tuple[FoldEnsemble, ...]],
    reference: DoubleArray | None,
    *,
    test_values: bool,
) -> dict[str, Any]:
    """Everything in ``ensemble.json`` that is measured, and the notes on it."""
    ensembles = systems["ensemble"]
    pooled = pool_test(library)
    posteriors = {name: evaluation.pooled_posteriors(folds) for name, folds in systems.items()}
    fold_metrics = {
        name: [evaluation.fold_metrics(library, fold) for fold in folds]
        for name, folds in systems.items()
    }
    intervals = {
        name: evaluation.pooled_intervals(pooled, table) for name, table in posteriors.items()
    }
    parts = ("dev", "test") if test_values else ("dev",)
    solo = {
        fold: {part: solo_metrics(library.take(fold, part)) for part in parts}
        for fold in library.folds
    }
    compared = {name: posteriors[name] for name in ("ensemble", "best_single")}
    table, gone = read_columns(library.runs[0].content["dataset"])
    genders, sources = (by_utterance(table, name) for name in ("gender", SOURCE_COLUMN))
    gender_note = "" if genders else gone or "the corpus does not give it"
    of_rows = [genders.get(utterance) for utterance in pooled.utterance_ids]
    of_speakers = dict(zip(pooled.speaker_ids, of_rows, strict=True))
    ours = posteriors["ensemble"]
    comparison = evaluation.compare(pooled, ours, posteriors["best_single"])
    of_reference = {}
    if reference is not None:
        of_reference["comparison_with_reference"] = evaluation.compare(pooled, ours, reference)
    return {
        "counts": {
            "candidates": len(library.candidates),
            "folds": len(library.folds),
            "test_rows": len(pooled.truth),
            "test_speakers": len(set(pooled.speaker_ids)),
        },
        "systems": SYSTEMS,
        "folds": [
            {
                "fold": fold,
                "fitted_on": ensembles[i].fitted_on,
                "best_single": library.candidates[
                    library.of_fold(fold)[int(systems["best_single"][i].combiner.used()[0])]
                ].described(),
                "metrics": {name: fold_metrics[name][i] for name in systems},
                "members": member_rows(library, ensembles[i], solo[fold]),
                "parameters": ensembles[i].combiner.parameters(),
                **_order(library, fold),
            }
            for i, fold in enumerate(library.folds)
        ],
        "over_folds": {
            name: evaluation.over_folds([fold["test"] for fold in folds])
            for name, folds in fold_metrics.items()
        },
        "pooled": intervals,
        "chance": evaluation.against_chance(pooled, intervals),
        "comparison": {"of": "ensemble", "with": "best_single", **comparison},
        "comparison_with_mean": evaluation.compare(pooled, ours, posteriors["mean_of_all"]),
        **of_reference,
        "confusion": evaluation.confusions(pooled.truth, compared),
        "diversity": diversity(library, ensembles),
        "per_speaker": [
            {"speaker_id": name, "gender": of_speakers[name], **row}
            for name, row in evaluation.grouped_metrics(
                pooled.speaker_ids, pooled.truth, compared
            ).items()
        ],
        "per_gender": [
            {"gender": name, **row}
            for name, row in evaluation.grouped_metrics(of_rows, pooled.truth, compared).items()
        ],
        **({"per_source": per_source(library, pooled, ours, sources)} if sources else {}),
        "calibration": evaluation.calibration(pooled, ensembles),
        "rejection": evaluation.rejection(library, pooled, ensembles),
        # what `weights` and `used` in the parameters index; members of weight 0 change nothing
        "parameter_order": [candidate.name for candidate in library.candidates],
        "candidates": _candidate_rows(library, ensembles, solo),
        "notes": [
            *_without_members(ensembles),
            *notes(library),
            *([f"No breakdown by gender: {gender_note}."] if gender_note else []),
        ],
    }


def _digests(
    library: Library, systems: Mapping[str, tuple[FoldEnsemble, ...]], *, test_values: bool
) -> dict[str, str]:
    """What is measured on test rows, by name, to what tells whether it was before."""
    candidates = library.candidates
    combined = evaluation.pooled_posteriors(systems["ensemble"]).round(6)
    single = [int(fold.combiner.used()[0]) for fold in systems["best_single"]]
    everything = digest_of(sorted(candidate.digest for candidate in candidates))
    found = {
        "ensemble": hashlib.sha256(combined.tobytes()).hexdigest()[:32],
        "single": digest_of(candidates[m].digest for m in single),
        "mean": everything,
    }
    if len(library.runs) == 1:
        exported = library.runs[0].exported
        found["trial"] = digest_of(c.digest for c in candidates if c.trial == exported)
    if test_values:
        found["every trial"] = digest_of(["every trial", everything])
    return found


def fit_sealed(
    runs: Sequence[Path], *, combiner: str, temperature: bool, seed: int, objective: str
) -> SealedEnsemble:
    """Choose and fit on dev rows what :func:`build_ensemble` would, of sealed runs."""
    find_combiner(combiner)
    library = read_library(runs)
    folds = nested_ensemble(
        library, combiner=combiner, objective=objective, temperature=temperature, seed=seed
    )
    dev = [evaluation.dev_metrics(library, fold)["uar"] for fold in folds]
    used = [fold.combiner.used() for fold in folds]
    return SealedEnsemble(
        combiner=combiner,
        candidates=len(library.candidates),
        members=[[library.candidates[m].name for m in positions] for positions in used],
        dev_uar=float(np.mean(dev)),
    )


def _write(out: Path, table: pa.Table, content: dict[str, Any]) -> None:
    """Write both files once both are whole: posteriors are never there without description."""
    plugins.write(out, cast(MadeWith, content))
    targets = out / "posteriors.parquet", out / "ensemble.json"
    with atomic_path(targets[0]) as posteriors, atomic_path(targets[1]) as description:
        fill_parquet(posteriors, table)
        content["posteriors_sha256"] = file_sha256(posteriors)
        description.write_bytes(json_bytes(content, checksum=True))


def _order(library: Library, fold: int) -> dict[str, list[str]]:
    """What a fold's parameters index, where that is not every candidate."""
    held = library.of_fold(fold)
    if len(held) == len(library.candidates):
        return {}
    return {"parameter_order": [library.candidates[m].name for m in held]}


def _without_members(folds: Sequence[FoldEnsemble]) -> list[str]:
    empty = [str(fold.fold) for fold in folds if not fold.combiner.weights().any()]
    return empty and [
        f"In fold(s) {', '.join(empty)} no trial is better than guessing on the dev rows: the "
        "ensemble has no members there, and every class gets the same posterior."
    ]


def _check_arguments(out: Path, combiner: str, objective: str) -> None:
    errors = []
    if objective not in OBJECTIVES:
        errors.append(unknown_name("ensemble objective", objective, OBJECTIVES))
    for check in (lambda: find_combiner(combiner), lambda: check_directory(out, ENSEMBLE)):
        try:
            check()
        except BadInputError as error:
            errors.append(str(error))
    if errors:
        raise BadInputError("the ensemble cannot be built:", errors)


def _run_row(run: RunOfLibrary) -> dict[str, Any]:
    content = run.content
    return {
        "path": run.path,
        "dataset_fingerprint": content["dataset"]["fingerprint"],
        "folds_hash": content["folds_hash"],
        "protocol": content.get("protocol"),
        "status": content.get("status"),
        "seed": content.get("seed"),
        "num_trials": dict(run.num_trials),
    }


def _candidate_rows(
    library: Library,
    ensembles: Sequence[FoldEnsemble],
    solo: Mapping[int, Mapping[str, Mapping[str, DoubleArray]]],
) -> list[dict[str, Any]]:
    """Every candidate with its metrics, means over its folds; best dev UAR first."""
    shares = mean_shares(library, ensembles)
    rows = []
    for m, candidate in enumerate(library.candidates):
        row: dict[str, Any] = {
            **candidate.described(),
            "num_parameters": candidate.num_parameters,
            "mean_share": float(shares[m]),
        }
        for part in solo[library.folds[0]]:
            own = [
                {name: float(values[held.index(m)]) for name, values in solo[fold][part].items()}
                for fold in library.folds
                if m in (held := library.of_fold(fold))
            ]
            row[part] = {name: float(np.mean([t[name] for t in own])) for name in own[0]}
            row[f"fold_{part}_uar"] = [t["uar"] for t in own]
        rows.append(row)
    return sorted(rows, key=lambda row: (-row["dev"]["uar"], row["member"]))


def _combined_table(library: Library, ensembles: Sequence[FoldEnsemble]) -> pa.Table:
    """The combined dev and test posteriors of every fold."""
    pieces = []
    for ensemble in ensembles:
        for part, values in (("dev", ensemble.dev), ("test", ensemble.test)):
            rows = library.take(ensemble.fold, part)
            given = rows.utterance_ids, rows.speaker_ids, rows.truth, values
            pieces.append(
                posterior_table(*given, fold=ensemble.fold, part=part, classes=library.classes)
            )
    return pa.concat_tables(pieces)


def read_reference(library: Library, runs: Sequence[Path]) -> DoubleArray | None:
    """(N, K) test posteriors of the first run's reference that is whole and on the same rows."""
    for run in runs:
        try:
            found = read_library([RunDirectory(run).reference_directory])
        except (ArtifactError, BadInputError):
            continue
        if (found.classes, found.part, found.utterance_ids) == (
            library.classes,
            library.part,
            library.utterance_ids,
        ) and np.array_equal(found.fold, library.fold):
            return np.concatenate([found.take(f, "test").posteriors[0] for f in found.folds])
    return None


def read_columns(dataset: DatasetOfRun) -> tuple[pa.Table | None, str]:
    """The utterance table, if the dataset is where the run says; else why not."""
    address = dataset["path"]
    try:
        path = fetch_tables(parse(address))
        found = read_dataset_description(path)
        same = has_been(found, dataset["fingerprint"])
        table = read_parquet(path / "utterances.parquet") if same else None
    except (ArtifactError, RemoteError):
        return None, f"the dataset is not at {address} any more"
    return table, "" if same else f"the dataset at {address} has changed since the run"


def by_utterance(table: pa.Table | None, name: str) -> dict[str, str]:
    """A column of the utterance table by utterance id, without empty values."""
    if table is None or name not in table.column_names:
        return {}
    pairs = zip(table["utterance_id"].to_pylist(), table[name].to_pylist(), strict=True)
    return {utterance: str(value) for utterance, value in pairs if value}


def notes(library: Library) -> list[str]:
    """What a reader must know to judge the numbers."""
    found = [
        "Members, weights, temperatures, thresholds and the best single trial of each fold were "
        "chosen on the dev rows of that fold. Nothing was chosen on test rows.",
        "Where a trial is trained in epochs, its dev rows also decided when training stopped and "
        "which epoch was kept. So all dev numbers are optimistic. Test numbers are not affected.",
    ]
    folds = library.folds
    tested = {fold: set(library.take(fold, "test").speaker_ids) for fold in folds}
    picked = {fold: set(library.take(fold, "dev").speaker_ids) for fold in folds}
    steered = any(c.fold is None for c in library.candidates)
    if steered and any((tested[a] & picked[b]) - tested[b] for a in folds for b in folds):
        found.append(
            "The search proposes configurations by their mean dev objective over all folds, and "
            "test speakers of one fold are dev speakers of another. So they may have influenced "
            "which configurations were tried. They did not influence which trials and weights a "
            "fold uses (`search --nested` searches for each fold separately)."
        )
    elif not steered:
        found.append(NESTED_NOTE)
    if not library.plan["speaker_independent"]:
        found.append(
            "The protocol is not speaker-independent: the same speakers are in several parts of a "
            "fold, so the numbers say nothing about new speakers."
        )
    test_rows = [u for fold in folds for u in library.take(fold, "test").utterance_ids]
    if len(set(test_rows)) < len(test_rows):
        found.append(
            f"{len(test_rows) - len(set(test_rows))} test rows are utterances that are also test "
            "rows of another fold; pooled numbers count them each time."
        )
    if any(c.params.get("data.normalization") in WITHIN_SPEAKER for c in library.candidates):
        tests = [library.take(fold, "test") for fold in folds]
        truth = np.concatenate([test.truth for test in tests])
        speakers = [name for test in tests for name in test.speaker_ids]
        clips = SpeakerClips.count(truth, speakers, library.classes)
        found.append(f"Some trials normalise features by speaker: this uses {clips}.")
    if refit := sorted({c.architecture for c in library.candidates if c.refit}):
        found.append(f"{', '.join(refit)}: {REFIT_NOTE}")
    unfinished = [r.path for r in library.runs if r.content.get("status") != "complete"]
    found += [f"Left out, because damaged: {why}" for why in library.damaged]
    found += [
        f"{path}: the run is not complete; only its finished trials were used."
        for path in unfinished
    ]
    return found
