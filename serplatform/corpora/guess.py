"""Which corpus or format a path holds; each of them says itself what it is recognised by."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from serplatform.corpora.base import CORPORA
from serplatform.corpora.place import Place
from serplatform.corpora.table_columns import NEEDS
from serplatform.errors import BadInputError

#: read only where nothing else is recognised: folders may be named by class in any corpus
_LAST = "folders"


@dataclasses.dataclass(frozen=True)
class Guess:
    """A registered corpus that a path seems to hold, and what shows it."""

    corpus: str
    title: str
    evidence: str

    def sentence(self, path: Path) -> str:
        """What was decided, why, and how to say it otherwise."""
        return (
            f"{path} is read as {self.corpus} ({self.title}): {self.evidence}. "
            f"If it is something else: serplatform prepare CORPUS {shlex.quote(str(path))} …"
        )


def corpus_and_source(corpus: str, source: Path | None) -> tuple[str, Path | None, Guess | None]:
    """What is meant by the arguments of ``prepare``: a path alone is looked at.

    Raises:
        BadInputError: a path alone is missing, or it is not clear what it holds.
    """
    if source is not None or corpus in CORPORA.names():
        return corpus, source, None
    path = Path(corpus)
    if not path.exists() and not path.suffix and len(path.parts) == 1:
        CORPORA.get(corpus)  # a name, if a wrong one
    found = guess(path)
    return found.corpus, path, found


def guess(path: Path) -> Guess:
    """Say what a file or directory holds.

    Raises:
        BadInputError: it is missing, or it may be several corpora, or none that is known.
    """
    if not path.exists():
        raise BadInputError(
            f"{path}: no such file or directory, and no corpus of this name; "
            "'serplatform corpora' lists them"
        )
    place = Place(path)
    if place.has("dataset.json"):
        raise BadInputError(
            f"{path}: is a prepared dataset already; 'serplatform data {path}' shows it, and "
            f"'serplatform search --data {path}' uses it"
        )
    found = []
    for name in CORPORA.names():
        corpus = CORPORA.get(name)
        if evidence := corpus.recognise(place):
            found.append(Guess(name, corpus.title, evidence))
    beaten = {_LAST, *(name for each in found for name in CORPORA.get(each.corpus).outranks)}
    found = [each for each in found if each.corpus not in beaten] or found
    if len(found) > 1:
        raise BadInputError(
            f"{path}: may be several things; say which one it is:",
            [
                f"serplatform prepare {each.corpus} {shlex.quote(str(path))} …   "
                f"({each.title}: {each.evidence})"
                for each in found
            ],
        )
    if not found:
        raise BadInputError(f"{path}: cannot tell what this is:", _described(place))
    return found[0]


def _described(place: Place) -> list[str]:
    """What is there, what was looked for, and what a table of labels needs."""
    shown = f", such as {place.files[0]}" if place.files else ""
    kinds = [CORPORA.get(name) for name in CORPORA.names()]
    signs = [f"{kind.sign} ({kind.name})" for kind in kinds if kind.is_format and kind.sign]
    named = [kind.name for kind in kinds if kind.needs_source and not kind.is_format]
    return [
        f"it holds {len(place.files):,} files, {len(place.audio):,} of them audio{shown}",
        *(f"not found: {sign}" for sign in signs),
        f"not found: files named as those of {', '.join(named)}",
        f"a table of labels needs {NEEDS}, and 'speaker' for speaker-independent numbers, with "
        "one row for each recording: file,emotion,speaker",
        f"or say what it is: serplatform prepare CORPUS {shlex.quote(str(place.path))} --out DATA "
        "('serplatform corpora' lists them)",
    ]
