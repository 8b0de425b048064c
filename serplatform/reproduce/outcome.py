"""Published next to measured: the values of ``table.json``, for text, CSV and page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serplatform.artifacts.files import SCHEMA_VERSION
from serplatform.artifacts.looks import LookCount, digest_of
from serplatform.artifacts.reproduced_table import (
    FigureRecord,
    MeasuredMetric,
    ReproducedCell,
    ReproducedColumn,
    ReproducedTable,
)
from serplatform.artifacts.run import RunDescription
from serplatform.artifacts.trial import TrialRecord
from serplatform.datasets.dataset import Dataset
from serplatform.environment import hardware, now, versions
from serplatform.metrics import HIGHER_IS_BETTER, METRICS
from serplatform.papers.paper_table import (
    ATTENTION_KINDS,
    CLASS_KINDS,
    PaperColumn,
    PaperRow,
    PaperTable,
)
from serplatform.report.sampling import Sampling
from serplatform.reproduce.figures import ProbedAttention, probe_attention, read_embeddings
from serplatform.reproduce.measure import (
    RunPosteriors,
    extremes,
    measure,
    probe_sampling,
    sampled_shares,
    similarity,
)
from serplatform.reproduce.plan import QUICK, ColumnPlan, ReproduceOptions
from serplatform.run_directory import RunDirectory
from serplatform.studies.trial_list import find_numbers
from serplatform.training.trial_config import resolve

#: what a column or a cell can be
MEASURED, PARTIAL, FAILED = "measured", "partial", "failed"
NOT_RUN, ABSENT, WAITING = "not run", "not in the paper", "not trained yet"

SELECTION = (
    "dev rows of each fold choose the epoch (and the exponent where it is searched); test rows "
    "choose nothing"
)
STATISTICS = (
    "mean ± standard deviation over folds and seeds; the 95 % interval is of the pooled test rows, "
    "over whole speakers; the difference is measured minus published"
)


def assemble(
    table: PaperTable,
    plans: Sequence[ColumnPlan],
    options: ReproduceOptions,
    command: Sequence[str],
) -> ReproducedTable:
    """Collect what there is of a table."""
    columns = [_ColumnResults(table, plan, options) for plan in plans]
    cells = {found.plan.column.name: found.cells() for found in columns}
    figure = table.kind in (*ATTENTION_KINDS, "embeddings")
    shows: dict[str, str] = {"published_shows": table.note.strip()} if figure else {}
    return {
        "schema_version": SCHEMA_VERSION,
        "table": table.name,
        "title": table.title,
        "paper": table.paper,
        "kind": table.kind,
        **shows,  # type: ignore[typeddict-item]
        "quick": options.quick,
        "quick_note": QUICK if options.quick else None,
        "columns": [found.describe() for found in columns],
        "rows": [
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
        ],
        "selection": "; ".join(
            [SELECTION, *(f"{c.plan.column.title}: {c.look.short}" for c in columns if c.look)]
        ),
        "statistics": STATISTICS,
        "choices": list(table.choices),
        "quoted": list(table.quoted),
        "command": list(command),
        "versions": versions(),
        "hardware": hardware(),
        "made": now(),
    }


class _ColumnResults:
    """What one run holds of a column."""

    def __init__(self, table: PaperTable, plan: ColumnPlan, options: ReproduceOptions) -> None:
        self.table, self.plan, self.options = table, plan, options
        self.run: RunDescription | None = None
        self.records: dict[int, TrialRecord] = {}
        self.posteriors: RunPosteriors | None = None
        self.look: LookCount | None = None
        if plan.path is not None and RunDirectory(plan.path).run_file.exists():
            directory = RunDirectory(plan.path)
            self.run = directory.read_run()
            self.records = directory.records()
            if any(record["state"] == "complete" for record in self.records.values()):
                self.posteriors = RunPosteriors(plan.path)
                measured = digest_of(sorted(c.digest for c in self.posteriors.library.candidates))
                self.look = directory.look(
                    {"table": measured}, combiner="table", seed=self.run["seed"]
                )

    @property
    def _needs(self) -> str:
        return f"not run: needs {self.plan.column.title} (--data …)"

    def describe(self) -> ReproducedColumn:
        column, run = self.plan.column, self.run
        done = [t for row in self.plan.rows for t in self._finished(row)]
        wanted = sum(len(found) for found in self.plan.rows.values())
        status, reason = MEASURED, ""
        if run is None:
            status = NOT_RUN
            reason = self._needs if self.plan.dataset is None else "nothing trained yet"
        elif len(done) < wanted:
            status, reason = PARTIAL, f"{len(done)} of {wanted} trainings done"
        stand_in = f"stand-in: {column.title}, not comparable with the published column"
        seconds = sum(self.records[trial].get("seconds", 0.0) for trial in set(done))
        return {
            "name": column.name,
            "corpus": column.corpus,
            "title": column.title,
            "protocol": column.protocol,
            "metrics": list(column.metrics),
            "stand_in": column.stand_in,
            "label": stand_in if column.stand_in else column.title,
            "status": status,
            "reason": reason,
            "trained": len(done),
            "wanted": wanted,
            "seeds": max((len(found) for found in self.plan.rows.values()), default=0),
            "folds": run["protocol"].get("num_folds") if run else None,
            "folds_hash": run["folds_hash"] if run else None,
            "fold_seed": run["seed"] if run else None,
            "classes": run["classes"] if run else None,
            "dataset_fingerprint": run["dataset"]["fingerprint"] if run else None,
            "synthetic": run["dataset"].get("synthetic", False) if run else False,
            "notes": [*_printed_folds(column), *self.plan.notes, *(run["notes"] if run else ())],
            "run": str(self.plan.path) if run else None,
            "seconds": round(seconds, 1) if run else None,
        }

    def _trials(self, row: str) -> list[int | None]:
        """The latest trial of each seed of a trained row; None where it was never begun."""
        numbers = [
            [] if self.run is None else find_numbers(self.run, c)
            for c in self.plan.rows.get(row, ())
        ]
        return [found[0] if found else None for found in numbers]

    def _finished(self, row: str) -> list[int]:
        known = self.posteriors
        return [t for t in self._trials(row) if t is not None and known and known.finished(t)]

    # -- cells

    def cells(self) -> dict[str, ReproducedCell]:
        """Row name to its cell."""
        rows = self.table.rows.values()
        if self.table.kind not in CLASS_KINDS:
            return {row.name: self._metrics_cell(row) for row in rows}
        trials = self._finished("system")
        if not trials or self.run is None or self.plan.path is None:
            return {row.name: self._lacking(row, ["system"]) for row in rows}
        dataset = self.plan.dataset or Dataset.open(Path(self.run["dataset"]["path"]))
        if self.table.kind in ATTENTION_KINDS:
            probed = probe_attention(self.plan.path, dataset, trials)
            return {row.name: self._attention_cell(row, probed, trials) for row in rows}
        sampling = probe_sampling(self.plan.path, dataset, trials)
        return {row.name: self._class_cell(row, sampling, trials) for row in rows}

    def _cell(
        self,
        row: PaperRow,
        status: str,
        reason: str,
        measured: dict[str, MeasuredMetric | str] | None = None,
        trials: Sequence[Sequence[int]] = (),
    ) -> ReproducedCell:
        column = self.plan.column.name
        published = dict(row.published.get(column, {}))
        difference = {
            name: round(found["mean"] - value, 6)
            for name, found in (measured or {}).items()
            if not isinstance(found, str) and not self.options.quick
            if isinstance(value := published.get(name), (int, float))
        }
        return {
            "status": status,
            "reason": reason,
            "published": published,
            "published_sd": {n: float(v) for n, v in row.std.get(column, {}).items()},
            "measured": measured or {},
            "difference": difference,
            "trials": [list(own) for own in trials],
            "seeds": len(trials),
        }

    def _lacking(self, row: PaperRow, trained: Sequence[str]) -> ReproducedCell:
        """The cell of a row of which nothing is finished."""
        for name in trained:
            if name in self.plan.absent:
                return self._cell(row, ABSENT, self.plan.absent[name])
        if self.run is None and self.plan.dataset is None:
            return self._cell(row, NOT_RUN, self._needs)
        trials = [t for name in trained for t in self._trials(name) if t is not None]
        for trial in trials:
            if trial in self.records and (error := self.records[trial].get("error")):
                return self._cell(row, FAILED, error)
        return self._cell(row, WAITING, "resume with the same command")

    def _metrics_cell(self, row: PaperRow) -> ReproducedCell:
        members = row.combine or (row.name,)
        trials = [self._trials(name) for name in members]
        known = self.posteriors
        seeds = [
            [trial for trial in own if trial is not None]
            for own in zip(*trials, strict=False)
            if known is not None and all(known.finished(trial) for trial in own)
        ]
        if not seeds or known is None:
            return self._lacking(row, members)
        exponents = []
        if row.exponent is not None:
            pairs = [known.combined(one, two, row.exponent) for one, two in seeds]
            sets = [found for found, _ in pairs]
            exponents = [found for _, found in pairs]
        else:
            sets = [known.of(trial) for (trial,) in seeds]
        measured = measure(sets, [m for m in self.plan.column.metrics if m in METRICS])
        figure: FigureRecord = {}
        if self.table.kind == "embeddings" and self.run is not None and self.plan.path is not None:
            dataset = self.plan.dataset or Dataset.open(Path(self.run["dataset"]["path"]))
            apart, figure = read_embeddings(self.plan.path, dataset, [t for (t,) in seeds])
            measured |= apart
        cell = self._cell(row, *_progress(seeds, max(map(len, trials))), {**measured}, seeds)
        if figure:
            cell["figure"] = figure
        cell["speakers"] = len({s for fold in sets[0] for s in fold.speaker_ids})
        cell["utterances"] = sum(len(fold.truth) for fold in sets[0])
        if exponents:
            cell["exponents"] = exponents
        else:
            self._add_training(cell, [trial for (trial,) in seeds])
        return cell

    def _add_training(self, cell: ReproducedCell, trials: Sequence[int]) -> None:
        """How the trials of a row were trained."""
        records = [self.records[trial] for trial in trials]
        first = records[0]
        config = resolve(first["architecture"], first["params"], f"trial {trials[0]}")
        cell["settings"] = config.values()
        cell["departures"] = dict(first["params"])
        cell["num_parameters"] = first.get("num_parameters")
        cell["best_epochs"] = [best_epochs(r, config.training.monitor) for r in records]
        cell["monitor"] = config.training.monitor
        cell["dev"] = [dict(record.get("dev", {})) for record in records]
        cell["epochs"] = [record.get("epochs", 0) for record in records]
        cell["seconds"] = [round(record.get("seconds", 0.0), 1) for record in records]

    def _attention_cell(
        self, row: PaperRow, probed: ProbedAttention, trials: Sequence[int]
    ) -> ReproducedCell:
        """A cell of the kinds that look at where the attention of one system lies."""
        measured, figure = probed.cell(row, list(self.table.rows.values()), self.table.kind)
        if not measured:
            return self._cell(row, ABSENT, "no attention, or no phones, to read it from")
        progress = _progress(trials, len(self.plan.rows["system"]))
        cell = self._cell(row, *progress, {**measured}, [[t] for t in trials])
        cell["figure"] = figure
        self._add_training(cell, trials)
        return cell

    def _class_cell(
        self, row: PaperRow, sampling: Sampling, trials: Sequence[int]
    ) -> ReproducedCell:
        """A cell of the kinds that look at what a VRNN samples of one class."""
        measured: dict[str, MeasuredMetric | str] = {}
        if self.table.kind == "sampled_share":
            measured |= sampled_shares(sampling, row.name)
            reason = "no such class here, or no utterance of two windows"
        else:
            classes, matrix = similarity(sampling, self.run["classes"] if self.run else ())
            reason = "no such class here"
            if row.name in classes and len(classes) > 1:
                measured |= extremes(classes, matrix, row.name)
                reason = "no fold tests it together with another class"
        if not measured:
            return self._cell(row, ABSENT, reason)
        progress = _progress(trials, len(self.plan.rows["system"]))
        cell = self._cell(row, *progress, measured, [[t] for t in trials])
        if self.table.kind == "attention_similarity":
            values = [
                [round(float(v), 6) if np.isfinite(v) else None for v in line] for line in matrix
            ]
            cell["similarity"] = {"classes": classes, "values": values}
        self._add_training(cell, trials)
        return cell


def _printed_folds(column: PaperColumn) -> list[str]:
    """What is known of the folds of the published numbers, where that is not everything."""
    return [f"Published numbers: {column.note}."] if column.note and not column.stand_in else []


def _progress(done: Sequence[object], wanted: int) -> tuple[str, str]:
    """Status and reason of a cell of which so many seeds are measured."""
    if len(done) == wanted:
        return MEASURED, ""
    return PARTIAL, f"{len(done)} of {wanted} seeds"


def best_epochs(record: TrialRecord, monitor: str) -> list[int]:
    """The epoch that dev rows chose in each fold: the first with the best monitored metric.

    Example:
        >>> history = [{"fold": 0, "epoch": e, "dev": {"uar": v}} for e, v in ((1, .2), (2, .4))]
        >>> best_epochs({"history": history}, "uar")
        [2]
    """
    sign = 1.0 if HIGHER_IS_BETTER[monitor] else -1.0
    best: dict[int, tuple[float, int]] = {}
    for entry in record.get("history", []):
        value = entry["dev"].get(monitor)
        if value is not None:
            found = (sign * value, -entry["epoch"])
            best[entry["fold"]] = max(found, best.get(entry["fold"], found))
    return [-best[fold][1] for fold in sorted(best)]


def to_csv(outcome: ReproducedTable) -> str:
    """One line per row, column and metric; empty where there is nothing, never a guess."""
    stream = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for column in outcome["columns"]:
        for row in outcome["rows"]:
            cell = row["cells"][column["name"]]
            for metric in column["metrics"]:
                found = cell["measured"].get(metric)
                numbers = {"mean": found} if found is None or isinstance(found, str) else {**found}
                line = {
                    "table": outcome["table"],
                    "row": row["name"],
                    "label": row["label"],
                    "column": column["label"],
                    "corpus": column["corpus"],
                    "protocol": column["protocol"],
                    "stand_in": "stand-in" if column["stand_in"] else "",
                    "quick": "quick" if outcome["quick"] else "",
                    "metric": metric,
                    "published": cell["published"].get(metric),
                    "published_sd": cell.get("published_sd", {}).get(metric),
                    **{n: numbers.get(n) for n in ("mean", "sd", "pooled", "low", "high")},
                    "difference": cell["difference"].get(metric),
                    "seeds": cell["seeds"] or None,
                    "folds": column["folds"] or None,
                    "status": cell["status"],
                    "reason": cell["reason"],
                    "folds_hash": column["folds_hash"],
                }
                if writer is None:
                    writer = csv.DictWriter(stream, list(line), lineterminator="\n")
                    writer.writeheader()
                writer.writerow(line)
    return stream.getvalue()
