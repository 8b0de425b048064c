"""``serplatform --cite``: the entry of CITATION.cff as BibTeX."""

from __future__ import annotations

from pathlib import Path

import serplatform


def bibtex() -> str:
    """How to cite this software; the file lies in the package, or beside it in a checkout.

    Example:
        >>> print(bibtex().splitlines()[0])
        @software{serplatform,
    """
    from serplatform.strict_yaml import read_yaml

    package = Path(serplatform.__file__).parent
    places = (package / "CITATION.cff", package.parent / "CITATION.cff")
    entry = read_yaml(next(path for path in places if path.is_file()))["preferred-citation"]
    fields = {
        "title": f"{{{entry['title']}}}",
        "author": " and ".join(f"{{{author['name']}}}" for author in entry["authors"]),
        "year": entry["year"],
        "version": entry["version"],
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{entry['type']}{{serplatform,", *lines, "}"])
