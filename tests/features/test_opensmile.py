"""openSMILE's functionals as features."""

import builtins

import numpy as np
import pytest

from serplatform.errors import BadInputError
from serplatform.features import opensmile
from serplatform.features.base import FEATURES


def tone(seconds):
    time = np.arange(round(16_000 * seconds)) / 16_000
    return (0.3 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)


@pytest.fixture
def without_opensmile(monkeypatch):
    real = builtins.__import__

    def importing(name, *rest, **named):
        if name == "opensmile":
            raise ImportError(name)
        return real(name, *rest, **named)

    opensmile.smile.cache_clear()
    monkeypatch.setattr(builtins, "__import__", importing)
    yield
    opensmile.smile.cache_clear()


def test_values_are_opensmiles_own():
    opensmile = pytest.importorskip("opensmile")
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02,
        feature_level=opensmile.FeatureLevel.Functionals,
    )
    expected = smile.process_signal(tone(1.5), 16_000)
    extractor = FEATURES.get("egemaps_v02")()
    result = extractor.extract(tone(1.5))
    assert result.shape == (1, extractor.dim) == (1, 88)
    np.testing.assert_allclose(result[0], expected.to_numpy()[0], rtol=1e-6)
    pitch = result[0][expected.columns.get_loc("F0semitoneFrom27.5Hz_sma3nz_amean")]
    assert abs(pitch - 12 * np.log2(200 / 27.5)) < 0.5


@pytest.mark.parametrize(("name", "dim"), [("egemaps_v02_lld", 25), ("compare_2016_lld", 65)])
def test_descriptors_are_opensmiles_own_every_ten_milliseconds(name, dim):
    opensmile = pytest.importorskip("opensmile")
    sets = {"egemaps_v02_lld": "eGeMAPSv02", "compare_2016_lld": "ComParE_2016"}
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet[sets[name]],
        feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
    )
    expected = smile.process_signal(tone(1.5), 16_000).to_numpy()
    result = FEATURES.get(name)().extract(tone(1.5))
    assert result.shape == expected.shape == (len(expected), dim)
    assert abs(len(result) - 145) <= 5
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    for samples in (tone(0.02), np.zeros(16_000, dtype=np.float32)):
        short = FEATURES.get(name)().extract(samples)
        assert short.shape[1] == dim
        assert len(short) > 0
        assert np.isfinite(short).all()


@pytest.mark.parametrize("name", ["egemaps_v02", "compare_2016"])
@pytest.mark.parametrize("samples", [tone(0.02), np.zeros(16_000, dtype=np.float32)])
def test_short_and_silent_clips_give_finite_functionals(name, samples):
    pytest.importorskip("opensmile")
    extractor = FEATURES.get(name)()
    result = extractor.extract(samples)
    assert result.shape == (1, extractor.dim)
    assert result.dtype == np.float32
    assert np.isfinite(result).all()


def test_a_missing_package_is_named_with_the_remedy(without_opensmile):
    with pytest.raises(BadInputError, match=r"pip install 'serplatform\[opensmile\]'"):
        FEATURES.get("compare_2016")().extract(tone(1.0))
