"""How many trials finished, were pruned or failed, and what each kind cost."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from statistics import median

from serplatform.report import charts
from serplatform.report.data import Need, ReportData, grouped
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette
from serplatform.report.wording import duration, percent, plural, state_name

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
class Total:
    """What the trials of one architecture, or of all, took; ``seconds`` of training.

    Attributes:
        pruned: share of the seconds that pruned trials used.
        failed: the same of failed trials.
    """

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
        by_name = grouped(self.rows, lambda row: row.architecture)
        found = [_total(name, rows) for name, rows in by_name.items()]
        return (*found, _total("all", self.rows)) if len(found) > 1 else tuple(found)


def _total(name: str, rows: Sequence[Outcome]) -> Total:
    seconds = sum(row.seconds for row in rows)
    spent = {s: sum(row.seconds for row in rows if row.state == s) for s in ("pruned", "failed")}
    return Total(
        architecture=name,
        count=sum(row.count for row in rows),
        seconds=seconds,
        epochs=sum(row.epochs for row in rows),
        **{state: used / seconds if seconds else 0.0 for state, used in spent.items()},
    )


@FIGURES.register("trial_outcomes")
class TrialOutcomes(Figure[Outcomes]):
    title = "Finished, pruned and failed trials"
    section = "search"
    after = "trial_curves"
    needs = (Need.TRIALS,)

    def compute(self, report: ReportData) -> Outcomes:
        rows = []
        for architecture in report.architectures:
            for state in STATES:
                kind = (architecture, state)
                group = [t for t in report.trials if (t.architecture, t.state) == kind]
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
                "What the search took",
                {
                    "architecture": None,
                    "trials": "{:,}".format,
                    "training (h)": "{:,.2f}".format,
                    "epochs": "{:,}".format,
                    "on pruned trials (%)": percent,
                    "on failed trials (%)": percent,
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
