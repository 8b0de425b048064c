"""Training loss and dev UAR by epoch, of the best trial of each architecture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from serplatform.artifacts.trial import HistoryEntry
from serplatform.report import charts
from serplatform.report.data import NoDataError, ReportData, grouped
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette, Panel
from serplatform.report.load import ReportTrial
from serplatform.report.wording import listing, percent

Values = Sequence[float | None]

#: Most architectures drawn: one colour each.
MAX_CURVES = 8


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearningCurves:
    """Curves grouped by trial; ``omitted`` counts the trials that are not drawn."""

    curves: tuple[LearningCurve, ...]
    omitted: int


def curves_of(trial: ReportTrial) -> list[LearningCurve]:
    """One curve per fold."""
    by_fold = grouped(trial.history, lambda entry: entry["fold"])
    return [LearningCurve(trial=trial, fold=f, history=by_fold[f]) for f in sorted(by_fold)]


@FIGURES.register("learning_curves")
class LearningCurvesFigure(Figure[LearningCurves]):
    title = "Learning curves"
    section = "search"
    after = "search_history"

    def compute(self, report: ReportData) -> LearningCurves:
        best = [
            max((t for t in trials if t.history), key=lambda t: t.objective or 0.0, default=None)
            for trials in report.finished_by_architecture().values()
        ]
        chosen = [trial for trial in best if trial is not None][:MAX_CURVES]
        if not chosen:
            raise NoDataError("no finished trial recorded its epochs")
        return LearningCurves(
            curves=tuple(curve for trial in chosen for curve in curves_of(trial)),
            omitted=len(report.trials) - len(chosen),
        )

    def draw(self, data: LearningCurves, palette: Palette) -> Drawing:
        by_trial = grouped(data.curves, lambda curve: curve.trial.name)
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
        optimistic = "Dev UAR picks the epoch, so its peaks are optimistic."
        others = f"The other {data.omitted} trials are in the next figure. "

        def plot(title: str, unit: str, values: Callable[[LearningCurve], Values]) -> Panel:
            traces = [
                charts.line(
                    trial,
                    curve.epochs,
                    values(curve),
                    charts.stroke(
                        palette.colour(curve.trial.architecture),
                        dash=palette.dash(curve.trial.architecture),
                        width=1.2,
                    ),
                    hover=f"fold {curve.fold}, epoch %{{x}}: %{{y:.3g}}",
                    legendgroup=trial,
                    showlegend=place == 0,
                    opacity=0.75,
                )
                for trial, curves in by_trial.items()
                for place, curve in enumerate(curves)
            ]
            return charts.panel(traces, "epoch", unit, title=title, height=340)

        return Drawing(
            summary=summary,
            panels=[
                plot("Dev UAR", "dev UAR (%)", lambda curve: charts.percents(curve.dev_uar)),
                plot("Training loss", "training loss", lambda curve: curve.train_loss),
            ],
            tables=[
                charts.table(
                    "Epochs of the trials drawn",
                    ["trial", "fold", "epoch", "training loss", "dev UAR"],
                    [
                        [c.trial.name, c.fold, epoch, loss, uar]
                        for c in data.curves
                        for epoch, loss, uar in zip(c.epochs, c.train_loss, c.dev_uar, strict=True)
                    ],
                )
            ],
            note=others * (data.omitted > 0) + optimistic,
        )
