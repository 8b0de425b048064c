"""What every feature must keep; a registered feature gets these tests by existing.

Use it in a test module::

    @pytest.mark.parametrize("name", FEATURES.names())
    class TestFeatures(FeatureContract):
        pass
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from serplatform.arrays import FloatArray
from serplatform.config import digest
from serplatform.errors import BadInputError
from serplatform.features.base import (
    FEATURES,
    SAMPLING_RATE,
    WHOLE_UTTERANCE,
    FeatureExtractor,
)
from serplatform.features.clip import Clip

#: lengths of clips in samples: one sample, one window, odd ones, and half a minute
LENGTHS = (1, 2, 159, 400, 401, 4_000, 16_000, 33_333, 480_000)


def glide(num_samples: int, *, seed: int = 0) -> FloatArray:
    """(S,) samples: a gliding tone in noise at -20 dB, without digital silence."""
    time = np.arange(num_samples) / SAMPLING_RATE
    noise = np.random.default_rng(seed).standard_normal(num_samples)
    tone = 0.1 * np.sin(2 * np.pi * (150 + 40 * np.sin(3 * time)) * time)
    return (tone + 0.1 * noise).astype(np.float32)


class FeatureContract:
    """Tests of one feature, whose registered ``name`` each test is given."""

    def make(self, name: str) -> FeatureExtractor:
        """A fresh extractor; the test is skipped where a package that it needs is missing."""
        extractor = FEATURES.get(name)()
        try:
            extractor.spec()
        except BadInputError as error:
            pytest.skip(str(error))
        return extractor

    def checked(self, extractor: FeatureExtractor, samples: FloatArray) -> FloatArray:
        """The frames of some samples: finite float32 values, (T, D), T at least 1."""
        frames = extractor.extract(samples)
        assert frames.dtype == np.float32, f"frames are {frames.dtype}, not float32"
        assert frames.ndim == 2, f"frames have {frames.ndim} axes, not (T, D)"
        assert frames.shape[1] == extractor.dim, f"D is {frames.shape[1]}, not {extractor.dim}"
        assert len(frames) >= 1, f"{len(samples)} samples give no frame"
        assert np.isfinite(frames).all(), f"{len(samples)} samples give values that are not finite"
        return frames

    def test_it_says_what_it_is(self, name: str) -> None:
        extractor = self.make(name)
        assert extractor.name == name
        assert extractor.dim >= 1
        assert extractor.frame_shift > 0
        assert extractor.frame_length > 0
        assert extractor.unit
        assert json.loads(json.dumps(extractor.spec(), allow_nan=False)) == extractor.spec()

    def test_each_specification_belongs_to_one_feature(self, name: str) -> None:
        own = digest(self.make(name).spec())
        assert own == digest(self.make(name).spec())
        others = {}
        for other in FEATURES.names():
            try:
                others[other] = digest(FEATURES.get(other)().spec())
            except BadInputError:
                continue  # a package is missing
        same = [other for other, found in others.items() if found == own]
        assert same == [name], f"these have one specification: {', '.join(same)}"

    @pytest.mark.parametrize("num_samples", LENGTHS)
    def test_clips_of_any_length_have_finite_frames(self, name: str, num_samples: int) -> None:
        self.checked(self.make(name), glide(num_samples))

    @pytest.mark.parametrize("num_samples", LENGTHS)
    @pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
    def test_silence_and_constants_have_finite_frames(
        self, name: str, value: float, num_samples: int
    ) -> None:
        self.checked(self.make(name), np.full(num_samples, value, np.float32))

    def test_frames_are_as_far_apart_as_declared(self, name: str) -> None:
        extractor = self.make(name)
        shorter, longer = (len(self.checked(extractor, glide(n * SAMPLING_RATE))) for n in (6, 10))
        if extractor.frame_shift >= WHOLE_UTTERANCE:
            assert (shorter, longer) == (1, 1)
        else:
            more = longer - shorter
            assert abs(more - 4 / extractor.frame_shift) <= 1, f"{more} frames in 4 s"

    def test_values_are_the_same_every_time_and_samples_are_left_alone(self, name: str) -> None:
        samples = glide(20_000)
        before = samples.copy()
        samples.setflags(write=False)
        extractor = self.make(name)
        first = extractor.extract(samples)
        np.testing.assert_array_equal(extractor.extract(samples), first)
        np.testing.assert_array_equal(self.make(name).extract(samples), first)
        np.testing.assert_array_equal(samples, before)

    def test_sharing_a_clip_with_other_features_changes_nothing(self, name: str) -> None:
        samples = glide(40_000)
        clip = Clip(samples)
        for other in FEATURES.defaults():
            FEATURES.get(other)().extract_clip(clip)
        extractor = self.make(name)
        np.testing.assert_array_equal(extractor.extract_clip(clip), extractor.extract(samples))

    def test_local_frames_are_computed_of_the_samples_that_they_cover(self, name: str) -> None:
        extractor = self.make(name)
        if not extractor.local:
            return
        shift = round(extractor.frame_shift * SAMPLING_RATE)
        length = round(extractor.frame_length * SAMPLING_RATE)
        samples = glide(80_000)
        frames = extractor.extract(samples[2 * shift : 3 * shift + length])  # two of them
        np.testing.assert_allclose(frames, extractor.extract(samples)[2:4], atol=1e-3)

    def test_a_gain_adds_its_offset(self, name: str) -> None:
        extractor = self.make(name)
        offset = extractor.gain_offset(6.0)
        if offset is None:
            return  # a gain does not add a constant to this feature
        assert offset.shape == (extractor.dim,)
        samples = glide(40_000)
        louder = extractor.extract((samples * 10 ** (6 / 20)).astype(np.float32))
        np.testing.assert_allclose(louder, extractor.extract(samples) + offset, atol=5e-2)
