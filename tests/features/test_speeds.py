"""Features of clips at other speeds: names, values, one pass of an encoder for each copy."""

from __future__ import annotations

import json

import numpy as np
import pytest

from serplatform.encoders.open import open_encoder
from serplatform.errors import BadInputError
from serplatform.features.base import FEATURES, SAMPLING_RATE
from serplatform.features.clip import Clip
from serplatform.features.names import canonical, file_stem, split_features
from tests.support.tiny_encoders import tiny_whisper


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SERPLATFORM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def samples():
    return np.random.default_rng(1).normal(0, 0.1, 9_000).astype(np.float32)


def test_names_carry_a_speed():
    assert split_features("pretrained:m/w@2,3~0.9,log_mel_23~1.1") == [
        "pretrained:m/w@2,3~0.9",
        "log_mel_23~1.1",
    ]
    assert canonical("pretrained:~/m/w@3:pooled~0.90") == "pretrained:w@3:pooled~0.9"
    assert canonical("pretrained:~/m/w~2@3") == "pretrained:w-2@3"
    assert FEATURES.expand("log_mel_23~1.10") == ["log_mel_23~1.1"]
    stems = {file_stem(f"log_mel_23{end}") for end in ("", "~0.9", "~1.1")}
    assert len(stems) == 3


@pytest.mark.parametrize("speed", ["1", "1.0", "0", "3", "0.90000001"])
def test_a_speed_that_is_none_is_refused(speed):
    with pytest.raises(BadInputError, match=r"log_mel_23 at speed .* 0.5 to 2 other than 1"):
        FEATURES.expand(f"log_mel_23~{speed}")


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_tempo_and_pitch_change(speed):
    seconds = np.arange(2 * SAMPLING_RATE) / SAMPLING_RATE
    tone = (0.3 * np.sin(2 * np.pi * 1_000 * seconds)).astype(np.float32)
    played = Clip(tone).at_speed(speed).samples
    assert len(played) == pytest.approx(len(tone) / speed, abs=1)
    middle = played[4_000:20_000].astype(np.float64)
    peak = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))).argmax()
    assert peak == pytest.approx(1_000 * speed, abs=1)  # bins of 1 Hz
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3 / np.sqrt(2), rel=1e-3)


def test_what_is_stored_is_the_feature_of_the_played_clip_and_is_found_again(tmp_path, samples):
    place = tiny_whisper(tmp_path / "tiny")
    for given in ("log_mel_23~0.9", f"pretrained:{place}@1~0.9"):
        [name] = FEATURES.expand(given)
        extractor = FEATURES.make(name)
        plain = FEATURES.make(given.removesuffix("~0.9"))
        assert extractor.name == canonical(given) == f"{plain.name}~0.9"
        assert extractor.stored_as == plain.stored_as
        assert extractor.costly == plain.costly
        assert extractor.dim == plain.dim
        frames = extractor.extract(samples)
        np.testing.assert_array_equal(frames, plain.extract(Clip(samples).at_speed(0.9).samples))
        assert len(frames) > len(plain.extract(samples))
        spec = json.loads(json.dumps(extractor.spec()))
        assert spec != plain.spec()
        again = FEATURES.restore(extractor.name, spec)
        np.testing.assert_array_equal(again.extract(samples), frames)


def test_layers_of_a_copy_are_computed_in_one_pass(tmp_path, samples, monkeypatch):
    place = tiny_whisper(tmp_path / "tiny")
    encoder = open_encoder(str(place))
    calls = []
    real = encoder.hidden_states
    monkeypatch.setattr(
        encoder, "hidden_states", lambda s, layers: calls.append(len(s)) or real(s, layers)
    )
    given = [f"pretrained:{place}@all:pooled{end}" for end in ("", "~0.9", "~1.2")]
    extractors = [FEATURES.make(name) for each in given for name in FEATURES.expand(each)]
    assert len(extractors) == 9
    clip = Clip(samples)
    for extractor in extractors:
        extractor.extract_clip(clip)
    assert calls == [9_000, 10_000, 7_500]
