"""English words and phones by PocketSphinx: forced alignment, or recognition without a transcript.

The ``pocketsphinx`` wheel carries all models and a dictionary (CMU). Recognition is "future work"
of Lee, Yoon and Jung, Interspeech 2020. Phones come from a second pass over the words found, in
ARPAbet. Frames are 10 ms. The front end tracks noise from one utterance to the next, so it is
reset before each.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from serplatform.alignment.base import ALIGNERS, Aligner, Alignment, AlignmentError
from serplatform.alignment.tidy import is_special, plain_word, tidy_tier
from serplatform.alignment.tokens import tokens
from serplatform.arrays import FloatArray
from serplatform.corpora.audio import speech_bounds
from serplatform.corpora.base import Span, Utterance
from serplatform.errors import BadInputError

FRAME = 0.01
MODEL_RATE = 16_000
DECODED_SOURCE = "pocketsphinx-decoded"
#: Without a stated language, at least this share of the transcripts' words must be in the
#: English dictionary.
MIN_KNOWN = 0.8

FAIL_LANGUAGE = "not English: PocketSphinx has an English acoustic model only"
FAIL_NO_TEXT = "no words in the transcript"
FAIL_UNKNOWN_ALL = "no word of the transcript is in the English dictionary"
FAIL_UNKNOWN_SOME = "words of the transcript are not in the English dictionary"
FAIL_SHORT = "audio too short to align"
FAIL_SILENT = "silent audio"
FAIL_FIT = "the transcript does not fit the audio"
FAIL_NOTHING = "no words recognized"
NOTE_WIDE = "aligned only without pruning: the transcript fits the audio badly"
NOTE_NO_PHONES = "the second pass found no phones: words only"

_ALTERNATIVES = (
    "use --align textgrid with --alignments DIR (Montreal Forced Aligner, which has models for "
    "many languages), --align equal (equal shares of the time for the transcript's words) or "
    "--align none"
)
#: settings of the decoders; the wide one gives up no path and is a little slower
_SETTINGS: dict[str, dict[str, object]] = {
    "align": {"bestpath": False, "lm": None},
    "align wide": {"bestpath": False, "lm": None, "beam": 0.0, "pbeam": 0.0, "wbeam": 0.0},
    "recognize": {"bestpath": True},
}
_SIBILANTS = frozenset({"S", "Z", "SH", "ZH", "CH", "JH"})
_VOICELESS = frozenset({"P", "T", "K", "F", "TH"})


def is_english(language: str) -> bool:
    """Whether a language is English, by name or by code (``en-US``)."""
    return language.strip().lower().replace("_", "-").split("-")[0] in ("en", "eng", "english")


def possessive_phones(phones: str) -> str:
    """Pronounce ``'s`` after a word.

    Example:
        >>> possessive_phones("K AE T"), possessive_phones("D AO G"), possessive_phones("B AH S")
        ('K AE T S', 'D AO G Z', 'B AH S AH Z')
    """
    last = phones.split()[-1]
    if last in _SIBILANTS:
        return f"{phones} AH Z"
    return f"{phones} S" if last in _VOICELESS else f"{phones} Z"


@ALIGNERS.register("pocketsphinx")
class PocketSphinxAligner(Aligner):
    """Aligns English transcripts, and recognizes English words where there is no transcript."""

    description: ClassVar[str] = (
        "English only: forced alignment of transcripts, recognition where there are none"
    )

    def __init__(self, directory: Path | None = None) -> None:
        self._decoders: dict[str, Any] = {}

    def check(self, utterances: Sequence[Utterance]) -> None:
        """Refuse a corpus in which nothing is English, by its language or by its words."""
        languages = Counter(u.language or "" for u in utterances)
        if not utterances or any(name and is_english(name) for name in languages):
            return
        if not languages[""]:
            named = ", ".join(sorted(languages))
            raise BadInputError(
                f"--align pocketsphinx is for English, and this corpus is in: {named}; "
                + _ALTERNATIVES
            )
        words = sorted({w for u in utterances if not u.language for w in tokens(u.text or "")})
        if not words:
            raise BadInputError(
                "--align pocketsphinx is for English, and this corpus names neither a language "
                "nor a transcript; add a column 'language' (en), or " + _ALTERNATIVES
            )
        known = sum(self._pronounceable(word) for word in words)
        if known < MIN_KNOWN * len(words):
            raise BadInputError(
                f"--align pocketsphinx is for English, and only {known} of the {len(words)} "
                f"different words of the transcripts ({known / len(words):.0%}) are in its English "
                f"dictionary, fewer than {MIN_KNOWN:.0%}; if the corpus is English, say so in a "
                "column 'language' (en); else " + _ALTERNATIVES
            )

    def align(self, utterance: Utterance, samples: FloatArray, sampling_rate: int) -> Alignment:
        """Align the transcript to the audio, or recognize words where there is none."""
        if sampling_rate != MODEL_RATE:
            raise ValueError(f"PocketSphinx needs {MODEL_RATE} Hz, not {sampling_rate}")
        if utterance.language and not is_english(utterance.language):
            raise AlignmentError(FAIL_LANGUAGE, utterance.language)
        if len(samples) < 0.1 * sampling_rate:
            raise AlignmentError(FAIL_SHORT, f"{len(samples) / sampling_rate:.3f} s")
        peak = float(np.abs(samples).max())
        if peak == 0.0:
            raise AlignmentError(FAIL_SILENT, utterance.utterance_id)
        # Half of full scale: quiet recordings would lose bits to 16-bit rounding.
        pcm = np.round(samples * (16_384 / peak)).astype("<i2").tobytes()
        duration = len(samples) / sampling_rate
        if utterance.text is None:
            # The language model hears words in long silence: recognize the speech alone.
            start, end = speech_bounds(samples)
            first, last = round(start / FRAME), round(end / FRAME)
            hop = 2 * round(FRAME * MODEL_RATE)  # bytes
            found = self._decode(pcm[first * hop : last * hop], end - start)
            offset = first * FRAME
            spans = (
                Span(s.tier, s.label, round(s.start + offset, 4), round(s.end + offset, 4))
                for s in found.spans
            )
            return dataclasses.replace(found, spans=tuple(spans))
        return self._force(utterance.text, pcm, duration)

    def _force(self, text: str, pcm: bytes, duration: float) -> Alignment:
        words = tokens(text)
        if not words:
            raise AlignmentError(FAIL_NO_TEXT, repr(text))
        unknown = [word for word in words if not self._pronounceable(word)]
        if unknown:
            reason = FAIL_UNKNOWN_ALL if len(unknown) == len(words) else FAIL_UNKNOWN_SOME
            raise AlignmentError(reason, " ".join(dict.fromkeys(unknown)))
        for purpose in ("align", "align wide"):
            decoder = self._decoder(purpose)
            try:
                if not all(_pronounce(decoder, word) for word in words):
                    continue
                decoder.reinit_feat()
                decoder.set_align_text(" ".join(words))
                _run(decoder, pcm)
                spans = _word_spans(decoder)
                if [s.label for s in spans if not is_special(s.label)] == words:
                    notes = (NOTE_WIDE,) if purpose == "align wide" else ()
                    return _with_phones(decoder, pcm, spans, duration, self.name, notes)
            except (RuntimeError, KeyError):
                pass
            self._decoders.pop(purpose)  # a failed pass leaves the decoder without a search
        raise AlignmentError(FAIL_FIT, text)

    def _decode(self, pcm: bytes, duration: float) -> Alignment:
        decoder = self._decoder("recognize")
        try:
            decoder.activate_search()
            decoder.reinit_feat()
            _run(decoder, pcm)
            spans = _word_spans(decoder)
        except (RuntimeError, KeyError) as error:
            self._decoders.pop("recognize")
            raise AlignmentError(FAIL_NOTHING, str(error)) from None
        if all(is_special(span.label) for span in spans):
            raise AlignmentError(FAIL_NOTHING)
        return _with_phones(decoder, pcm, spans, duration, DECODED_SOURCE)

    def _pronounceable(self, word: str) -> bool:
        return _pronounce(self._decoder("align"), word)

    def _decoder(self, purpose: str) -> Any:
        """A decoder of :data:`_SETTINGS`, made at its first use."""
        try:
            from pocketsphinx import Config, Decoder
        except ImportError:
            raise BadInputError(
                "--align pocketsphinx needs the package pocketsphinx: pip install pocketsphinx"
            ) from None
        if purpose not in self._decoders:
            config = Config(samprate=MODEL_RATE, loglevel="FATAL", **_SETTINGS[purpose])
            self._decoders[purpose] = Decoder(config)
        return self._decoders[purpose]


def _pronounce(decoder: Any, word: str) -> bool:
    """Whether the dictionary has a word; possessives of words that it has are added to it."""
    if decoder.lookup_word(word) is not None:
        return True
    if word.endswith("'s") and (phones := decoder.lookup_word(word[:-2])) is not None:
        decoder.add_word(word, possessive_phones(phones), True)
        return True
    return False


def _run(decoder: Any, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()


def _word_spans(decoder: Any) -> list[Span]:
    """The words of the last pass; silence and fillers keep their marks."""
    return [
        Span(
            "word",
            s.word if is_special(s.word) else plain_word(s.word),
            round(s.start_frame * FRAME, 4),
            round((s.end_frame + 1) * FRAME, 4),
        )
        for s in decoder.seg() or ()
    ]


def _with_phones(
    decoder: Any,
    pcm: bytes,
    words: list[Span],
    duration: float,
    source: str,
    notes: tuple[str, ...] = (),
) -> Alignment:
    """Add the phones of a second pass; words alone are kept when it finds none."""
    phones: list[Span] = []
    try:
        decoder.set_alignment()
        decoder.reinit_feat()
        _run(decoder, pcm)
        for word in decoder.get_alignment() or ():
            for phone in word:
                start = round(phone.start * FRAME, 4)
                end = round((phone.start + phone.duration) * FRAME, 4)
                phones.append(Span("phone", phone.name, start, end))
    except RuntimeError:
        phones = []
    spans, _ = tidy_tier(words, duration)
    tidy_phones: tuple[Span, ...] = ()
    with contextlib.suppress(AlignmentError):
        tidy_phones, _ = tidy_tier(phones, duration)
    if not tidy_phones:
        notes += (NOTE_NO_PHONES,)
    return Alignment(spans=spans + tidy_phones, source=source, notes=notes)
