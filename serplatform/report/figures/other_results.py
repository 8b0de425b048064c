"""Our systems and results of others on the same protocol and metric."""

from __future__ import annotations

import dataclasses
from typing import Any

from serplatform.papers.published import PublishedResult
from serplatform.report.beside import find_beside, placed, qualities
from serplatform.report.evidence import Evidence
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Panel, Table
from serplatform.report.wording import METRICS as TITLES
from serplatform.report.wording import interval, listing, percent, short
from serplatform.statistics.bootstrap import Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricBeside:
    """One metric: our systems (label, pooled value) and the others, best first."""

    metric: str
    ours: tuple[tuple[str, Interval], ...]
    others: tuple[PublishedResult, ...]


@FIGURES.register("other_results")
class OtherResults(Figure[tuple[MetricBeside, ...]]):
    name = "other_results"
    title = "Beside other results"
    section = "results"
    order = 15

    def compute(self, evidence: Evidence) -> tuple[MetricBeside, ...]:
        beside = find_beside(evidence)
        if not beside.results:
            raise NoDataError(
                beside.refused.rstrip(".")
                or "no result of others is known for this protocol and these metrics"
            )
        return tuple(
            MetricBeside(
                metric=metric,
                ours=tuple((m.label, m.pooled[metric]) for m in evidence.measured),
                others=others,
            )
            for metric, others in beside.results.items()
        )

    def draw(self, data: tuple[MetricBeside, ...], ink: Ink) -> Drawing:
        first = data[0]
        label, ours = first.ours[0]
        said = [
            f"{sum(placed(r.value, ours).startswith(word) for r in first.others)} {word}"
            for word in ("below", "within", "above")
        ]
        titles = [TITLES[d.metric][0] for d in data]
        return Drawing(
            summary=(
                f"{listing(titles)} of others on the same protocol. Of {len(first.others)} with "
                f"{titles[0]}, {listing(said)} the 95 % interval of the {label.lower()} "
                f"({interval(first.metric, ours)} %)."
            ),
            panels=[
                Panel(
                    title=TITLES[one.metric][0] if len(data) > 1 else "",
                    data=_traces(one, ink),
                    layout=_layout(one),
                    height=90 + 40 * (len(one.ours) + len(one.others)),
                )
                for one in data
            ],
            tables=[_table(data)],
            note=(
                "A number stands here only if protocol, classes, number of test utterances and "
                "metric are the same as ours; metrics go by what they compute, not by what a "
                "paper calls them. Others give no posteriors, so no difference is tested. Random "
                "protocols share their kind with a published one, not the draw of the folds."
            ),
            wide=True,
        )


def _rows(one: MetricBeside) -> list[str]:
    return [*(label for label, _ in one.ours), *(_label(r) for r in one.others)]


def _label(result: PublishedResult) -> str:
    marks = ", by speaker" if result.speaker_normalised else ""
    marks += ", pre-trained" if result.pretrained else ""
    return short(result.system, 32) + marks


def _traces(one: MetricBeside, ink: Ink) -> list[dict[str, Any]]:
    traces = [
        charts.markers(
            label,
            [100 * value.value],
            [place],
            error_x=charts.whiskers([value], ink.colour(label)),
            marker=ink.marker(label, 11),
            hovertemplate="%{x:.1f} %<br>" + interval(one.metric, value) + "<extra></extra>",
        )
        for place, (label, value) in enumerate(one.ours)
    ]
    traces.append(
        charts.markers(
            "others",
            [100 * r.value for r in one.others],
            [len(one.ours) + i for i in range(len(one.others))],
            text=[f"{r.system}<br>{qualities(r)}" for r in one.others],
            marker={"color": "@ink", "symbol": "line-ns-open", "size": 15, "line": {"width": 3}},
            hovertemplate="%{text}<br>%{x:.1f} %<extra></extra>",
        )
    )
    return traces


def _layout(one: MetricBeside) -> dict[str, Any]:
    """Names stand above their rows, so that a narrow screen keeps its width for the scale."""
    rows = _rows(one)
    return {
        "xaxis": charts.axis(f"{TITLES[one.metric][0]} (%), 95 % interval where known"),
        "yaxis": {
            "range": [len(rows) - 0.5, -0.9],
            "showticklabels": False,
            "ticks": "",
            **charts.BARE,
        },
        "annotations": [
            {
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "y": place - 0.28,
                "yanchor": "bottom",
                "text": row,
                "showarrow": False,
                "font": {"size": 12, "color": "@ink" if place < len(one.ours) else "@muted"},
            }
            for place, row in enumerate(rows)
        ],
        "showlegend": False,
        "margin": {"l": 12},
    }


def _table(data: tuple[MetricBeside, ...]) -> Table:
    rows: list[list[Any]] = []
    display = []
    for one in data:
        for label, value in one.ours:
            rows.append(
                [one.metric, label, value.value, value.low, value.high, "this page", "", ""]
            )
            display.append(
                [
                    TITLES[one.metric][0],
                    label,
                    percent(value.value),
                    interval(one.metric, value),
                    "this page, pooled over folds",
                    "",
                ]
            )
        for r in one.others:
            how = qualities(r) + (f", {r.pooling}" if r.pooling else "")
            rows.append([one.metric, r.system, r.value, None, None, how, r.note, r.source])
            display.append([TITLES[one.metric][0], r.system, percent(r.value), "–", how, r.source])
    return Table(
        caption="Every number and where it comes from",
        header=["metric", "system", "%", "95 % interval", "how", "source"],
        rows=rows,
        display=display,
        csv_header=["metric", "system", "value", "low", "high", "how", "note", "source"],
    )
