"""The search's objective by trial, and the course of its trials by epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

from serplatform.artifacts.trial import HistoryEntry
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData, grouped
from serplatform.report.figures.base import FIGURES, FIRST, Drawing, Figure, Palette, Panel, Spec
from serplatform.report.load import ReportTrial
from serplatform.report.wording import listing, percent, plural, state_name, yes_no

T = TypeVar("T")
Values = Sequence[float | None]

#: Most architectures whose learning curves are drawn: one colour each.
MAX_CURVES = 8
#: Lines drawn of one architecture and outcome; the others are thinned out evenly by their value.
MOST_LINES = 30
#: Points drawn of one line.
MOST_POINTS = 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistoryPoint:
    """One trial at its place, what the search saw of it, and the best finished so far.

    ``position`` is its number, or its place from 0 where there are several runs.
    """

    position: int
    trial: ReportTrial
    objective: float | None
    best: float | None


@FIGURES.register("search_history")
class SearchHistory(Figure[tuple[HistoryPoint, ...]]):
    title = "Search history"
    section = "search"
    after = FIRST
    needs = (Need.TRIALS,)

    def compute(self, report: ReportData) -> tuple[HistoryPoint, ...]:
        points = []
        best: float | None = None
        one = len(report.source.runs) == 1
        for position, trial in enumerate(report.trials):
            if trial.state == "complete" and trial.objective is not None:
                best = trial.objective if best is None else max(best, trial.objective)
            points.append(
                HistoryPoint(
                    position=trial.number if one else position,
                    trial=trial,
                    objective=trial.reached,
                    best=best,
                )
            )
        return tuple(points)

    def draw(self, data: tuple[HistoryPoint, ...], palette: Palette) -> Drawing:
        traces = [
            charts.steps(
                "best so far",
                [p.position for p in data],
                charts.percents(p.best for p in data),
                width=1.5,
            )
        ]
        for name in dict.fromkeys(p.trial.architecture for p in data):
            for state, opacity in (("complete", 0.95), ("pruned", 0.6)):
                kind, pruned = (name, state), state == "pruned"
                group = [
                    p
                    for p in data
                    if (p.trial.architecture, p.trial.state) == kind and p.objective is not None
                ]
                if not group:
                    continue
                traces.append(
                    charts.points(
                        f"{name}, pruned" if pruned else name,
                        [p.position for p in group],
                        charts.percents(p.objective for p in group),
                        palette.marker(name, 7, hollow=pruned, opacity=opacity),
                        texts=[
                            p.trial.name + (" (paper's settings)" if p.trial.paper else "")
                            for p in group
                        ],
                        hover="%{text}<br>dev UAR %{y:.1f} %",
                    )
                )
        failed = [p for p in data if p.trial.state == "failed"]
        if failed:
            lowest = min((100 * p.objective for p in data if p.objective is not None), default=0.0)
            traces.append(
                charts.points(
                    "failed (no value)",
                    [p.position for p in failed],
                    [lowest] * len(failed),
                    charts.marker("@warn", "x-thin-open", 9),
                    texts=[f"{p.trial.name}: failed" for p in failed],
                    hover="%{text}",
                )
            )
        states = [p.trial.state for p in data]
        summary = (
            f"{plural(len(data), 'trial')}: {states.count('complete')} finished, "
            f"{states.count('pruned')} pruned, {states.count('failed')} failed."
        )
        if data[-1].best is not None:
            winner = next(p for p in data if p.best == data[-1].best)
            summary += (
                f" The best mean dev UAR, {percent(winner.best)} %, was found by "
                f"{winner.trial.name}."
            )
        plot = charts.panel(
            traces,
            charts.axis(
                "trial",
                range=[data[0].position - 1, data[-1].position + 1],
                zeroline=False,
            ),
            "mean dev UAR (%)",
            height=400,
        )
        table = charts.table(
            "Trials in the order of the search",
            [
                *("run", "trial", "architecture", "state", "paper's settings"),
                *("dev UAR", "best so far"),
            ],
            [
                [
                    p.trial.run,
                    p.trial.number,
                    p.trial.architecture,
                    p.trial.state,
                    yes_no(p.trial.paper),
                    p.objective,
                    p.best,
                ]
                for p in data
            ],
        )
        return Drawing(
            summary=summary,
            panels=[plot],
            tables=[table],
            note=(
                "A pruned trial's value is the mean over the folds it began, of the best epoch's: "
                "it cannot be compared with a finished trial's and never counts as best."
            ),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """The epochs of one trial on one fold."""

    trial: ReportTrial
    fold: int
    history: Sequence[HistoryEntry]

    @property
    def epochs(self) -> list[int]:
        return [entry["epoch"] for entry in self.history]

    @property
    def train_loss(self) -> list[float]:
        return [entry["train_loss"] for entry in self.history]

    @property
    def dev_uar(self) -> list[float | None]:
        """None where it was not recorded."""
        return [entry["dev"].get("uar") for entry in self.history]


@FIGURES.register("learning_curves")
class LearningCurvesFigure(Figure[tuple[LearningCurve, ...]]):
    title = "Learning curves"
    section = "search"
    after = "search_history"

    def compute(self, report: ReportData) -> tuple[LearningCurve, ...]:
        best = [
            max((t for t in trials if t.history), key=lambda t: t.objective or 0.0, default=None)
            for trials in report.finished_by_architecture().values()
        ]
        chosen = [trial for trial in best if trial is not None][:MAX_CURVES]
        if not chosen:
            raise NoDataError("no finished trial recorded its epochs")
        if all(entry["epoch"] == 1 for trial in chosen for entry in trial.history):
            raise NoDataError(
                "no trial trained for more than one epoch; a model that is fitted at once, in "
                "closed form, has no learning curve"
            )
        return tuple(
            LearningCurve(trial=trial, fold=fold, history=entries)
            for trial in chosen
            for fold, entries in sorted(grouped(trial.history, lambda e: e["fold"]).items())
        )

    def draw(self, data: tuple[LearningCurve, ...], palette: Palette) -> Drawing:
        by_trial = grouped(data, lambda curve: curve.trial.name)
        peaks = []
        for trial, curves in by_trial.items():
            known = [[v for v in curve.dev_uar if v is not None] for curve in curves]
            tops = [max(values) for values in known if values]
            if tops:
                peaks.append(f"{trial} {percent(min(tops))}–{percent(max(tops))} %")
        summary = (
            "The best finished trial of each architecture, one line a fold: "
            f"{listing(list(by_trial))}."
        )
        if peaks:
            summary += f" Highest dev UAR of a fold, range over folds: {'; '.join(peaks)}."

        def plot(title: str, unit: str, values: Callable[[LearningCurve], Values]) -> Panel:
            traces = [
                charts.line(
                    trial,
                    curve.epochs,
                    values(curve),
                    {
                        "color": palette.colour(curve.trial.architecture),
                        "dash": palette.dash(curve.trial.architecture),
                        "width": 1.2,
                    },
                    hover=f"fold {curve.fold}, epoch %{{x}}: %{{y:.3g}}",
                    showlegend=place == 0,
                    opacity=0.75,
                )
                for trial, curves in by_trial.items()
                for place, curve in enumerate(curves)
            ]
            return charts.panel(traces, "epoch", unit, title=title, height=340)

        table = charts.table(
            "Epochs of the trials drawn",
            ["trial", "fold", "epoch", "training loss", "dev UAR"],
            [
                [c.trial.name, c.fold, epoch, loss, uar]
                for c in data
                for epoch, loss, uar in zip(c.epochs, c.train_loss, c.dev_uar, strict=True)
            ],
        )
        return Drawing(
            summary=summary,
            panels=[
                plot("Dev UAR", "dev UAR (%)", lambda curve: charts.percents(curve.dev_uar)),
                plot("Training loss", "training loss", lambda curve: curve.train_loss),
            ],
            tables=[table],
            note="Dev UAR picks the epoch, so its peaks are optimistic.",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialCurve:
    """One trial: after ``steps`` epochs over all folds the search saw ``reached``."""

    trial: ReportTrial
    steps: tuple[int, ...]
    reached: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialCurves:
    """Curves that are drawn, and how many finished and pruned trials have some.

    ``median_stop``: of the epochs of pruned trials, as shares of the median of the finished trials
    of their architecture; None where one is lacking.
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


def evenly(items: Sequence[T], most: int) -> tuple[T, ...]:
    """At most so many items, evenly spaced, first and last among them."""
    if len(items) <= most:
        return tuple(items)
    return tuple(items[round(i * (len(items) - 1) / (most - 1))] for i in range(most))


@FIGURES.register("trial_curves")
class TrialCurvesFigure(Figure[TrialCurves]):
    title = "Pruned against finished"
    section = "search"
    printed = False
    after = "learning_curves"

    def compute(self, report: ReportData) -> TrialCurves:
        found = [c for c in map(reached_curve, report.trials) if c is not None]
        by_kind = grouped(found, lambda c: (c.trial.architecture, c.trial.state))
        drawn: list[TrialCurve] = []
        shares: list[float] = []
        counts = dict.fromkeys(("complete", "pruned"), 0)
        for name in report.architectures:
            for state in counts:
                group = by_kind.get((name, state), [])
                counts[state] += len(group)
                group.sort(key=lambda c: (-c.reached[-1], c.trial.name))
                drawn += evenly(group, MOST_LINES)
            whole = [c.steps[-1] for c in by_kind.get((name, "complete"), [])]
            if whole:
                pruned = by_kind.get((name, "pruned"), [])
                shares += [c.steps[-1] / median(whole) for c in pruned]
        if not counts["pruned"]:
            raise NoDataError("no trial was pruned, or none that was recorded its epochs")
        curves = [
            TrialCurve(
                trial=c.trial,
                steps=evenly(c.steps, MOST_POINTS),
                reached=evenly(c.reached, MOST_POINTS),
            )
            for c in drawn
        ]
        return TrialCurves(
            curves=tuple(curves),
            finished=counts["complete"],
            pruned=counts["pruned"],
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
        plot = charts.panel(
            [
                _trace(name, group, palette.colour(name), pruned=state == "pruned")
                for (name, state), group in groups.items()
            ],
            "epochs trained, all folds",
            "dev UAR reached (%)",
            height=400,
        )
        table = charts.table(
            "Trials drawn",
            ["trial", "outcome", "epochs", "dev UAR reached"],
            [
                [c.trial.name, state_name(c.trial.state), step, value]
                for c in data.curves
                for step, value in zip(c.steps, c.reached, strict=True)
            ],
        )
        return Drawing(
            summary=summary,
            panels=[plot],
            tables=[table],
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
        {"color": colour, "width": width, "dash": dash},
        marker=charts.marker(colour, "x-thin-open", sizes) if pruned else None,
        texts=texts,
        hover="%{text}<br>%{x} epochs: %{y:.1f} %",
        opacity=0.6 if pruned else 0.75,
    )
