"""Parameters that a search varied, as numbers: which they are, their kind, their codes.

Shapes: N trials, P parameters.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.report.load import ReportTrial

#: Positive numbers whose largest is this many times their smallest are shown on a log scale.
LOG_RATIO = 50.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariedParameter:
    """One parameter over the trials of one architecture.

    Attributes:
        name: dotted, e.g. ``training.learning_rate``.
        kind: ``linear``, ``log`` or ``category``.
        values: N, as given; None where a trial does not have it.
        codes: (N,), for computing: the number, its base-10 logarithm, or the position of the
            value in ``levels``; NaN where a trial does not have it.
        levels: texts of a category's values; empty for numbers.
    """

    name: str
    kind: str
    values: tuple[Any, ...]
    codes: DoubleArray
    levels: tuple[str, ...]

    def text(self, value: Any) -> str:
        """A value as the page shows it."""
        return value_text(value)


def value_text(value: Any) -> str:
    """A parameter's value as text.

    Example:
        >>> value_text(0.00012345), value_text(True), value_text("adam"), value_text([3, 4])
        ('0.0001234', 'true', 'adam', '[3, 4]')
    """
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def varied_parameters(trials: Sequence[ReportTrial]) -> list[VariedParameter]:
    """Parameters that take at least two values over the trials, sorted by name.

    A parameter that only some trials have (a conditional one, or the paper's own trial that
    leaves defaults unsaid) counts by the values that were given.
    """
    names = sorted({name for trial in trials for name in trial.params})
    found = []
    for name in names:
        values = tuple(trial.params.get(name) for trial in trials)
        given = [trial.params[name] for trial in trials if name in trial.params]
        if len({value_text(v) for v in given}) < 2:
            continue
        has = [name in trial.params for trial in trials]
        levels: tuple[str, ...] = ()
        if all(_is_number(v) for v in given):
            numbers = [float(v) for v in given]
            low, high = min(numbers), max(numbers)
            log = low > 0 and high / low >= LOG_RATIO
            every = [
                float(v) if h and v is not None else math.nan
                for v, h in zip(values, has, strict=True)
            ]
            codes = [math.log10(v) if log else v for v in every]
            kind = "log" if log else "linear"
        else:
            levels = tuple(sorted({value_text(v) for v in given}))
            codes = [
                float(levels.index(value_text(v))) if h else math.nan
                for v, h in zip(values, has, strict=True)
            ]
            kind = "category"
        found.append(
            VariedParameter(
                name=name,
                kind=kind,
                values=values,
                codes=np.asarray(codes, dtype=np.float64),
                levels=levels,
            )
        )
    return found
