"""Every finished trial as a line through its parameters, coloured by dev UAR."""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.report import charts
from serplatform.report.data import NoDataError, ReportData
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette, Panel, Spec
from serplatform.report.parameters import VariedParameter, value_text, varied_parameters
from serplatform.report.wording import listing, percent, short

MIN_TRIALS = 3
#: Most axes an architecture gets; those with the strongest association with dev UAR are kept.
MAX_AXES = 8
#: Quartiles of dev UAR, lowest first: what a line's colour and width say.
GROUPS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")
COLOURS = ("@rank-1", "@rank-2", "@rank-3", "@rank-4")
WIDTHS = (0.8, 0.9, 1.1, 1.5)
#: Axes with at most this many different values have their lines spread, by this height in all.
FEW_VALUES = 6
SPREAD = 0.07
#: Least distance between the texts of an axis.
TICK_DISTANCE = 0.05
#: Steps of the golden ratio fill an interval evenly, however many there are.
GOLDEN = 0.6180339887498949


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """One vertical axis: ``ticks`` are (height in [0, 1], text)."""

    name: str
    ticks: tuple[tuple[float, str], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One trial: ``heights`` in [0, 1], one per axis, None where the trial lacks the value;
    ``group`` indexes :data:`GROUPS`."""

    trial: str
    heights: tuple[float | None, ...]
    values: tuple[str, ...]
    dev_uar: float
    group: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineBundle:
    """All lines of one architecture."""

    architecture: str
    axes: tuple[Axis, ...]
    lines: tuple[Line, ...]
    left_out: int


def _axis(parameter: VariedParameter) -> tuple[Axis, list[float | None]]:
    codes = parameter.codes
    low, high = float(np.nanmin(codes)), float(np.nanmax(codes))
    span = high - low or 1.0
    heights = [None if np.isnan(c) else float((c - low) / span) for c in codes]
    if parameter.kind == "category":
        ticks = [
            (i / (len(parameter.levels) - 1), short(t)) for i, t in enumerate(parameter.levels)
        ]
    else:
        distinct = np.unique(codes[np.isfinite(codes)])
        at = distinct if len(distinct) <= FEW_VALUES else low + span * np.array([0.0, 0.5, 1.0])
        numbers = 10**at if parameter.kind == "log" else at
        ticks = [
            (float((a - low) / span), f"{number:.3g}")
            for a, number in zip(at, numbers, strict=True)
        ]
    return Axis(name=parameter.name, ticks=_apart(ticks)), heights


def _apart(ticks: list[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    """Ticks far enough from each other to be read; the first of a cluster stays."""
    kept: list[tuple[float, str]] = []
    for height, text in ticks:
        if not kept or height - kept[-1][0] >= TICK_DISTANCE:
            kept.append((height, text))
    return tuple(kept)


def _association(parameter: VariedParameter, target: DoubleArray) -> float:
    """Rank correlation's size for numbers, share of variance between levels for categories."""
    keep = np.isfinite(parameter.codes)
    codes, values = parameter.codes[keep], target[keep]
    if len(codes) < 3 or np.ptp(codes) == 0 or np.ptp(values) == 0:
        return 0.0
    if parameter.kind == "category":
        means = {c: values[codes == c].mean() for c in np.unique(codes)}
        between = np.array([means[c] for c in codes])
        return float(np.sqrt(between.var() / values.var()))
    ranks = [np.argsort(np.argsort(v, kind="stable"), kind="stable") for v in (codes, values)]
    return float(abs(np.corrcoef(ranks[0], ranks[1])[0, 1]))


@FIGURES.register("parallel_coordinates")
class ParallelCoordinates(Figure[tuple[LineBundle, ...]]):
    title = "Parameters of the finished trials"
    section = "search"
    printed = False
    after = "cost"

    def compute(self, report: ReportData) -> tuple[LineBundle, ...]:
        bundles = []
        for architecture, trials in report.finished_by_architecture().items():
            if len(trials) < MIN_TRIALS:
                continue
            target = np.array([t.objective for t in trials], dtype=np.float64)
            parameters = varied_parameters(trials)
            chosen = sorted(parameters, key=lambda p: -_association(p, target))[:MAX_AXES]
            if len(chosen) < 2:
                continue
            made = [_axis(parameter) for parameter in chosen]
            low, span = float(target.min()), float(np.ptp(target)) or 1.0
            outcome = Axis(
                name="dev UAR (%)",
                ticks=tuple(
                    (share, percent(low + share * float(np.ptp(target))))
                    for share in (0.0, 0.5, 1.0)
                ),
            )
            cuts = np.quantile(target, [0.25, 0.5, 0.75])
            lines = [
                Line(
                    trial=trial.name,
                    heights=(*(heights[i] for _, heights in made), float((target[i] - low) / span)),
                    values=tuple(
                        value_text(p.values[i]) if p.name in trial.params else "–" for p in chosen
                    ),
                    dev_uar=float(target[i]),
                    group=int(np.searchsorted(cuts, target[i], side="left")),
                )
                for i, trial in enumerate(trials)
            ]
            bundles.append(
                LineBundle(
                    architecture=architecture,
                    axes=(*(axis for axis, _ in made), outcome),
                    lines=tuple(lines),
                    left_out=len(parameters) - len(chosen),
                )
            )
        if not bundles:
            raise NoDataError(
                f"no architecture has {MIN_TRIALS} finished trials and two varied parameters"
            )
        return tuple(bundles)

    def draw(self, data: tuple[LineBundle, ...], palette: Palette) -> Drawing:
        best_bundle = max(data, key=lambda b: max(line.dev_uar for line in b.lines))
        best = max(best_bundle.lines, key=lambda line: line.dev_uar)
        chosen = [
            f"{axis.name} {value}"
            for axis, value in zip(best_bundle.axes[:-1], best.values, strict=True)
            if value != "–"
        ]
        note = (
            "Each line is a finished trial; its colour is the quarter of dev UAR it falls in. "
            "Lines are spread a little where a parameter takes few values."
        )
        if any(bundle.left_out for bundle in data):
            note += f" The {MAX_AXES} parameters most associated with dev UAR are shown."
        paper = "the paper's settings"
        return Drawing(
            summary=(
                f"The finished trial with the highest dev UAR, {best.trial} "
                f"({percent(best.dev_uar)} %), has {listing(chosen) or paper}."
            ),
            panels=[_panel(bundle) for bundle in data],
            tables=[
                charts.table(
                    f"Parameters of {bundle.architecture}'s finished trials",
                    ["trial", *(axis.name for axis in bundle.axes[:-1]), "dev UAR"],
                    [[line.trial, *line.values, line.dev_uar] for line in bundle.lines],
                )
                for bundle in data
            ],
            note=note,
            wide=True,
        )


def _panel(bundle: LineBundle) -> Panel:
    count = len(bundle.axes)
    columns = zip(*(line.heights for line in bundle.lines), strict=True)
    spread = [SPREAD if len({*heights} - {None}) <= FEW_VALUES else 0.0 for heights in columns]
    traces = []
    for group, label in enumerate(GROUPS):
        xs: list[float | None] = []
        ys: list[float | None] = []
        texts: list[str | None] = []
        for i, line in enumerate(bundle.lines):
            if line.group != group:
                continue
            shift = (i * GOLDEN) % 1.0 - 0.5
            heights = zip(line.heights, spread, strict=True)
            xs += [*range(count), None]
            ys += [*(None if h is None else round(h + s * shift, 4) for h, s in heights), None]
            texts += [f"{line.trial}, {percent(line.dev_uar)} %"] * count + [None]
        traces.append(
            charts.line(
                label,
                xs,
                ys,
                {"color": COLOURS[group], "width": WIDTHS[group]},
                texts=texts,
                hover="%{text}",
                opacity=0.7,
            )
        )
    left: Spec = {"xanchor": "left", "xshift": 4}
    right: Spec = {"xanchor": "right", "xshift": -4}
    return charts.panel(
        traces,
        charts.axis(
            names=[axis.name.replace(".", ".<br>") for axis in bundle.axes],
            gridcolor="@muted",
            zeroline=False,
            range=[-0.08, count - 0.92],
            side="top",
            tickangle=0,
            tickfont={"size": 10},
        ),
        charts.axis(visible=False, range=[-0.06, 1.06]),
        title=bundle.architecture,
        notes=[
            charts.note(
                i, height, text, size=10, bgcolor="@veil", **(right if i == count - 1 else left)
            )
            for i, axis in enumerate(bundle.axes)
            for height, text in axis.ticks
        ],
        margin={"r": 44},
        min_width=90 * count,
    )
