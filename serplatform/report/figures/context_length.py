"""CSA by the length of its chunks: the curve that its paper tabulates."""

from __future__ import annotations

import dataclasses

from serplatform.report.evidence import Evidence
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Panel, Table
from serplatform.report.wording import percent

PARAMETER = "model.context_frames"
#: Paper's setting, for trials that do not say: Jalal et al., Interspeech 2020, Table 1 (best C).
PAPER_CONTEXT = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContextPoint:
    """All finished CSA trials of one chunk length: their count, best and mean dev UAR."""

    frames: int
    trials: int
    best: float
    mean: float


@FIGURES.register("context_length")
class ContextLength(Figure[tuple[ContextPoint, ...]]):
    name = "context_length"
    title = "CSA by context length"
    section = "search"
    order = 80

    def compute(self, evidence: Evidence) -> tuple[ContextPoint, ...]:
        trials = evidence.finished_by_architecture().get("csa", [])
        if not trials:
            raise NoDataError("no finished trial of csa")
        values: dict[int, list[float]] = {}
        for trial in trials:
            given = trial.params.get(PARAMETER)
            if given is None and not trial.paper:
                continue
            frames = PAPER_CONTEXT if given is None else int(given)
            values.setdefault(frames, []).append(trial.objective or 0.0)
        if len(values) < 2:
            raise NoDataError("finished csa trials do not vary the context length")
        return tuple(
            ContextPoint(frames=f, trials=len(v), best=max(v), mean=sum(v) / len(v))
            for f, v in sorted(values.items())
        )

    def draw(self, data: tuple[ContextPoint, ...], ink: Ink) -> Drawing:
        best = max(data, key=lambda p: p.best)
        frames = [p.frames for p in data]
        return Drawing(
            summary=(
                f"Best dev UAR by context length, {frames[0]} to {frames[-1]} frames: highest at "
                f"{best.frames} frames with {percent(best.best)} %."
            ),
            panels=[
                Panel(
                    data=[
                        {
                            "type": "scatter",
                            "mode": "lines+markers",
                            "name": "best trial",
                            "x": frames,
                            "y": [100 * p.best for p in data],
                            "line": {"color": "@series-1"},
                            "marker": {"size": 8},
                        },
                        {
                            "type": "scatter",
                            "mode": "lines+markers",
                            "name": "mean of trials",
                            "x": frames,
                            "y": [100 * p.mean for p in data],
                            "line": {"color": "@series-2", "dash": "dot"},
                            "marker": {"symbol": "square-open", "size": 8},
                        },
                    ],
                    layout={
                        "xaxis": {"title": {"text": "context length (frames)"}, "tickvals": frames},
                        "yaxis": {"title": {"text": "dev UAR (%)"}},
                    },
                )
            ],
            tables=[
                Table(
                    caption="Finished CSA trials by context length",
                    header=["context (frames)", "trials", "best dev UAR", "mean dev UAR"],
                    rows=[[p.frames, p.trials, p.best, p.mean] for p in data],
                )
            ],
            note=(
                "The best of more trials is higher by chance alone: compare lengths by the mean "
                "where the counts differ."
            ),
        )
