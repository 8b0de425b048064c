"""Published beside measured: the values of ``table.json``, of which text, CSV and page are made."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serplatform.artifacts.files import SCHEMA_VERSION
from serplatform.artifacts.run import RunDescription
from serplatform.artifacts.trial import TrialRecord
from serplatform.datasets.dataset import Dataset
from serplatform.environment import hardware, now, versions
from serplatform.metrics import HIGHER_IS_BETTER
from serplatform.reproduce.measure import Measured, TestRows, measure
from serplatform.reproduce.plan import QUICK, Wishes, Work
from serplatform.reproduce.sampling import ask, sampled_shares, similarity
from serplatform.reproduce.table import ReproducedTable, Row
from serplatform.run_directory import RunDirectory
from serplatform.search.trial_list import find_numbers
from serplatform.training.trial_config import resolve

#: what a column or a cell can be
MEASURED, PARTIAL, FAILED = "measured", "partial", "failed"
NOT_RUN, ABSENT, WAITING = "not run", "not in the paper", "not trained yet"

SELECTION = (
    "dev rows of each fold choose the epoch (and the exponent where it is searched); test rows are "
    "opened once, for this table"
)
STATISTICS = (
    "mean ± standard deviation over folds and seeds; the 95 % interval is of the pooled test rows, "
    "resampling whole speakers; the difference is measured minus published"
)


def assemble(
    table: ReproducedTable, works: Sequence[Work], wishes: Wishes, command: Sequence[str]
) -> dict[str, Any]:
    """Collect what there is of a table, JSON-serialisable.

    Raises:
        ArtifactError: files of a run are damaged, or its dataset is not where it was.
    """
    columns, cells = [], {}
    for work in works:
        column = _Column(table, work)
        columns.append(column.describe())
        cells[work.column.name] = column.cells()
    if wishes.quick:
        for column_cells in cells.values():
            for cell in column_cells.values():
                cell["difference"] = {}
    rows = [
        {
            "name": row.name,
            "label": row.label,
            "note": row.note,
            "architecture": row.architecture,
            "combine": list(row.combine),
            "exponent": row.exponent,
            "cells": {name: found[row.name] for name, found in cells.items()},
        }
        for row in table.rows.values()
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "table": table.name,
        "title": table.title,
        "paper": table.paper,
        "kind": table.kind,
        "quick": wishes.quick,
        "quick_note": QUICK if wishes.quick else None,
        "columns": columns,
        "rows": rows,
        "selection": SELECTION,
        "statistics": STATISTICS,
        "choices": list(table.choices),
        "command": list(command),
        "versions": versions(),
        "hardware": hardware(),
        "made": now(),
    }


class _Column:
    """What one run holds of a column."""

    def __init__(self, table: ReproducedTable, work: Work) -> None:
        self.table = table
        self.work = work
        self.run: RunDescription | None = None
        self.records: dict[int, TrialRecord] = {}
        self.rows: TestRows | None = None
        if work.path is not None and RunDirectory(work.path).run_file.exists():
            directory = RunDirectory(work.path)
            self.run = directory.read_run()
            self.records = directory.records()
            if any(record["state"] == "complete" for record in self.records.values()):
                self.rows = TestRows(work.path)

    def describe(self) -> dict[str, Any]:
        column, run = self.work.column, self.run
        needs = f"not run: needs {column.title} (--data …)"
        done = [t for row in self.work.rows for t in self._finished(row)]
        wanted = sum(len(found) for found in self.work.rows.values())
        if run is None:
            status, reason = NOT_RUN, needs if self.work.dataset is None else "nothing trained yet"
        elif len(done) < wanted:
            status, reason = PARTIAL, f"{len(done)} of {wanted} trainings done"
        else:
            status, reason = MEASURED, ""
        folds = None if run is None else run["protocol"]["num_folds"]
        return {
            "name": column.name,
            "corpus": column.corpus,
            "title": column.title,
            "protocol": column.protocol,
            "metrics": list(column.metrics),
            "stand_in": column.stand_in,
            "label": f"stand-in: {column.title}, not comparable with the published column"
            if column.stand_in
            else column.title,
            "status": status,
            "reason": reason,
            "trained": len(done),
            "wanted": wanted,
            "seeds": max((len(found) for found in self.work.rows.values()), default=0),
            "folds": folds,
            "folds_hash": None if run is None else run["folds_hash"],
            "fold_seed": None if run is None else run["seed"],
            "classes": None if run is None else run["classes"],
            "dataset_fingerprint": None if run is None else run["dataset"]["fingerprint"],
            "synthetic": False if run is None else run["dataset"]["synthetic"],
            "notes": [] if run is None else list(run["notes"]),
            "run": None if run is None else str(self.work.path),
            "seconds": None if run is None else self._seconds(done),
        }

    def _seconds(self, trials: Sequence[int]) -> float:
        return round(sum(self.records[trial]["seconds"] for trial in set(trials)), 1)

    def _trials(self, row: str) -> list[int | None]:
        """The latest trial of each seed of a trained row; None where it was never begun."""
        if self.run is None:
            return [None for _ in self.work.rows.get(row, ())]
        found = [find_numbers(self.run, c) for c in self.work.rows.get(row, ())]
        return [numbers[0] if numbers else None for numbers in found]

    def _finished(self, row: str) -> list[int]:
        return [
            trial
            for trial in self._trials(row)
            if trial is not None and self.rows is not None and self.rows.finished(trial)
        ]

    # -- cells

    def cells(self) -> dict[str, dict[str, Any]]:
        """Row name to its cell."""
        if self.table.kind == "metrics":
            return {row.name: self._cell(row) for row in self.table.rows.values()}
        return self._sampled()

    def _published(self, row: Row) -> dict[str, Any]:
        return dict(row.published.get(self.work.column.name, {}))

    def _empty(self, row: Row, status: str, reason: str) -> dict[str, Any]:
        return {
            "status": status,
            "reason": reason,
            "published": self._published(row),
            "measured": {},
            "difference": {},
            "trials": [],
            "seeds": 0,
        }

    def _lacking(self, row: Row, trained: Sequence[str]) -> dict[str, Any]:
        """The cell of a row of which nothing is finished."""
        for name in trained:
            if name in self.work.absent:
                return self._empty(row, ABSENT, self.work.absent[name])
        if self.run is None and self.work.dataset is None:
            needs = f"not run: needs {self.work.column.title} (--data …)"
            return self._empty(row, NOT_RUN, needs)
        trials = [t for name in trained for t in self._trials(name) if t is not None]
        errors = [self.records[t]["error"] for t in trials if t in self.records]
        if any(errors):
            return self._empty(row, FAILED, next(str(error) for error in errors if error))
        return self._empty(row, WAITING, "go on with the same command")

    def _cell(self, row: Row) -> dict[str, Any]:
        members = row.combine or (row.name,)
        trials = [self._trials(name) for name in members]
        seeds = [
            own
            for own in zip(*trials, strict=False)
            if self.rows is not None and all(t is not None and self.rows.finished(t) for t in own)
        ]
        if not seeds or self.rows is None:
            return self._lacking(row, members)
        cell: dict[str, Any] = {}
        if row.combine:
            assert row.exponent is not None  # noqa: S101 - the table was checked
            pairs = [
                self.rows.combined(int(one or 0), int(two or 0), row.exponent) for one, two in seeds
            ]
            sets = [found for found, _ in pairs]
            cell["exponents"] = [exponents for _, exponents in pairs]
        else:
            sets = [self.rows.of(int(own[0] or 0)) for own in seeds]
            cell |= self._training(int(seeds[0][0] or 0), [int(own[0] or 0) for own in seeds])
        measured = measure(sets, self.work.column.metrics)
        wanted = max(len(found) for found in trials)
        status = MEASURED if len(seeds) == wanted else PARTIAL
        reason = "" if status == MEASURED else f"{len(seeds)} of {wanted} seeds"
        published = self._published(row)
        return {
            **self._empty(row, status, reason),
            "measured": {name: found.as_dict() for name, found in measured.items()},
            "difference": _differences(measured, published),
            "trials": [list(own) for own in seeds],
            "seeds": len(seeds),
            "speakers": len({s for fold in sets[0] for s in fold.speaker_ids}),
            "utterances": sum(len(fold.truth) for fold in sets[0]),
            **cell,
        }

    def _training(self, first: int, trials: Sequence[int]) -> dict[str, Any]:
        """How the trials of a row were trained."""
        record = self.records[first]
        config = resolve(record["architecture"], record["params"], f"trial {first}")
        return {
            "settings": config.values(),
            "departures": dict(record["params"]),
            "num_parameters": record["num_parameters"],
            "best_epochs": [best_epochs(self.records[t], config.training.monitor) for t in trials],
            "monitor": config.training.monitor,
            "dev": [dict(self.records[t]["dev"]) for t in trials],
            "epochs": [self.records[t]["epochs"] for t in trials],
            "seconds": [round(float(self.records[t]["seconds"]), 1) for t in trials],
        }

    def _sampled(self) -> dict[str, dict[str, Any]]:
        """Cells of the kinds that look at what a VRNN samples."""
        rows = self.table.rows.values()
        trials = self._finished("system")
        wanted = len(self.work.rows.get("system", ()))
        if not trials or self.run is None or self.work.path is None:
            return {row.name: self._lacking(row, ["system"]) for row in rows}
        dataset = self.work.dataset or Dataset.open(Path(self.run["dataset"]["path"]))
        sampling = ask(self.work.path, dataset, trials)
        known = {
            "status": MEASURED if len(trials) == wanted else PARTIAL,
            "reason": "" if len(trials) == wanted else f"{len(trials)} of {wanted} seeds",
            "trials": [[trial] for trial in trials],
            "seeds": len(trials),
        }
        cells: dict[str, dict[str, Any]] = {}
        if self.table.kind == "sampled_share":
            for row in rows:
                found = sampled_shares(sampling, row.name)
                if found is None:
                    reason = "no such class here, or no utterance of two windows"
                    cells[row.name] = self._empty(row, ABSENT, reason)
                    continue
                cells[row.name] = {
                    **self._empty(row, MEASURED, ""),
                    **known,
                    "measured": {name: value.as_dict() for name, value in found.items()},
                    "difference": _differences(found, self._published(row)),
                    **self._training(trials[0], trials),
                }
            return cells
        classes, matrix = similarity(sampling)
        for row in rows:
            if row.name not in classes or len(classes) < 2:
                cells[row.name] = self._empty(row, ABSENT, "no such class here")
                continue
            place = classes.index(row.name)
            others = [
                (float(matrix[place, c]), other)
                for c, other in enumerate(classes)
                if c != place and np.isfinite(matrix[place, c])
            ]
            if not others:
                cells[row.name] = self._empty(row, ABSENT, "no fold tests it beside another class")
                continue
            cells[row.name] = {
                **self._empty(row, MEASURED, ""),
                **known,
                "measured": {"most_alike": max(others)[1], "least_alike": min(others)[1]},
                "similarity": {
                    "classes": list(classes),
                    "values": [
                        [round(float(v), 6) if np.isfinite(v) else None for v in line]
                        for line in matrix
                    ],
                },
                **self._training(trials[0], trials),
            }
        return cells


def _differences(
    measured: Mapping[str, Measured], published: Mapping[str, float]
) -> dict[str, float]:
    return {
        name: round(measured[name].mean - float(value), 6)
        for name, value in published.items()
        if name in measured
    }


def best_epochs(record: TrialRecord, monitor: str) -> list[int]:
    """The epoch that dev rows chose in each fold: the first with the best monitored metric.

    Example:
        >>> history = [{"fold": 0, "epoch": e, "dev": {"uar": v}} for e, v in ((1, .2), (2, .4))]
        >>> best_epochs({"history": history}, "uar")
        [2]
    """
    sign = 1.0 if HIGHER_IS_BETTER[monitor] else -1.0
    best: dict[int, tuple[float, int]] = {}
    for entry in record["history"]:
        value = entry["dev"].get(monitor)
        if value is None:
            continue
        found = (sign * float(value), -int(entry["epoch"]))
        if entry["fold"] not in best or found > best[entry["fold"]]:
            best[entry["fold"]] = found
    return [-best[fold][1] for fold in sorted(best)]


CSV_HEADER = (
    "table",
    "row",
    "label",
    "column",
    "corpus",
    "protocol",
    "stand_in",
    "quick",
    "metric",
    "published",
    "mean",
    "sd",
    "pooled",
    "low",
    "high",
    "difference",
    "seeds",
    "folds",
    "status",
    "reason",
    "folds_hash",
)


def to_csv(outcome: Mapping[str, Any]) -> str:
    """A line a row, column and metric; empty where there is nothing, never a guess."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for column in outcome["columns"]:
        for row in outcome["rows"]:
            cell = row["cells"][column["name"]]
            for metric in column["metrics"]:
                found = cell["measured"].get(metric)
                numbers = found if isinstance(found, Mapping) else {"mean": found}
                writer.writerow(
                    [
                        outcome["table"],
                        row["name"],
                        row["label"],
                        column["label"],
                        column["corpus"],
                        column["protocol"],
                        "stand-in" if column["stand_in"] else "",
                        "quick" if outcome["quick"] else "",
                        metric,
                        cell["published"].get(metric, ""),
                        *(
                            "" if numbers.get(name) is None else numbers[name]
                            for name in ("mean", "sd", "pooled", "low", "high")
                        ),
                        cell["difference"].get(metric, ""),
                        cell["seeds"] or "",
                        column["folds"] or "",
                        cell["status"],
                        cell["reason"],
                        column["folds_hash"] or "",
                    ]
                )
    return stream.getvalue()
