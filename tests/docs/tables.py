"""Tables of pages that are written from the program; ``python -m tests.docs.tables`` does it.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable

from tests.docs.pages import PAGES

_TABLE = re.compile(r"(?<=<!-- table: )(\w+)( -->\n)(.*?)(?=<!-- end of table -->)", re.S)

#: role of a column → what it holds
_HOLDS = {
    "file": "the recording, a path relative to the table; needed",
    "emotion": "the label; needed",
    "speaker": "who speaks; without it no speaker-independent protocol can be made",
    "gender": "male, female, or a word of your own",
    "session": "the recording session, which `session-kfold` keeps whole",
    "start": "where the utterance begins in its file",
    "end": "where it ends",
    "offset": "where it begins or, beside a start, ends: what stands in it decides",
    "duration": "how long it is; of the whole file where there is no start",
    "text": "what is said",
    "language": "in which language",
    "split": "train, dev or test, which the protocol `column` reads",
    "fold": "number or name of a test fold, which `column` reads",
    "parent_id": "what several rows are segments of; they stay in one part of every split",
    "utterance_id": "a name of the utterance that is unique",
}


def headers() -> str:
    from serplatform.corpora.table_columns import _NAMES

    rows = [
        f"| {role} | {_HOLDS.get(role, '')} | {', '.join(f'`{n}`' for n in names)} |"
        for role, names in _NAMES.items()
    ]
    return "\n".join(["| column | holds | names |", "|---|---|---|", *rows, ""])


def times() -> str:
    from serplatform.corpora.table_columns import _UNITS, SAMPLES

    written = defaultdict(list)
    for ending, scale in _UNITS.items():
        written["samples" if scale == SAMPLES else f"{scale:g} s"].append(f"`{ending}`")
    rows = [f"| {unit} | {', '.join(endings)} |" for unit, endings in written.items()]
    return "\n".join(["| unit | the name ends in |", "|---|---|", *rows, ""])


def labels() -> str:
    from serplatform.labels import _ALIASES, EMOTIONS

    rows = []
    for emotion in EMOTIONS:
        aliases = [f"`{a}`" for a, name in _ALIASES.items() if name == emotion and a != emotion]
        rows.append(f"| {emotion} | {', '.join(aliases)} |")
    return "\n".join(["| emotion | also written |", "|---|---|", *rows, ""])


def sound() -> str:
    from serplatform.corpora.audio import AUDIO_SUFFIXES

    return ", ".join(f"`{ending}`" for ending in sorted(AUDIO_SUFFIXES)) + "\n"


TABLES: dict[str, Callable[[], str]] = {
    "headers": headers,
    "times": times,
    "labels": labels,
    "sound": sound,
}


def renewed(text: str) -> str:
    """A page with its tables as the program has them.

    Raises:
        KeyError: it holds a table that is not of :data:`TABLES`.
    """
    return _TABLE.sub(lambda m: f"{m[1]}{m[2]}{TABLES[m[1]]()}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
