"""What each trial's training took: time, epochs, memory; and how large its model is."""

from __future__ import annotations

import dataclasses

from serplatform.report.evidence import Evidence
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Panel
from serplatform.report.figures.trial_outcomes import called, median
from serplatform.report.wording import decimal, duration, percent, whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialCost:
    """One trial; ``memory_mb`` in MiB and others None where they are not known."""

    trial: str
    architecture: str
    state: str
    seconds: float
    epochs: int
    memory_mb: float | None
    num_parameters: int | None
    dev_uar: float | None

    @property
    def per_epoch(self) -> float | None:
        """Seconds an epoch, None where none was trained."""
        return self.seconds / self.epochs if self.epochs else None


@FIGURES.register("cost")
class Cost(Figure[tuple[TrialCost, ...]]):
    name = "cost"
    title = "Cost of the trials"
    section = "search"
    order = 40

    def compute(self, evidence: Evidence) -> tuple[TrialCost, ...]:
        costs = tuple(
            TrialCost(
                trial=t.name,
                architecture=t.architecture,
                state=t.state,
                seconds=t.seconds,
                epochs=t.epochs,
                memory_mb=t.peak_memory_mb,
                num_parameters=t.num_parameters,
                dev_uar=t.reached,
            )
            for t in evidence.trials
            if t.seconds > 0
        )
        if not costs:
            raise NoDataError("no trial recorded how long it trained")
        return costs

    def draw(self, data: tuple[TrialCost, ...], ink: Ink) -> Drawing:
        names = list(dict.fromkeys(c.architecture for c in data))
        traces = []
        for name in names:
            group = [c for c in data if c.architecture == name]
            traces.append(
                {
                    "type": "box",
                    "name": name,
                    "x": [c.seconds for c in group],
                    "text": [f"{c.trial}, {c.state}, {c.epochs} epochs" for c in group],
                    "hovertemplate": "%{text}<br>%{x:.1f} s<extra></extra>",
                    **charts.BOX,
                    "line": {"color": ink.colour(name), "width": 1},
                    "marker": ink.marker(name, 5, opacity=0.7),
                }
            )
        medians = [
            f"{name} {duration(median([c.seconds for c in data if c.architecture == name]) or 0.0)}"
            for name in names
        ]
        longest = max(data, key=lambda c: c.seconds)
        return Drawing(
            summary=(
                f"Median training time of a trial: {', '.join(medians)}. The longest was "
                f"{longest.trial} with {duration(longest.seconds)}."
            ),
            panels=[
                Panel(
                    data=traces,
                    layout={
                        "xaxis": charts.axis("training time of a trial (s)", rangemode="tozero"),
                        "yaxis": {"autorange": "reversed", "automargin": True},
                        "showlegend": False,
                    },
                    height=120 + 70 * len(names),
                )
            ],
            tables=[
                charts.table(
                    "Cost of each trial",
                    data,
                    {
                        "trial": lambda c: c.trial,
                        "state": (lambda c: c.state, called),
                        "dev UAR (%)": (lambda c: c.dev_uar, percent),
                        "training (s)": (lambda c: c.seconds, "{:,.1f}".format),
                        "epochs": (lambda c: c.epochs, "{:,}".format),
                        "seconds an epoch": (lambda c: c.per_epoch, lambda v: decimal(v, 2)),
                        "parameters": (lambda c: c.num_parameters, whole),
                        "peak memory (MiB)": (lambda c: c.memory_mb, whole),
                    },
                    csv_header=[
                        "trial",
                        "state",
                        "dev_uar",
                        "seconds",
                        "epochs",
                        "seconds_per_epoch",
                        "num_parameters",
                        "peak_memory_mb",
                    ],
                    sortable=True,
                )
            ],
            note=(
                "Pruned trials are included; the time spent on starting workers is not. A click on "
                "a column's name sorts the table by it."
            ),
        )
