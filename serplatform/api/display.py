"""What a user sees while a search or a preparation runs: a live table or a bar on a terminal, plain
lines elsewhere."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import TYPE_CHECKING

from rich.console import Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from serplatform import console, stopping
from serplatform.api.time_left import TimeLeft
from serplatform.artifacts.trial import TrialRecord
from serplatform.console import format_duration
from serplatform.metrics import HIGHER_IS_BETTER
from serplatform.models.architectures import ARCHITECTURES
from serplatform.report.wording import METRICS, in_percent
from serplatform.studies.space import SearchSpace, departures

if TYPE_CHECKING:
    from serplatform.distributed import prepare as preparation
    from serplatform.distributed.extraction import ExtractionProgress
    from serplatform.studies.study import Suggestion
    from serplatform.training.trial import TrialReport

#: seconds without a line after which plain output tells how far the trials are, at first and later
FIRST_LINE, PLAIN_INTERVAL = 5.0, 15.0
_LINE_EVERY = 5.0  # seconds between plain lines
#: seconds after a plain line in which a fit in closed form that is not the best has none
QUICK_INTERVAL = 3.0
#: trials that have ended, and trials that run, in the live table
_LAST, _MOST_ROWS = 5, 12
_FEW = 3  # settings named
_WORDS = {"complete": "trained", "pruned": "pruned", "failed": "failed"}


def _name(suggestion: Suggestion) -> str:
    """What a trial is called: its label, where it has one."""
    return suggestion.label or suggestion.architecture


def _is_quick(architecture: str) -> bool:
    """Whether trials end within a second or two, so that not each has lines of its own."""
    return architecture in ARCHITECTURES.names() and ARCHITECTURES.get(architecture).closed_form


def _roughly(seconds: float) -> str:
    """An estimate, which has no seconds from two minutes on."""
    step = 60 if seconds > 120 else 5
    return format_duration(step * math.ceil(seconds / step)).removesuffix(" 0 s")


class SearchDisplay:
    """Follows a search, as a ``SearchObserver``; use it as a context manager.

    Args:
        budget: trials in all, or None.
        deadline: ``time.monotonic()`` at which the time budget ends, or None.
        records: trials that had ended before.
        objective: name of the objective, a dev metric.
        chance: the objective of guessing, or None.
        costs: seconds a trial by architecture, where they are known beforehand.
        begun: ``time.monotonic()`` when the command began; None: now.
        spaces: by architecture, whose fixed values may depart from the paper's.

    Attributes:
        reference: what the reference is called and its dev objective; None without one. It may
            be set later, when the reference has been trained.
    """

    def __init__(
        self,
        *,
        budget: int | None,
        deadline: float | None,
        records: Mapping[int, TrialRecord],
        objective: str,
        chance: float | None = None,
        reference: tuple[str, float] | None = None,
        costs: Mapping[str, float] | None = None,
        begun: float | None = None,
        spaces: Mapping[str, SearchSpace] | None = None,
    ) -> None:
        self.reference = reference
        self._spaces = spaces or {}
        self._budget = budget
        self._deadline = deadline
        self._objective = objective
        self._title = f"dev {METRICS[objective].title}"
        self._chance = chance
        self._time_left = TimeLeft(costs or {})
        self._running: dict[int, tuple[Suggestion, TrialReport | None]] = {}
        self._counts = dict.fromkeys(_WORDS, 0)
        self._best: dict[int | None, tuple[float, str]] = {}  # by fold, where trials are of one
        self._last: deque[tuple[str, ...]] = deque(maxlen=_LAST)
        self._last_line = time.monotonic()
        self._begun = self._last_line if begun is None else begun
        self._over = False
        self._screen = contextlib.ExitStack()
        self._live = console.is_live()
        self._interval = FIRST_LINE
        for record in records.values():
            self._count(record, record["architecture"])

    def __enter__(self) -> SearchDisplay:
        if self._live:
            self._screen.enter_context(console.redrawn(self.render))
        else:
            over = threading.Event()
            self._screen.callback(over.set)
            threading.Thread(target=self._tell_now_and_then, args=(over,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        console.end_stage()
        self._screen.close()

    # -- what happens

    def trial_started(self, suggestion: Suggestion) -> None:
        """See ``SearchObserver``."""
        if not self._running:
            console.end_stage()
            self._interval = FIRST_LINE
        self._running[suggestion.number] = (suggestion, None)
        self._time_left.started(suggestion.number, suggestion.architecture)
        if not self._live and not _is_quick(suggestion.architecture):
            how = self._paper_told(suggestion)
            how += " (resumed)" if suggestion.resumed else ""
            self._tell(f"trial {suggestion.number} {_name(suggestion)} started{how}")

    def _departures(self, suggestion: Suggestion) -> list[str]:
        space = self._spaces.get(suggestion.architecture)
        return [] if space is None else departures(space)

    def _paper_told(self, suggestion: Suggestion) -> str:
        """Whether a trial is the paper's configuration, in brackets."""
        if not suggestion.paper:
            return ""
        names = self._departures(suggestion)
        few = ", ".join(names) if len(names) <= _FEW else f"{len(names)} settings"
        return f" (the paper's configuration{(names and f', but for {few}') or ''})"

    def trial_progressed(self, suggestion: Suggestion, report: TrialReport) -> None:
        """See ``SearchObserver``."""
        self._running[suggestion.number] = (suggestion, report)
        self._time_left.progressed(suggestion.number, report)

    def trial_retried(self, suggestion: Suggestion, error: str) -> None:
        """See ``SearchObserver``."""
        self._tell(f"trial {suggestion.number} {_name(suggestion)} is tried again: {error}")

    def trial_ended(self, record: TrialRecord) -> None:
        """See ``SearchObserver``."""
        number, state = record["trial"], record["state"]
        suggestion, report = self._running.pop(number, (None, None))
        self._time_left.ended(number)
        name = record["architecture"] if suggestion is None else _name(suggestion)
        best = dict(self._best)
        self._count(record, name)
        value = record["dev"].get(self._objective)
        if value is None and report is not None and state == "pruned":
            value = report.objective
        told = "" if value is None else self._value(value)
        spent = format_duration(record["seconds"])
        self._last.append((str(number), name, _WORDS[state], told, spent))
        error = f": {record['error']}" if state == "failed" else ""
        recent = time.monotonic() - self._last_line < QUICK_INTERVAL
        if recent and _is_quick(record["architecture"]) and self._best == best and not error:
            return  # a trial a second: the next line counts it
        if not self._live:
            value_told = f", {self._title} {told}" if told else ""
            self._tell(
                f"trial {number} {name} {_WORDS[state]}{value_told} ({record['epochs']} epochs, "
                f"{spent}){error}  |  {self._all()}"
            )
        elif error:
            self._tell(f"trial {number} {name} failed{error}")

    # -- what is shown

    def _value(self, value: float) -> str:
        return console.percent(value) if in_percent(self._objective) else f"{value:.4f}"

    def _count(self, record: TrialRecord, name: str) -> None:
        self._counts[record["state"]] += 1
        value = record.get("dev", {}).get(self._objective)
        if record["state"] != "complete" or value is None:
            return
        sign = 1.0 if HIGHER_IS_BETTER.get(self._objective, True) else -1.0
        best = self._best.get(record.get("fold"))
        if best is None or sign * value > sign * best[0]:
            self._best[record.get("fold")] = value, f"trial {record['trial']} {name}"

    def _summary(self) -> list[str]:
        """How many trials have ended, the best against chance and reference."""
        ended = sum(self._counts.values())
        of = f" of {self._budget}" if self._budget is not None else ""
        how = ", ".join(f"{n} {_WORDS[state]}" for state, n in self._counts.items() if n)
        counts = f"{ended}{of} ended" + (f" ({how})" if how else "")
        if self._running:
            counts += f", {len(self._running)} {'stopped half-way' if self._over else 'running'}"
        best = []
        if self._best:
            values, names = zip(*self._best.values(), strict=True)
            told = names[0] if None in self._best else f"mean of {len(values)} folds' best trials"
            best.append(f"best {self._title} {self._value(fmean(values))} ({told})")
        if self.reference is not None:
            name, value = self.reference
            best.append(f"reference {name} {self._value(value)} on dev rows")
        if self._chance is not None:
            best.append(f"chance {self._value(self._chance)}")
        return [counts, ", ".join(best)]

    def _all(self) -> str:
        """The summary and the time left in one line."""
        return "; ".join(filter(None, [*self._summary(), self._left()[0]]))

    def _left(self) -> tuple[str, float | None]:
        """How long the trials may still take: in words, and in seconds."""
        if self._over:
            return "", None
        estimate = None
        if self._budget is not None:
            to_begin = self._budget - sum(self._counts.values()) - len(self._running)
            if self._running or to_begin > 0:
                estimate = self._time_left.estimate(max(0, to_begin))
        if self._deadline is not None:
            budget = max(0.0, self._deadline - time.monotonic())
            if estimate is None or estimate.seconds >= budget:
                return f"{format_duration(budget)} of the time budget left", budget
        if estimate is None:
            return "", None
        if not estimate.seconds:
            return "longer than estimated", None
        how = "at most" if estimate.at_most else "about"
        return f"{how} {_roughly(estimate.seconds)} left", estimate.seconds

    def _tell_now_and_then(self, over: threading.Event) -> None:
        """Tell what goes on wherever nothing was told for a while."""
        while not over.wait(1.0):
            self.tell_if_due()

    def tell_if_due(self) -> None:
        """Tell what goes on, unless something was told a moment ago."""
        if time.monotonic() - max(self._last_line, console.last_line()) < self._interval:
            return
        running = sorted(self._running.items())
        if running:
            where = [self._place(*trial) for _, trial in running[:_MOST_ROWS]]
            where += [f"and {len(running) - _MOST_ROWS} more"] * (len(running) > _MOST_ROWS)
            self._tell(f"{self._all()}  |  {', '.join(where)}")
        elif doing := console.stage_line():
            self._tell(doing)
        self._interval = PLAIN_INTERVAL

    @staticmethod
    def _place(suggestion: Suggestion, report: TrialReport | None) -> str:
        """How far a trial is."""
        what = f"{suggestion.number} {_name(suggestion)}"
        if report is None:
            return f"{what} starting"
        fold = f"fold {report.fold + 1}/{report.num_folds}"
        return f"{what} {fold} epoch {report.epoch}/{report.max_epochs}"

    def _tell(self, text: str) -> None:
        """One line: above the live table, or with the time so far."""
        if self._live:
            console.say(text)
            return
        self._last_line = time.monotonic()
        elapsed = int(self._last_line - self._begun)
        console.progress(f"[{elapsed // 60:02d}:{elapsed % 60:02d}] {text}")

    def _doing(self) -> str:
        """What is done now, where that is not the training of the trials in the table."""
        if self._over:
            return ""
        if stopping.is_asked():
            return "Stopping: saving the running trials …"
        waiting = sum(report is None for _, report in list(self._running.values()))
        if waiting and waiting == len(self._running) and not sum(self._counts.values()):
            return f"Training: {waiting} trial(s) started, first epoch not ended …"
        return console.stage_line()

    def render(self) -> Group:
        """What the terminal shows now."""
        told = (Text(line, style="bold") for line in self._summary())
        lines = [Text(self._doing(), style="cyan"), *told]
        left, seconds = self._left()
        spent = time.monotonic() - self._begun
        clocks = Table.grid(padding=(0, 1))
        row: list[ProgressBar | Text] = []
        if seconds is not None:
            row.append(ProgressBar(total=max(spent + seconds, 1.0), completed=spent, width=30))
        so_far = f"{format_duration(spent)} so far"
        clocks.add_row(*row, Text("; ".join(filter(None, [left, so_far]))))
        tables = [
            *([self._running_table()] if self._running and not self._over else []),
            *([self._last_table()] if self._last else []),
        ]
        spaced = [part for table in tables for part in (Text(""), table)]
        return Group(*(line for line in lines if line), clocks, *spaced)

    def _running_table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("trial", "architecture", "fold", "epoch", "", f"{self._title} so far", ""):
            table.add_column(heading, no_wrap=True)
        rows = sorted(self._running.items())
        for number, (suggestion, report) in rows[:_MOST_ROWS]:
            note = "" if self._departures(suggestion) else "the paper's" * suggestion.paper
            note += " resumed" if suggestion.resumed else ""
            if report is None:
                table.add_row(str(number), _name(suggestion), "", "starting", "", "", note)
                continue
            share = (report.fold + report.epoch / report.max_epochs) / report.num_folds
            table.add_row(
                str(number),
                _name(suggestion),
                f"{report.fold + 1}/{report.num_folds}",
                f"{report.epoch}/{report.max_epochs}",
                ProgressBar(total=1.0, completed=share, width=12),
                self._value(report.objective),
                note,
            )
        if len(rows) > _MOST_ROWS:
            table.add_row("", f"and {len(rows) - _MOST_ROWS} more")
        return table

    def _last_table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", style="dim")
        for heading in ("trial", "the last that ended", "", self._title, "took"):
            table.add_column(heading, no_wrap=True)
        for row in reversed(self._last):
            table.add_row(*row)
        return table


@contextlib.contextmanager
def show_progress() -> Iterator[preparation.Progress]:
    """Give what is to be called after each shard."""
    if not console.is_live():
        pace = console.Pace(_LINE_EVERY)

        def line(now: ExtractionProgress) -> None:
            if pace.is_due(at_end=now.done == now.total):
                console.progress(f"{now.done} of {now.total} utterances, {now.rejected} left out")

        yield line
        return
    bar = Progress(
        TextColumn("extracting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("utterances, {task.fields[rejected]} left out"),
        TimeRemainingColumn(),
    )
    task = bar.add_task("extracting", total=None, rejected=0)

    def update(now: ExtractionProgress) -> None:
        bar.update(task, completed=now.done, total=now.total, rejected=now.rejected)

    with console.redrawn(lambda: Text(console.stage_line()) if console.stage_line() else bar):
        yield update
