"""Results printed in papers or measured elsewhere, each bound to its protocol and its metric."""

from __future__ import annotations

import dataclasses
import functools

from serplatform.errors import SerplatformError
from serplatform.papers.paper_table import (
    PaperColumn,
    PaperRow,
    PaperTable,
    read_table,
    table_names,
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PublishedResult:
    """One number of one system: where it stands, and which metric it is.

    Attributes:
        table: with its source, and whether this project measured it on the corpus itself.
        row: the system.
        column: corpus, protocol (empty: it is compared with nothing), classes and utterances.
        metric: one of ``metrics.METRICS``.
    """

    table: PaperTable
    row: PaperRow
    column: PaperColumn
    metric: str

    @property
    def system(self) -> str:
        """What the source calls the system."""
        return self.row.system or self.row.label

    @property
    def value(self) -> float:
        """A proportion."""
        return float(self.row.published[self.column.name][self.metric])

    @property
    def std(self) -> float | None:
        """Standard deviation as the source gives it."""
        found = self.row.std.get(self.column.name, {}).get(self.metric)
        return None if found is None else float(found)

    @property
    def note(self) -> str:
        """What else a reader must know."""
        notes = [self.table.note.strip(), self.column.note, self.row.note]
        return " ".join(filter(None, notes))


def published_results(
    protocol: str, metric: str, *, corpus: str | None = None, num_classes: int | None = None
) -> tuple[PublishedResult, ...]:
    """Everything that may be compared with a number of ours: same protocol and same metric.

    ``corpus`` leaves out what was measured on another one, ``num_classes`` what distinguishes
    another number of classes. The best comes first; a number that a paper repeats is there once.

    Example:
        >>> [r.value for r in published_results("iem4-session5", "ova_accuracy")][:2]
        [0.805, 0.805]
        >>> published_results("iem4-session5", "accuracy")
        ()
    """
    found = {
        (result.system, result.value, result.row.speaker_normalised): result
        for result in reversed(all_results())
        if result.column.protocol == protocol != ""
        and result.metric == metric
        and corpus in (None, result.column.corpus)
        and num_classes in (None, result.column.classes)
    }
    return tuple(sorted(found.values(), key=lambda r: (-r.value, r.system)))


@functools.cache
def all_results() -> tuple[PublishedResult, ...]:
    """Every number of every packaged table that is a metric, table by table."""
    results: list[PublishedResult] = []
    for name in table_names():
        table, errors = read_table(name)
        if table is None or errors:
            raise SerplatformError("\n".join([f"{name}.yaml: the table has errors:", *errors]))
        if table.kind in ("metrics", "references"):
            results += [
                PublishedResult(table=table, row=row, column=column, metric=metric)
                for column in table.columns.values()
                for row in table.rows.values()
                for metric in row.published.get(column.name, {})
            ]
    return tuple(results)
