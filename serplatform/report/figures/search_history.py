"""Objective of every trial in the order of the search, with the best so far."""

from __future__ import annotations

import dataclasses
from typing import Any

from serplatform.report.evidence import Evidence
from serplatform.report.figures.base import (
    FIGURES,
    Drawing,
    Figure,
    Ink,
    NoDataError,
    Panel,
    Table,
)
from serplatform.report.wording import percent, plural


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """One trial: its place in the search (from 1), and its objective, None if it has none."""

    position: int
    run: str
    trial: int
    architecture: str
    state: str
    paper: bool
    objective: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class History:
    """Points in order; ``best`` holds the running maximum over finished trials (or None)."""

    points: tuple[Point, ...]
    best: tuple[float | None, ...]


@FIGURES.register("search_history")
class SearchHistory(Figure[History]):
    name = "search_history"
    title = "Search history"
    section = "search"
    order = 10

    def compute(self, evidence: Evidence) -> History:
        if not evidence.trials:
            raise NoDataError("no trial was recorded")
        points: list[Point] = []
        best: list[float | None] = []
        running: float | None = None
        for position, trial in enumerate(evidence.trials, start=1):
            points.append(
                Point(
                    position=position,
                    run=trial.run,
                    trial=trial.number,
                    architecture=trial.architecture,
                    state=trial.state,
                    paper=trial.paper,
                    objective=trial.reached,
                )
            )
            if trial.state == "complete" and trial.objective is not None:
                running = trial.objective if running is None else max(running, trial.objective)
            best.append(running)
        return History(points=tuple(points), best=tuple(best))

    def draw(self, data: History, ink: Ink) -> Drawing:
        names = list(dict.fromkeys(p.architecture for p in data.points))
        traces: list[dict[str, Any]] = [
            {
                "type": "scatter",
                "mode": "lines",
                "name": "best so far",
                "x": [p.position for p in data.points],
                "y": [None if b is None else 100 * b for b in data.best],
                "line": {"shape": "hv", "color": "@ink", "width": 1.5},
                "hoverinfo": "skip",
            }
        ]
        for name in names:
            chosen = [p for p in data.points if p.architecture == name and p.objective is not None]
            for state in ("complete", "pruned"):
                group = [p for p in chosen if p.state == state]
                if not group:
                    continue
                open_mark = state == "pruned"
                symbol = ink.symbol(name)
                traces.append(
                    {
                        "type": "scatter",
                        "mode": "markers",
                        "name": f"{name}, pruned" if open_mark else name,
                        "x": [p.position for p in group],
                        "y": [100 * p.objective for p in group if p.objective is not None],
                        "text": [
                            f"{p.architecture} #{p.trial}"
                            + (" (paper's settings)" if p.paper else "")
                            for p in group
                        ],
                        "hovertemplate": "%{text}<br>dev UAR %{y:.1f} %<extra></extra>",
                        "marker": {
                            "symbol": f"{symbol}-open" if open_mark else symbol,
                            "color": ink.colour(name),
                            "size": 7,
                            "opacity": 0.6 if open_mark else 0.95,
                        },
                    }
                )
        failed = [p for p in data.points if p.state == "failed"]
        values = [100 * p.objective for p in data.points if p.objective is not None]
        if failed:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": "failed (no value)",
                    "x": [p.position for p in failed],
                    "y": [min(values, default=0.0)] * len(failed),
                    "text": [f"{p.architecture} #{p.trial}: failed" for p in failed],
                    "hovertemplate": "%{text}<extra></extra>",
                    "marker": {"symbol": "x-thin-open", "color": "@warn", "size": 9},
                }
            )
        counts = {
            s: sum(p.state == s for p in data.points) for s in ("complete", "pruned", "failed")
        }
        summary = (
            f"{plural(len(data.points), 'trial')}: {counts['complete']} finished, "
            f"{counts['pruned']} pruned, {counts['failed']} failed."
        )
        last = data.best[-1]
        if last is not None:
            at = data.best.index(last)
            winner = data.points[at]
            summary += (
                f" The best mean dev UAR, {percent(last)} %, was found by {winner.architecture} "
                f"#{winner.trial}, trial {at + 1} of {len(data.points)}."
            )
        return Drawing(
            summary=summary,
            panels=[
                Panel(
                    data=traces,
                    layout={
                        "xaxis": {
                            "title": {"text": "trial, in the order recorded"},
                            "range": [0, len(data.points) + 1],
                            "zeroline": False,
                        },
                        "yaxis": {"title": {"text": "mean dev UAR (%)"}},
                    },
                    height=400,
                )
            ],
            tables=[
                Table(
                    caption="Trials in the order of the search",
                    header=[
                        "run",
                        "trial",
                        "architecture",
                        "state",
                        "paper's settings",
                        "dev UAR",
                        "best so far",
                    ],
                    rows=[
                        [
                            p.run,
                            p.trial,
                            p.architecture,
                            p.state,
                            "yes" if p.paper else "no",
                            p.objective,
                            b,
                        ]
                        for p, b in zip(data.points, data.best, strict=True)
                    ],
                )
            ],
            note=(
                "A pruned trial's value is the mean over the folds it began, of the best epoch's: "
                "it is not on the same footing as a finished trial's and never counts as best."
            ),
        )
