"""Every metric of every system: pooled with an interval, and mean ± sd over the folds."""

from __future__ import annotations

import dataclasses

from serplatform.metrics import METRICS
from serplatform.report.evidence import Evidence
from serplatform.report.figures.base import FIGURES, Cell, Drawing, Figure, Ink, NoDataError, Table
from serplatform.report.wording import METRICS as TITLES
from serplatform.report.wording import decimal, interval, metric, percent
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
            for system in evidence.systems:
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
        return Metrics(rows=tuple(rows), by_fold=tuple(by_fold))

    def draw(self, data: Metrics, ink: Ink) -> Drawing:
        display = [
            [
                TITLES[row.metric][0] + (" (%)" if TITLES[row.metric][1] else ""),
                row.system,
                metric(row.metric, row.pooled.value),
                interval(row.metric, row.pooled),
                f"{metric(row.metric, row.mean)} ± {metric(row.metric, row.deviation)}",
            ]
            for row in data.rows
        ]
        raw: list[list[Cell]] = [
            [r.metric, r.system, r.pooled.value, r.pooled.low, r.pooled.high, r.mean, r.deviation]
            for r in data.rows
        ]
        systems = list(dict.fromkeys(row.system for row in data.rows))
        folds = sorted({fold for _, fold, _, _ in data.by_fold})
        values = {(s, f, m): v for s, f, m, v in data.by_fold}
        names = [name for name in METRICS if any(row.metric == name for row in data.rows)]
        return Drawing(
            summary=(
                "Pooled: all test utterances of all folds together, with a 95 % interval. "
                "By fold: mean ± standard deviation over the folds."
            ),
            tables=[
                Table(
                    caption="Test metrics of each system",
                    header=["metric", "system", "pooled", "95 % interval", "mean ± sd over folds"],
                    rows=raw,
                    display=display,
                    csv_header=[
                        "metric",
                        "system",
                        "pooled",
                        "low",
                        "high",
                        "fold_mean",
                        "fold_sd",
                    ],
                ),
                Table(
                    caption="Test metrics by fold",
                    header=["system", "fold", *(TITLES[name][0] for name in names)],
                    rows=[
                        [s, f, *(values[s, f, m] for m in names)] for s in systems for f in folds
                    ],
                    display=[
                        [
                            s,
                            str(f),
                            *(
                                (percent if TITLES[m][1] else decimal)(values[s, f, m])
                                for m in names
                            ),
                        ]
                        for s in systems
                        for f in folds
                    ],
                ),
            ],
            open_tables=True,
            note=(
                "Intervals resample whole speakers (2,000 resamples, percentiles), because "
                "utterances of one speaker are not independent. The fold sd is not a standard "
                "error: folds share training data."
            ),
        )
