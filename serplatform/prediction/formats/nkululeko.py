"""Predictions as nkululeko's demo module writes them: ``file``, a column a class, ``predicted``.

Of windows or steps, ``file, start, end`` in audformat's segmented form, which nkululeko reads as
segments; the rows of the whole recordings are then left out, for a file has rows of one kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from serplatform.artifacts.files import csv_text
from serplatform.prediction.formats.base import ROW_FORMATS
from serplatform.prediction.output import row_values
from serplatform.prediction.rows import PredictedRow


@ROW_FORMATS.register("nkululeko")
def nkululeko_lines(
    rows: Iterable[PredictedRow], classes: Sequence[str], **_: object
) -> Iterator[str]:
    """A header, then a line for each row with a result."""
    kind: str | None = None
    for row in rows:
        if kind is None:
            kind = row.part
            yield csv_text([[*_index(kind), *classes, "predicted"]])
        if row.part != kind or row.posteriors is None:
            continue
        values = row_values(row, classes)
        times = {"file": row.file, "start": f"{values['start']}s", "end": f"{values['end']}s"}
        posteriors = [values["posteriors"][name] for name in classes]
        place = [times[name] for name in _index(kind)]
        yield csv_text([[*place, *posteriors, values["emotion"]]])


def _index(kind: str) -> list[str]:
    return ["file"] if kind == "whole" else ["file", "start", "end"]
