"""Parameters that a search varied, as numbers: which they are, their kind, their codes.

Shapes: N trials, P parameters.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.report.load import ReportTrial

#: Positive numbers whose largest is this many times their smallest are shown on a log scale.
LOG_RATIO = 50.0

#: an encoder's name, and one layer of it after another
_JOINED_LAYERS = re.compile(r"(?<![^+])([^+@]+)@\d+(?:\+\1@\d+)+(?![^+])")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariedParameter:
    """One parameter over N trials of one architecture; ``kind`` is linear, log or category.

    ``codes`` (N,) are for computing: the number, its base-10 logarithm, or the position of the
    value in ``levels``, the texts of a category's values; NaN where a trial does not have it.
    """

    name: str
    kind: str
    values: tuple[Any, ...]
    codes: DoubleArray
    levels: tuple[str, ...]


def value_text(value: Any) -> str:
    """A parameter's value as text; layers of one pretrained encoder that are joined stand together.

    Example:
        >>> value_text(0.00012345), value_text(True), value_text("adam"), value_text([3, 4])
        ('0.0001234', 'true', 'adam', '[3, 4]')
        >>> value_text("log_mel_40+pretrained:whisper-base@2+pretrained:whisper-base@3")
        'log_mel_40+whisper-base@2,3'
    """
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if not isinstance(value, str):
        return json.dumps(value)
    text = value.replace("pretrained:", "")
    return _JOINED_LAYERS.sub(lambda joined: joined[0].replace(f"+{joined[1]}@", ","), text)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def varied_parameters(trials: Sequence[ReportTrial]) -> list[VariedParameter]:
    """Parameters that take at least two values over the trials that give one, sorted by name."""
    found = []
    for name in sorted({name for trial in trials for name in trial.params}):
        given = [trial.params[name] for trial in trials if name in trial.params]
        levels = tuple(sorted({value_text(v) for v in given}))
        if len(levels) < 2:
            continue
        kind = "category"
        if all(_is_number(v) for v in given):
            low, high = float(min(given)), float(max(given))
            kind = "log" if low > 0 and high / low >= LOG_RATIO else "linear"

        def code(value: Any, kind: str = kind, levels: tuple[str, ...] = levels) -> float:
            if kind == "category":
                return float(levels.index(value_text(value)))
            return math.log10(value) if kind == "log" else float(value)

        found.append(
            VariedParameter(
                name=name,
                kind=kind,
                values=tuple(trial.params.get(name) for trial in trials),
                codes=np.array(
                    [code(t.params[name]) if name in t.params else math.nan for t in trials],
                    dtype=np.float64,
                ),
                levels=levels if kind == "category" else (),
            )
        )
    return found
