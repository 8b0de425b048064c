"""Training clips at further speeds, which a dataset stores as features beside those of the clips.

Ko et al., "Audio Augmentation for Speech Recognition", Interspeech 2015. A copy goes through the
same pipeline as its clip; times in it are those of the clip divided by the speed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.features.names import at_speed
from serplatform.inputs.clips import Clips, ClipSource, Moments
from serplatform.inputs.timed_words import TimedWords

#: separates the random stream of the speeds from those of other changes
_SPEED_STREAM = 2


def played(source: ClipSource, speed: float, speakers: Mapping[Hashable, Moments]) -> ClipSource:
    """The same utterances at another speed; ``speakers`` has the moments of the clips as they are,
    where they are normalized within a speaker."""

    def words(rules: int | None) -> TimedWords:
        found = source.words(rules)
        return dataclasses.replace(found, times=found.times / speed)

    start, end = source.speech
    return dataclasses.replace(
        source,
        feature=lambda name: source.feature(at_speed(name, speed)),
        words=words,
        speech=(start / speed, end / speed),
        known_speaker=speakers,
        cache=source.cache.setdefault(("played", speed), {}),
    )


def with_drawn_speed(clips: Clips, copies: Sequence[Clips]) -> Clips:
    """Every utterance as it is or as one of its copies, drawn from the epoch's key and its row;
    without a key as it is."""
    choices = (clips, *copies)

    def frames(row: int, key: int | None) -> FloatArray:
        if key is None:
            return clips.frames(row, None)
        rng = np.random.default_rng((key, row, _SPEED_STREAM))
        return choices[int(rng.integers(len(choices)))].frames(row, key)

    return dataclasses.replace(clips, frames=frames, stretches=True)
