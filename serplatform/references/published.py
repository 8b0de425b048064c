"""Results printed in papers or measured elsewhere, each bound to its protocol and its metric.

A table is one YAML file of ``tables/``; adding a table adds a file and nothing else. Metrics go
by their true names, whatever the paper prints: see :mod:`serplatform.metrics`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from importlib import resources
from typing import Any

from serplatform.errors import SerplatformError
from serplatform.metrics import METRICS
from serplatform.strict_yaml import parse_yaml

#: what a row may hold beside classification metrics: the share of MFCCs that a VRNN samples
MEASURES = (*METRICS, "sampled_share")

_KINDS = ("published", "measured")
_POOLINGS = ("pooled", "mean of folds")


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
            that it stands beside nothing.
        num_classes: K.
        test_utterances: tested in all folds together; None where it depends on the draw.
        metric: one of :data:`MEASURES`.
        value: a proportion.
        deviation: standard deviation as the source gives it.
        pooling: ``pooled`` over the test rows of all folds, ``mean of folds``, or None where
            the source does not say.
        emotion: of ``sampled_share``: the class, or ``average``.
        speaker_normalised: features were normalised with the test speakers' own audio.
        pretrained: an encoder trained on other, far larger data.
        architecture: of ours that it is, None for none.
        settings: of that architecture where they differ from its paper's own.
        combination: of a combined system: ``of``, architectures, and ``exponents``.
        note: what else a reader must know.
    """

    table: str
    system: str
    source: str
    kind: str
    corpus: str
    protocol: str | None
    num_classes: int
    metric: str
    value: float
    test_utterances: int | None = None
    deviation: float | None = None
    pooling: str | None = None
    emotion: str | None = None
    speaker_normalised: bool = False
    pretrained: bool = False
    architecture: str | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    combination: Mapping[str, Any] | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """A table in the order of its source.

    Attributes:
        name: as ``serplatform reproduce`` takes it.
        title: one line.
        source: the paper and its table, or how it was measured.
        kind: ``published`` or ``measured``.
        note: what holds for every row.
        results: one a row and metric.
    """

    name: str
    title: str
    source: str
    kind: str
    note: str
    results: tuple[PublishedResult, ...]


def published_results(
    protocol: str, metric: str, *, corpus: str | None = None, num_classes: int | None = None
) -> tuple[PublishedResult, ...]:
    """Everything that may stand beside a number of ours: same protocol and same metric.

    Args:
        protocol: name of ours, as the fold plan has it.
        metric: one of :data:`MEASURES`, by its true name.
        corpus: leave out what was measured on another one; None where the protocol says it.
        num_classes: leave out what tells another number of classes apart.

    Returns:
        best first; empty where nothing fits.

    Example:
        >>> [r.value for r in published_results("iem4-session5", "ova_accuracy")][:2]
        [0.805, 0.805]
        >>> published_results("iem4-session5", "accuracy")
        ()
    """
    found = [
        result
        for table in tables().values()
        for result in table.results
        if result.protocol == protocol
        and result.metric == metric
        and corpus in (None, result.corpus)
        and num_classes in (None, result.num_classes)
    ]
    return tuple(sorted(found, key=lambda r: (-r.value, r.system)))


@functools.cache
def tables() -> dict[str, PublishedTable]:
    """All tables by name, sorted."""
    found = {}
    folder = resources.files("serplatform.references") / "tables"
    for path in sorted(folder.iterdir(), key=lambda item: item.name):
        if path.name.endswith(".yaml"):
            table = parse_table(parse_yaml(path.read_text(encoding="utf-8"), path.name), path.name)
            found[table.name] = table
    return found


def parse_table(content: Mapping[str, Any], where: str) -> PublishedTable:
    """Read a table from the content of its file.

    Raises:
        SerplatformError: a key is unknown or missing, or a value is out of range; every fault
            is named.
    """
    faults = [
        f"'{key}' is missing"
        for key in ("table", "title", "kind", "source", "results")
        if not content.get(key)
    ]
    if content.get("kind") not in _KINDS:
        faults.append(f"kind {content.get('kind')!r} is none of {', '.join(_KINDS)}")
    if where != f"{content.get('table')}.yaml":
        faults.append(f"table {content.get('table')!r} is not the file's own name")
    results: list[PublishedResult] = []
    for number, row in enumerate(content.get("results") or [], 1):
        results += _row(content, row, f"row {number}", faults)
    if faults:
        raise SerplatformError("\n".join([f"{where}: the table of results is faulty:", *faults]))
    return PublishedTable(
        name=content["table"],
        title=content["title"],
        source=content["source"].strip(),
        kind=content["kind"],
        note=str(content.get("note", "")).strip(),
        results=tuple(results),
    )


def _row(
    content: Mapping[str, Any], row: Mapping[str, Any], where: str, faults: list[str]
) -> list[PublishedResult]:
    shared = {key: value for key, value in row.items() if key not in MEASURES}
    measures = {key: value for key, value in row.items() if key in MEASURES}
    fields = {f.name for f in dataclasses.fields(PublishedResult)} - {"num_classes"} | {"classes"}
    own = {"table", "source", "kind", "metric", "value"}
    wrong = [f"{where}: unknown key '{key}'" for key in sorted(set(shared) - (fields - own))]
    wrong += [
        f"{where}: '{key}' is missing"
        for key in ("system", "corpus", "protocol", "classes")
        if key not in shared
    ]
    if not measures:
        wrong.append(f"{where}: no metric; one of {', '.join(MEASURES)}")
    wrong += [
        f"{where}: {metric} {value!r} is no proportion"
        for metric, value in measures.items()
        if not isinstance(value, float) or not 0 <= value <= 1
    ]
    if shared.get("pooling") not in (None, *_POOLINGS):
        wrong.append(f"{where}: pooling {shared['pooling']!r} is none of {', '.join(_POOLINGS)}")
    if wrong:
        faults += wrong
        return []
    shared["num_classes"] = shared.pop("classes")
    shared["note"] = " ".join(filter(None, [str(content.get("note", "")).strip(), row.get("note")]))
    return [
        PublishedResult(
            table=content["table"],
            source=content["source"].strip(),
            kind=content["kind"],
            metric=metric,
            value=value,
            **shared,
        )
        for metric, value in measures.items()
    ]
