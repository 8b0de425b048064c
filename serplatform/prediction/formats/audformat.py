"""An audformat database: a header, and tables of recordings and of segments beside it.

``audformat.Database.load(FOLDER, name=NAME)`` reads ``NAME.yaml`` with ``NAME.recordings.csv`` and,
where there are windows or steps, ``NAME.segments.csv``. The columns are the emotion recognised and
a posterior a class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from serplatform.artifacts.files import csv_text, write_text
from serplatform.errors import BadInputError
from serplatform.prediction.formats.base import ROW_FORMATS
from serplatform.prediction.output import row_values
from serplatform.prediction.rows import PredictedRow

_INDEX = {"recordings": ["file"], "segments": ["file", "start", "end"]}


@ROW_FORMATS.register("audformat")
def audformat_lines(
    rows: Iterable[PredictedRow],
    classes: Sequence[str],
    *,
    out: str | None = None,
    **_: object,
) -> Iterator[str]:
    """The text of the header; tables are written beside it first.

    Raises:
        BadInputError: ``out`` names no local ``.yaml`` file.
    """
    if out is None or "://" in out or Path(out).suffix != ".yaml":
        raise BadInputError(
            "--format audformat writes a header and tables beside it: name the header with "
            "--out FILE.yaml, on this machine"
        )
    return _written(rows, classes, Path(out))


def _written(rows: Iterable[PredictedRow], classes: Sequence[str], out: Path) -> Iterator[str]:
    columns = {"emotion": "emotion", **{f"posterior {name}": "posterior" for name in classes}}
    tables: dict[str, list[list[Any]]] = {"recordings": []}
    for row in rows:
        values = row_values(row, classes)
        if values["posteriors"] is None:
            continue
        found = [values["emotion"], *(values["posteriors"][name] for name in classes)]
        if row.part == "whole":
            tables["recordings"].append([row.file, *found])
        else:
            times = [f"{values['start']}s", f"{values['end']}s"]
            tables.setdefault("segments", []).append([row.file, *times, *found])
    for name, lines in tables.items():
        text = csv_text([[*_INDEX[name], *columns], *lines])
        write_text(out.with_name(f"{out.stem}.{name}.csv"), text)
    header = {
        "name": out.stem,
        "source": "serplatform predict",
        "usage": "unrestricted",
        "description": "Emotions that a model recognised in recordings.",
        "schemes": {
            "emotion": {"dtype": "str", "labels": list(classes)},
            "posterior": {"dtype": "float", "minimum": 0.0, "maximum": 1.0},
        },
        "tables": {
            name: {
                "type": "filewise" if name == "recordings" else "segmented",
                "columns": {column: {"scheme_id": scheme} for column, scheme in columns.items()},
            }
            for name in tables
        },
    }
    yield yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
