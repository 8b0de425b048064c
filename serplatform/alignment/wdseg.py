"""IEMOCAP's own forced alignment: ``.wdseg`` (words) and ``.phseg`` (phones) of Sphinx.

A file has a header line, rows of four fields (``SFrm EFrm SegAScr Word``) and a footer
(``Total score: …``). Frames are 10 ms, counted within the utterance, ``EFrm`` inclusive:
a row lies from ``SFrm · 0.01`` to ``(EFrm + 1) · 0.01`` seconds. In ``.phseg`` the phone is
the fourth field and its context follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from serplatform.alignment.base import ALIGNERS, Aligner, Alignment, AlignmentFailure
from serplatform.alignment.files import FileIndex, decode_text
from serplatform.alignment.tidy import (
    FAIL_NO_WORDS,
    NOTE_SHORTER,
    TOLERANCE,
    is_special,
    tidy_tier,
)
from serplatform.alignment.tokens import label_words
from serplatform.arrays import FloatArray
from serplatform.corpora.base import Span, Utterance
from serplatform.errors import BadInputError

FRAME = 0.01
NOTE_NO_FOOTER = "no footer line: the file may be cut short"
NOTE_NO_PHONES = "no .phseg file: words only"
NOTE_BAD_PHONES = "damaged .phseg file: words only"
FAIL_ROW = "damaged .wdseg file"


class SegmentationError(ValueError):
    """A row of a ``.wdseg`` or ``.phseg`` file cannot be read."""


def read_segmentation(text: str, tier: str) -> tuple[tuple[Span, ...], tuple[str, ...]]:
    """Read the text of a ``.wdseg`` or ``.phseg`` file.

    Args:
        text: its contents.
        tier: ``word`` or ``phone``.

    Returns:
        Its spans as written, silence and fillers included, and notes.

    Raises:
        SegmentationError: a row is not two frame numbers, a score and a label.

    Example:
        >>> spans, notes = read_segmentation(
        ...     "\\tSFrm  EFrm    SegAScr Word\\n   0    46  -109497 <s>\\n"
        ...     "  47    86  -203094 WHAT(2)\\nTotal score:     -568189\\n", "word")
        >>> [(s.label, s.start, s.end) for s in spans], notes
        ([('<s>', 0.0, 0.47), ('what', 0.47, 0.87)], ())
    """
    spans: list[Span] = []
    footer = False
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0] == "SFrm":
            continue
        if fields[0] == "Total":
            footer = True
            continue
        if len(fields) < 4:
            raise SegmentationError(
                f"line {number} has {len(fields)} of 4 fields: {line.strip()!r}"
            )
        first, last = _frame_number(fields[0]), _frame_number(fields[1])
        if first is None or last is None or last < first:
            raise SegmentationError(
                f"line {number} does not begin with a first and a last frame: {line.strip()!r}"
            )
        label = fields[3]
        if tier == "word" and not is_special(label):
            label = " ".join(label_words(label)) or f"[{label}]"  # a noise becomes a filler
        spans.append(Span(tier, label, round(first * FRAME, 4), round((last + 1) * FRAME, 4)))
    return tuple(spans), () if footer or not spans else (NOTE_NO_FOOTER,)


def _frame_number(text: str) -> int | None:
    """A frame number of at most a day of audio, or None."""
    if not (text.isascii() and text.isdigit()) or len(text) > 7:
        return None
    return int(text)


@ALIGNERS.register("wdseg")
class WdsegAligner(Aligner):
    """Reads the ``.wdseg`` and ``.phseg`` files that come with IEMOCAP.

    Args:
        directory: where the files lie, in any sub-folders, named by utterance id; None for
            IEMOCAP's own place, ``sentences/ForcedAlignment`` beside ``sentences/wav``.
    """

    name: ClassVar[str] = "wdseg"
    description: ClassVar[str] = "IEMOCAP's .wdseg and .phseg files"
    reads_files: ClassVar[bool] = True

    def __init__(self, directory: Path | None = None) -> None:
        self._index = FileIndex(directory, ".wdseg", _forced_alignment)

    def check(self, utterances: Sequence[Utterance]) -> None:
        """Refuse a corpus in which no utterance has a ``.wdseg`` file."""
        self._index.forget()
        if utterances and not any(self._index.paths(u, ".wdseg") for u in utterances):
            raise BadInputError(
                f"no .wdseg file belongs to any of the {len(utterances)} utterances: "
                "--align wdseg is for IEMOCAP (sentences/ForcedAlignment beside sentences/wav) "
                "or needs --alignments DIR; the alternatives are --align textgrid "
                "(Montreal Forced Aligner), --align pocketsphinx (English) and --align none"
            )

    def files(self, utterances: Sequence[Utterance]) -> tuple[Path, ...]:
        """See the base class."""
        return tuple(path for u in utterances for path in self._index.paths(u, ".wdseg", ".phseg"))

    def align(
        self, utterance: Utterance, samples: FloatArray, sampling_rate: int
    ) -> Alignment | AlignmentFailure:
        """Read the utterance's files and fit them to its audio."""
        path = self._index.find(utterance, ".wdseg")
        if isinstance(path, AlignmentFailure):
            return path
        duration = len(samples) / sampling_rate
        try:
            words, notes = read_segmentation(decode_text(path.read_bytes()), "word")
        except (SegmentationError, OSError) as error:
            return AlignmentFailure(FAIL_ROW, f"{path.name}: {error}")
        if all(is_special(span.label) for span in words):
            return AlignmentFailure(FAIL_NO_WORDS, path.name)
        tidy = tidy_tier(words, duration)
        if isinstance(tidy, AlignmentFailure):
            return AlignmentFailure(tidy.reason, f"{path.name}: {tidy.detail}")
        notes += tidy[1]
        if max(span.end for span in words) < duration - TOLERANCE:
            notes += (NOTE_SHORTER,)
        phones, phone_notes = self._phones(utterance, duration)
        return Alignment(
            spans=tidy[0] + phones,
            source=self.name,
            notes=tuple(dict.fromkeys(notes + phone_notes)),
        )

    def _phones(
        self, utterance: Utterance, duration: float
    ) -> tuple[tuple[Span, ...], tuple[str, ...]]:
        paths = self._index.paths(utterance, ".phseg")
        if not paths:
            return (), (NOTE_NO_PHONES,)
        try:
            phones, _ = read_segmentation(decode_text(paths[0].read_bytes()), "phone")
        except (SegmentationError, OSError):
            return (), (NOTE_BAD_PHONES,)
        tidy = tidy_tier(phones, duration)
        return ((), (NOTE_BAD_PHONES,)) if isinstance(tidy, AlignmentFailure) else (tidy[0], ())


def _forced_alignment(audio: Path) -> Path:
    """Where IEMOCAP keeps the alignments of a dialog."""
    dialog = audio.parent
    return dialog.parent.parent / "ForcedAlignment" / dialog.name
