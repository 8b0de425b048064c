"""Every registered feature keeps the contract."""

from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest

from serplatform.arrays import FloatArray
from serplatform.features.base import FEATURES, FeatureExtractor
from serplatform.testing.feature_contract import FeatureContract


@pytest.mark.parametrize("name", FEATURES.names())
class TestFeatures(FeatureContract):
    pass


def test_defaults_are_the_features_of_the_papers_and_the_descriptors() -> None:
    papers = ("log_mel_23", "log_mel_40", "mfcc_40", "mfcc_40_window")
    assert set(FEATURES.defaults()) == {*papers, "descriptors"}


class Broken(FeatureExtractor):
    """Energy of 10 ms frames, wrong in one way."""

    name, dim, frame_shift, frame_length = "broken", 1, 0.01, 0.01
    unit = "power"

    def __init__(self, wrong: str = "") -> None:
        self.wrong = wrong
        self.calls = 0

    def extract(self, samples: FloatArray) -> FloatArray:
        hop = 320 if self.wrong == "shift" else 160
        count = len(samples) // hop if self.wrong == "empty" else max(1, len(samples) // hop)
        padded = np.pad(samples, (0, max(0, count * hop - len(samples))))[: count * hop]
        power = np.square(padded.reshape(count, hop)).mean(axis=1, keepdims=True)
        self.calls += 1
        if self.wrong == "silence":
            with np.errstate(divide="ignore"):
                power = np.log(power)
        if self.wrong == "dtype":
            return power.astype(np.float64)
        if self.wrong == "random":
            return power + np.float32(self.calls)
        if self.wrong == "dim":
            return np.repeat(power, 2, axis=1)
        return power

    def spec(self) -> dict[str, Any]:
        return {"kind": "broken"}


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        ("shift", "test_frames_are_as_far_apart_as_declared"),
        ("empty", "test_clips_of_any_length_have_finite_frames"),
        ("dtype", "test_clips_of_any_length_have_finite_frames"),
        ("dim", "test_clips_of_any_length_have_finite_frames"),
        ("silence", "test_silence_and_constants_have_finite_frames"),
        ("random", "test_values_are_the_same_every_time_and_samples_are_left_alone"),
    ],
)
def test_what_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch, wrong: str, test: str) -> None:
    FEATURES.names()
    arguments = {
        "test_clips_of_any_length_have_finite_frames": (1,),
        "test_silence_and_constants_have_finite_frames": (0.0, 400),
    }.get(test, ())
    for made, expected in ((wrong, pytest.raises(AssertionError)), ("", nullcontext())):
        monkeypatch.setitem(FEATURES._members, "broken", partial(Broken, made))
        with expected:
            getattr(FeatureContract(), test)("broken", *arguments)
