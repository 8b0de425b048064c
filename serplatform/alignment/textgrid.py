"""TextGrid files of Praat, as the Montreal Forced Aligner writes them.

Both text formats (long and short) and every encoding that Praat writes are read. Praat's own
rule makes them one format: only free-standing numbers, quoted strings and flags (``<exists>``)
count, and everything else is commentary ("TextGrid file formats", Praat manual).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from serplatform.alignment.base import ALIGNERS, Aligner, Alignment, AlignmentFailure, FloatArray
from serplatform.alignment.files import FileIndex, decode_text
from serplatform.alignment.tidy import (
    FAIL_NO_WORDS,
    NOTE_SHORTER,
    TOLERANCE,
    is_special,
    plain_word,
    tidy_tier,
)
from serplatform.corpora.base import Span, Utterance
from serplatform.errors import BadInputError

FAIL_MISSING = "no TextGrid file"
FAIL_DAMAGED = "damaged TextGrid file"
FAIL_TIERS = "no tier called words in the TextGrid file"
FAIL_SEVERAL = "several tiers of words in the TextGrid file, none named after the speaker"
NOTE_NO_PHONES = "no tier called phones: words only"

_TOKEN = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"'  # a quote within a string is written twice
    r"|(?P<comment>![^\n\r]*)"
    r"|<(?P<flag>[a-z]+)>"
    r"|(?P<word>[^\s\"]+)"
)


class TextGridError(ValueError):
    """The file is not a TextGrid, or breaks off."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tier:
    """One interval tier: ``intervals`` are (start, end, text) in seconds, in file order."""

    name: str
    intervals: tuple[tuple[float, float, str], ...]


class _Tokens:
    """The numbers, strings and flags of a file, one after another."""

    def __init__(self, text: str) -> None:
        self._items = self._scan(text)

    @staticmethod
    def _scan(text: str) -> Iterator[float | str | bool]:
        for match in _TOKEN.finditer(text):
            if match["text"] is not None:
                yield match["text"].replace('""', '"')
            elif match["flag"] is not None:
                yield match["flag"] == "exists"
            elif match["word"] is not None:
                try:
                    yield float(match["word"])
                except ValueError:
                    continue

    def text(self, what: str) -> str:
        value = next(self._items, None)
        if not isinstance(value, str):
            raise TextGridError(f"{what} is missing")
        return value

    def number(self, what: str) -> float:
        value = next(self._items, None)
        if isinstance(value, bool) or not isinstance(value, float) or not math.isfinite(value):
            raise TextGridError(f"{what} is missing")
        return value

    def count(self, what: str) -> int:
        value = self.number(what)
        if value < 0 or value != int(value):
            raise TextGridError(f"{what} is {value}")
        return int(value)

    def flag(self, what: str) -> bool:
        value = next(self._items, None)
        if not isinstance(value, bool):
            raise TextGridError(f"{what} is missing")
        return value


def parse_textgrid(text: str) -> tuple[Tier, ...]:
    """Read the interval tiers of a TextGrid; tiers of points are passed over.

    Args:
        text: contents of the file, long or short format.

    Raises:
        TextGridError: it is not a TextGrid, or it breaks off.

    Example:
        >>> parse_textgrid('File type = "ooTextFile"\\nObject class = "TextGrid"\\n'
        ...     '0\\n1\\n<exists>\\n1\\n"IntervalTier"\\n"words"\\n0\\n1\\n1\\n0\\n1\\n"so"\\n')
        (Tier(name='words', intervals=((0.0, 1.0, 'so'),)),)
    """
    tokens = _Tokens(text)
    if tokens.text("the file type") != "ooTextFile" or tokens.text("the class") != "TextGrid":
        raise TextGridError("it does not begin as a TextGrid text file")
    tokens.number("the start")
    tokens.number("the end")
    if not tokens.flag("the <exists> mark"):
        return ()
    tiers: list[Tier] = []
    for number in range(1, tokens.count("the number of tiers") + 1):
        kind = tokens.text(f"the class of tier {number}")
        name = tokens.text(f"the name of tier {number}")
        tokens.number(f"the start of tier {number}")
        tokens.number(f"the end of tier {number}")
        where = f"tier '{name}'"
        size = tokens.count(f"the size of {where}")
        if kind == "TextTier":
            for _ in range(size):
                tokens.number(f"a time of {where}")
                tokens.text(f"a mark of {where}")
        elif kind == "IntervalTier":
            intervals: list[tuple[float, float, str]] = []
            for position in range(1, size + 1):
                start = tokens.number(f"the start of interval {position} of {where}")
                end = tokens.number(f"the end of interval {position} of {where}")
                label = tokens.text(f"the text of interval {position} of {where}")
                if end < start:
                    raise TextGridError(f"interval {position} of {where} ends before it begins")
                intervals.append((start, end, label))
            tiers.append(Tier(name=name, intervals=tuple(intervals)))
        else:
            raise TextGridError(f"{where} is of the unknown class '{kind}'")
    return tuple(tiers)


def _choose(tiers: Sequence[Tier], wanted: tuple[str, ...], speaker: str) -> list[Tier]:
    """Tiers called ``words`` or ``<speaker> - words``; the speaker's own if there are several."""
    found = [t for t in tiers if re.split(r"\s+-\s+", t.name.strip().lower())[-1] in wanted]
    if len(found) > 1:
        own = [t for t in found if t.name.lower().startswith(f"{speaker.lower()} ")]
        return own if len(own) == 1 else found
    return found


@ALIGNERS.register("textgrid")
class TextGridAligner(Aligner):
    """Reads the TextGrid files of the Montreal Forced Aligner, for any language.

    A file is named after the utterance or its audio file. Where the utterance is a part of
    its audio file and the TextGrid is named after the file, times count from the start of
    the file.

    Args:
        directory: where the files lie, in any sub-folders; None for beside the audio.
    """

    name: ClassVar[str] = "textgrid"
    description: ClassVar[str] = "TextGrid files of the Montreal Forced Aligner (any language)"

    def __init__(self, directory: Path | None = None) -> None:
        self._index = None if directory is None else FileIndex(directory, (".textgrid",))

    def check(self, utterances: Sequence[Utterance]) -> None:
        """Refuse a corpus in which no utterance has a TextGrid."""
        if utterances and not any(self._path(u) for u in utterances):
            where = "beside the audio" if self._index is None else f"under {self._index.directory}"
            raise BadInputError(
                f"no TextGrid {where} is named after any of the {len(utterances)} utterances "
                f"(for example '{utterances[0].utterance_id}.TextGrid'); run the Montreal Forced "
                "Aligner and give its output folder with --alignments DIR, or use "
                "--align pocketsphinx (English) or --align none"
            )

    def files(self, utterances: Sequence[Utterance]) -> tuple[Path, ...]:
        """See the base class."""
        return tuple(path for u in utterances if (path := self._path(u)) is not None)

    def align(
        self, utterance: Utterance, samples: FloatArray, sampling_rate: int
    ) -> Alignment | AlignmentFailure:
        """Read the utterance's TextGrid and fit it to its audio."""
        path = self._path(utterance)
        if path is None:
            return AlignmentFailure(reason=FAIL_MISSING, detail=utterance.utterance_id)
        try:
            tiers = parse_textgrid(decode_text(path.read_bytes())[0])
        except (TextGridError, OSError) as error:
            return AlignmentFailure(reason=FAIL_DAMAGED, detail=f"{path.name}: {error}")
        duration = len(samples) / sampling_rate
        whole_file = path.stem != Path(utterance.utterance_id).name
        offset = (utterance.start or 0.0) if whole_file else 0.0
        speaker = utterance.speaker_id
        word_tiers = _choose(tiers, ("words", "word"), speaker)
        if len(word_tiers) != 1:
            names = ", ".join(t.name for t in word_tiers or tiers)
            reason = FAIL_SEVERAL if word_tiers else FAIL_TIERS
            return AlignmentFailure(reason=reason, detail=f"{path.name}: {names}")
        inside = duration if utterance.end is not None and whole_file else math.inf
        words = _spans(word_tiers[0], "word", offset, inside)
        if not any(not is_special(span.label) for span in words):
            return AlignmentFailure(reason=FAIL_NO_WORDS, detail=path.name)
        tidy = tidy_tier(words, duration)
        if isinstance(tidy, AlignmentFailure):
            return AlignmentFailure(reason=tidy.reason, detail=f"{path.name}: {tidy.detail}")
        notes = tidy[1]
        if max(end for _, end, _ in word_tiers[0].intervals) - offset < duration - TOLERANCE:
            notes += (NOTE_SHORTER,)
        phones: tuple[Span, ...] = ()
        phone_tiers = _choose(tiers, ("phones", "phone"), speaker)
        if len(phone_tiers) == 1:
            phone_tidy = tidy_tier(_spans(phone_tiers[0], "phone", offset, inside), duration)
            phones = () if isinstance(phone_tidy, AlignmentFailure) else phone_tidy[0]
        if not phones:
            notes += (NOTE_NO_PHONES,)
        return Alignment(spans=tidy[0] + phones, source=self.name, notes=notes)

    def _path(self, utterance: Utterance) -> Path | None:
        if self._index is not None:
            return self._index.find(utterance, ".textgrid")
        for stem in dict.fromkeys((Path(utterance.utterance_id).name, utterance.path.stem)):
            path = utterance.path.parent / f"{stem}.TextGrid"
            if path.is_file():
                return path
        return None


def _spans(tier: Tier, name: str, offset: float, inside: float) -> list[Span]:
    """Labelled intervals of a tier, from ``offset`` on; empty labels (silence) are left out."""
    return [
        Span(
            tier=name,
            label=plain_word(text) if name == "word" else text.strip(),
            start=max(start - offset, 0.0),
            end=min(end - offset, inside),
        )
        for start, end, text in tier.intervals
        if text.strip() and end > start and end - offset > 0 and start - offset < inside
    ]
