"""Rows as text: a table for people, CSV and JSON lines for programs.

Shapes: K classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from serplatform.artifacts.files import csv_text
from serplatform.console import percent
from serplatform.prediction.rejection import NOT_SURE
from serplatform.prediction.rows import PredictedRow

#: decimals of posteriors in files
_DECIMALS = 8


def row_values(row: PredictedRow, classes: Sequence[str]) -> dict[str, Any]:
    """A row for JSON; ``emotion`` and ``posteriors`` are null where nothing was classified.

    Steps have ``attention``, null where the models have none.
    With a rejector, ``answer`` is the emotion or "not sure", by the calibrated ``confidence``.
    """
    values: dict[str, Any] = {
        "file": row.file,
        "part": row.part,
        "start": round(row.start, 6),
        "end": round(row.end, 6),
        "emotion": None,
        "posteriors": None,
        "note": row.note,
    }
    if row.posteriors is not None:
        values["emotion"] = classes[int(row.posteriors.argmax())]
        values["posteriors"] = {
            name: round(float(p), _DECIMALS)
            for name, p in zip(classes, row.posteriors, strict=True)
        }
    if row.part == "step":
        values["attention"] = None if row.attention is None else round(row.attention, _DECIMALS)
    if row.answered is not None and row.confidence is not None:
        values["answer"] = values["emotion"] if row.answered else NOT_SURE
        values["confidence"] = round(row.confidence, _DECIMALS)
    return values


def flat_values(row: PredictedRow, classes: Sequence[str]) -> dict[str, Any]:
    """A row for a table: as :func:`row_values`, with a column a class, and the note last."""
    values = row_values(row, classes)
    posteriors, note = values.pop("posteriors") or dict.fromkeys(classes), values.pop("note")
    return {**values, **{f"p_{name}": p for name, p in posteriors.items()}, "note": note}


def json_lines(rows: Iterable[PredictedRow], classes: Sequence[str], **_: object) -> Iterator[str]:
    """One JSON object a line; with a rejector each row has its answer."""
    for row in rows:
        yield json.dumps(row_values(row, classes), ensure_ascii=False, allow_nan=False) + "\n"


def csv_lines(
    rows: Iterable[PredictedRow], classes: Sequence[str], *, rejecting: bool = False, **_: object
) -> Iterator[str]:
    """A header, then one line per row: ``file, part, start, end, emotion, p_<class>…, note``.

    Without rows there is no header. ``rejecting`` adds ``answer, confidence`` after the emotion,
    a step in the first row ``attention`` before the note.
    """
    more = ["answer", "confidence"] if rejecting else []
    head = ["file", "part", "start", "end", "emotion", *more, *(f"p_{c}" for c in classes)]
    for number, row in enumerate(rows):
        if number == 0:
            head += ["attention", "note"] if row.part == "step" else ["note"]
            yield csv_text([head])
        values = flat_values(row, classes)
        yield csv_text([[values.get(name) for name in head]])


def table_lines(
    rows: Iterable[PredictedRow], classes: Sequence[str], *, rejecting: bool = False, **_: object
) -> Iterator[str]:
    """Aligned columns, posteriors in percent; ``rejecting`` adds ``answer`` and ``conf.``."""
    emotion = max(map(len, [*map(visible, classes), "emotion"]))
    widths = [max(7, len(visible(name))) for name in classes]
    head = "  ".join(f"{visible(name):>{w}}" for name, w in zip(classes, widths, strict=True))
    wide = max(emotion, len(NOT_SURE))
    if rejecting:
        head = f"{'answer':<{wide}}  {'conf.':>7}  {head}"
    for number, row in enumerate(rows):
        if number == 0:
            yield f"{'start':>9}  {'end':>9}  {'part':<6}  {'emotion':<{emotion}}  {head}  file\n"
        values = row_values(row, classes)
        if row.posteriors is None:
            cells = "  ".join(f"{'-':>{w}}" for w in widths)
        else:
            pairs = zip(row.posteriors, widths, strict=True)
            cells = "  ".join(f"{percent(float(p)):>{w}}" for p, w in pairs)
        if rejecting:
            sure = "-" if row.confidence is None else percent(row.confidence)
            cells = f"{visible(values.get('answer', '-')):<{wide}}  {sure:>7}  {cells}"
        note = f"  ({row.note})" if row.note else ""
        yield (
            f"{row.start:>9.2f}  {row.end:>9.2f}  {row.part:<6}  "
            f"{visible(values['emotion'] or '-'):<{emotion}}  {cells}  "
            f"{visible(row.file)}{note}\n"
        )


FORMATS: dict[str, Callable[..., Iterator[str]]] = {
    "table": table_lines,
    "csv": csv_lines,
    "jsonl": json_lines,
}


def visible(text: str) -> str:
    r"""Text that a terminal shows and does not obey.

    Example:
        >>> visible("a\x1b[31m\nb.wav")
        'a\\x1b[31m\\nb.wav'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
