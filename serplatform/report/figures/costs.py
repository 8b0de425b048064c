"""What trials ended with and took, and dev UAR against size and latency."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from statistics import median

from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData, grouped
from serplatform.report.explanations import find_explanations
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette, Spec
from serplatform.report.load import ReportTrial
from serplatform.report.wording import decimal, duration, percent, plural, state_name, whole, yes_no

STATES = ("complete", "pruned", "failed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """Trials of one architecture and state: epochs and seconds in all, best and median dev UAR."""

    architecture: str
    state: str
    count: int
    epochs: int
    seconds: float
    best: float | None
    median: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Total:
    """What an architecture's trials took; ``pruned`` and ``failed`` are shares of the seconds."""

    architecture: str
    count: int
    seconds: float
    epochs: int
    pruned: float
    failed: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Rows by architecture then state; ``errors`` counts the messages of failed trials."""

    rows: tuple[Outcome, ...]
    errors: tuple[tuple[str, int], ...]

    @property
    def totals(self) -> tuple[Total, ...]:
        """Of each architecture, and of all where there are several."""
        groups = grouped(self.rows, lambda row: row.architecture)
        if len(groups) > 1:
            groups["all"] = list(self.rows)
        found = []
        for name, rows in groups.items():
            spent = dict.fromkeys(STATES, 0.0)
            for row in rows:
                spent[row.state] += row.seconds
            seconds = sum(row.seconds for row in rows)
            total = Total(
                architecture=name,
                count=sum(row.count for row in rows),
                seconds=seconds,
                epochs=sum(row.epochs for row in rows),
                pruned=spent["pruned"] / (seconds or 1.0),
                failed=spent["failed"] / (seconds or 1.0),
            )
            found.append(total)
        return tuple(found)


@FIGURES.register("trial_outcomes")
class TrialOutcomes(Figure[Outcomes]):
    title = "Finished, pruned and failed trials"
    section = "search"
    after = "trial_curves"
    needs = (Need.TRIALS,)

    def compute(self, report: ReportData) -> Outcomes:
        by_kind = grouped(report.trials, lambda t: (t.architecture, t.state))
        kinds = [(name, state) for name in report.architectures for state in STATES]
        rows = []
        for architecture, state in (kind for kind in kinds if kind in by_kind):
            group = by_kind[architecture, state]
            values = [t.reached for t in group if t.reached is not None]
            rows.append(
                Outcome(
                    architecture=architecture,
                    state=state,
                    count=len(group),
                    epochs=sum(t.epochs for t in group),
                    seconds=sum(t.seconds for t in group),
                    best=max(values, default=None),
                    median=median(values) if values else None,
                )
            )
        failed = [
            (t.record.get("error") or "").strip().splitlines()
            for t in report.trials
            if t.state == "failed"
        ]
        messages = Counter(lines[-1] if lines else "no message" for lines in failed)
        errors = sorted(messages.items(), key=lambda item: (-item[1], item[0]))
        return Outcomes(rows=tuple(rows), errors=tuple(errors))

    def draw(self, data: Outcomes, palette: Palette) -> Drawing:
        total = sum(row.seconds for row in data.rows)
        pruned = [row for row in data.rows if row.state == "pruned"]
        stopped = sum(row.count for row in pruned)
        summary = f"Training took {duration(total)} in all trials together."
        if stopped and total > 0:
            share = sum(row.seconds for row in pruned) / total
            summary += f" {plural(stopped, 'pruned trial')} used {percent(share)} % of that time."
        elif not stopped:
            summary += " No trial was pruned."
        tables = [
            charts.table(
                "Trials by architecture and outcome",
                {
                    "architecture": None,
                    "outcome": state_name,
                    "trials": "{:,}".format,
                    "epochs": "{:,}".format,
                    "training (s)": "{:,.1f}".format,
                    "best dev UAR (%)": percent,
                    "median dev UAR (%)": percent,
                },
                map(dataclasses.astuple, data.rows),
            ),
            charts.table(
                "Time and epochs of the search",
                {
                    "architecture": None,
                    "trials": "{:,}".format,
                    "training (h)": "{:,.2f}".format,
                    "epochs": "{:,}".format,
                    "time on pruned trials (%)": percent,
                    "time on failed trials (%)": percent,
                },
                [
                    [t.architecture, t.count, t.seconds / 3600, t.epochs, t.pruned, t.failed]
                    for t in data.totals
                ],
            ),
        ]
        if data.errors:
            tables.append(
                charts.table("What failed trials reported", ["message", "trials"], data.errors)
            )
        return Drawing(
            summary=summary,
            tables=tables,
            open_tables=True,
            note=(
                "A pruned trial's dev UAR is the mean over the folds it began, of the best epoch's."
            ),
        )


@FIGURES.register("cost")
class Cost(Figure[tuple[ReportTrial, ...]]):
    title = "Cost of the trials"
    section = "search"
    after = "trial_outcomes"

    def compute(self, report: ReportData) -> tuple[ReportTrial, ...]:
        timed = tuple(trial for trial in report.trials if trial.seconds > 0)
        if not timed:
            raise NoDataError("no trial recorded how long it trained")
        return timed

    def draw(self, data: tuple[ReportTrial, ...], palette: Palette) -> Drawing:
        by_architecture = grouped(data, lambda trial: trial.architecture)
        traces = [
            charts.boxes(
                name,
                [t.seconds for t in group],
                None,
                palette.marker(name, 5, opacity=0.7),
                [f"{t.name}, {t.state}, {t.epochs} epochs" for t in group],
                "%{text}<br>%{x:.1f} s",
            )
            for name, group in by_architecture.items()
        ]
        medians = [
            f"{name} {duration(median(t.seconds for t in group))}"
            for name, group in by_architecture.items()
        ]
        longest = max(data, key=lambda t: t.seconds)
        plot = charts.panel(
            traces,
            charts.axis("training time of a trial (s)", rangemode="tozero"),
            charts.axis(autorange="reversed"),
            legend=False,
            height=120 + 70 * len(traces),
        )
        table = charts.table(
            "Cost of each trial",
            {
                "trial": None,
                "state": state_name,
                "dev UAR (%)": percent,
                "training (s)": "{:,.1f}".format,
                "epochs": "{:,}".format,
                "seconds an epoch": lambda v: decimal(v, 2),
                "parameters": whole,
                "peak memory (MiB)": whole,
            },
            [
                [
                    t.name,
                    t.state,
                    t.reached,
                    t.seconds,
                    t.epochs,
                    t.seconds / t.epochs if t.epochs else None,
                    t.num_parameters,
                    t.peak_memory_mb,
                ]
                for t in data
            ],
            csv_header=[
                *("trial", "state", "dev_uar", "seconds", "epochs"),
                *("seconds_per_epoch", "num_parameters", "peak_memory_mb"),
            ],
            sortable=True,
        )
        return Drawing(
            summary=(
                f"Median training time of a trial: {', '.join(medians)}. The longest was "
                f"{longest.name} with {duration(longest.seconds)}."
            ),
            panels=[plot],
            tables=[table],
            note=(
                "Pruned trials are included; the time spent on starting workers is not. A click on "
                "a column's name sorts the table by it."
            ),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PricedTrial:
    """One trial; its ``cost`` is a number of trainable values, or milliseconds an utterance.

    ``undominated``: no other is at least as good and cheaper; ``utterance_seconds``: of the
    utterance that was timed.
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
                        hover="%{text}<br>%{x:,} parameters<br>dev UAR %{y:.1f} %",
                    )
                )
        front = [t for t in data if t.undominated]
        small, large = front[0], front[-1]
        plot = charts.panel(
            traces,
            charts.axis("trainable parameters", type="log"),
            "mean dev UAR (%)",
        )
        table = charts.table(
            "Finished trials by size",
            ["trial", "parameters", "dev UAR", "not beaten by a smaller one"],
            [[t.trial, t.cost, t.dev_uar, yes_no(t.undominated)] for t in data],
        )
        return Drawing(
            summary=(
                f"{small.trial} is both the smallest of {plural(len(data), 'finished trial')} "
                f"({small.cost:,} parameters) and the best (dev UAR {percent(small.dev_uar)} %)."
                if small is large
                else f"{len(front)} of {plural(len(data), 'finished trial')} are not beaten by a "
                f"smaller one: from {small.trial} ({small.cost:,} parameters, dev UAR "
                f"{percent(small.dev_uar)} %) to {large.trial} ({large.cost:,}, "
                f"{percent(large.dev_uar)} %)."
            ),
            panels=[plot],
            tables=[table],
        )


@FIGURES.register("latency_tradeoff")
class LatencyTradeoff(Figure[tuple[PricedTrial, ...]]):
    title = "Dev UAR against latency"
    section = "search"
    printed = False
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
        plot = charts.panel(
            traces,
            charts.axis("milliseconds an utterance", type="log"),
            "mean dev UAR (%)",
            height=420,
        )
        table = charts.table(
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
            panels=[plot],
            tables=[table],
            note=(
                "One pass of the model over the test utterance of median length, alone, on one "
                "thread of the CPU of the machine that explained the run; the median of several. "
                "Extraction of features, the same for all, is not in it."
            ),
        )
