"""Results printed in papers or measured elsewhere, each bound to its protocol and its metric."""

from __future__ import annotations

import dataclasses
import functools

from serplatform.errors import SerplatformError
from serplatform.papers.paper_table import PaperTable, read_table, table_names


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """One number of one system.

    Attributes:
        table: name of the table that it stands in.
        system: what the source calls it.
        source: the paper and its table, or how it was measured.
        kind: ``published``, or ``measured`` by this project on the corpus itself.
        corpus: registered name.
        protocol: as the command line takes it; None where its folds are no protocol of ours, so
            that it is compared with nothing.
        num_classes: K.
        test_utterances: tested in all folds together; None where it depends on the draw.
        metric: one of ``metrics.METRICS``.
        value: a proportion.
        std: standard deviation as the source gives it.
        pooling: ``pooled`` over the test rows of all folds, ``mean of folds``, or None where
            the source does not say.
        speaker_normalised: features were normalised with the test speakers' own audio.
        pretrained: an encoder trained on other, far larger data.
        note: what else a reader must know.
    """

    table: str
    system: str
    source: str
    kind: str
    corpus: str
    protocol: str | None
    num_classes: int | None
    test_utterances: int | None
    metric: str
    value: float
    std: float | None
    pooling: str | None
    speaker_normalised: bool
    pretrained: bool
    note: str


def published_results(
    protocol: str, metric: str, *, corpus: str | None = None, num_classes: int | None = None
) -> tuple[PublishedResult, ...]:
    """Everything that may be compared with a number of ours: same protocol and same metric.

    Args:
        protocol: name of ours, as the fold plan has it.
        metric: one of ``metrics.METRICS``, by its true name.
        corpus: leave out what was measured on another one; None where the protocol says it.
        num_classes: leave out what distinguishes another number of classes.

    Returns:
        best first; empty where nothing fits. A number that a paper repeats is there once.

    Example:
        >>> [r.value for r in published_results("iem4-session5", "ova_accuracy")][:2]
        [0.805, 0.805]
        >>> published_results("iem4-session5", "accuracy")
        ()
    """
    found = {
        (result.system, result.value, result.speaker_normalised): result
        for result in reversed(all_results())
        if result.protocol == protocol
        and result.metric == metric
        and corpus in (None, result.corpus)
        and num_classes in (None, result.num_classes)
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
            results += _results(table)
    return tuple(results)


def _results(table: PaperTable) -> list[PublishedResult]:
    return [
        PublishedResult(
            table=table.name,
            system=row.system or row.label,
            source=table.paper.strip(),
            kind="measured" if table.measured_here else "published",
            corpus=column.corpus,
            protocol=column.protocol or None,
            num_classes=column.classes,
            test_utterances=column.test_utterances,
            metric=metric,
            value=float(row.published[column.name][metric]),
            std=None if (std := row.std.get(column.name, {}).get(metric)) is None else float(std),
            pooling=column.pooling,
            speaker_normalised=row.speaker_normalised,
            pretrained=row.pretrained,
            note=" ".join(filter(None, [table.note.strip(), row.note])),
        )
        for column in table.columns.values()
        for row in table.rows.values()
        for metric in row.published.get(column.name, {})
    ]
