"""``serplatform corpora``: what can be prepared, and where to get it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serplatform.cli.options import AsJson
from serplatform.cli.output import result

if TYPE_CHECKING:
    from serplatform.corpora.base import Corpus

#: (a format of any corpus, read from a source) → what it is listed under
_FAMILIES = {
    (True, True): "Formats, for corpora of your own",
    (False, True): "Corpora, known by their files",
    (False, False): "Built in",
}


def command(
    as_json: AsJson = False,
) -> None:
    """List the formats and corpora that `prepare` reads.

    `serplatform prepare PATH --out DATA` looks which of them PATH is.

    Examples:

        serplatform corpora

        serplatform corpora --json
    """
    from serplatform.corpora.base import CORPORA

    found = []
    for name in CORPORA.names():
        corpus = CORPORA.get(name)
        found.append(
            {
                "name": name,
                "title": corpus.title,
                "language": corpus.language,
                "licence": corpus.licence,
                "size": corpus.size,
                "obtain": corpus.obtain,
                "default_protocol": corpus.default_protocol,
                "download": corpus.archive is not None,
                "family": _family(corpus),
                "sign": corpus.sign,
            }
        )
    lines = []
    for family in dict.fromkeys(_FAMILIES.values()):
        lines += [f"{family}:", ""]
        for entry in (entry for entry in found if entry["family"] == family):
            lines += [*_described(entry), ""]
    result("\n".join(lines[:-1]), {"corpora": found}, as_json=as_json)


def _family(corpus: type[Corpus]) -> str:
    return _FAMILIES[corpus.is_format, corpus.needs_source]


def _described(entry: dict[str, Any]) -> list[str]:
    """One corpus or format, for people."""
    language = f" · {entry['language']}" if entry["language"] else ""
    shown = [f"  {entry['name']}: {entry['title']}{language}"]
    if entry["sign"]:
        return [*shown, f"      known by  {entry['sign']}", f"      make it   {entry['obtain']}"]
    return [
        *shown,
        f"      size      {entry['size']}",
        f"      licence   {entry['licence']}",
        f"      get it    {entry['obtain']}",
        f"      protocol  {entry['default_protocol']}",
    ]
