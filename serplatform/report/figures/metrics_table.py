"""Every metric of every system: pooled with an interval, and mean ± sd over the folds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from serplatform.metrics import METRICS
from serplatform.report.evidence import Evidence
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Table
from serplatform.report.wording import METRICS as TITLES
from serplatform.report.wording import interval, metric, percent
from serplatform.statistics.bootstrap import Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One metric of one system; ``mean`` and ``deviation`` are over the folds."""

    metric: str
    system: str
    pooled: Interval
    mean: float
    deviation: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metrics:
    """Rows by metric then system; per fold: (system, fold, metric, value)."""

    rows: tuple[MetricRow, ...]
    by_fold: tuple[tuple[str, int, str, float], ...]
    resamples: int


@FIGURES.register("metrics_table")
class MetricsTable(Figure[Metrics]):
    name = "metrics_table"
    title = "All metrics"
    section = "results"
    order = 10

    def compute(self, evidence: Evidence) -> Metrics:
        if not evidence.systems:
            raise NoDataError("no finished trial has test posteriors")
        rows, by_fold = [], []
        for name in METRICS:
            for system in evidence.measured:
                mean, deviation = system.mean_and_deviation(name)
                rows.append(
                    MetricRow(
                        metric=name,
                        system=system.label,
                        pooled=system.pooled[name],
                        mean=mean,
                        deviation=deviation,
                    )
                )
                by_fold += [(system.label, f, name, v[name]) for f, v in system.by_fold.items()]
        return Metrics(rows=tuple(rows), by_fold=tuple(by_fold), resamples=evidence.resamples)

    def draw(self, data: Metrics, ink: Ink) -> Drawing:
        return Drawing(
            summary=(
                "Pooled: all test utterances of all folds together, with a 95 % interval. "
                "Over folds: mean ± standard deviation of the folds' own values."
            ),
            tables=[_pooled(data), _over_folds(data), _by_fold(data)],
            open_tables=True,
            note=(
                f"Intervals resample whole speakers ({data.resamples:,} resamples, percentiles): "
                "utterances of one speaker are not independent. The fold sd is not a standard "
                "error: folds share training data."
            ),
        )


def _title(name: str) -> str:
    return TITLES[name][0] + (" (%)" if TITLES[name][1] else "")


def _systems(data: Metrics) -> list[str]:
    return list(dict.fromkeys(row.system for row in data.rows))


def _grid(data: Metrics, cell: Callable[[MetricRow], str]) -> list[list[str]]:
    """One row a metric, one column a system."""
    rows = {(row.metric, row.system): row for row in data.rows}
    names = list(dict.fromkeys(row.metric for row in data.rows))
    return [[_title(n), *(cell(rows[n, s]) for s in _systems(data))] for n in names]


def _pooled(data: Metrics) -> Table:
    return Table(
        caption="Pooled test metrics with 95 % intervals",
        header=["metric", *_systems(data)],
        rows=[
            [row.metric, row.system, row.pooled.value, row.pooled.low, row.pooled.high]
            for row in data.rows
        ],
        csv_header=["metric", "system", "pooled", "low", "high"],
        display=_grid(
            data,
            lambda row: (
                f"{metric(row.metric, row.pooled.value)} ({interval(row.metric, row.pooled)})"
            ),
        ),
    )


def _over_folds(data: Metrics) -> Table:
    return Table(
        caption="Test metrics over folds, mean ± standard deviation",
        header=["metric", *_systems(data)],
        rows=[[row.metric, row.system, row.mean, row.deviation] for row in data.rows],
        csv_header=["metric", "system", "fold_mean", "fold_sd"],
        display=_grid(
            data,
            lambda row: f"{metric(row.metric, row.mean)} ± {metric(row.metric, row.deviation)}",
        ),
    )


def _by_fold(data: Metrics) -> Table:
    folds = list(dict.fromkeys(fold for _, fold, _, _ in data.by_fold))
    values = {(s, f): v for s, f, name, v in data.by_fold if name == "uar"}
    return Table(
        caption="Test UAR (%) by fold; the download has every metric",
        header=["fold", *_systems(data)],
        rows=[list(row) for row in data.by_fold],
        csv_header=["system", "fold", "metric", "value"],
        display=[[str(f), *(percent(values.get((s, f))) for s in _systems(data))] for f in folds],
    )
