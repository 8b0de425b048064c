"""What is confused with what on another dataset."""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.artifacts.evaluation import EvaluationRecord
from serplatform.report.figures.base import FIGURES, Drawing, Palette
from serplatform.report.figures.by_group import Confusion, ConfusionMatrix
from serplatform.report.figures.evaluation import EvaluationFigure, shown_readings


@FIGURES.register("evaluation_confusion")
class EvaluationConfusion(EvaluationFigure):
    title = "Confusion on the other dataset"
    after = "evaluation"

    def draw(self, data: EvaluationRecord, palette: Palette) -> Drawing:
        found = []
        for name in shown_readings(data):
            reading = data["readings"][name]
            counts = np.array(reading["confusion"], dtype=np.int64)
            found.append(
                Confusion(
                    system=f"{name} classes".capitalize(),
                    classes=tuple(reading["classes"]),
                    counts=counts,
                    rates=counts / np.maximum(counts.sum(axis=1, keepdims=True), 1),
                )
            )
        drawing = ConfusionMatrix().draw(tuple(found), palette)
        return dataclasses.replace(
            drawing, note=drawing.note.replace(" over all folds", " on the other dataset")
        )
