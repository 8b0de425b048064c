"""What the search saw of every trial as it trained: finished against pruned."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import median
from typing import TypeVar

from serplatform.report import charts
from serplatform.report.data import NoDataError, ReportData, grouped
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette, Spec
from serplatform.report.load import ReportTrial
from serplatform.report.wording import percent, plural, state_name

T = TypeVar("T")

#: Lines drawn of one architecture and outcome; the others are thinned out evenly by their value.
MOST_LINES = 30
#: Points drawn of one line.
MOST_POINTS = 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialCurve:
    """One trial: after ``steps`` epochs over all folds the search saw ``reached``."""

    trial: ReportTrial
    steps: tuple[int, ...]
    reached: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialCurves:
    """Curves that are drawn, and the trials that have some.

    Attributes:
        curves: by architecture, finished before pruned.
        finished: finished trials with epochs on record.
        pruned: pruned trials with epochs on record.
        median_stop: median of the share of epochs that pruned trials trained, of the median of
            the finished trials of their architecture; None where one is lacking.
    """

    curves: tuple[TrialCurve, ...]
    finished: int
    pruned: int
    median_stop: float | None


def reached_curve(trial: ReportTrial) -> TrialCurve | None:
    """The mean over the folds begun of the best epoch's dev UAR so far; None without epochs."""
    found = trial.reached_by_step()
    if not found:
        return None
    steps, reached = zip(*found, strict=True)
    return TrialCurve(trial=trial, steps=steps, reached=reached)


def evenly(items: Sequence[T], most: int) -> Sequence[T]:
    """At most so many items, evenly spaced, first and last among them."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def thinned(curve: TrialCurve) -> TrialCurve:
    """The curve at evenly spaced steps."""
    steps, reached = evenly(curve.steps, MOST_POINTS), evenly(curve.reached, MOST_POINTS)
    return dataclasses.replace(curve, steps=tuple(steps), reached=tuple(reached))


def spread_out(curves: Sequence[TrialCurve]) -> Sequence[TrialCurve]:
    """Some by their last value, evenly spaced."""
    return evenly(sorted(curves, key=lambda c: (-c.reached[-1], c.trial.name)), MOST_LINES)


@FIGURES.register("trial_curves")
class TrialCurvesFigure(Figure[TrialCurves]):
    title = "Pruned against finished"
    section = "search"
    after = "learning_curves"

    def compute(self, report: ReportData) -> TrialCurves:
        found = [c for c in map(reached_curve, report.trials) if c is not None]
        by_kind: dict[tuple[str, str], list[TrialCurve]] = {}
        for name in report.architectures:
            for state in ("complete", "pruned"):
                by_kind[name, state] = [
                    c for c in found if (c.trial.architecture, c.trial.state) == (name, state)
                ]
        if not any(by_kind.values()):
            raise NoDataError("no finished or pruned trial recorded its epochs")
        shares = []
        for name in report.architectures:
            whole = [c.steps[-1] for c in by_kind[name, "complete"]]
            if whole:
                shares += [c.steps[-1] / median(whole) for c in by_kind[name, "pruned"]]
        return TrialCurves(
            curves=tuple(thinned(c) for group in by_kind.values() for c in spread_out(group)),
            finished=sum(len(g) for (_, state), g in by_kind.items() if state == "complete"),
            pruned=sum(len(g) for (_, state), g in by_kind.items() if state == "pruned"),
            median_stop=median(shares) if shares else None,
        )

    def draw(self, data: TrialCurves, palette: Palette) -> Drawing:
        summary = (
            f"{plural(data.finished, 'finished trial')} and {plural(data.pruned, 'pruned trial')} "
            "by epoch."
        )
        if data.median_stop is not None:
            summary += (
                f" Half of the pruned ones were stopped within {percent(data.median_stop, 0)} % of "
                "the epochs that a finished trial of their architecture takes."
            )
        left_out = data.finished + data.pruned - len(data.curves)
        note = (
            "Value: the mean, over the folds begun, of the best epoch's dev UAR so far, which is "
            "what the search compares; it falls where a harder fold begins. Dotted lines that end "
            "in a cross were pruned."
        )
        if left_out:
            note += (
                f" {plural(left_out, 'trial')} of similar values "
                f"{'is' if left_out == 1 else 'are'} left out of the plot."
            )
        groups = grouped(data.curves, lambda c: (c.trial.architecture, c.trial.state))
        return Drawing(
            summary=summary,
            panels=[
                charts.panel(
                    [
                        _trace(name, group, palette.colour(name), pruned=state == "pruned")
                        for (name, state), group in groups.items()
                    ],
                    "epochs trained, all folds",
                    "dev UAR reached (%)",
                    height=400,
                )
            ],
            tables=[
                charts.table(
                    "Trials drawn",
                    ["trial", "outcome", "epochs", "dev UAR reached"],
                    [
                        [c.trial.name, state_name(c.trial.state), step, value]
                        for c in data.curves
                        for step, value in zip(c.steps, c.reached, strict=True)
                    ],
                )
            ],
            note=note,
        )


def _trace(name: str, group: Sequence[TrialCurve], colour: str, *, pruned: bool) -> Spec:
    """The lines of an architecture and outcome, apart by gaps: few traces draw fast."""
    x: list[int | None] = []
    y: list[float | None] = []
    texts: list[str | None] = []
    sizes: list[int] = []
    for curve in group:
        count = len(curve.steps)
        x += [*curve.steps, None]
        y += [*charts.percents(curve.reached), None]
        texts += [*([curve.trial.name] * count), None]
        sizes += [*([0] * (count - 1)), 7, 0]
    width, dash = (1, "dot") if pruned else (1.4, "solid")
    return charts.line(
        f"{name}, pruned" if pruned else name,
        x,
        y,
        charts.stroke(colour, width=width, dash=dash),
        marker=charts.marker(colour, "x-thin-open", sizes) if pruned else None,
        texts=texts,
        hover="%{text}<br>%{x} epochs: %{y:.1f} %<extra></extra>",
        connectgaps=False,
        opacity=0.6 if pruned else 0.75,
    )
