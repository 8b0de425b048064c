"""Accuracy on each test speaker, for each system."""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.report import charts
from serplatform.report.data import Need, ReportData, grouped
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette
from serplatform.report.wording import percent, short

#: Above this many speakers the axis names only some of them.
MAX_NAMED = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpeakerAccuracy:
    """One speaker of one system; ``utterances`` counts the test rows."""

    system: str
    speaker_id: str
    utterances: int
    accuracy: float


@FIGURES.register("speaker_accuracy")
class SpeakerAccuracyFigure(Figure[tuple[SpeakerAccuracy, ...]]):
    title = "Accuracy by speaker"
    section = "results"
    after = "class_recall"
    needs = (Need.TESTED_SYSTEM,)

    def compute(self, report: ReportData) -> tuple[SpeakerAccuracy, ...]:
        found = []
        for system in report.systems:
            right = system.test.prediction == system.test.truth
            speakers = system.test.speaker_ids
            found.append(
                {
                    name: SpeakerAccuracy(
                        system=system.label,
                        speaker_id=name,
                        utterances=int((speakers == name).sum()),
                        accuracy=float(right[speakers == name].mean()),
                    )
                    for name in set(speakers.tolist())
                }
            )
        order = sorted(found[0], key=lambda name: (found[0][name].accuracy, name))
        return tuple(rows[name] for rows in found for name in order)

    def draw(self, data: tuple[SpeakerAccuracy, ...], palette: Palette) -> Drawing:
        by_system = grouped(data, lambda row: row.system)
        traces = [
            charts.points(
                system,
                range(len(rows)),
                [100 * row.accuracy for row in rows],
                palette.marker(system, 8),
                texts=[f"{short(r.speaker_id)}, {r.utterances} utterances" for r in rows],
                hover="%{text}: %{y:.1f} %",
            )
            for system, rows in by_system.items()
        ]
        system, first = next(iter(by_system.items()))
        every = -(-len(first) // MAX_NAMED)
        median = float(np.median([row.accuracy for row in first]))
        return Drawing(
            summary=(
                f"{system}: from {percent(first[0].accuracy)} % (speaker {first[0].speaker_id}) "
                f"to {percent(first[-1].accuracy)} % (speaker {first[-1].speaker_id}); the median "
                f"of {len(first)} speakers is {percent(median)} %."
            ),
            note="Share of a speaker's test utterances that are classified rightly.",
            panels=[
                charts.panel(
                    traces,
                    charts.axis(
                        "test speaker, ordered by accuracy",
                        tickvals=list(range(0, len(first), every)),
                        ticktext=[short(row.speaker_id) for row in first[::every]],
                        tickangle=-60 if len(first) > 8 else 0,
                        automargin=True,
                        **charts.BARE,
                    ),
                    charts.axis("accuracy (%)", range=[-3, 103]),
                )
            ],
            tables=[
                charts.table(
                    "Accuracy by test speaker",
                    ["system", "speaker", "test utterances", "accuracy"],
                    map(dataclasses.astuple, data),
                )
            ],
        )
