"""How many clips a speaker has, and in which mixture: counted by hand, and in words."""

from __future__ import annotations

import numpy as np
import pytest

from serplatform.statistics.speaker_clips import SpeakerClips

CLASSES = ["neutral", "sad"]


def test_uneven_speakers_and_mixtures_are_counted():
    truth = np.array([0, 0, 0, 1, 0, 1])
    found = SpeakerClips.count(truth, ["a"] * 4 + ["b"] * 2, CLASSES)
    assert (found.speakers, found.fewest, found.median) == (2, 2, 3.0)
    assert (found.largest_share, found.of) == (0.75, "neutral")
    assert found.spread == pytest.approx(1 / 6)
    assert str(found) == (
        "about 3 unlabelled clips of each test speaker (at least 2); here mixtures of emotions "
        "differ by up to 17 points of share, at most 75.0 % of one of them (neutral)"
    )


def test_equal_mixtures_are_called_so():
    found = SpeakerClips.count(np.array([0, 1, 1] * 2), list("aaabbb"), CLASSES)
    assert found.spread == 0
    assert "every speaker has the same mixture" in str(found)
