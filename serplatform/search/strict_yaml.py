"""YAML as people mean it: the safe loader, without duplicate keys, aliases or surprises.

Departs from PyYAML's safe loader: a key written twice is an error instead of the last one
winning, ``1e-3`` is a number, aliases are refused (a few lines of them expand to gigabytes),
and every failure is one :class:`BadInputError` that names the file and the line.
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

_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the departures named above."""

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


_StrictLoader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if not tag.endswith((":float", ":timestamp"))
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


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
        return yaml.load(content.decode("utf-8"), Loader=_StrictLoader)  # noqa: S506 (a SafeLoader)
    except UnicodeDecodeError:
        raise BadInputError(f"{path}: the {what} is not UTF-8 text; save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise BadInputError(f"{path}{line}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise BadInputError(f"{path}: the {what} is not YAML ({error})") from None
    except RecursionError:
        raise BadInputError(f"{path}: the {what} is nested too deeply; flatten it") from None
    except (ValueError, OverflowError) as error:
        raise BadInputError(f"{path}: a value cannot be read ({error})") from None
