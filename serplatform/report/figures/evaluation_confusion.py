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
        found = tuple(
            Confusion(
                system=f"{name} classes".capitalize(),
                classes=tuple(data["readings"][name]["classes"]),
                counts=np.array(data["readings"][name]["confusion"], dtype=np.int64),
            )
            for name in shown_readings(data)
        )
        drawing = ConfusionMatrix().draw(found, palette)
        return dataclasses.replace(
            drawing, note=drawing.note.replace(" over all folds", " on the other dataset")
        )
