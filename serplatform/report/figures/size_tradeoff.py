"""Dev UAR against the number of parameters, with the trials that no smaller one beats."""

from __future__ import annotations

import dataclasses

from serplatform.report.evidence import Evidence
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Panel, Table
from serplatform.report.wording import percent, plural


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizedTrial:
    """One finished trial; ``undominated``: no other is at least as good and smaller."""

    trial: str
    architecture: str
    num_parameters: int
    dev_uar: float
    undominated: bool


@FIGURES.register("size_tradeoff")
class SizeTradeoff(Figure[tuple[SizedTrial, ...]]):
    name = "size_tradeoff"
    title = "Dev UAR against model size"
    section = "search"
    order = 90

    def compute(self, evidence: Evidence) -> tuple[SizedTrial, ...]:
        sized = [
            (t, t.num_parameters, t.objective)
            for t in evidence.finished
            if t.num_parameters is not None and t.objective is not None
        ]
        if len(sized) < 2:
            raise NoDataError("fewer than two finished trials recorded their number of parameters")
        sized.sort(key=lambda item: (item[1], -item[2]))
        found, best = [], float("-inf")
        for trial, size, value in sized:
            found.append(
                SizedTrial(
                    trial=trial.name,
                    architecture=trial.architecture,
                    num_parameters=size,
                    dev_uar=value,
                    undominated=value > best,
                )
            )
            best = max(best, value)
        return tuple(found)

    def draw(self, data: tuple[SizedTrial, ...], ink: Ink) -> Drawing:
        present = {p.architecture for p in data}
        names = [name for name in ink.architectures if name in present]
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
        for name in names:
            group = [p for p in data if p.architecture == name]
            traces.append(
                charts.markers(
                    name,
                    [p.num_parameters for p in group],
                    [100 * p.dev_uar for p in group],
                    text=[p.trial for p in group],
                    hovertemplate=(
                        "%{text}<br>%{x:,} parameters<br>dev UAR %{y:.1f} %<extra></extra>"
                    ),
                    marker=ink.marker(name, 7),
                )
            )
        small, large = front[0], front[-1]
        return Drawing(
            summary=(
                f"{len(front)} of {plural(len(data), 'finished trial')} "
                f"{'is' if len(front) == 1 else 'are'} not beaten by a smaller one: from "
                f"{small.trial} ({small.num_parameters:,} parameters, dev UAR "
                f"{percent(small.dev_uar)} %) to {large.trial} ({large.num_parameters:,}, "
                f"{percent(large.dev_uar)} %)."
            ),
            note="Each point is a finished trial; dev UAR is the mean over the folds.",
            panels=[
                Panel(
                    data=traces,
                    layout={
                        "xaxis": charts.axis(
                            "trainable parameters", type="log", exponentformat="power"
                        ),
                        "yaxis": charts.axis("mean dev UAR (%)"),
                    },
                )
            ],
            tables=[
                Table(
                    caption="Finished trials by size",
                    header=["trial", "parameters", "dev UAR", "not beaten by a smaller one"],
                    rows=[
                        [p.trial, p.num_parameters, p.dev_uar, "yes" if p.undominated else "no"]
                        for p in data
                    ],
                )
            ],
        )
