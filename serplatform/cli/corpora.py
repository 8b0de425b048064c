"""``serplatform corpora``: what can be prepared, and where to get it."""

from __future__ import annotations

from serplatform.cli.options import AsJson
from serplatform.cli.output import result


def command(
    as_json: AsJson = False,
) -> None:
    """List the corpora: licence, size, where to get them.

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
            }
        )
    lines = []
    for entry in found:
        language = f" · {entry['language']}" if entry["language"] else ""
        lines += [
            f"{entry['name']}: {entry['title']}{language}",
            f"    size      {entry['size']}",
            f"    licence   {entry['licence']}",
            f"    get it    {entry['obtain']}",
            f"    protocol  {entry['default_protocol']}",
        ]
    result("\n".join(lines), {"corpora": found}, as_json=as_json)
