"""What each trial's training took: time, epochs, memory; and how large its model is."""

from __future__ import annotations

from statistics import median

from serplatform.report import charts
from serplatform.report.data import NoDataError, ReportData, grouped
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette
from serplatform.report.load import ReportTrial
from serplatform.report.wording import decimal, duration, percent, state_name, whole


@FIGURES.register("cost")
class Cost(Figure[tuple[ReportTrial, ...]]):
    title = "Cost of the trials"
    section = "search"
    after = "trial_outcomes"

    def compute(self, report: ReportData) -> tuple[ReportTrial, ...]:
        timed = tuple(trial for trial in report.trials if trial.seconds > 0)
        if not timed:
            raise NoDataError("no trial recorded how long it trained")
        return timed

    def draw(self, data: tuple[ReportTrial, ...], palette: Palette) -> Drawing:
        by_architecture = grouped(data, lambda trial: trial.architecture)
        traces = [
            charts.boxes(
                name,
                [t.seconds for t in group],
                None,
                palette.marker(name, 5, opacity=0.7),
                [f"{t.name}, {t.state}, {t.epochs} epochs" for t in group],
                "%{text}<br>%{x:.1f} s<extra></extra>",
            )
            for name, group in by_architecture.items()
        ]
        medians = [
            f"{name} {duration(median(t.seconds for t in group))}"
            for name, group in by_architecture.items()
        ]
        longest = max(data, key=lambda t: t.seconds)
        return Drawing(
            summary=(
                f"Median training time of a trial: {', '.join(medians)}. The longest was "
                f"{longest.name} with {duration(longest.seconds)}."
            ),
            panels=[
                charts.panel(
                    traces,
                    charts.axis("training time of a trial (s)", rangemode="tozero"),
                    charts.axis(autorange="reversed", automargin=True),
                    legend=False,
                    height=120 + 70 * len(traces),
                )
            ],
            tables=[
                charts.table(
                    "Cost of each trial",
                    {
                        "trial": None,
                        "state": state_name,
                        "dev UAR (%)": percent,
                        "training (s)": "{:,.1f}".format,
                        "epochs": "{:,}".format,
                        "seconds an epoch": lambda v: decimal(v, 2),
                        "parameters": whole,
                        "peak memory (MiB)": whole,
                    },
                    [
                        [
                            t.name,
                            t.state,
                            t.reached,
                            t.seconds,
                            t.epochs,
                            t.seconds / t.epochs if t.epochs else None,
                            t.num_parameters,
                            t.peak_memory_mb,
                        ]
                        for t in data
                    ],
                    csv_header=[
                        *("trial", "state", "dev_uar", "seconds", "epochs"),
                        *("seconds_per_epoch", "num_parameters", "peak_memory_mb"),
                    ],
                    sortable=True,
                )
            ],
            note=(
                "Pruned trials are included; the time spent on starting workers is not. A click on "
                "a column's name sorts the table by it."
            ),
        )
