"""Objective of every trial in the order of the search, with the best so far."""

from __future__ import annotations

import dataclasses

from serplatform.report import charts
from serplatform.report.data import Need, ReportData
from serplatform.report.figures.base import FIGURES, FIRST, Drawing, Figure, Palette
from serplatform.report.load import ReportTrial
from serplatform.report.wording import percent, plural, yes_no


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistoryPoint:
    """One trial at its place in the search (from 1).

    Attributes:
        objective: what the search saw of it; None if it has none.
        best: highest objective of a finished trial so far, or None.
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
        for position, trial in enumerate(report.trials, start=1):
            if trial.state == "complete" and trial.objective is not None:
                best = trial.objective if best is None else max(best, trial.objective)
            points.append(
                HistoryPoint(position=position, trial=trial, objective=trial.reached, best=best)
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
                        hover="%{text}<br>dev UAR %{y:.1f} %<extra></extra>",
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
                    hover="%{text}<extra></extra>",
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
                f"{winner.trial.name}, trial {winner.position} of {len(data)}."
            )
        return Drawing(
            summary=summary,
            panels=[
                charts.panel(
                    traces,
                    charts.axis(
                        "trial, in the order recorded", range=[0, len(data) + 1], zeroline=False
                    ),
                    "mean dev UAR (%)",
                    height=400,
                )
            ],
            tables=[
                charts.table(
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
            ],
            note=(
                "A pruned trial's value is the mean over the folds it began, of the best epoch's: "
                "it is not on the same footing as a finished trial's and never counts as best."
            ),
        )
