"""``serplatform new``: a file to begin a plugin with."""

from __future__ import annotations

import keyword
import re
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from serplatform.cli.options import AsJson
from serplatform.cli.output import result
from serplatform.errors import BadInputError, unknown_name

KINDS = ("architecture", "combiner", "corpus", "feature", "figure", "protocol")


def command(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(KINDS)}.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is to be called.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where to write; NAME.py here by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a small, commented file that works: change it into what you want.

    Examples:

        serplatform new architecture tcn

        serplatform new combiner median --out plugins/median.py
    """
    if kind not in KINDS:
        raise BadInputError(unknown_name("kind of plugin", kind, KINDS))
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise BadInputError(f"{name}: a name is made of small letters, digits and _, e.g. tcn_deep")
    target = Path(f"{name}.py") if out is None else out
    template = resources.files("serplatform.cli") / "templates" / f"{kind}.py.txt"
    class_name = "".join(part.capitalize() for part in name.split("_"))
    text = template.read_text(encoding="utf-8")
    text = text.replace("ClassName", class_name).replace("the_name", name)
    try:
        with target.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise BadInputError(f"{target}: is there already; give another file with --out") from None
    except OSError as error:
        raise BadInputError(f"{target}: cannot be written ({error.strerror})") from None
    result(
        f"Wrote {target}; next: serplatform check {target}",
        {"file": str(target), "kind": kind, "name": name},
        as_json=as_json,
    )
