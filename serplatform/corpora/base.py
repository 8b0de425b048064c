"""What a corpus gives: utterances with labels and speakers, and what it had to leave out."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from serplatform.corpora.place import Place
from serplatform.registry import Registry


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """A word or phone that the corpus itself locates.

    ``tier`` is ``"word"`` or ``"phone"``; seconds from the start of the utterance.
    """

    tier: str
    label: str
    start: float
    end: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One labelled stretch of speech by one speaker.

    ``start``/``end``: seconds within the file; ``None`` means its beginning/end.
    ``emotion``: as the corpus calls it; ``validate`` brings it to the vocabulary (``labels.py``).
    ``speaker_id``: empty, or a word that says so, where the corpus does not say.
    ``parent_id``: the recording this is a segment of; segments of one parent stay in one part.
    ``extra``: further columns to keep, all text.
    """

    utterance_id: str
    path: Path
    speaker_id: str
    emotion: str
    start: float | None = None
    end: float | None = None
    gender: str | None = None
    session: str | None = None
    text: str | None = None
    language: str | None = None
    split: str | None = None
    fold: str | None = None
    parent_id: str | None = None
    extra: dict[str, str] = dataclasses.field(default_factory=dict)
    spans: tuple[Span, ...] = ()


@dataclasses.dataclass(frozen=True)
class RejectedUtterance:
    """An utterance or file that was left out, and why.

    Bytes of a file name that are not UTF-8 are written as ``\\udcff``.
    """

    utterance_id: str
    path: str
    reason: str

    def __post_init__(self) -> None:
        for name in ("utterance_id", "path", "reason"):
            text = getattr(self, name).encode("utf-8", "backslashreplace").decode()
            object.__setattr__(self, name, text)


#: how the note begins that says what the columns of a table were taken for
READ_AS = "read as: "


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything a corpus directory holds, kept or left out.
    ``notes``: sentences worth showing to the user (label mapping, song left out, …).
    ``synthetic``: the speech is machine-made; said wherever results appear.
    ``listed``: how many utterances there are, where they were counted apart from these two lists
    (the records of a table): kept and left out must add up to it. ``None``: not counted.
    ``title``, ``language``, ``licence``: what the source says of itself, "" where it does not.
    """

    utterances: tuple[Utterance, ...]
    rejections: tuple[RejectedUtterance, ...] = ()
    notes: tuple[str, ...] = ()
    synthetic: bool = False
    listed: int | None = None
    title: str = ""
    language: str = ""
    licence: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Archive:
    """A file that may be downloaded and holds a corpus.

    ``folders`` matches the names that it unpacks to. ``variable`` names an environment variable
    that replaces ``url``, for mirrors.
    """

    file: str
    url: str
    md5: str
    num_bytes: int
    variable: str
    folders: str = ""


class Corpus(ABC):
    """A corpus that can be prepared: one file of ``corpora/`` each.

    Class attributes say what ``serplatform corpora`` shows. ``examples``, ``example_texts`` and
    ``example_source`` describe a miniature copy, which the contract tests build: paths of audio
    files, the contents of other files by path, and what of it ``scan`` is given.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    language: ClassVar[str]
    licence: ClassVar[str]
    size: ClassVar[str]
    obtain: ClassVar[str]
    default_protocol: ClassVar[str]
    #: whether it is read from a directory or table; a synthetic corpus makes its own audio
    needs_source: ClassVar[bool] = True
    #: whether it is a layout that any corpus may have: the title is then of the source's name
    is_format: ClassVar[bool] = False
    #: what a format is recognised by
    sign: ClassVar[str] = ""
    #: whether every audio file below the source is an utterance
    takes_any_file: ClassVar[bool] = False
    #: formats that are not considered for a path that is recognised as this one
    outranks: ClassVar[tuple[str, ...]] = ()
    #: what ``serplatform download`` fetches; ``None`` where it may not be downloaded
    archive: ClassVar[Archive | None] = None
    #: label order of the corpus; ``None`` when it is only known from the data
    classes: ClassVar[tuple[str, ...] | None] = None
    examples: ClassVar[tuple[str, ...]] = ()
    example_texts: ClassVar[Mapping[str, str]] = {}
    example_source: ClassVar[str] = "."

    @abstractmethod
    def scan(self, source: Path) -> Manifest:
        """List the utterances under ``source`` without decoding audio.

        Raises:
            BadInputError: the directory or table is missing or is not this corpus.
        """

    @classmethod
    def recognise(cls, place: Place) -> str:
        """What shows that a path holds this corpus, as part of a sentence; "" where nothing does.

        No audio is decoded. See ``guess.py``, which asks every corpus.
        """
        return ""

    @classmethod
    def write_example(cls, folder: Path) -> None:
        """Write what of the miniature copy is neither audio nor text."""
        return

    def root(self, source: Path) -> Path:
        """The directory that the dataset's paths are relative to."""
        return source if source.is_dir() else source.parent

    def render(self, utterance: Utterance) -> Utterance:
        """Make the audio of an utterance that has none yet; return it with its spans.

        Called in the worker that extracts the utterance, before its file is read.
        """
        return utterance

    def suits_default(self, utterances: Sequence[Utterance]) -> bool:
        """Whether ``default_protocol`` can divide the utterances that were kept."""
        return True

    def choose_protocol(self, utterances: Sequence[Utterance]) -> str:
        """Name the default protocol where it suits, else a generic one."""
        if self.suits_default(utterances):
            return self.default_protocol
        return generic_protocol(utterances)


class FormatCorpus(Corpus):
    """A layout that any corpus may have. Its own folds or splits are used where it has them, else
    the number of speakers decides."""

    language = ""
    licence = "yours"
    size = "any"
    default_protocol = "speaker-kfold:5"
    is_format = True

    def suits_default(self, utterances: Sequence[Utterance]) -> bool:
        return False


class TableFormat(FormatCorpus):
    """A format whose rows name files, which may lie outside of the source (absolute, with ``..``,
    over links) only where ``allow_outside`` says so."""

    def __init__(self, *, allow_outside: bool = False) -> None:
        self.allow_outside = allow_outside


def first_of(names: Sequence[str], most: int) -> str:
    """The first of some names, and how many more there are: ``a, b and 1 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def generic_protocol(utterances: Sequence[Utterance]) -> str:
    """The protocol for a corpus that has none of its own.

    Its own ``fold`` or ``split`` column where every row has one, and train and test are among the
    splits; else five folds of speakers, or leave-one-speaker-out below ten of them; else random
    folds.
    """
    parts = {(u.split or "").lower() for u in utterances}
    divided = "" not in parts and not parts <= {"train", "dev"} and not parts <= {"test", "dev"}
    if utterances and (all(u.fold for u in utterances) or divided):
        return "column"
    speakers = {u.speaker_id for u in utterances}
    if len(speakers) >= 10:
        return "speaker-kfold:5"
    return "loso" if len(speakers) >= 3 else "random-kfold:5"


CORPORA: Registry[type[Corpus]] = Registry("corpus", "serplatform.corpora")
