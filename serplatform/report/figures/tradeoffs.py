"""Dev UAR against what a model costs: the trials that no smaller, or no faster, one beats."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData
from serplatform.report.explanations import find_explanations
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette, Spec
from serplatform.report.wording import decimal, percent, plural, yes_no


@dataclasses.dataclass(frozen=True, kw_only=True)
class PricedTrial:
    """One trial and what it costs.

    Attributes:
        trial: as the page calls it.
        cost: trainable values, or milliseconds an utterance.
        undominated: no other is at least as good and cheaper.
        utterance_seconds: of the utterance that was timed; None where none was.
    """

    trial: str
    architecture: str
    cost: float
    dev_uar: float
    num_parameters: int | None = None
    utterance_seconds: float | None = None
    undominated: bool = False


def cheapest_first(trials: Iterable[PricedTrial]) -> tuple[PricedTrial, ...]:
    """Trials by cost, those marked that are better than every cheaper one."""
    best, found = float("-inf"), []
    for trial in sorted(trials, key=lambda t: (t.cost, -t.dev_uar)):
        found.append(dataclasses.replace(trial, undominated=trial.dev_uar > best))
        best = max(best, trial.dev_uar)
    return tuple(found)


def _front(data: Iterable[PricedTrial], name: str) -> Spec:
    front = [t for t in data if t.undominated]
    uar = [100 * t.dev_uar for t in front]
    return charts.steps(name, [t.cost for t in front], uar, width=1.2, dash="dot")


@FIGURES.register("size_tradeoff")
class SizeTradeoff(Figure[tuple[PricedTrial, ...]]):
    title = "Dev UAR against model size"
    section = "search"
    after = "context_length"

    def compute(self, report: ReportData) -> tuple[PricedTrial, ...]:
        sized = [
            PricedTrial(
                trial=t.name,
                architecture=t.architecture,
                cost=t.num_parameters,
                dev_uar=t.objective,
            )
            for t in report.finished
            if t.num_parameters is not None and t.objective is not None
        ]
        if len(sized) < 2:
            raise NoDataError("fewer than two finished trials recorded their number of parameters")
        return cheapest_first(sized)

    def draw(self, data: tuple[PricedTrial, ...], palette: Palette) -> Drawing:
        traces = [_front(data, "best up to this size")]
        for name in palette.architectures:
            if group := [t for t in data if t.architecture == name]:
                traces.append(
                    charts.points(
                        name,
                        [t.cost for t in group],
                        [100 * t.dev_uar for t in group],
                        palette.marker(name, 7),
                        texts=[t.trial for t in group],
                        hover="%{text}<br>%{x:,} parameters<br>dev UAR %{y:.1f} %<extra></extra>",
                    )
                )
        front = [t for t in data if t.undominated]
        small, large = front[0], front[-1]
        return Drawing(
            summary=(
                f"{len(front)} of {plural(len(data), 'finished trial')} "
                f"{'is' if len(front) == 1 else 'are'} not beaten by a smaller one: from "
                f"{small.trial} ({small.cost:,} parameters, dev UAR {percent(small.dev_uar)} %) "
                f"to {large.trial} ({large.cost:,}, {percent(large.dev_uar)} %)."
            ),
            panels=[
                charts.panel(
                    traces,
                    charts.axis("trainable parameters", type="log", exponentformat="power"),
                    "mean dev UAR (%)",
                )
            ],
            tables=[
                charts.table(
                    "Finished trials by size",
                    ["trial", "parameters", "dev UAR", "not beaten by a smaller one"],
                    [[t.trial, t.cost, t.dev_uar, yes_no(t.undominated)] for t in data],
                )
            ],
        )


@FIGURES.register("latency_tradeoff")
class LatencyTradeoff(Figure[tuple[PricedTrial, ...]]):
    title = "Dev UAR against latency"
    section = "search"
    after = "size_tradeoff"
    needs = (Need.EXPLANATIONS,)

    def compute(self, report: ReportData) -> tuple[PricedTrial, ...]:
        timed = [
            PricedTrial(
                trial=explained.name(entry["trial"], entry["architecture"]),
                architecture=entry["architecture"],
                cost=1000 * seconds,
                utterance_seconds=length,
                num_parameters=entry.get("num_parameters"),
                dev_uar=entry["dev_uar"],
            )
            for explained in find_explanations(report)
            for entry in explained.info["trials"]
            if (seconds := entry.get("latency_seconds"))
            and (length := entry.get("latency_utterance_seconds")) is not None
        ]
        if len(timed) < 2:
            raise NoDataError("fewer than two trials were explained, where latency is measured")
        return cheapest_first(timed)

    def draw(self, data: tuple[PricedTrial, ...], palette: Palette) -> Drawing:
        traces = [_front(data, "best up to this time")]
        traces += [
            charts.points(
                t.trial,
                [t.cost],
                [100 * t.dev_uar],
                palette.marker(t.architecture, 10),
                hover="%{x:.3g} ms<br>dev UAR %{y:.1f} %",
            )
            for t in data
        ]
        front = [t for t in data if t.undominated]
        fast, slow = front[0], front[-1]
        return Drawing(
            summary=(
                f"{fast.trial} is both the fastest of {plural(len(data), 'explained trial')} "
                f"({decimal(fast.cost, 2)} ms) and the best (dev UAR {percent(fast.dev_uar)} %)."
                if fast is slow
                else f"{len(front)} of {plural(len(data), 'explained trial')} are not beaten by a "
                f"faster one: from {fast.trial} ({decimal(fast.cost, 2)} ms, dev UAR "
                f"{percent(fast.dev_uar)} %) to {slow.trial} ({decimal(slow.cost, 2)} ms, "
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
                            t.cost,
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
