"""Dev UAR against the number of parameters, with the trials that no smaller one beats."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from serplatform.report import charts
from serplatform.report.data import ReportData
from serplatform.report.figures.base import FIGURES, Drawing, Figure, NoDataError, Palette
from serplatform.report.load import ReportTrial
from serplatform.report.wording import percent, plural, yes_no


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizedTrial:
    """One finished trial; ``undominated``: no other is at least as good and smaller."""

    trial: ReportTrial
    num_parameters: int
    dev_uar: float
    undominated: bool


def undominated(values: Iterable[float]) -> list[bool]:
    """Which of some values, cheapest first, are better than all before them.

    Example:
        >>> undominated([0.5, 0.4, 0.6])
        [True, False, True]
    """
    best, found = float("-inf"), []
    for value in values:
        found.append(value > best)
        best = max(best, value)
    return found


@FIGURES.register("size_tradeoff")
class SizeTradeoff(Figure[tuple[SizedTrial, ...]]):
    title = "Dev UAR against model size"
    section = "search"
    after = "context_length"

    def compute(self, report: ReportData) -> tuple[SizedTrial, ...]:
        sized = [
            (t, t.num_parameters, t.objective)
            for t in report.finished
            if t.num_parameters is not None and t.objective is not None
        ]
        if len(sized) < 2:
            raise NoDataError("fewer than two finished trials recorded their number of parameters")
        sized.sort(key=lambda item: (item[1], -item[2]))
        return tuple(
            SizedTrial(trial=trial, num_parameters=size, dev_uar=value, undominated=front)
            for (trial, size, value), front in zip(
                sized, undominated(value for *_, value in sized), strict=True
            )
        )

    def draw(self, data: tuple[SizedTrial, ...], palette: Palette) -> Drawing:
        front = [p for p in data if p.undominated]
        traces = [
            charts.steps(
                "best up to this size",
                [p.num_parameters for p in front],
                [100 * p.dev_uar for p in front],
                width=1.2,
                dash="dot",
            )
        ]
        for name in palette.architectures:
            group = [p for p in data if p.trial.architecture == name]
            if group:
                traces.append(
                    charts.points(
                        name,
                        [p.num_parameters for p in group],
                        [100 * p.dev_uar for p in group],
                        palette.marker(name, 7),
                        texts=[p.trial.name for p in group],
                        hover="%{text}<br>%{x:,} parameters<br>dev UAR %{y:.1f} %<extra></extra>",
                    )
                )
        small, large = front[0], front[-1]
        return Drawing(
            summary=(
                f"{len(front)} of {plural(len(data), 'finished trial')} "
                f"{'is' if len(front) == 1 else 'are'} not beaten by a smaller one: from "
                f"{small.trial.name} ({small.num_parameters:,} parameters, dev UAR "
                f"{percent(small.dev_uar)} %) to {large.trial.name} ({large.num_parameters:,}, "
                f"{percent(large.dev_uar)} %)."
            ),
            panels=[
                charts.panel(
                    traces,
                    charts.axis("trainable parameters", type="log", exponentformat="power"),
                    "mean dev UAR (%)",
                )
            ],
            tables=[
                charts.table(
                    "Finished trials by size",
                    ["trial", "parameters", "dev UAR", "not beaten by a smaller one"],
                    [
                        [p.trial.name, p.num_parameters, p.dev_uar, yes_no(p.undominated)]
                        for p in data
                    ],
                )
            ],
        )
