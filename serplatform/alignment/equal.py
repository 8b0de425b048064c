"""Equal segmentation: every word gets the same share of the utterance.

The ablation of CAN (Lee, Yoon and Jung, Interspeech 2020, Table 3), and the way out where no
alignment can be had.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from serplatform.alignment.base import ALIGNERS, Aligner, Alignment, AlignmentError
from serplatform.alignment.segments import equal_segments
from serplatform.alignment.tokens import text_notes, tokens, unsegmented
from serplatform.arrays import FloatArray
from serplatform.corpora.base import Span, Utterance
from serplatform.errors import BadInputError

FAIL_NO_TEXT = "no words in the transcript"


@ALIGNERS.register("equal")
class EqualAligner(Aligner):
    """Divides the time equally between the words of the transcript; for any language."""

    description: ClassVar[str] = "equal shares of the time for the transcript's words"

    def check(self, utterances: Sequence[Utterance]) -> None:
        """Refuse a corpus without transcripts."""
        if utterances and not any(tokens(u.text or "") for u in utterances):
            raise BadInputError(
                "--align equal divides the time between the words of the transcripts, and this "
                "corpus has none; use --align pocketsphinx to recognize English words, or none",
                text_notes(u.text for u in utterances),
            )

    def align(self, utterance: Utterance, samples: FloatArray, sampling_rate: int) -> Alignment:
        """Divide the utterance's time between its words."""
        words = tokens(utterance.text or "")
        if not words:
            script = unsegmented(utterance.text or "")
            reason = FAIL_NO_TEXT + (f": {script} without blanks between words" if script else "")
            raise AlignmentError(reason, utterance.utterance_id)
        shares = equal_segments(len(words), 0.0, len(samples) / sampling_rate).tolist()
        spans = (
            Span("word", word, start, end) for word, (start, end) in zip(words, shares, strict=True)
        )
        return Alignment(spans=tuple(spans), source=self.name)
