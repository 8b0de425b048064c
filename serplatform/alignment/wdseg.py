"""IEMOCAP's own forced alignment: ``.wdseg`` (words) and ``.phseg`` (phones) of Sphinx.

A file has a header line, rows of four fields (``SFrm EFrm SegAScr Word``) and a footer
(``Total score: …``). Frames are 10 ms, counted within the utterance, ``EFrm`` inclusive:
a row lies from ``SFrm · 0.01`` to ``(EFrm + 1) · 0.01`` seconds. In ``.phseg`` the phone is
the fourth field and its context follows.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from serplatform.alignment.base import ALIGNERS, Alignment, AlignmentError
from serplatform.alignment.files import FileAligner, parse_file
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

FRAME = 0.01
NOTE_NO_FOOTER = "no footer line: the file may be cut short"
NOTE_NO_PHONES = "no .phseg file: words only"
NOTE_BAD_PHONES = "damaged .phseg file: words only"
FAIL_ROW = "damaged .wdseg file"


def read_segmentation(text: str, tier: str) -> tuple[tuple[Span, ...], tuple[str, ...]]:
    """Spans of a ``.wdseg`` or ``.phseg`` file as written, silence and fillers included, and notes.

    Raises:
        ValueError: a row is not two frame numbers, a score and a label.
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
            raise ValueError(f"line {number} has {len(fields)} of 4 fields: {line.strip()!r}")
        first, last = _frame_number(fields[0]), _frame_number(fields[1])
        if first is None or last is None or last < first:
            raise ValueError(
                f"line {number} does not begin with a first and a last frame: {line.strip()!r}"
            )
        label = fields[3]
        if tier == "word" and not is_special(label):
            label = " ".join(label_words(label)) or f"[{label}]"  # a noise becomes a filler
        spans.append(Span(tier, label, round(first * FRAME, 4), round((last + 1) * FRAME, 4)))
    return tuple(spans), () if footer or not spans else (NOTE_NO_FOOTER,)


def _frame_number(text: str) -> int | None:
    """A frame number of at most a day of audio, or None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 7 else None


@ALIGNERS.register("wdseg")
class WdsegAligner(FileAligner):
    """Reads the ``.wdseg`` and ``.phseg`` files that come with IEMOCAP, named by utterance id."""

    description: ClassVar[str] = "IEMOCAP's .wdseg and .phseg files"
    kind: ClassVar[str] = ".wdseg"
    suffixes: ClassVar[tuple[str, ...]] = (".wdseg", ".phseg")
    none_found: ClassVar[str] = (
        "no .wdseg file belongs to any of the {count} utterances: --align wdseg is for IEMOCAP "
        "(sentences/ForcedAlignment beside sentences/wav) or needs --alignments DIR; the "
        "alternatives are --align textgrid (Montreal Forced Aligner), --align pocketsphinx "
        "(English) and --align none"
    )

    def folder_of(self, audio: Path) -> Path:
        """``sentences/ForcedAlignment`` beside ``sentences/wav``; see the base class."""
        dialog = audio.parent
        return dialog.parent.parent / "ForcedAlignment" / dialog.name

    def align(self, utterance: Utterance, samples: FloatArray, sampling_rate: int) -> Alignment:
        """Read the utterance's files and fit them to its audio."""
        path = self.find(utterance, ".wdseg")
        duration = len(samples) / sampling_rate
        try:
            words, notes = parse_file(path, lambda text: read_segmentation(text, "word"), FAIL_ROW)
            if all(is_special(span.label) for span in words):
                raise AlignmentError(FAIL_NO_WORDS)
            tidy, repaired = tidy_tier(words, duration)
        except AlignmentError as error:
            raise error.within(path) from None
        notes += repaired
        if max(span.end for span in words) < duration - TOLERANCE:
            notes += (NOTE_SHORTER,)
        phones, phone_notes = self._phones(utterance, duration)
        return Alignment(
            spans=tidy + phones, source=self.name, notes=tuple(dict.fromkeys(notes + phone_notes))
        )

    def _phones(
        self, utterance: Utterance, duration: float
    ) -> tuple[tuple[Span, ...], tuple[str, ...]]:
        paths = self.paths(utterance, ".phseg")
        if not paths:
            return (), (NOTE_NO_PHONES,)
        try:
            phones, _ = parse_file(paths[0], lambda text: read_segmentation(text, "phone"), "")
            return tidy_tier(phones, duration)[0], ()
        except AlignmentError:
            return (), (NOTE_BAD_PHONES,)
