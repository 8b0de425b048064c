"""TextGrid files of Praat, as aligners (MFA, WebMAUS) and annotators write them.

Both text formats (long and short) and every encoding that Praat writes are read. Praat's own
rule makes them one format: only free-standing numbers, quoted strings and flags (``<exists>``)
count, and everything else is commentary ("TextGrid file formats", Praat manual).
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, TypeVar

from serplatform.alignment.base import ALIGNERS, Alignment, AlignmentError
from serplatform.alignment.files import FileAligner, parse_file
from serplatform.alignment.segments import equal_segments
from serplatform.alignment.tidy import FAIL_NO_WORDS, NOTE_SHORTER, TOLERANCE, tidy_tier
from serplatform.alignment.tokens import label_words
from serplatform.arrays import FloatArray
from serplatform.corpora.base import Span, Utterance
from serplatform.corpora.text_encoding import composed

FAIL_DAMAGED = "damaged TextGrid file"
FAIL_TIERS = "no tier of words (words, ORT-MAU, ortho, transcript …) in the TextGrid file"
FAIL_SEVERAL = "several tiers of words in the TextGrid file, none named after the speaker"
NOTE_NO_PHONES = "no tier called phones: words only"
NOTE_PHRASES = "intervals of several words, not of one: their words share the time equally"
NOTE_SOUNDS = "no tier of written words: they are as KAN-MAU writes their sounds"

#: names of tiers without marks and in lower case, the best first
_WORD_TIERS = (
    ("words", "word"),
    ("ort mau", "ort"),
    ("word segments", "wrd", "tokens", "token"),
    (
        *("ortho", "orthography", "orthographic", "transcript", "transcripts", "transcription"),
        *("text", "utterance", "utterances", "sentence", "sentences"),
    ),
    ("kan mau", "kan"),
)
_PHONE_TIERS = (
    ("phones", "phone"),
    ("mau", "phonemes", "phoneme", "phone segments", "segments", "phn"),
)
_NAMES = sorted((n for ns in _WORD_TIERS + _PHONE_TIERS for n in ns), key=len, reverse=True)

_ITEM = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"'  # a quote within a string is written twice
    r"|(?P<comment>![^\n\r]*)"
    r"|<(?P<flag>[a-z]+)>"
    r"|(?P<word>[^\s\"]+)"
)
_Item = TypeVar("_Item", float, str, bool)


class Tier(NamedTuple):
    """One interval tier: ``intervals`` are (start, end, text) in seconds, in file order."""

    name: str
    intervals: tuple[tuple[float, float, str], ...]


def _items(text: str) -> Iterator[float | str | bool]:
    """The numbers, strings and flags of a file, one after another."""
    for match in _ITEM.finditer(text):
        if match["text"] is not None:
            yield match["text"].replace('""', '"')
        elif match["flag"] is not None:
            yield match["flag"] == "exists"
        elif match["word"] is not None:
            try:
                yield float(match["word"])
            except ValueError:
                continue


def parse_textgrid(text: str) -> tuple[Tier, ...]:
    """Read the interval tiers of a TextGrid; tiers of points are passed over.

    Raises:
        ValueError: it is not a TextGrid in the long or short format, or it breaks off.
    """
    items = _items(text)

    def take(kind: type[_Item], what: str) -> _Item:
        value = next(items, None)
        if type(value) is not kind or (kind is float and not math.isfinite(value)):
            raise ValueError(f"{what} is missing")
        return value

    def count(what: str) -> int:
        value = take(float, what)
        if value < 0 or value != int(value):
            raise ValueError(f"{what} is {value}")
        return int(value)

    if not str(next(items, "")).startswith("ooTextFile") or next(items, "") != "TextGrid":
        raise ValueError("it is no TextGrid text file; save it as such in Praat")
    take(float, "the start")
    take(float, "the end")
    if not take(bool, "the <exists> mark"):
        return ()
    tiers: list[Tier] = []
    for number in range(1, count("the number of tiers") + 1):
        kind = take(str, f"the class of tier {number}")
        name = take(str, f"the name of tier {number}")
        take(float, f"the start of tier {number}")
        take(float, f"the end of tier {number}")
        if kind not in ("TextTier", "IntervalTier"):
            raise ValueError(f"tier '{name}' is of the unknown class '{kind}'")
        intervals: list[tuple[float, float, str]] = []
        for position in range(1, count(f"the size of tier '{name}'") + 1):
            where = f"interval {position} of tier '{name}'"
            start = take(float, f"the start of {where}")
            end = take(float, f"the end of {where}") if kind == "IntervalTier" else start
            if end < start:
                raise ValueError(f"{where} ends before it begins")
            intervals.append((start, end, take(str, f"the text of {where}")))
        if kind == "IntervalTier":
            tiers.append(Tier(name=name, intervals=tuple(intervals)))
    return tuple(tiers)


def _plain_name(name: str) -> str:
    """A name without marks: ``Anna - words`` and ``anna_words`` are ``anna words``."""
    return " ".join(re.findall(r"[^\W_]+", composed(name).lower()))


def _read_name(name: str) -> tuple[str, str]:
    """What a tier is called (``words`` of ``Anna B - words``), and the speaker's name."""
    plain = _plain_name(name)
    for known in _NAMES:
        if f" {plain}".endswith(f" {known}"):
            return known, plain.removesuffix(known).strip()
        if plain.startswith(f"{known} "):
            return known, plain.removeprefix(known).strip()
    return "", plain


def _choose(tiers: Sequence[Tier], names: Sequence[str], speaker: str) -> list[Tier]:
    """Tiers of some names: the speaker's own, else those without a speaker's name, else all."""
    read = [(*_read_name(tier.name), tier) for tier in tiers]
    found = [(rest, tier) for known, rest, tier in read if known in names]
    who = _plain_name(speaker)
    own = [tier for rest, tier in found if who and f"{rest} ".startswith(f"{who} ")]
    return own or [tier for rest, tier in found if not rest] or [tier for _, tier in found]


def _read_words(
    tiers: Sequence[Tier], speaker: str, offset: float, inside: float
) -> tuple[list[Span], tuple[str, ...]]:
    """Words of the best tier that holds some in the stretch of audio, and what is to be said."""
    reason = FAIL_TIERS
    for names in _WORD_TIERS:
        found = []
        for tier in _choose(tiers, names, speaker):
            reason = FAIL_NO_WORDS
            read = [(a, b, label_words(text)) for a, b, text in tier.intervals]
            single = [
                (start, end, word)
                for a, b, words in read
                for word, (start, end) in zip(
                    words, equal_segments(len(words), a, b).tolist(), strict=True
                )
            ]
            spans = _spans(single, "word", offset, inside)
            if spans:
                phrases = any(len(words) > 1 for *_, words in read)
                said = {NOTE_PHRASES: phrases, NOTE_SOUNDS: names == _WORD_TIERS[-1]}
                found.append((tier, spans, tuple(note for note, true in said.items() if true)))
        if len(found) == 1:
            return found[0][1:]
        if found:
            reason, tiers = FAIL_SEVERAL, [tier for tier, *_ in found]
            break
    raise AlignmentError(reason, ", ".join(tier.name for tier in tiers))


def _is_of_file(path: Path, utterance: Utterance, beyond: float) -> bool:
    """Whether times count from the start of the audio file rather than of the utterance.

    So where the TextGrid has the file's name and not the utterance's, or goes on for ``beyond`` s.
    """
    stem = composed(path.stem)
    part = (utterance.start, utterance.end) != (None, None)
    return stem != composed(Path(utterance.utterance_id).name) or (
        stem == composed(utterance.path.stem) and part and beyond > TOLERANCE
    )


def _spans(
    intervals: Sequence[tuple[float, float, str]], tier: str, offset: float, inside: float
) -> list[Span]:
    """Labelled intervals, from ``offset`` on; empty labels (silence) are left out."""
    return [
        Span(tier, text.strip(), max(start - offset, min(start, 0.0)), min(end - offset, inside))
        for start, end, text in intervals
        if text.strip() and end > start and end - offset > 0 and start - offset < inside
    ]


@ALIGNERS.register("textgrid")
class TextGridAligner(FileAligner):
    """Reads the TextGrid files of aligners and annotators, for any language.

    A file is named after the utterance or its audio file. Where the utterance is a part of
    its audio file and the TextGrid is named after the file, times count from the start of
    the file. Noises and punctuation are no words (``alignment/tokens.py``).
    """

    description: ClassVar[str] = (
        "TextGrid files of the Montreal Forced Aligner, WebMAUS or Praat (any language)"
    )
    kind: ClassVar[str] = "TextGrid"
    suffixes: ClassVar[tuple[str, ...]] = (".textgrid",)
    none_found: ClassVar[str] = (
        "no TextGrid {place} is named after any of the {count} utterances (for example "
        "'{example}.TextGrid'; {reason}); run the Montreal Forced Aligner and give its output "
        "folder with --alignments DIR, or use --align pocketsphinx (English) or --align none"
    )

    def align(self, utterance: Utterance, samples: FloatArray, sampling_rate: int) -> Alignment:
        """Read the utterance's TextGrid and fit it to its audio."""
        path = self.find(utterance, ".textgrid")
        duration = len(samples) / sampling_rate
        try:
            tiers = parse_file(path, parse_textgrid, FAIL_DAMAGED)
            length = max((end for tier in tiers for *_, end, _ in tier.intervals), default=0.0)
            whole_file = _is_of_file(path, utterance, length - duration)
            offset = (utterance.start or 0.0) if whole_file else 0.0
            inside = duration if utterance.end is not None and whole_file else math.inf
            words, said = _read_words(tiers, utterance.speaker_id, offset, inside)
            tidy, notes = tidy_tier(words, duration)
        except AlignmentError as error:
            raise error.within(path) from None
        notes += said
        if length - offset < duration - TOLERANCE:
            notes += (NOTE_SHORTER,)
        phones: tuple[Span, ...] = ()
        for names in _PHONE_TIERS:
            chosen = _choose(tiers, names, utterance.speaker_id)
            if len(chosen) == 1 and not phones:
                with contextlib.suppress(AlignmentError):
                    spans = _spans(chosen[0].intervals, "phone", offset, inside)
                    phones = tidy_tier(spans, duration)[0]
        if not phones:
            notes += (NOTE_NO_PHONES,)
        return Alignment(spans=tidy + phones, source=self.name, notes=notes)
