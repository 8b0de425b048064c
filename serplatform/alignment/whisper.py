"""Words in any language that a local Whisper knows: transcripts aligned, or speech recognised.

``whisper:DIR`` locates the words of transcripts and recognises them where there are none, as
``pocketsphinx`` does for English; ``whisper-asr:DIR`` recognises always, for studies of what
recognition errors cost. The corpus's own text stays in the table of utterances either way. Words
are split by the rules of ``tokens.py``, whoever wrote them. There are no phones.

A clip is cut to its speech first (``speech_bounds``): what is before and after it would be given
to the first and the last word. Speech that is longer than a window of 30 s is recognised in
pieces, cut where it is quietest.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from serplatform.alignment.base import ALIGNERS, Aligner, Alignment, AlignmentError
from serplatform.alignment.languages import language_code
from serplatform.alignment.segments import equal_segments
from serplatform.alignment.tidy import tidy_tier
from serplatform.alignment.tokens import tokens, unsegmented
from serplatform.arrays import FloatArray
from serplatform.corpora.audio import speech_bounds
from serplatform.corpora.base import Span, Utterance
from serplatform.encoders.base import SAMPLING_RATE
from serplatform.encoders.speech_recognizer import (
    MOST_TOKENS,
    EncodedSpeech,
    SpeechRecognizer,
    TextTooLongError,
    TimedPiece,
)
from serplatform.errors import BadInputError

#: of text that was recognised; ``whisper`` is that of a transcript
RECOGNIZED_SOURCE = "whisper-recognized"

# of the authors' code (``whisper/transcribe.py``): above and below them, text is not believed
MOST_COMPRESSION = 2.4
MOST_NO_SPEECH, LEAST_LOG_PROBABILITY = 0.6, -1.0

FAIL_LANGUAGE = "a language that this Whisper does not know"
FAIL_NO_TEXT = "no words in the transcript"
FAIL_SILENT = "silent audio"
FAIL_LONG = "speech too long for a transcript to be aligned"
FAIL_CROWDED = "the transcript is too long for the audio"
FAIL_NO_SPEECH = "no speech recognized"
FAIL_NOTHING = "no words recognized"
FAIL_REPEATS = "the recognizer repeats itself"
NOTE_DETECTED = "language not given, recognized as {}"
NOTE_ENGLISH = "language not given, taken for English, which is all that this Whisper knows"
NOTE_PART = "a part of the speech was not recognized"
NOTE_PIECES = "longer than the recognizer's window: recognized in pieces"

_BLOCK = 800  # samples of which a level is taken: 50 ms
_SETTINGS = {"version": 1, "decoding": "greedy", "tokens": MOST_TOKENS}


@ALIGNERS.register("whisper")
class WhisperAligner(Aligner):
    """Aligns transcripts by a local Whisper, and recognises words where there is none."""

    description: ClassVar[str] = (
        "whisper:DIR, a local Whisper: transcripts aligned in its languages, recognition where "
        "there are none"
    )
    needs_model: ClassVar[bool] = True
    recognizes_always: ClassVar[bool] = False

    def __init__(self, directory: Path | None = None, *, model: str | SpeechRecognizer) -> None:
        self.recognizer = SpeechRecognizer.open(model) if isinstance(model, str) else model

    @property
    def address(self) -> str:
        """With the absolute path of the model; see the base class."""
        return f"{self.name}:{self.recognizer.path}"

    def spec(self) -> dict[str, object]:
        """What determines its words: the model's weights, and how they are used."""
        return {
            "kind": self.name,
            "model": self.recognizer.name,
            "sha256": self.recognizer.sha256,
            **_SETTINGS,
        }

    @classmethod
    def restore(cls, spec: Mapping[str, object], folders: Sequence[Path] = ()) -> Aligner:
        """Aligns a transcript that is given, also for models of recognised words."""
        model = SpeechRecognizer.find(str(spec["model"]), str(spec["sha256"]), folders)
        aligner = WhisperAligner(model=model)
        if wrong := [name for name, value in _SETTINGS.items() if spec.get(name) != value]:
            raise BadInputError(
                f"{model.name}: another version of serplatform recognised the words that the "
                f"models were trained on ({', '.join(wrong)} differ); use that version, or prepare "
                "and train again"
            )
        return aligner

    def check(self, utterances: Sequence[Utterance]) -> None:
        """Refuse a corpus of which no utterance is in a language that the model knows."""
        named = {u.language for u in utterances}
        unknown = sorted(name for name in named if name and self._code(name) is None)
        if unknown and len(unknown) == len(named):
            known = self.recognizer.languages
            knows = f"knows {len(known)} languages, and not these" if known else "is for English"
            raise BadInputError(
                f"{self.recognizer.path}: this Whisper {knows}, and the corpus is in: "
                f"{', '.join(unknown)}; give a multilingual one, or use --align textgrid with "
                "--alignments DIR or --align equal"
            )

    def align(self, utterance: Utterance, samples: FloatArray, sampling_rate: int) -> Alignment:
        """Align the transcript to the audio, or recognise words where there is none."""
        if sampling_rate != SAMPLING_RATE:
            raise ValueError(f"Whisper needs {SAMPLING_RATE} Hz, not {sampling_rate}")
        if utterance.language and self._code(utterance.language) is None:
            raise AlignmentError(FAIL_LANGUAGE, utterance.language)
        if not np.any(samples):
            raise AlignmentError(FAIL_SILENT, utterance.utterance_id)
        text = None if self.recognizes_always else utterance.text
        if text is not None and not tokens(text):
            script = unsegmented(text)
            reason = FAIL_NO_TEXT + (f": {script} without blanks between words" if script else "")
            raise AlignmentError(reason, repr(text))
        start, end = (round(at * SAMPLING_RATE) for at in speech_bounds(samples))
        longest = round(self.recognizer.window * SAMPLING_RATE)
        cuts = [start, *_quiet_places(samples, start, end, longest), end]
        if text is not None and len(cuts) > 2:
            raise AlignmentError(FAIL_LONG, f"{(end - start) / SAMPLING_RATE:.1f} s")
        spans: list[Span] = []
        notes: list[str] = [NOTE_PIECES] if len(cuts) > 2 else []
        failures: list[AlignmentError] = []
        for first, last in itertools.pairwise(cuts):
            speech = self.recognizer.encode(samples[first:last])
            language, note = self._language(utterance, speech)
            notes += note
            try:
                pieces = self._pieces(speech, text, language)
            except AlignmentError as error:
                failures.append(error)
                continue
            spans += word_spans(pieces, first / SAMPLING_RATE)
        if not spans:
            raise failures[0] if failures else AlignmentError(FAIL_NOTHING)
        notes += [f"{NOTE_PART}: {error.reason}" for error in failures]
        tidy, repaired = tidy_tier(spans, len(samples) / sampling_rate)
        source = RECOGNIZED_SOURCE if text is None else self.name
        return Alignment(spans=tidy, source=source, notes=tuple(dict.fromkeys((*notes, *repaired))))

    def _pieces(
        self, speech: EncodedSpeech, text: str | None, language: str | None
    ) -> tuple[TimedPiece, ...]:
        """The transcript or what is recognised, with times; an AlignmentError says why not."""
        if text is not None:
            try:
                return self.recognizer.align(speech, text, language).pieces
            except TextTooLongError as error:
                raise AlignmentError(FAIL_CROWDED, str(error)) from None
        found = self.recognizer.recognize(speech, language)
        written = found.text.encode()
        if written and len(written) / len(zlib.compress(written)) > MOST_COMPRESSION:
            raise AlignmentError(FAIL_REPEATS, found.text[:80])
        unlikely = found.mean_log_probability < LEAST_LOG_PROBABILITY
        if unlikely and found.no_speech > MOST_NO_SPEECH:
            raise AlignmentError(FAIL_NO_SPEECH, found.text[:80])
        return found.pieces

    def _language(
        self, utterance: Utterance, speech: EncodedSpeech
    ) -> tuple[str | None, tuple[str, ...]]:
        """The language to read and write, and a note where it was not given."""
        if utterance.language:
            return self._code(utterance.language), ()
        if not self.recognizer.languages:
            return None, (NOTE_ENGLISH,)
        found = self.recognizer.detect_language(speech)
        return found, (NOTE_DETECTED.format(found),)

    def _code(self, language: str) -> str | None:
        """The model's code of a language; None where it does not know it."""
        code = language_code(language)
        return code if code in (self.recognizer.languages or {"en"}) else None


@ALIGNERS.register("whisper-asr")
class WhisperRecognitionAligner(WhisperAligner):
    """Recognises words by a local Whisper, also where there are transcripts."""

    description: ClassVar[str] = "whisper-asr:DIR, the same, recognition also of transcribed clips"
    recognizes_always: ClassVar[bool] = True


def word_spans(pieces: Sequence[TimedPiece], offset: float = 0.0) -> list[Span]:
    """Words of a text by the rules of ``tokens.py``, with the times of their pieces.

    The text is divided between two pieces where that divides no word and no noise mark.

    Example:
        >>> said = [(" Twenty", 0.0), ("-", 0.4), ("one", 0.5), (" (", 0.8), ("laughs", 1.0)]
        >>> said += [(")", 1.3), (" don", 1.5), ("'t", 1.7), (".", 2.0), ("", 2.1)]
        >>> from itertools import pairwise
        >>> pieces = [TimedPiece(a[0], a[1], b[1]) for a, b in pairwise(said)]
        >>> [(span.label, span.start, span.end) for span in word_spans(pieces)]
        [('twenty', 0.0, 0.4), ('one', 0.5, 0.8), ("don't", 1.5, 2.0)]
    """
    texts = [piece.text for piece in pieces]
    whole = tokens("".join(texts))
    spans: list[Span] = []
    first = 0
    for last in range(1, len(pieces) + 1):
        before, after = tokens("".join(texts[:last])), tokens("".join(texts[last:]))
        if before + after != whole:
            continue
        words = tokens("".join(texts[first:last]))
        start, end = pieces[first].start + offset, pieces[last - 1].end + offset
        shares = equal_segments(len(words), start, end).round(4).tolist()
        spans += [Span("word", word, *share) for word, share in zip(words, shares, strict=True)]
        first = last
    return spans


def _quiet_places(samples: FloatArray, start: int, end: int, longest: int) -> list[int]:
    """Where to cut speech between ``start`` and ``end`` into pieces of at most ``longest``.

    Each cut is at the quietest twentieth of a second of the last third of a piece.
    """
    cuts: list[int] = []
    while end - start > longest:
        first = start + longest * 2 // 3
        blocks = samples[first : start + longest]
        blocks = blocks[: len(blocks) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
        start = first + int(np.square(blocks).sum(axis=1).argmin()) * _BLOCK + _BLOCK // 2
        cuts.append(start)
    return cuts
