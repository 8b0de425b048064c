"""The program's own formats: a table for people, CSV, JSON lines."""

from __future__ import annotations

from serplatform.prediction.formats.base import ROW_FORMATS
from serplatform.prediction.output import FORMATS

for _name, _lines in FORMATS.items():
    ROW_FORMATS.register(_name)(_lines)
