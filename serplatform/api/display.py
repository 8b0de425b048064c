"""What a user sees while a search or a preparation runs: a live table or a bar on a terminal, plain
lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from serplatform import console
from serplatform.artifacts.trial import TrialRecord
from serplatform.console import format_duration
from serplatform.metrics import HIGHER_IS_BETTER

if TYPE_CHECKING:
    from serplatform.distributed import prepare as preparation
    from serplatform.distributed.extraction import ExtractionProgress
    from serplatform.studies.study import Suggestion
    from serplatform.training.trial import TrialReport

#: plain output tells the progress of unfinished trials at most this often, in seconds
PLAIN_INTERVAL = 15.0
_LINE_EVERY = 5.0  # seconds between plain lines


def _name(suggestion: Suggestion) -> str:
    """What a trial is called: its label, where it has one."""
    return suggestion.label or suggestion.architecture


class SearchDisplay:
    """Follows a search, as a ``SearchObserver``; use it as a context manager.

    Args:
        budget: trials in all, or None.
        deadline: ``time.monotonic()`` at which the time budget ends, or None.
        records: trials that had ended before.
        objective: name of the objective.
        live: draw a table that is updated in place; default: when stderr is a terminal.
    """

    def __init__(
        self,
        *,
        budget: int | None,
        deadline: float | None,
        records: Mapping[int, TrialRecord],
        objective: str,
        live: bool | None = None,
    ) -> None:
        self._budget = budget
        self._deadline = deadline
        self._objective = objective
        self._running: dict[int, tuple[Suggestion, TrialReport | None]] = {}
        self._counts = {"complete": 0, "pruned": 0, "failed": 0}
        self._best: tuple[float, int] | None = None
        self._ended_here = 0
        self._begun = self._last_line = time.monotonic()
        self._sign = 1.0 if HIGHER_IS_BETTER.get(objective, True) else -1.0
        for record in records.values():
            self._count(record)
        self._live: Live | None = None  # last: it draws at once
        if console.is_live() if live is None else live:
            self._live = Live(
                console=Console(stderr=True), get_renderable=self._render, refresh_per_second=4
            )

    def __enter__(self) -> SearchDisplay:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    # -- what happens

    def trial_started(self, suggestion: Suggestion) -> None:
        """See ``SearchObserver``."""
        self._running[suggestion.number] = (suggestion, None)
        if self._live is None:
            how = " (the paper's configuration)" if suggestion.paper else ""
            how += " (resumed)" if suggestion.resumed else ""
            self._tell(f"trial {suggestion.number} {_name(suggestion)} started{how}")

    def trial_progressed(self, suggestion: Suggestion, report: TrialReport) -> None:
        """See ``SearchObserver``."""
        self._running[suggestion.number] = (suggestion, report)
        if self._live is None and time.monotonic() - self._last_line > PLAIN_INTERVAL:
            where = ", ".join(
                f"{number} fold {r.fold + 1}/{r.num_folds} epoch {r.epoch}"
                for number, (_, r) in sorted(self._running.items())
                if r is not None
            )
            self._tell(f"running: {where}")

    def trial_retried(self, suggestion: Suggestion, error: str) -> None:
        """See ``SearchObserver``."""
        self._tell(f"trial {suggestion.number} {_name(suggestion)} is tried again: {error}")

    def trial_ended(self, record: TrialRecord) -> None:
        """See ``SearchObserver``."""
        suggestion, _ = self._running.pop(record["trial"], (None, None))
        name = record["architecture"] if suggestion is None else _name(suggestion)
        self._count(record)
        self._ended_here += 1
        what = f"trial {record['trial']} {name} {record['state']}"
        if record["state"] == "complete":
            value = record["dev"].get(self._objective)
            what += f"  dev {self._objective} {value:.4f}" if value is not None else ""
        elif record["state"] == "failed":
            what += f": {record['error']}"
        what += f"  ({record['epochs']} epochs, {format_duration(record['seconds'])})"
        self._tell(what if self._live is not None else f"{what}  |  {self._summary()}")

    # -- what is shown

    def _count(self, record: TrialRecord) -> None:
        self._counts[record["state"]] += 1
        value = record.get("dev", {}).get(self._objective)
        if record["state"] != "complete" or value is None:
            return
        if self._best is None or self._sign * value > self._sign * self._best[0]:
            self._best = (value, record["trial"])

    def _summary(self) -> str:
        done, pruned, failed = (self._counts[s] for s in ("complete", "pruned", "failed"))
        of = f" of {self._budget}" if self._budget is not None else ""
        parts = [f"running {len(self._running)}", f"done {done}{of}", f"pruned {pruned}"]
        if failed:
            parts.append(f"failed {failed}")
        if self._best is not None:
            parts.append(f"best {self._best[0]:.4f} (trial {self._best[1]})")
        estimates = []
        if self._deadline is not None:
            estimates.append(max(0.0, self._deadline - time.monotonic()))
        if self._budget is not None and self._ended_here:
            left = self._budget - sum(self._counts.values())
            estimates.append(left * (time.monotonic() - self._begun) / self._ended_here)
        if estimates:
            parts.append(f"about {format_duration(min(estimates))} left")
        return ", ".join(parts)

    def _tell(self, text: str) -> None:
        """One line: above the live table, or with the time so far."""
        if self._live is not None:
            self._live.console.print(Text(text))
            return
        self._last_line = time.monotonic()
        elapsed = int(self._last_line - self._begun)
        console.progress(f"[{elapsed // 60:02d}:{elapsed % 60:02d}] {text}")

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("trial", "architecture", "fold", "epoch", f"dev {self._objective}", ""):
            table.add_column(heading)
        for number, (suggestion, report) in sorted(self._running.items()):
            note = "paper's configuration" if suggestion.paper else ""
            note += " resumed" if suggestion.resumed else ""
            where = ("", "", "")
            if report is not None:
                fold = f"{report.fold + 1}/{report.num_folds}"
                where = (fold, str(report.epoch), f"{report.objective:.4f}")
            table.add_row(str(number), _name(suggestion), *where, note)
        elapsed = format_duration(time.monotonic() - self._begun)
        return Group(Text(f"{self._summary()}; {elapsed} so far", style="bold"), table)


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
    with Progress(
        TextColumn("extracting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("utterances, {task.fields[rejected]} left out"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task("extracting", total=None, rejected=0)

        def update(now: ExtractionProgress) -> None:
            bar.update(task, completed=now.done, total=now.total, rejected=now.rejected)

        yield update
