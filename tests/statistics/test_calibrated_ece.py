"""The ECE that perfect calibration gives, against simulated corpora whose posteriors are right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from serplatform.statistics.calibrated_ece import calibrated_ece
from serplatform.statistics.intervals import SpeakerSums, speaker_sums


def corpus(rng: np.random.Generator, speakers: int, clips: int, lean: float = 0.0) -> SpeakerSums:
    """Two classes, speakers who are easier and harder; ``lean`` makes posteriors overconfident."""
    heard = rng.normal(0.6, 1.0, (speakers, clips))
    told = heard + rng.normal(0, 0.6, (speakers, 1)) + rng.normal(size=heard.shape) > 0
    first = norm.cdf((1 + lean) * heard / np.sqrt(1 + 0.6**2)).ravel()
    names = [f"s{i:02d}" for i in np.repeat(np.arange(speakers), clips)]
    return speaker_sums(np.where(told.ravel(), 0, 1), np.stack([first, 1 - first], axis=1), names)


@pytest.mark.parametrize("speakers", [8, 24])
def test_calibrated_posteriors_have_about_this_error(speakers: int) -> None:
    rng = np.random.default_rng(speakers)
    measured, expected, above = [], [], 0
    for _ in range(150):
        sums = corpus(rng, speakers, 60)
        ece, found = float(sums.metrics(np.ones(speakers))["ece"]), calibrated_ece(sums)
        assert found is not None
        measured.append(ece)
        expected.append(found.mean)
        above += ece > found.high
    assert np.mean(measured) == pytest.approx(np.mean(expected), rel=0.12)
    assert above <= 20  # binomial(150, 0.08), + 2.4 standard deviations


def test_overconfident_posteriors_lie_above() -> None:
    sums = corpus(np.random.default_rng(0), 24, 60, lean=2.0)
    found = calibrated_ece(sums)
    assert found is not None
    assert float(sums.metrics(np.ones(24))["ece"]) > 1.5 * found.high


def test_one_speaker_has_none() -> None:
    assert calibrated_ece(corpus(np.random.default_rng(0), 1, 60)) is None
