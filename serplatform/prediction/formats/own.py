"""The program's own formats: a table for people, CSV, JSON lines."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

from serplatform.prediction.formats.base import ROW_FORMATS
from serplatform.prediction.output import FORMATS
from serplatform.prediction.rows import PredictedRow


def _lines(
    lines: Callable[..., Iterator[str]],
    rows: Iterable[PredictedRow],
    classes: Sequence[str],
    *,
    rejecting: bool = False,
    out: str | None = None,
) -> Iterator[str]:
    return lines(rows, classes, rejecting=rejecting)


for _name, _made in FORMATS.items():
    ROW_FORMATS.register(_name)(functools.partial(_lines, _made))
