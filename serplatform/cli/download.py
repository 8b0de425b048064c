"""``serplatform download``: fetch a corpus that may be downloaded."""

from __future__ import annotations

from typing import Annotated

import typer

from serplatform import stopping
from serplatform.cli.options import AsJson
from serplatform.cli.output import result
from serplatform.console import Pace, say
from serplatform.errors import BadInputError


def command(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A corpus, e.g. `ravdess`.")],
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Where to unpack it.")],
    url: Annotated[
        str | None, typer.Option(help="Another address of the same archive (a mirror).")
    ] = None,
    keep_archive: Annotated[
        bool, typer.Option("--keep-archive", help="Do not remove the archive afterwards.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Download a corpus, verify its checksum and unpack it.

    A download that was stopped goes on where it was. Mind the corpus's licence
    (`serplatform corpora`).

    Examples:

        serplatform download ravdess data/RAVDESS

        serplatform prepare ravdess data/RAVDESS --out data/ravdess
    """
    from serplatform.corpora.base import CORPORA
    from serplatform.corpora.download import corpus_folder, fetch, unpack

    kind = CORPORA.get(corpus)
    archive = kind.archive
    if archive is None:
        raise BadInputError(f"corpus '{corpus}' cannot be downloaded here. Get it: {kind.obtain}")
    folder = corpus_folder(archive, directory)
    was_there = (folder / archive.file).exists()
    say(f"{kind.title}: licence {kind.licence}")
    pace = Pace(2.0)

    def progress(have: int, expected: int) -> None:
        if pace.is_due(at_end=have >= expected):
            say(f"{have / 1e6:.0f} of {expected / 1e6:.0f} MB")

    stopping.on_stop(f"Stopped. Resume with:\n  {stopping.command()}")
    path = fetch(archive, folder, url=url, progress=progress)
    files = unpack(path, folder)
    if not keep_archive and not was_there:  # what somebody put there stays
        path.unlink()
    result(
        f"{files} files in {directory}\n"
        f"Next: serplatform prepare {corpus} {directory} --out data/{corpus}",
        {"corpus": corpus, "directory": directory, "files": files},
        as_json=as_json,
    )
