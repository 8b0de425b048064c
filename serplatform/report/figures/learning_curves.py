"""Training loss and dev UAR by epoch, of the best trial of each architecture."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from serplatform.report.evidence import Evidence
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Panel, Table
from serplatform.report.load import Trial
from serplatform.report.wording import listing, percent

#: Most architectures drawn: one colour each.
MAX_CURVES = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """One trial on one fold: ``epochs``, ``train_loss`` and ``dev_uar`` (None where unknown)."""

    trial: str
    architecture: str
    fold: int
    epochs: tuple[int, ...]
    train_loss: tuple[float | None, ...]
    dev_uar: tuple[float | None, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearningCurves:
    """Curves grouped by trial; ``omitted`` counts the trials that are not drawn."""

    curves: tuple[Curve, ...]
    omitted: int


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def curves_of(trial: Trial) -> list[Curve]:
    """One curve a fold."""
    curves = []
    for fold in sorted({entry.fold for entry in trial.history}):
        entries = [entry for entry in trial.history if entry.fold == fold]
        curves.append(
            Curve(
                trial=trial.name,
                architecture=trial.architecture,
                fold=fold,
                epochs=tuple(entry.epoch for entry in entries),
                train_loss=tuple(_finite(entry.train_loss) for entry in entries),
                dev_uar=tuple(_finite(entry.dev.get("uar")) for entry in entries),
            )
        )
    return curves


@FIGURES.register("learning_curves")
class LearningCurvesFigure(Figure[LearningCurves]):
    name = "learning_curves"
    title = "Learning curves"
    section = "search"
    order = 20

    def compute(self, evidence: Evidence) -> LearningCurves:
        best = [
            max((t for t in trials if t.history), key=lambda t: t.objective or 0.0, default=None)
            for trials in evidence.finished_by_architecture().values()
        ]
        chosen = [trial for trial in best if trial is not None][:MAX_CURVES]
        if not chosen:
            raise NoDataError("no finished trial recorded its epochs")
        return LearningCurves(
            curves=tuple(curve for trial in chosen for curve in curves_of(trial)),
            omitted=len(evidence.trials) - len(chosen),
        )

    def draw(self, data: LearningCurves, ink: Ink) -> Drawing:
        trials = list(dict.fromkeys(curve.trial for curve in data.curves))
        panels = []
        for title, field, scale, unit in (
            ("Dev UAR", "dev_uar", 100.0, "dev UAR (%)"),
            ("Training loss", "train_loss", 1.0, "training loss"),
        ):
            traces: list[dict[str, Any]] = []
            for trial in trials:
                for j, curve in enumerate(c for c in data.curves if c.trial == trial):
                    values = getattr(curve, field)
                    name = curve.architecture
                    traces.append(
                        {
                            "type": "scatter",
                            "mode": "lines",
                            "name": trial,
                            "legendgroup": trial,
                            "showlegend": j == 0,
                            "x": list(curve.epochs),
                            "y": [None if v is None else scale * v for v in values],
                            "line": {
                                "color": ink.colour(name),
                                "dash": ink.dash(name),
                                "width": 1.2,
                            },
                            "opacity": 0.75,
                            "hovertemplate": f"fold {curve.fold}, epoch %{{x}}: %{{y:.3g}}",
                        }
                    )
            panels.append(
                Panel(
                    title=title,
                    data=traces,
                    layout={"xaxis": charts.axis("epoch"), "yaxis": charts.axis(unit)},
                    height=340,
                )
            )
        peaks = []
        for trial in trials:
            tops = [
                max(v for v in c.dev_uar if v is not None)
                for c in data.curves
                if c.trial == trial and any(v is not None for v in c.dev_uar)
            ]
            if tops:
                peaks.append(f"{trial} {percent(min(tops))}–{percent(max(tops))} %")
        summary = (
            f"The best finished trial of each architecture, one line a fold: {listing(trials)}."
        )
        if peaks:
            summary += f" Highest dev UAR of a fold, range over folds: {'; '.join(peaks)}."
        return Drawing(
            summary=summary,
            panels=panels,
            tables=[
                Table(
                    caption="Epochs of the trials drawn",
                    header=["trial", "fold", "epoch", "training loss", "dev UAR"],
                    rows=[
                        [c.trial, c.fold, epoch, loss, uar]
                        for c in data.curves
                        for epoch, loss, uar in zip(c.epochs, c.train_loss, c.dev_uar, strict=True)
                    ],
                )
            ],
            note=(
                f"The other {data.omitted} trials are in the next figure. Dev UAR "
                "picks the epoch, so its peaks are optimistic."
                if data.omitted
                else "Dev UAR picks the epoch, so its peaks are optimistic."
            ),
        )
