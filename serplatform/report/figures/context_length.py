"""CSA by the length of its chunks: the curve that its paper tabulates."""

from __future__ import annotations

import dataclasses

from serplatform.report import charts
from serplatform.report.data import NoDataError, ReportData
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette
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
    title = "CSA by context length"
    section = "search"
    after = "parameter_effects"

    def compute(self, report: ReportData) -> tuple[ContextPoint, ...]:
        trials = report.finished_by_architecture().get("csa", [])
        if not trials:
            raise NoDataError("no finished trial of csa")
        values: dict[int, list[float]] = {}
        for trial in trials:
            given = trial.params.get(PARAMETER, PAPER_CONTEXT if trial.paper else None)
            if given is not None:
                values.setdefault(int(given), []).append(trial.objective or 0.0)
        if len(values) < 2:
            raise NoDataError("finished csa trials do not vary the context length")
        return tuple(
            ContextPoint(frames=f, trials=len(v), best=max(v), mean=sum(v) / len(v))
            for f, v in sorted(values.items())
        )

    def draw(self, data: tuple[ContextPoint, ...], palette: Palette) -> Drawing:
        best = max(data, key=lambda p: p.best)
        frames = [p.frames for p in data]
        return Drawing(
            summary=(
                f"Best dev UAR by context length, {frames[0]} to {frames[-1]} frames: highest at "
                f"{best.frames} frames with {percent(best.best)} %."
            ),
            panels=[
                charts.panel(
                    [
                        charts.line(
                            "best trial",
                            frames,
                            [100 * p.best for p in data],
                            charts.stroke("@series-1"),
                            marker=charts.marker(None, "circle", 8),
                        ),
                        charts.line(
                            "mean of trials",
                            frames,
                            [100 * p.mean for p in data],
                            charts.stroke("@series-2", dash="dot"),
                            marker=charts.marker(None, "square-open", 8),
                        ),
                    ],
                    charts.axis("context length (frames)", tickvals=frames),
                    "dev UAR (%)",
                )
            ],
            tables=[
                charts.table(
                    "Finished CSA trials by context length",
                    ["context (frames)", "trials", "best dev UAR", "mean dev UAR"],
                    [[p.frames, p.trials, p.best, p.mean] for p in data],
                )
            ],
            note=(
                "The best of more trials is higher by chance alone: compare lengths by the mean "
                "where the counts differ."
            ),
        )
