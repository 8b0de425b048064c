"""Accuracy on each test speaker, for each system."""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.report.evidence import Evidence
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Panel, Table
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
    name = "speaker_accuracy"
    title = "Accuracy by speaker"
    section = "results"
    order = 40

    def compute(self, evidence: Evidence) -> tuple[SpeakerAccuracy, ...]:
        if not evidence.systems:
            raise NoDataError("no finished trial has test posteriors")
        found = []
        for system in evidence.systems:
            right = system.test.prediction == system.test.truth
            speakers = np.array(system.test.speaker_ids)
            rows = [
                SpeakerAccuracy(
                    system=system.label,
                    speaker_id=str(name),
                    utterances=int((speakers == name).sum()),
                    accuracy=float(right[speakers == name].mean()),
                )
                for name in sorted(set(system.test.speaker_ids))
            ]
            found.append(rows)
        order = {
            row.speaker_id: i
            for i, row in enumerate(sorted(found[0], key=lambda r: (r.accuracy, r.speaker_id)))
        }
        return tuple(
            row for rows in found for row in sorted(rows, key=lambda r: order[r.speaker_id])
        )

    def draw(self, data: tuple[SpeakerAccuracy, ...], ink: Ink) -> Drawing:
        systems = list(dict.fromkeys(row.system for row in data))
        first = [row for row in data if row.system == systems[0]]
        place = {row.speaker_id: i for i, row in enumerate(first)}
        traces = []
        for system in systems:
            rows = [row for row in data if row.system == system]
            traces.append(
                charts.markers(
                    system,
                    [place[row.speaker_id] for row in rows],
                    [100 * row.accuracy for row in rows],
                    text=[f"{short(r.speaker_id)}, {r.utterances} utterances" for r in rows],
                    hovertemplate="%{text}: %{y:.1f} %",
                    marker=ink.marker(system, 8),
                )
            )
        every = -(-len(first) // MAX_NAMED)
        values = np.array([row.accuracy for row in first])
        return Drawing(
            summary=(
                f"{systems[0]}: from {percent(first[0].accuracy)} % "
                f"(speaker {first[0].speaker_id}) "
                f"to {percent(first[-1].accuracy)} % (speaker {first[-1].speaker_id}); the median "
                f"of {len(first)} speakers is {percent(float(np.median(values)))} %."
            ),
            note="Share of a speaker's test utterances that are classified rightly.",
            panels=[
                Panel(
                    data=traces,
                    layout={
                        "xaxis": {
                            "title": {"text": "test speaker, ordered by accuracy"},
                            "tickvals": list(range(0, len(first), every)),
                            "ticktext": [short(row.speaker_id) for row in first[::every]],
                            "tickangle": -60 if len(first) > 8 else 0,
                            "automargin": True,
                            "zeroline": False,
                            "showgrid": False,
                        },
                        "yaxis": charts.axis("accuracy (%)", range=[-3, 103]),
                    },
                )
            ],
            tables=[
                Table(
                    caption="Accuracy by test speaker",
                    header=["system", "speaker", "test utterances", "accuracy"],
                    rows=[[r.system, r.speaker_id, r.utterances, r.accuracy] for r in data],
                )
            ],
        )
