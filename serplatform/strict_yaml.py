"""The one way in which text becomes values: space files, tables, ``--set KEY=VALUE``.

YAML 1.2's core schema over PyYAML's safe parser: ``1e-3`` and ``0x10`` are numbers, ``010`` is
ten, and what only YAML 1.1 knows (``on``, ``yes``, ``1:30``, ``1_000``, dates) is text, inside
lists and outside. A key written twice is an error, aliases are refused (a few lines of them
expand to gigabytes), and every failure is one :class:`BadInputError` that names the line.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from serplatform.errors import BadInputError

#: Longest file read, in bytes.
MAX_BYTES = 1_000_000

_INFINITY = ("inf", "Inf", "INF")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{
        f"{sign}{inf}": float(f"{sign}inf")
        for sign in ("", "+", "-")
        for inf in (".inf", ".Inf", ".INF")
    },
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_WHOLE = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_PLAIN = "tag:serplatform,2026:plain"


def read_scalar(text: str) -> Any:
    """The value of a plain scalar, one without quotes, wherever it stands.

    Example:
        >>> [read_scalar(text) for text in ("1e-3", "010", "0x10", "~", "true", "yes", "1_000")]
        [0.001, 10, 16, None, True, 'yes', '1_000']
    """
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text, 0 if text[1:2] in ("o", "x") else 10)
    return float(text) if _NUMBER.fullmatch(text) else text


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the departures named above."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float, bool, type(None))):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be plain text", key_node.start_mark
                )
            if key in lines:
                problem = f"the key '{key}' is written twice, first in line {lines[key]}"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            lines[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep=deep)

    def construct_plain(self, node: yaml.ScalarNode) -> Any:
        node.value.encode()  # an escape such as "\ud800" is no text that a file can hold
        return read_scalar(node.value) if node.tag == _PLAIN else node.value


_COLLECTIONS = ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map", None)
_StrictLoader.yaml_constructors = {
    **{tag: yaml.SafeLoader.yaml_constructors[tag] for tag in _COLLECTIONS},
    **dict.fromkeys((_PLAIN, "tag:yaml.org,2002:str"), _StrictLoader.construct_plain),
}


def read_yaml(path: str | Path, what: str = "file") -> Any:
    """Read one YAML document.

    Args:
        path: the file; at most :data:`MAX_BYTES` bytes of UTF-8.
        what: what the file is, for messages.

    Raises:
        BadInputError: it is missing, too long, not text, or not YAML as described above; the
            message names the line.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such {what}; check the path") from None
    except OSError as error:
        raise BadInputError(f"{path}: the {what} cannot be read ({error.strerror})") from None
    if len(content) > MAX_BYTES:
        raise BadInputError(f"{path}: the {what} is longer than {MAX_BYTES} bytes; shorten it")
    try:
        return parse_yaml(content.decode("utf-8"), str(path), what)
    except UnicodeDecodeError:
        raise BadInputError(f"{path}: the {what} is not UTF-8 text; save it as UTF-8") from None


def parse_yaml(text: str, where: str, what: str = "value") -> Any:
    """Read one YAML document from text; as :func:`read_yaml` otherwise.

    Example:
        >>> parse_yaml("[1e-3, 3, on]", "--set"), parse_yaml("", "--set")
        ([0.001, 3, 'on'], None)
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark and what != "value" else ""
        raise BadInputError(f"{where}{line}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        problem = str(error).partition("\n")[0]
        raise BadInputError(f"{where}: the {what} is not YAML ({problem})") from None
    except RecursionError:
        raise BadInputError(f"{where}: the {what} is nested too deeply; flatten it") from None
    except (ValueError, OverflowError) as error:
        raise BadInputError(f"{where}: a value cannot be read ({error})") from None
