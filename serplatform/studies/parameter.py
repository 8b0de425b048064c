"""One searched parameter: its range, how it is drawn, and what can be wrong with it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from serplatform.config import LARGEST_WHOLE, PLAIN, is_number, is_plain, plain
from serplatform.errors import unknown_name

if TYPE_CHECKING:
    import numpy as np
    import optuna

#: Keys that a parameter of each type takes.
KEYS = {
    "choice": ("type", "values", "held", "when"),
    "int": ("type", "low", "high", "step", "log", "when"),
    "float": ("type", "low", "high", "step", "log", "when"),
    "feature": ("type", "pooled", "joined", "functionals", "when"),
}
#: stands for the features of a dataset that is not known yet
ANY_FEATURE = "pretrained:encoder@1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureQuery:
    """Which features a choice is of, whatever a dataset holds: layers of pretrained encoders."""

    pooled: bool = False  # one vector an utterance, where the dataset has some, before frames
    joined: bool = False  # besides each layer, all of an encoder's together
    functionals: bool = False  # and what no encoder made: vectors of utterances, frames to pool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """One searched parameter: a choice, or a range with both ends included."""

    kind: str  # choice, int or float
    values: tuple[Any, ...] = ()  # the choices: plain values or lists of them
    low: float = 0
    high: float = 0
    step: float | None = None  # of a grid; None: 1 for int
    log: bool = False  # draw from the logarithm of the range
    held: bool = False  # of the features given, those that the dataset holds; then False
    #: an earlier parameter to the values with which this one is active
    when: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    #: what the choices are made of when the dataset is known; then None
    query: FeatureQuery | None = None

    @property
    def _grid(self) -> float | None:
        return 1 if self.kind == "int" and self.step is None else self.step

    def contains(self, value: Any) -> bool:
        """Whether the parameter can take ``value``."""
        if self.kind == "choice":
            return value_in(value, self.values)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if not self.low <= value <= self.high:
            return False
        if self._grid is None:
            return True
        steps = (value - self.low) / self._grid
        return abs(steps - round(steps)) < 1e-8

    def extent(self) -> str:
        """What the parameter can take, in words for a message."""
        if self.kind == "choice":
            return f"one of {', '.join(repr(value) for value in self.values)}"
        grid = "" if self.step is None else f" in steps of {self.step:g}"
        return f"{self.kind} from {self.low:g} to {self.high:g}{grid}"

    def canonical(self, value: Any) -> Any:
        """A value that it contains, as a trial of a study is given it."""
        if self.kind == "choice":
            return next(choice for choice in self.values if values_equal(choice, value))
        return round(value) if self.kind == "int" else float(value)

    def suggest(self, trial: optuna.trial.BaseTrial, name: str) -> Any:
        """Ask an Optuna trial for a value; lists travel as text and come back as lists."""
        if self.kind == "choice":
            decode = {encode(value): value for value in self.values}
            return decode[trial.suggest_categorical(name, list(decode))]
        if self.kind == "int":
            step = int(self.step or 1)
            return trial.suggest_int(name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def sample(self, rng: np.random.Generator) -> Any:
        """Draw a value, uniform over the choices, the grid, the range or its logarithm."""
        if self.kind == "choice":
            return self.values[int(rng.integers(len(self.values)))]
        if self.log:
            drawn = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
            drawn = min(max(drawn, self.low), self.high)
            return round(drawn) if self.kind == "int" else drawn
        if self._grid is None:
            return float(rng.uniform(self.low, self.high))
        count = round((self.high - self.low) / self._grid) + 1
        drawn = self.low + self._grid * int(rng.integers(count))
        return int(drawn) if self.kind == "int" else min(float(drawn), self.high)

    def probes(self) -> list[Any]:
        """Values of which at least one breaks any rule of type or range that the space breaks."""
        if self.kind == "choice":
            return list(self.values)
        if self.kind == "int":
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return list(range(low, high + 1, step)) if (high - low) // step < 64 else [low, high]
        if self.low == self.high:
            return [self.low]
        return [self.low, self.low + (self.step or (self.high - self.low) * 0.381966), self.high]

    def errors(self) -> list[str]:
        """What is wrong with the parameter by itself."""
        if self.kind == "choice":
            if not self.values:
                return ["values: is empty; give at least one choice"]
            return [
                f"values: {value!r} is given twice"
                for place, value in enumerate(self.values)
                if value_in(value, self.values[:place])
            ]
        if self.low > self.high:
            return [f"low = {self.low} is above high = {self.high}; swap them"]
        if self.log and self.low <= 0:
            return [f"low = {self.low} with log: true; a logarithm needs low above 0"]
        if self.step is None:
            return []
        if self.log:
            return ["step and log: true exclude each other; leave one out"]
        if self.step <= 0:
            return [f"step = {self.step}: must be above 0"]
        if self.high - self.low > self.step * LARGEST_WHOLE:
            return [f"step = {self.step}: is too small between {self.low} and {self.high}"]
        if not self.contains(self.high):
            return [f"high = {self.high} is not low plus a whole number of steps of {self.step}"]
        return []


def parse_parameter(entry: Any, errors: list[str]) -> Parameter | None:
    """The parameter of an entry of a space file; None where something is added to ``errors``."""
    if not isinstance(entry, Mapping):
        errors.append("must be a mapping such as {type: int, low: 1, high: 6}")
        return None
    kind = entry.get("type")
    if kind == "feature":
        return _feature_parameter(entry, errors)
    if not isinstance(kind, str) or kind not in KEYS:
        missing = f"type is missing; it is one of {', '.join(KEYS)}"
        errors.append(missing if kind is None else unknown_name("type", str(kind), KEYS))
        return None
    keys = KEYS[kind]
    errors += [unknown_name("key", str(key), keys) for key in entry if key not in keys]
    options = {key: _option(key, entry[key], kind, errors) for key in keys[1:] if key in entry}
    required = ("values",) if kind == "choice" else ("low", "high")
    errors += [f"{key}: is missing" for key in required if key not in entry]
    if errors:
        return None
    parameter = Parameter(kind=kind, **options)
    errors += parameter.errors()
    return None if errors else parameter


def _feature_parameter(entry: Mapping[Any, Any], errors: list[str]) -> Parameter | None:
    errors += [
        unknown_name("key", str(key), KEYS["feature"])
        for key in entry
        if key not in KEYS["feature"]
    ]
    flags = {key: entry.get(key, False) for key in ("pooled", "joined", "functionals")}
    errors += [
        f"{key}: must be true or false" for key, flag in flags.items() if not isinstance(flag, bool)
    ]
    when = _option("when", entry["when"], "feature", errors) if "when" in entry else {}
    if errors:
        return None
    return Parameter(kind="choice", values=(ANY_FEATURE,), when=when, query=FeatureQuery(**flags))


def _option(key: str, value: Any, kind: str, errors: list[str]) -> Any:
    if key == "values":
        return _choices(key, value, errors)
    if key == "when":
        if isinstance(value, Mapping) and all(isinstance(parent, str) for parent in value):
            return {parent: _choices(f"when {parent}", v, errors) for parent, v in value.items()}
        errors.append("when: must map an earlier parameter to the list of its values")
    elif key in ("log", "held"):
        if not isinstance(value, bool):
            errors.append(f"{key}: must be true or false")
    elif not is_number(value):
        errors.append(f"{key} = {value!r}: must be a finite number")
    elif abs(value) > LARGEST_WHOLE:
        bounds = f"-{LARGEST_WHOLE} and {LARGEST_WHOLE}"
        errors.append(f"{key} = {value!r}: must lie within {bounds}")
    elif kind == "int":
        if value != int(value):
            errors.append(f"{key} = {value!r}: must be a whole number")
        return int(value)
    else:
        return float(value) + 0.0  # no negative zero
    return value


def _choices(key: str, value: Any, errors: list[str]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        errors.append(f"{key}: must be a list")
        return ()
    if key != "values" and not value:
        errors.append(f"{key}: is empty; give at least one value")
    errors += [f"{key}: {v!r} must be {PLAIN}" for v in value if not is_plain(v)]
    return tuple(value)


def encode(value: Any) -> Any:
    """What Optuna stores for a value: lists become JSON text, everything else stays.

    Example:
        >>> encode([3, 5]), encode(0.5)
        ('[3, 5]', 0.5)
    """
    return json.dumps(plain(value)) if isinstance(value, (list, tuple)) else value


def values_equal(one: Any, other: Any) -> bool:
    """Whether two values, or two points of a space, are the same setting.

    Unlike ``==``, it takes ``true`` and 1 for different and a tuple and a list for equal.
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(values_equal(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(values_equal, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def value_in(value: Any, values: Iterable[Any]) -> bool:
    """Whether ``value`` is one of ``values``, see :func:`values_equal`."""
    return any(values_equal(value, other) for other in values)
