"""How far a preparation is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from serplatform import console
from serplatform.distributed import prepare as preparation
from serplatform.distributed.extraction import ExtractionProgress

_LINE_EVERY = 5.0  # seconds between plain lines


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
