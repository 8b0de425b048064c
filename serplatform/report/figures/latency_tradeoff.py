"""Dev UAR of the explained trials against the time that they take for an utterance."""

from __future__ import annotations

import dataclasses

from serplatform.report import charts
from serplatform.report.data import ReportData
from serplatform.report.explanations import find_explanations
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Need, NoDataError, Palette
from serplatform.report.figures.size_tradeoff import undominated
from serplatform.report.wording import decimal, percent, plural, yes_no


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimedTrial:
    """One explained trial; ``undominated``: no other is at least as good and faster."""

    trial: str
    architecture: str
    milliseconds: float
    utterance_seconds: float
    num_parameters: int | None
    dev_uar: float
    undominated: bool


@FIGURES.register("latency_tradeoff")
class LatencyTradeoff(Figure[tuple[TimedTrial, ...]]):
    title = "Dev UAR against latency"
    section = "search"
    after = "size_tradeoff"
    needs = (Need.EXPLANATIONS,)

    def compute(self, report: ReportData) -> tuple[TimedTrial, ...]:
        timed = [
            TimedTrial(
                trial=explained.name(entry["trial"], entry["architecture"]),
                architecture=entry["architecture"],
                milliseconds=1000 * seconds,
                utterance_seconds=length,
                num_parameters=entry.get("num_parameters"),
                dev_uar=entry["dev_uar"],
                undominated=False,
            )
            for explained in find_explanations(report)
            for entry in explained.info["trials"]
            if (seconds := entry.get("latency_seconds"))
            and (length := entry.get("latency_utterance_seconds")) is not None
        ]
        if len(timed) < 2:
            raise NoDataError("fewer than two trials were explained, where latency is measured")
        timed.sort(key=lambda t: (t.milliseconds, -t.dev_uar))
        front = undominated(t.dev_uar for t in timed)
        return tuple(
            dataclasses.replace(t, undominated=f) for t, f in zip(timed, front, strict=True)
        )

    def draw(self, data: tuple[TimedTrial, ...], palette: Palette) -> Drawing:
        front = [t for t in data if t.undominated]
        traces = [
            charts.steps(
                "best up to this time",
                [t.milliseconds for t in front],
                [100 * t.dev_uar for t in front],
                width=1.2,
                dash="dot",
            )
        ]
        traces += [
            charts.points(
                t.trial,
                [t.milliseconds],
                [100 * t.dev_uar],
                palette.marker(t.architecture, 10),
                hover="%{x:.3g} ms<br>dev UAR %{y:.1f} %",
            )
            for t in data
        ]
        fast, slow = front[0], front[-1]
        return Drawing(
            summary=(
                f"{fast.trial} is both the fastest of {plural(len(data), 'explained trial')} "
                f"({decimal(fast.milliseconds, 2)} ms) and the best (dev UAR "
                f"{percent(fast.dev_uar)} %)."
                if fast is slow
                else f"{len(front)} of {plural(len(data), 'explained trial')} are not beaten by a "
                f"faster one: from {fast.trial} ({decimal(fast.milliseconds, 2)} ms, dev UAR "
                f"{percent(fast.dev_uar)} %) to {slow.trial} ({decimal(slow.milliseconds, 2)} ms, "
                f"{percent(slow.dev_uar)} %)."
            ),
            panels=[
                charts.panel(
                    traces,
                    charts.axis("milliseconds an utterance", type="log"),
                    "mean dev UAR (%)",
                    height=420,
                )
            ],
            tables=[
                charts.table(
                    "Explained trials by latency",
                    [
                        *("trial", "milliseconds", "utterance (s)", "parameters", "dev UAR"),
                        "not beaten by a faster one",
                    ],
                    [
                        [
                            t.trial,
                            t.milliseconds,
                            t.utterance_seconds,
                            t.num_parameters,
                            t.dev_uar,
                            yes_no(t.undominated),
                        ]
                        for t in data
                    ],
                )
            ],
            note=(
                "One pass of the model over the test utterance of median length, alone, on one "
                "thread of the CPU of the machine that explained the run; the median of several. "
                "Extraction of features, the same for all, is not in it."
            ),
        )
