"""Typed configurations: checked whole before anything is computed, every fault reported.

A configuration is a frozen, keyword-only dataclass whose fields are made by :func:`setting`.
Values come from YAML, ``--set KEY=VALUE`` or a search space; :func:`parse_config` turns a
mapping into an instance or raises one error that lists every fault.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import yaml

from serplatform.errors import BadInputError, unknown_name

C = TypeVar("C")

#: numbers beyond it are mistakes; whole ones could not even be written as floats
_LARGEST = 1e300


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
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        number = number and abs(value) < _LARGEST and math.isfinite(value)
        if not number or (kind is int and value != int(value)):
            word = "a whole number" if kind is int else "a finite number"
            return value, [f"{name} = {value!r}: must be {word}"]
        low, high = meta.get("low"), meta.get("high")
        if low is not None and value < low:
            return value, [f"{name} = {value!r}: must be at least {low}"]
        if high is not None and value > high:
            return value, [f"{name} = {value!r}: must be at most {high}"]
        return kind(value), []
    raise TypeError(f"unsupported type of configuration field {name}: {kind}")


def config_faults(cls: type, values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every reason why ``values`` do not make a ``cls``; empty when they do."""
    return _parse(cls, values, prefix)[1]


def _parse(cls: type[C], values: Mapping[str, Any], prefix: str) -> tuple[C | None, list[str]]:
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    faults = [
        unknown_name("parameter", prefix + key, [prefix + name for name in fields])
        for key in values
        if key not in fields
    ]
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key in fields:
            checked[key], found = _check(value, hints[key], fields[key].metadata, prefix + key)
            faults.extend(found)
    if faults:
        return None, faults
    try:
        return cls(**checked), []
    except ValueError as error:  # a rule between fields, checked in __post_init__
        return None, [f"{prefix.rstrip('.') or cls.__name__}: {error}"]


def parse_config(cls: type[C], values: Mapping[str, Any], where: str, prefix: str = "") -> C:
    """Build a configuration from plain values.

    Args:
        cls: a dataclass whose fields were made by :func:`setting`.
        values: field name to value; missing fields keep their defaults.
        where: names the source in the error, e.g. a file.
        prefix: put before each name in messages, e.g. ``"model."``.

    Raises:
        BadInputError: with every fault, if there is any.
    """
    config, faults = _parse(cls, values, prefix)
    if config is None:
        raise BadInputError(f"{where}: the configuration has {len(faults)} fault(s):", faults)
    return config


def parse_value(text: str) -> Any:
    """Read the VALUE of ``--set KEY=VALUE`` as YAML would, with ``1e-3`` a number.

    Example:
        >>> parse_value("1e-3"), parse_value("true"), parse_value("[3, 4]"), parse_value("null")
        (0.001, True, [3, 4], None)
    """
    try:
        return float(text) if "e" in text.lower() and "[" not in text else yaml.safe_load(text)
    except ValueError:
        return yaml.safe_load(text)


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-serialisable value in canonical form."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
