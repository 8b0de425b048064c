"""What commands print: results on stdout, one JSON object on request; messages are `console`'s.

Messages may be lost (a closed terminal, a full disk) and the work goes on; a result may not: that
is a failure. What a terminal's encoding lacks is written in plain characters or escaped.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from serplatform import stopping
from serplatform.console import end_stage, say

#: for text that people read, and for JSON: the way to write what an encoding lacks
PLAIN, JSON = "serplatform-plain", "serplatform-json"
_PLAIN_CHARACTERS = {
    **dict.fromkeys("–—−─━", "-"),
    **dict.fromkeys("│┃", "|"),
    **dict.fromkeys("“”", '"'),
    "…": "...",
    "×": "x",
    "→": "->",
    "±": "+-",
    "·": "*",
    "’": "'",
}


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plain = (_PLAIN_CHARACTERS.get(c) or ascii(c)[1:-1] for c in lacking)
    return "".join(plain), error.end


def _json_escapes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(PLAIN, _plain)
codecs.register_error(JSON, _json_escapes)


class _Descriptor(io.FileIO):
    """Standard output or error; when it cannot be written any more, what follows is dropped."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            number = self.fileno()
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            if number == 2:  # messages
                return len(content)
            raise OSError(error.errno, error.strerror, "standard output") from None


def secure_streams() -> None:
    """Make the standard streams such that whatever is printed cannot stop the work."""
    stopping.fill_closed_streams()
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None or stream is getattr(sys, f"__{name}__"):
            raw = _Descriptor(number, "w", closefd=False)
            secure = io.TextIOWrapper(
                io.BufferedWriter(raw),
                encoding=stream.encoding if stream else "utf-8",
                errors=PLAIN,
                line_buffering=number == 2 or raw.isatty(),
            )
            setattr(sys, name, secure)
        elif isinstance(stream, io.TextIOWrapper):  # a caller's own
            stream.reconfigure(errors=PLAIN)


def encodable(text: str, errors: str) -> str:
    """Text as standard output can write it; ``errors`` says how what it lacks is written."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, errors).decode(encoding)


def result(text: str, values: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the result of a command: text for people, or one JSON object on the last line."""
    stopping.check()
    end_stage()
    if as_json:
        say(text)
        line = json.dumps(values, ensure_ascii=False, allow_nan=False)
        print(encodable(line, JSON), flush=True)  # noqa: T201
    else:
        print(text, flush=True)  # noqa: T201
