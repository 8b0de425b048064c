"""How much is known of a speaker: how many clips, and in which mixture of emotions.

What normalisation within a speaker was given, and so what a new speaker must give for the same.

Shapes: N utterances, S speakers, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from serplatform.arrays import IntArray

#: mixtures are called the same where no share of a class differs by more from that of all speakers
SAME_MIXTURE = 0.02


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpeakerClips:
    """Clips of test speakers.

    Attributes:
        speakers: S.
        fewest: clips of the speaker who has fewest.
        median: clips of a speaker.
        largest_share: of one class in the clips of one speaker, a fraction; its name is ``of``.
        spread: largest difference of a class's share in one speaker from that in all clips.
    """

    speakers: int
    fewest: int
    median: float
    largest_share: float
    of: str
    spread: float

    @classmethod
    def count(
        cls, truth: IntArray, speaker_ids: Sequence[str], classes: Sequence[str]
    ) -> SpeakerClips:
        """Of (N,) class indices and speakers, at least one."""
        names, speaker = np.unique(np.asarray(speaker_ids), return_inverse=True)
        counts = np.zeros((len(names), len(classes)))
        np.add.at(counts, (speaker, truth), 1)
        clips = counts.sum(axis=1)
        shares = counts / clips[:, None]
        whole = counts.sum(axis=0) / clips.sum()
        return cls(
            speakers=len(names),
            fewest=int(clips.min()),
            median=float(np.median(clips)),
            largest_share=float(shares.max()),
            of=classes[int(shares.max(axis=0).argmax())],
            spread=float(np.abs(shares - whole).max()),
        )

    def __str__(self) -> str:
        """In half a sentence.

        Example:
            >>> truth = np.array([0, 1, 1, 0, 1, 1])
            >>> print(SpeakerClips.count(truth, list("aaabbb"), ["sad", "happy"]))
            3 unlabelled clips of each test speaker; here every speaker has the same mixture of \
emotions, at most 66.7 % of one of them (happy)
        """
        median = f"{self.median:.0f}"
        fewest = "" if self.fewest == self.median else f" (at least {self.fewest})"
        about = "" if self.fewest == self.median else "about "
        if self.spread <= SAME_MIXTURE:
            mixture = "every speaker has the same mixture of emotions"
        else:
            mixture = (
                f"mixtures of emotions differ by up to {100 * self.spread:.0f} points of share"
            )
        return (
            f"{about}{median} unlabelled clips of each test speaker{fewest}; here {mixture}, at "
            f"most {100 * self.largest_share:.1f} % of one of them ({self.of})"
        )
