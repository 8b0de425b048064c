"""What is remembered about encoders goes into a folder of each test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serplatform.arrays import FloatArray


@pytest.fixture(autouse=True)
def remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of the test; there is no other place where encoders are looked for."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SERPLATFORM_CACHE", str(folder))
    monkeypatch.delenv("SERPLATFORM_ENCODERS", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return folder


@pytest.fixture
def clip() -> FloatArray:
    """1.3 s of noise that grows, so that its mean and level are not those of its parts."""
    rng = np.random.default_rng(7)
    samples = rng.normal(0.02, 0.1, 20_800) * np.linspace(0.2, 1.0, 20_800)
    return samples.astype(np.float32)
