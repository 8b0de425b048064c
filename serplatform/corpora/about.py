"""What a dataset says of its corpus: name, language and licence, and who says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from serplatform.corpora.base import Corpus, Manifest

#: names of tables and folders that say nothing of what is in them
_EMPTY_NAMES = {
    *("audio", "clips", "corpus", "csv", "cuts", "data", "database", "dataset", "db", "files"),
    *("index", "label", "labels", "list", "manifest", "meta", "metadata", "recordings", "table"),
    *("train", "wav", "wavs", "wavfiles"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class About:
    """Name, language (a code such as ``pl``) and licence; "" where unknown or not given."""

    title: str = ""
    language: str = ""
    licence: str = ""


def about(corpus: Corpus, manifest: Manifest, source: Path, given: About) -> About:
    """What is given; else what the source says of itself; else the known corpus, or its own name.

    A source in a format of any corpus is named after its table, file or directory.
    """
    languages = {u.language for u in manifest.utterances}
    language = languages.pop() if len(languages) == 1 else None
    if not corpus.is_format:
        known = About(title=corpus.title, language=corpus.language, licence=corpus.licence)
    else:
        known = About(title=own_name(source), language=language or "")
    return About(
        title=given.title or manifest.title or known.title,
        language=given.language or manifest.language or known.language,
        licence=given.licence or manifest.licence or known.licence,
    )


def own_name(source: Path) -> str:
    """The name of a table or directory, or of the next folder above it that says something."""
    source = source.absolute()
    first = source.name if source.is_dir() else source.name.partition(".")[0]
    names = [first, *(folder.name for folder in source.parents)]
    return next((name for name in names if name and name.lower() not in _EMPTY_NAMES), first)
