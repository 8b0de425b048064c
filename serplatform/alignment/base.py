"""What an alignment is, what makes one, and the names of the sources.

Times are in seconds from the start of the utterance.
"""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from serplatform.arrays import FloatArray
from serplatform.corpora.base import Span, Utterance
from serplatform.errors import BadInputError, unknown_name
from serplatform.registry import Registry

#: ``--align none``: no source is asked; spans that the corpus itself gives are kept.
NONE = "none"
#: Source of spans that the corpus itself gives.
CORPUS_SOURCE = "corpus"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alignment:
    """Words and phones of one utterance.

    ``spans``: words, then phones, each tier in order of time and without overlap. ``source``: where
    they came from, e.g. ``wdseg``. ``notes``: what had to be repaired, in fixed words.
    """

    spans: tuple[Span, ...]
    source: str
    notes: tuple[str, ...] = ()


class AlignmentError(Exception):
    """An utterance could not be aligned.

    ``reason`` says why in fixed words, so that equal ones can be counted; ``detail`` names the
    file, line or words at fault.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def within(self, path: Path) -> AlignmentError:
        """The same failure, with the file that it occurred in."""
        return AlignmentError(self.reason, ": ".join(filter(None, (path.name, self.detail))))


class Aligner(ABC):
    """One source of alignments. Make one with :func:`get_aligner` in the process that uses it."""

    name: ClassVar[str]
    #: what ``--align`` says about it
    description: ClassVar[str]
    #: whether it reads files, which ``--alignments`` may name the folder of
    reads_files: ClassVar[bool] = False
    #: whether a model belongs to its name, as in ``whisper:DIR``
    needs_model: ClassVar[bool] = False

    def __init__(self, directory: Path | None = None) -> None:  # noqa: B027
        """Take the folder of the files, in any sub-folders; None: the source's own place."""

    @property
    def address(self) -> str:
        """The name that :func:`get_aligner` takes for it in any process of this machine."""
        return self.name

    def spec(self) -> dict[str, object] | None:
        """What tells its words from those of others of its name; None where nothing does."""
        return None

    @classmethod
    def restore(cls, spec: Mapping[str, object], folders: Sequence[Path] = ()) -> Aligner:
        """The aligner of which ``spec`` was stored, with its model found on this machine.

        ``folders`` are where to look first. BadInputError: the model is not here.
        """
        return cls(None)

    def check(self, utterances: Sequence[Utterance]) -> None:  # noqa: B027
        """Refuse, before any work, a corpus that this source cannot serve at all.

        Raises:
            BadInputError: with the reason and the sources that could.
        """

    def files(self, utterances: Sequence[Utterance]) -> tuple[Path, ...]:
        """The files that it reads for some utterances, so that a change of one is noticed."""
        return ()

    @abstractmethod
    def align(self, utterance: Utterance, samples: FloatArray, sampling_rate: int) -> Alignment:
        """Locate the words and phones of one utterance.

        Args:
            utterance: what is known about it.
            samples: (S,), float32 mono, the utterance only, full scale 1.
            sampling_rate: in hertz.

        Raises:
            AlignmentError: it cannot be aligned.
        """


ALIGNERS: Registry[type[Aligner]] = Registry("alignment source", "serplatform.alignment")


def aligner_names() -> list[str]:
    """Everything that ``--align`` takes."""
    return [*ALIGNERS.names(), NONE]


@functools.lru_cache(maxsize=8)
def get_aligner(name: str, directory: str | Path | None = None) -> Aligner | None:
    """Make the aligner called ``name``, once a process; None for ``none``.

    A model's directory follows its source's name, ``whisper:DIR``; ``directory`` is where the files
    lie, for sources that read files.

    Raises:
        BadInputError: the name is unknown, or the directory is missing or not needed.
    """
    if name == NONE:
        if directory is not None:
            raise BadInputError(
                f"--alignments {directory} is given, but --align none reads no alignments; "
                "name the kind of file, e.g. --align textgrid"
            )
        return None
    kind, _, model = name.partition(":")
    if kind not in ALIGNERS.names():
        raise BadInputError(unknown_name("alignment source", kind, aligner_names()))
    source = ALIGNERS.get(kind)
    if source.needs_model != bool(model):
        raise BadInputError(
            f"--align {name}: needs the directory of a model behind it, as in {kind}:DIR"
            if source.needs_model
            else f"--align {name}: {kind} has no model; leave ':{model}' out"
        )
    if source.needs_model and directory is None:
        return source(model=model)  # type: ignore[call-arg]
    if directory is None:
        return source(None)
    if not Path(directory).is_dir():
        raise BadInputError(
            f"{directory}: no such directory of alignments; give --alignments the folder "
            f"that holds the {name} files"
        )
    if not source.reads_files:
        raise BadInputError(
            f"--alignments {directory} is given, but --align {name} reads no files; leave it out, "
            "or use --align textgrid"
        )
    return source(Path(directory))
