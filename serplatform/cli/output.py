"""What commands print: messages on stderr, results on stdout, one JSON object on request."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from serplatform.errors import BadInputError


def say(text: str) -> None:
    """Tell the user something that is not the result."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def result(text: str, values: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the result of a command: text for people, or one JSON object on the last line."""
    if as_json:
        say(text)
        print(json.dumps(values, ensure_ascii=False, allow_nan=False), flush=True)  # noqa: T201
    else:
        print(text, flush=True)  # noqa: T201


def parse_duration(text: str) -> float:
    """Read ``90``, ``90s``, ``15m``, ``2h`` or ``1h30m`` as seconds.

    Raises:
        BadInputError: it is none of these, or not positive.

    Example:
        >>> parse_duration("1h30m")
        5400.0
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text)
    parts = [float(part) if part else 0.0 for part in match.groups()] if match and text else [0.0]
    seconds = sum(p * f for p, f in zip(parts, (3600.0, 60.0, 1.0), strict=False))
    if seconds <= 0:
        raise BadInputError(f"'{text}' is not a duration; write e.g. 90s, 15m, 2h or 1h30m")
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds for people.

    Example:
        >>> format_duration(8), format_duration(95), format_duration(3720)
        ('8 s', '1 min 35 s', '1 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
