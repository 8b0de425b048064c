"""Every metric of every system: pooled with an interval, and mean ± sd over the folds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from serplatform.metrics import METRICS
from serplatform.report.data import Need, ReportData
from serplatform.report.figures.base import FIGURES, FIRST, Drawing, Figure, Palette, Table
from serplatform.report.wording import interval, metric, metric_title, percent
from serplatform.statistics.intervals import Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One metric of one system: pooled, by fold, and mean and std over the folds."""

    metric: str
    system: str
    pooled: Interval
    mean: float
    std: float
    folds: Mapping[int, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricsBySystem:
    """Rows by metric then system."""

    rows: tuple[MetricRow, ...]
    systems: tuple[str, ...]


@FIGURES.register("metrics_table")
class MetricsTable(Figure[MetricsBySystem]):
    title = "All metrics"
    section = "results"
    after = FIRST
    needs = (Need.TESTED_SYSTEM,)

    def compute(self, report: ReportData) -> MetricsBySystem:
        rows = []
        for name in METRICS:
            for system in report.measured:
                folds = {fold: values[name] for fold, values in system.by_fold.items()}
                found = list(folds.values())
                rows.append(
                    MetricRow(
                        metric=name,
                        system=system.label,
                        pooled=system.pooled[name],
                        mean=float(np.mean(found)),
                        std=float(np.std(found, ddof=1)) if len(found) > 1 else math.nan,
                        folds=folds,
                    )
                )
        return MetricsBySystem(
            rows=tuple(rows),
            systems=tuple(system.label for system in report.measured),
        )

    def draw(self, data: MetricsBySystem, palette: Palette) -> Drawing:
        return Drawing(
            summary=(
                "Pooled: all test utterances of all folds together, with a 95 % interval. "
                "Over folds: mean ± standard deviation of the folds' own values."
            ),
            tables=[
                Table(
                    caption="Pooled test metrics with 95 % intervals",
                    header=["metric", *data.systems],
                    rows=[
                        [row.metric, row.system, row.pooled.value, row.pooled.low, row.pooled.high]
                        for row in data.rows
                    ],
                    csv_header=["metric", "system", "pooled", "low", "high"],
                    display=_grid(data, _pooled),
                ),
                Table(
                    caption="Test metrics over folds, mean ± standard deviation",
                    header=["metric", *data.systems],
                    rows=[[row.metric, row.system, row.mean, row.std] for row in data.rows],
                    csv_header=["metric", "system", "fold_mean", "fold_sd"],
                    display=_grid(data, _over_folds),
                ),
                _by_fold(data),
            ],
            open_tables=True,
            note=(
                "Intervals are over speakers (jackknife, Student's t), since utterances of one "
                "speaker are not independent; the ECE has none, since chance alone "
                "raises it: Reliability says what perfect calibration would give. The fold "
                "sd is not a standard error: folds share training data."
            ),
        )


def _pooled(row: MetricRow) -> str:
    return f"{metric(row.metric, row.pooled.value)} ({interval(row.metric, row.pooled)})"


def _over_folds(row: MetricRow) -> str:
    return f"{metric(row.metric, row.mean)} ± {metric(row.metric, row.std)}"


def _grid(data: MetricsBySystem, cell: Callable[[MetricRow], str]) -> list[list[str]]:
    """One row per metric, one column per system."""
    texts: dict[str, list[str]] = {}
    for row in data.rows:
        texts.setdefault(row.metric, [metric_title(row.metric)]).append(cell(row))
    return list(texts.values())


def _by_fold(data: MetricsBySystem) -> Table:
    uar = [row.folds for row in data.rows if row.metric == "uar"]
    folds = dict.fromkeys(fold for one in uar for fold in one)
    return Table(
        caption="Test UAR (%) by fold; the download has every metric",
        header=["fold", *data.systems],
        rows=[[r.system, fold, r.metric, v] for r in data.rows for fold, v in r.folds.items()],
        csv_header=["system", "fold", "metric", "value"],
        display=[[str(fold), *(percent(one.get(fold)) for one in uar)] for fold in folds],
    )
