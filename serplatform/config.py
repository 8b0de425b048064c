"""Typed configurations: checked whole before anything is computed, every fault reported.

A configuration is a frozen, keyword-only dataclass whose fields are made by :func:`setting`.
Values come from YAML, ``--set KEY=VALUE`` or a search space; :func:`try_config` turns a mapping
into an instance or into the list of all its faults.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from serplatform.errors import unknown_name

C = TypeVar("C")

#: larger whole numbers are not exact as floats, and do not fit the columns of our tables
LARGEST_WHOLE = 2**53
#: larger numbers are mistakes
_LARGEST = 1e300
#: what :func:`is_plain` accepts
PLAIN = f"a finite number (a whole one up to {LARGEST_WHOLE}), text, true, false, null or a list"


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """Declare a configuration field with its meaning and its closed range.

    Args:
        default: the paper's value where there is a paper.
        help: what it is, with its unit.
        low: smallest value allowed.
        high: largest value allowed.
    """
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high})


def _check(value: Any, kind: Any, meta: Mapping[str, Any], name: str) -> tuple[Any, list[str]]:
    """Convert ``value`` to the annotated type ``kind``; return it with the faults found."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(kind)
        if value is None and type(None) in options:
            return None, []
        faults: list[str] = []
        for option in (o for o in options if o is not type(None)):
            checked, faults = _check(value, option, meta, name)
            if not faults:
                return checked, []
        return value, faults
    if origin is typing.Literal:
        choices = typing.get_args(kind)
        for choice in choices:
            if type(choice) is type(value) and choice == value:
                return value, []
        return value, [f"{name} = {value!r}: must be one of {', '.join(map(repr, choices))}"]
    if origin is tuple:
        args = typing.get_args(kind)
        if not isinstance(value, Sequence) or isinstance(value, str):
            return value, [f"{name} = {value!r}: must be a list"]
        if len(args) != 2 or args[1] is not Ellipsis:
            if len(args) != len(value):
                return value, [f"{name} = {value!r}: must have {len(args)} elements"]
            pairs = list(zip(value, args, strict=True))
        else:
            pairs = [(element, args[0]) for element in value]
        done = [_check(e, k, meta, f"{name}[{i}]") for i, (e, k) in enumerate(pairs)]
        return tuple(c for c, _ in done), [fault for _, fs in done for fault in fs]
    if kind is bool:
        wrong = [] if isinstance(value, bool) else [f"{name} = {value!r}: must be true or false"]
        return value, wrong
    if kind is str:
        return value, [] if isinstance(value, str) else [f"{name} = {value!r}: must be text"]
    if kind in (int, float):
        if not is_number(value) or (kind is int and value != int(value)):
            word = "a whole number" if kind is int else "a finite number"
            return value, [f"{name} = {value!r}: must be {word}"]
        if kind is int and abs(value) > LARGEST_WHOLE:
            return value, [f"{name} = {value!r}: must be at most {LARGEST_WHOLE}"]
        low, high = meta.get("low"), meta.get("high")
        if low is not None and value < low:
            return value, [f"{name} = {value!r}: must be at least {low}"]
        if high is not None and value > high:
            return value, [f"{name} = {value!r}: must be at most {high}"]
        return kind(value), []
    raise TypeError(f"unsupported type of configuration field {name}: {kind}")


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number and not beyond reason: true for 3, not for True."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) < _LARGEST  # False for NaN


def is_plain(value: Any) -> bool:
    """Whether ``value`` is :data:`PLAIN`: a run's JSON gives it back exactly as it was."""
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    if isinstance(value, int):
        return abs(value) <= LARGEST_WHOLE
    return value is None or isinstance(value, str) or is_number(value)


def plain(value: Any) -> Any:
    """Tuples become lists, also in a mapping, as a YAML or JSON file would give them."""
    if isinstance(value, Mapping):
        return {key: plain(element) for key, element in value.items()}
    return [plain(element) for element in value] if isinstance(value, (list, tuple)) else value


@functools.cache
def fields_of(cls: type) -> dict[str, tuple[Any, Mapping[str, Any]]]:
    """Each field's name to its type and what :func:`setting` said of it."""
    hints = typing.get_type_hints(cls)
    return {field.name: (hints[field.name], field.metadata) for field in dataclasses.fields(cls)}


def check_fields(
    cls: type, values: Mapping[str, Any], prefix: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """Convert each of ``values`` by itself; the faults of its name, its type or its range."""
    fields = fields_of(cls)
    faults = [
        unknown_name("parameter", prefix + key, [prefix + name for name in fields])
        for key in values
        if key not in fields
    ]
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key in fields:
            checked[key], found = _check(value, *fields[key], prefix + key)
            faults.extend(found)
    return checked, faults


def config_faults(cls: type, values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every reason why ``values`` do not make a ``cls``; empty when they do."""
    return try_config(cls, values, prefix)[1]


def try_config(
    cls: type[C], values: Mapping[str, Any], prefix: str = ""
) -> tuple[C | None, list[str]]:
    """Build a configuration from plain values, or say every reason why they do not make one.

    Args:
        cls: a dataclass whose fields were made by :func:`setting`.
        values: field name to value; missing fields keep their defaults.
        prefix: put before each name in messages, e.g. ``"model."``.
    """
    checked, faults = check_fields(cls, values, prefix)
    if faults:
        return None, faults
    try:
        return cls(**checked), []
    except ValueError as error:  # a rule between fields, checked in __post_init__
        return None, [f"{prefix.rstrip('.') or cls.__name__}: {error}"]


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-serialisable value in canonical form."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
