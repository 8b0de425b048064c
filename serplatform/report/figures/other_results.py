"""Our systems and results of others on the same protocol and metric."""

from __future__ import annotations

import dataclasses

from serplatform.papers.published import PublishedResult
from serplatform.report import charts
from serplatform.report.data import NoDataError, ReportData
from serplatform.report.figures.base import FIGURES, Cell, Drawing, Figure, Palette, Panel, Table
from serplatform.report.published_baselines import find_baselines, place_against, qualities
from serplatform.report.wording import METRICS, interval, listing, percent, short
from serplatform.statistics.intervals import Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparedMetric:
    """One metric: our systems (label, pooled value) and the others, best first."""

    metric: str
    ours: tuple[tuple[str, Interval], ...]
    others: tuple[PublishedResult, ...]

    @property
    def title(self) -> str:
        return METRICS[self.metric].title


@FIGURES.register("other_results")
class OtherResults(Figure[tuple[ComparedMetric, ...]]):
    title = "Beside other results"
    section = "results"
    after = "metrics_table"

    def compute(self, report: ReportData) -> tuple[ComparedMetric, ...]:
        baselines = find_baselines(report)
        if not baselines.results:
            raise NoDataError(
                baselines.why_none.rstrip(".")
                or "no result of others is known for this protocol and these metrics"
            )
        return tuple(
            ComparedMetric(
                metric=metric,
                ours=tuple((m.label, m.pooled[metric]) for m in report.measured),
                others=others,
            )
            for metric, others in baselines.results.items()
        )

    def draw(self, data: tuple[ComparedMetric, ...], palette: Palette) -> Drawing:
        first = data[0]
        label, ours = first.ours[0]
        said = [
            f"{sum(place_against(r.value, ours).startswith(word) for r in first.others)} {word}"
            for word in ("below", "within", "above")
        ]
        return Drawing(
            summary=(
                f"{listing([one.title for one in data])} of others on the same protocol. Of "
                f"{len(first.others)} with {first.title}, {listing(said)} the 95 % interval of the "
                f"{label.lower()} ({interval(first.metric, ours)} %)."
            ),
            panels=[_panel(one, one.title if len(data) > 1 else "", palette) for one in data],
            tables=[_table(data)],
            note=(
                "A number stands here only if protocol, classes, number of test utterances and "
                "metric are the same as ours; metrics go by what they compute, not by what a "
                "paper calls them. Others give no posteriors, so no difference is tested. Random "
                "protocols share their kind with a published one, not the draw of the folds."
            ),
            wide=True,
        )


def _label(result: PublishedResult) -> str:
    marks = ", by speaker" if result.row.speaker_normalised else ""
    marks += ", pre-trained" if result.row.pretrained else ""
    return short(result.system, 32) + marks


def _panel(one: ComparedMetric, title: str, palette: Palette) -> Panel:
    """Names stand above their rows, so that a narrow screen keeps its width for the scale."""
    traces = [
        charts.interval_points(
            label,
            [value],
            [place],
            palette.marker(label, 11),
            hover="%{x:.1f} %<br>" + interval(one.metric, value),
        )
        for place, (label, value) in enumerate(one.ours)
    ]
    traces.append(
        charts.points(
            "others",
            [100 * r.value for r in one.others],
            [len(one.ours) + i for i in range(len(one.others))],
            charts.marker("@ink", "line-ns", 15, edge=3),
            texts=[f"{r.system}<br>{qualities(r)}" for r in one.others],
            hover="%{text}<br>%{x:.1f} %",
        )
    )
    rows = [*(label for label, _ in one.ours), *(_label(r) for r in one.others)]
    ends = [len(rows) - 0.5, -0.9]
    return charts.panel(
        traces,
        f"{one.title} (%), 95 % interval where known",
        charts.axis(range=ends, showticklabels=False, **charts.BARE),
        title=title,
        notes=[
            charts.note(
                0,
                place - 0.28,
                row,
                size=12,
                color="@ink" if place < len(one.ours) else "@muted",
                xref="paper",
                xanchor="left",
                yanchor="bottom",
            )
            for place, row in enumerate(rows)
        ],
        legend=False,
        height=90 + 40 * len(rows),
    )


def _table(data: tuple[ComparedMetric, ...]) -> Table:
    rows: list[list[Cell]] = []
    display: list[list[str]] = []
    for one in data:
        for label, value in one.ours:
            rows.append(
                [one.metric, label, value.value, value.low, value.high, "this page", "", ""]
            )
            bounds = [percent(value.value), interval(one.metric, value)]
            display.append([one.title, label, *bounds, "this page, pooled over folds", ""])
        for r in one.others:
            how = qualities(r) + (f", {r.column.pooling}" if r.column.pooling else "")
            source = r.table.paper.strip()
            rows.append([one.metric, r.system, r.value, None, None, how, r.note, source])
            display.append([one.title, r.system, percent(r.value), "–", how, source])
    return Table(
        caption="Every number and where it comes from",
        header=["metric", "system", "%", "95 % interval", "how", "source"],
        rows=rows,
        display=display,
        csv_header=["metric", "system", "value", "low", "high", "how", "note", "source"],
    )
