"""The building blocks of typed JSON files, and the one check of a file when it is read.

The files stay plain dictionaries: :func:`checked` returns what it was given, or says which key of
which file is wrong. Keys that are not named are kept and not checked; those that only some
versions wrote are ``NotRequired``. A whole number is accepted as a number, true and false are
not, and no number is NaN or infinite.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypeVar, cast

from annotated_types import Ge, Gt, Lt, MinLen, Predicate
from typing_extensions import TypedDict

from serplatform.artifacts.files import SCHEMA_VERSION, read_json
from serplatform.errors import ArtifactError
from serplatform.metrics import METRICS

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

_MOST_ERRORS = 5


def _file_name(text: str) -> bool:
    if text in ("", ".", "..") or "/" in text or "\\" in text or not _path(text):
        raise ValueError("is no file's name")
    return True


def _path(text: str) -> bool:
    parts = text.split("/")
    if "\0" in text or len(text) > 3000 or any(len(os.fsencode(part)) > 255 for part in parts):
        raise ValueError("is no path that can be")
    return True


def distinct(names: Sequence[str]) -> bool:
    if len(set(names)) < len(names):
        raise ValueError("names one thing twice")
    return True


def holds(*names: str) -> Callable[[Mapping[str, object]], bool]:
    def check(found: Mapping[str, object]) -> bool:
        if lacking := [name for name in names if name not in found]:
            raise ValueError(f"lacks {', '.join(lacking)}")
        return True

    return check


#: how many there are
Count = Annotated[int, Ge(0), Lt(2**63)]
Positive = Annotated[int, Ge(1), Lt(2**31)]
#: number of a fold or a trial
Number = Annotated[int, Ge(0), Lt(2**31)]
Seconds = Annotated[float, Ge(0)]
Weight = Annotated[float, Ge(0)]
Temperature = Annotated[float, Gt(0)]
FileName = Annotated[str, Predicate(_file_name)]
PathText = Annotated[str, Predicate(_path)]
Classes = Annotated[list[str], MinLen(1), Predicate(distinct)]
#: metrics of a trial's dev rows
DevMetrics = dict[str, float]
#: every metric by name
Metrics = Annotated[dict[str, float], Predicate(holds(*METRICS))]


class Record(TypedDict):
    """One JSON object; every kind of file has its own subclass."""


# pydantic's settings, as a plain dictionary: its import takes 0.1 s
Record.__pydantic_config__ = {  # type: ignore[attr-defined]
    "extra": "allow",
    "strict": True,
    "allow_inf_nan": False,
}


class TensorFile(Record):
    file: FileName
    sha256: str


class PluginRecord(Record):
    """A plugin that something was made with; ``file``, in ``plugins/``, unless it is a module."""

    name: str
    file: NotRequired[FileName]
    version: str | None
    sha256: str
    registers: dict[str, list[str]]


class MadeWith(TypedDict):
    """What a file of ours says of plugins: nothing, where none was used."""

    plugins: NotRequired[list[PluginRecord]]


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def read_record(kind: type[T], path: str | Path, what: str, remedy: str = "write it again") -> T:
    """Read a JSON file of ours and check it.

    Args:
        kind: what it must be, one of this module.
        path: the file.
        what: what it is, for messages.
        remedy: what to do where it is damaged.

    Raises:
        ArtifactError: it is missing, not JSON, altered, of another schema version, or a value
            is missing or of another kind; the key is named.
    """
    return checked(kind, read_json(path, what), path, what, remedy)


def checked(
    kind: type[T], value: Any, where: str | Path, what: str, remedy: str = "write it again"
) -> T:
    """``value`` itself, when it is of a kind.

    Raises:
        ArtifactError: it is not, see :func:`read_record`.
    """
    from pydantic import ValidationError

    if isinstance(value, dict):
        version = value.get("schema_version", SCHEMA_VERSION)
        if version != SCHEMA_VERSION:
            raise ArtifactError(
                f"{where}: schema version {str(version)[:40]}, this program reads "
                f"{SCHEMA_VERSION}; {remedy}"
            )
    try:
        _adapter(cast("Any", kind)).validate_python(value)
    except ValidationError as error:
        errors = [_worded(one) for one in error.errors(include_url=False)]
        more = f"; and {len(errors) - _MOST_ERRORS} more" if len(errors) > _MOST_ERRORS else ""
        raise ArtifactError(
            f"{where}: the {what} is damaged: {'; '.join(errors[:_MOST_ERRORS])}{more}; {remedy}"
        ) from None
    return value  # not pydantic's copy, whose keys have moved


_WANTED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
}


def _worded(error: Any) -> str:
    """One of pydantic's errors, worded for users."""
    *keys, last = [str(key) for key in error["loc"]] or ["it"]
    place = ".".join([*keys, last])[:200]
    kind, found = error["type"], error["input"]
    if last == "[key]":
        place = f"{'.'.join(keys[:-1])}: the key '{keys[-1][:80]}'"
    if kind == "missing":
        return f"lacks {place}"
    if kind == "value_error":
        return f"{place} {error['ctx']['error']}"
    if kind in _WANTED:
        return f"{place} is {_named(found)} where {_WANTED[kind]} belongs"
    return f"{place} is {str(found)[:40]!r}: {error['msg'].replace('Input should', 'it should')}"


def _named(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text"}
    return {list: "a list", dict: "an object", type(None): "null", **names}.get(type(value), "?")
