"""Attention laid over phones, worked out by hand."""

import numpy as np
import pytest

from serplatform.alignment.phone_classes import PHONE_CLASSES
from serplatform.corpora.base import Span
from serplatform.explanations.attention import (
    FrameGrid,
    class_mass,
    frame_classes,
    map_kind,
    shares,
    speech_part,
    spread,
)
from serplatform.features.base import WHOLE_UTTERANCE


def phone(label, start, end):
    return Span(tier="phone", label=label, start=start, end=end)


#: ten frames of 25 ms every 10 ms: centres at 12.5, 22.5, … 102.5 ms
GRID = FrameGrid(first=0, count=10, shift=0.01, length=0.025)
PHONES = [
    phone("SIL", 0.0, 0.02),
    phone("K", 0.02, 0.04),
    phone("AA1", 0.04, 0.08),
    phone("+SPN+", 0.08, 0.09),
]


def names(classes):
    return [PHONE_CLASSES[c] for c in classes]


@pytest.mark.parametrize("count", [1, 6, 7, 12])
def test_frames_that_sum_up_shares_of_an_utterance_lie_within_it(count: int) -> None:
    shift = WHOLE_UTTERANCE / count
    grid = FrameGrid.of(0, count, shift=shift, length=shift, seconds=3.0)
    assert not grid.fine
    np.testing.assert_allclose(grid.centres, (np.arange(count) + 0.5) * 3.0 / count)
    own = FrameGrid.of(2, 7, shift=0.01, length=0.025, seconds=3.0)
    assert own == FrameGrid(first=2, count=5, shift=0.01, length=0.025)
    assert not FrameGrid.of(0, 3, shift=2.0, length=2.0, seconds=6.0).fine


def test_a_frame_belongs_to_the_phone_at_its_centre():
    np.testing.assert_allclose(GRID.centres[:2], [0.0125, 0.0225])
    # beyond the last phone there is silence
    assert names(frame_classes(PHONES, GRID, "arpabet")) == (
        ["silence"] + ["consonant"] * 2 + ["vowel"] * 4 + ["other"] + ["silence"] * 2
    )


def test_trimming_moves_the_frames_not_the_phones():
    trimmed = FrameGrid(first=3, count=3, shift=0.01, length=0.025)
    assert names(frame_classes(PHONES, trimmed, "arpabet")) == ["vowel"] * 3
    np.testing.assert_allclose(trimmed.centres, GRID.centres[3:6])


def test_attention_mass_worked_by_hand():
    share = np.array([0.1, 0.1, 0.0, 0.2, 0.1, 0.1, 0.1, 0.1, 0.15, 0.05])
    mass, frames = class_mass(share, frame_classes(PHONES, GRID, "arpabet"))
    assert mass == pytest.approx({"vowel": 0.5, "consonant": 0.1, "silence": 0.3, "other": 0.1})
    assert frames == {"vowel": 4, "consonant": 2, "silence": 3, "other": 1}


def test_speech_is_vowels_and_consonants_alone():
    share = np.arange(1.0, 11.0) / 55
    weights, marked = speech_part(share, frame_classes(PHONES, GRID, "arpabet"))
    np.testing.assert_allclose(weights * 55, [2, 3, 4, 5, 6, 7])
    assert marked.tolist() == [False, False, True, True, True, True]


def test_without_a_contrast_there_is_nothing_to_test():
    only_vowels = frame_classes([phone("AA", 0.0, 1.0)], GRID, "arpabet")
    assert speech_part(np.full(10, 0.1), only_vowels) is None
    assert speech_part(np.full(10, 0.1), frame_classes([], GRID, "arpabet")) is None
    silent = np.zeros(10)
    silent[9] = 1.0  # all attention on the silence at the end
    assert speech_part(silent, frame_classes(PHONES, GRID, "arpabet")) is None


def test_negative_mixture_weights_count_by_their_size():
    np.testing.assert_allclose(shares([-0.2, -0.6]), [0.25, 0.75])
    np.testing.assert_allclose(shares(2.5 * np.array([0.25, 0.75])), [0.25, 0.75])


def test_spread_is_the_effective_share_of_frames():
    assert spread(np.array([0.5, 0.5, 0.0, 0.0])) == pytest.approx(0.5)
    assert spread(np.full(7, 1 / 7)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("layer2", (4, 90), "frames"),
        ("frames", (4, 90), "frames"),
        ("audio_words", (4, 6), "words"),
        ("hop1_words", (4, 90), None),
        ("elements", (4, 90, 40), None),
        ("alignment", (4, 6, 90), None),
    ],
)
def test_maps_are_told_by_name_and_shape(name, shape, kind):
    assert map_kind(name, shape, 90, 6) == kind
