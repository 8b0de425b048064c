"""Equal segmentation: every word gets the same share of the utterance.

The ablation of CAN (Lee, Yoon and Jung, Interspeech 2020, Table 3), and the way out where no
alignment can be had.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from serplatform.alignment.base import ALIGNERS, Aligner, Alignment, AlignmentFailure, FloatArray
from serplatform.alignment.words import tokens
from serplatform.corpora.base import Span, Utterance
from serplatform.errors import BadInputError

FAIL_NO_TEXT = "no words in the transcript"


def equal_spans(words: Sequence[str], duration: float) -> tuple[Span, ...]:
    """Give each word an equal share of the time.

    Args:
        words: in order.
        duration: seconds.

    Example:
        >>> [(s.label, s.start, s.end) for s in equal_spans(["by", "the", "door"], 1.5)]
        [('by', 0.0, 0.5), ('the', 0.5, 1.0), ('door', 1.0, 1.5)]
    """
    share = duration / max(len(words), 1)
    return tuple(
        Span(tier="word", label=word, start=i * share, end=(i + 1) * share)
        for i, word in enumerate(words)
    )


@ALIGNERS.register("equal")
class EqualAligner(Aligner):
    """Divides the time equally between the words of the transcript; for any language."""

    name: ClassVar[str] = "equal"
    description: ClassVar[str] = "equal shares of the time for the transcript's words"

    def __init__(self, directory: Path | None = None) -> None:
        if directory is not None:
            raise BadInputError(
                f"--alignments {directory} is given, but --align equal reads no files; leave it out"
            )

    def check(self, utterances: Sequence[Utterance]) -> None:
        """Refuse a corpus without transcripts."""
        if utterances and not any(u.text for u in utterances):
            raise BadInputError(
                "--align equal divides the time between the words of the transcripts, and this "
                "corpus has none; use --align pocketsphinx to recognize English words, or none"
            )

    def align(
        self, utterance: Utterance, samples: FloatArray, sampling_rate: int
    ) -> Alignment | AlignmentFailure:
        """Divide the utterance's time between its words."""
        words = tokens(utterance.text or "")
        if not words:
            return AlignmentFailure(reason=FAIL_NO_TEXT, detail=utterance.utterance_id)
        return Alignment(spans=equal_spans(words, len(samples) / sampling_rate), source=self.name)
