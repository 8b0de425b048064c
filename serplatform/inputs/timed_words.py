"""The words of many utterances in flat arrays: of stored alignments, or of new audio.

Shapes: N utterances, W words of all of them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

import numpy as np

from serplatform.alignment.tokens import tokens
from serplatform.arrays import DoubleArray, IntArray
from serplatform.inputs.vocabulary import UNKNOWN


@dataclasses.dataclass(frozen=True)
class TimedWords:
    """Words with their times, utterance by utterance.

    Attributes:
        words: distinct words.
        codes: (W,) position in ``words`` of each word.
        times: (W, 2) seconds; NaN where the word has no time of its own.
        offsets: (N + 1,) first word of each utterance.
        counts: utterances ``unaligned``: with words of their transcripts; ``wordless``;
            ``outdated``: today's rules find other words in their transcripts.
        rules: version of the rules by which transcripts were split.
    """

    words: tuple[str, ...]
    codes: IntArray
    times: DoubleArray
    offsets: IntArray
    counts: Counter[str]
    rules: int

    @classmethod
    def collect(
        cls, utterances: Iterable[tuple[list[str], DoubleArray, str | None]], rules: int
    ) -> TimedWords:
        """Gather words; an utterance gets at least one.

        The words of an utterance are those of its alignment; without an alignment, those of its
        transcript; without either, one unknown word.

        Args:
            utterances: words of the alignment, (L, 2) their times, and the transcript.
            rules: version of the rules by which transcripts are split.
        """
        numbers: dict[str, int] = {}
        codes: list[int] = []
        all_times: list[DoubleArray] = []
        offsets, counts = [0], Counter[str]()
        for words, times, text in utterances:
            if not words:
                words = tokens(text or "", rules)
                counts["outdated"] += rules == 1 and words != tokens(text or "")
                counts["unaligned" if words else "wordless"] += 1
                words = words or [UNKNOWN]
                times = np.full((len(words), 2), np.nan)
            codes += [numbers.setdefault(word, len(numbers)) for word in words]
            all_times.append(times)
            offsets.append(len(codes))
        return cls(
            words=tuple(numbers),
            codes=np.array(codes, dtype=np.int64),
            times=np.concatenate([np.zeros((0, 2)), *all_times]),
            offsets=np.array(offsets, dtype=np.int64),
            counts=counts,
            rules=rules,
        )

    def __len__(self) -> int:
        """N."""
        return len(self.offsets) - 1

    def of(self, row: int) -> slice:
        """Where an utterance's words are."""
        return slice(int(self.offsets[row]), int(self.offsets[row + 1]))

    def text(self, row: int) -> list[str]:
        """An utterance's words."""
        return [self.words[code] for code in self.codes[self.of(row)]]
