"""How many trials finished, were pruned or failed, and what each kind cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from serplatform.report.evidence import Evidence
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Table
from serplatform.report.wording import duration, percent, plural

STATES = ("complete", "pruned", "failed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """Trials of one architecture and state.

    Attributes:
        seconds: of training, in all.
        epochs: in all.
        best: highest mean dev UAR, or None.
        median: of the mean dev UAR, or None.
    """

    architecture: str
    state: str
    count: int
    epochs: int
    seconds: float
    best: float | None
    median: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Rows by architecture then state; ``errors`` counts the messages of failed trials."""

    rows: tuple[Outcome, ...]
    errors: tuple[tuple[str, int], ...]

    @property
    def totals(self) -> tuple[Total, ...]:
        """Of each architecture, and of all where there are several."""
        names = list(dict.fromkeys(row.architecture for row in self.rows))
        found = [
            _total(name, [row for row in self.rows if row.architecture == name]) for name in names
        ]
        return (*found, _total("all", self.rows)) if len(names) > 1 else tuple(found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Total:
    """What the trials of one architecture, or of all, took.

    Attributes:
        seconds: of training.
        pruned: share of the seconds that pruned trials used.
        failed: the same of failed trials.
    """

    architecture: str
    count: int
    epochs: int
    seconds: float
    pruned: float
    failed: float


def _total(name: str, rows: Sequence[Outcome]) -> Total:
    seconds = sum(row.seconds for row in rows)

    def share(state: str) -> float:
        spent = sum(row.seconds for row in rows if row.state == state)
        return spent / seconds if seconds else 0.0

    return Total(
        architecture=name,
        count=sum(row.count for row in rows),
        epochs=sum(row.epochs for row in rows),
        seconds=seconds,
        pruned=share("pruned"),
        failed=share("failed"),
    )


def called(state: str) -> str:
    """What the page calls a trial's state."""
    return "finished" if state == "complete" else state


def median(values: list[float]) -> float | None:
    """Middle value; the mean of the two middle ones for an even count."""
    if not values:
        return None
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


@FIGURES.register("trial_outcomes")
class TrialOutcomes(Figure[Outcomes]):
    name = "trial_outcomes"
    title = "Finished, pruned and failed trials"
    section = "search"
    order = 30

    def compute(self, evidence: Evidence) -> Outcomes:
        if not evidence.trials:
            raise NoDataError("no trial was recorded")
        rows = []
        for architecture in evidence.architectures:
            for state in STATES:
                kind = (architecture, state)
                group = [t for t in evidence.trials if (t.architecture, t.state) == kind]
                if not group:
                    continue
                values = [t.reached for t in group if t.reached is not None]
                rows.append(
                    Outcome(
                        architecture=architecture,
                        state=state,
                        count=len(group),
                        epochs=sum(t.epochs for t in group),
                        seconds=sum(t.seconds for t in group),
                        best=max(values, default=None),
                        median=median(values),
                    )
                )
        messages: dict[str, int] = {}
        for trial in evidence.trials:
            if trial.state == "failed":
                lines = (trial.error or "no message").strip().splitlines() or ["no message"]
                messages[lines[-1]] = messages.get(lines[-1], 0) + 1
        errors = sorted(messages.items(), key=lambda item: (-item[1], item[0]))
        return Outcomes(rows=tuple(rows), errors=tuple(errors))

    def draw(self, data: Outcomes, ink: Ink) -> Drawing:
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
                data.rows,
                {
                    "architecture": lambda r: r.architecture,
                    "outcome": (lambda r: r.state, called),
                    "trials": (lambda r: r.count, "{:,}".format),
                    "epochs": (lambda r: r.epochs, "{:,}".format),
                    "training (s)": (lambda r: r.seconds, "{:,.1f}".format),
                    "best dev UAR (%)": (lambda r: r.best, percent),
                    "median dev UAR (%)": (lambda r: r.median, percent),
                },
            ),
            _totals(data),
        ]
        if data.errors:
            tables.append(
                Table(
                    caption="What failed trials reported",
                    header=["message", "trials"],
                    rows=[list(item) for item in data.errors],
                )
            )
        return Drawing(
            summary=summary,
            tables=tables,
            open_tables=True,
            note=(
                "A pruned trial's dev UAR is the mean over the folds it began, of the best epoch's."
            ),
        )


def _totals(data: Outcomes) -> Table:
    """What the search took, by architecture and as a whole."""
    return charts.table(
        "What the search took",
        data.totals,
        {
            "architecture": lambda t: t.architecture,
            "trials": (lambda t: t.count, "{:,}".format),
            "training (h)": (lambda t: t.seconds / 3600, "{:,.2f}".format),
            "epochs": (lambda t: t.epochs, "{:,}".format),
            "on pruned trials (%)": (lambda t: t.pruned, percent),
            "on failed trials (%)": (lambda t: t.failed, percent),
        },
    )
