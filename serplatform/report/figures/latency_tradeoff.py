"""Dev UAR of the explained trials against the time that they take for an utterance."""

from __future__ import annotations

import dataclasses

from serplatform.report.evidence import Evidence
from serplatform.report.explanations import ExplainedFigure, Explanations
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Drawing, Ink, NoDataError, Panel
from serplatform.report.wording import decimal, percent, plural


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
class LatencyTradeoff(ExplainedFigure[tuple[TimedTrial, ...]]):
    name = "latency_tradeoff"
    title = "Dev UAR against latency"
    section = "search"
    order = 91

    def examine(
        self, found: tuple[Explanations, ...], evidence: Evidence
    ) -> tuple[TimedTrial, ...]:
        timed = [
            (explained.name(entry["trial"], entry["architecture"]), entry, seconds, length)
            for explained in found
            for entry in explained.info["trials"]
            if (seconds := entry.get("latency_seconds"))
            and (length := entry.get("latency_utterance_seconds")) is not None
        ]
        if len(timed) < 2:
            raise NoDataError("fewer than two trials were explained, where latency is measured")
        timed.sort(key=lambda item: (item[2], -item[1]["dev_uar"]))
        rows, best = [], float("-inf")
        for name, entry, seconds, length in timed:
            rows.append(
                TimedTrial(
                    trial=name,
                    architecture=entry["architecture"],
                    milliseconds=1000 * seconds,
                    utterance_seconds=length,
                    num_parameters=entry.get("num_parameters"),
                    dev_uar=entry["dev_uar"],
                    undominated=entry["dev_uar"] > best,
                )
            )
            best = max(best, entry["dev_uar"])
        return tuple(rows)

    def draw(self, data: tuple[TimedTrial, ...], ink: Ink) -> Drawing:
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
            charts.markers(
                t.trial,
                [t.milliseconds],
                [100 * t.dev_uar],
                hovertemplate="%{x:.3g} ms<br>dev UAR %{y:.1f} %",
                marker=ink.marker(t.architecture, 10),
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
                Panel(
                    data=traces,
                    layout={
                        "xaxis": charts.axis("milliseconds an utterance", type="log"),
                        "yaxis": charts.axis("mean dev UAR (%)"),
                    },
                    height=420,
                )
            ],
            tables=[
                charts.table(
                    "Explained trials by latency",
                    data,
                    {
                        "trial": lambda t: t.trial,
                        "milliseconds": lambda t: t.milliseconds,
                        "utterance (s)": lambda t: t.utterance_seconds,
                        "parameters": lambda t: t.num_parameters,
                        "dev UAR": lambda t: t.dev_uar,
                        "not beaten by a faster one": lambda t: "yes" if t.undominated else "no",
                    },
                )
            ],
            note=(
                "One pass of the model over the test utterance of median length, alone, on one "
                "thread of the CPU of the machine that explained the run; the median of several. "
                "Extraction of features, the same for all, is not in it."
            ),
        )
