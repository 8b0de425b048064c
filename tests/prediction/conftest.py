"""One small run on real audio files for all tests of prediction."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from serplatform.ensembles.build import build_ensemble
from tests.support.audio_run import AudioRun, make_audio_run


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def audio_run(tmp_path_factory: pytest.TempPathFactory) -> AudioRun:
    return make_audio_run(tmp_path_factory.mktemp("audio_run"))


@pytest.fixture(scope="package")
def ensembles(audio_run: AudioRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An ensemble of each kind of combiner, the product with temperatures."""
    folder = tmp_path_factory.mktemp("ensembles")
    for name in ("mean", "product", "stacking", "greedy"):
        build_ensemble(
            [audio_run.run],
            folder / name,
            combiner=name,
            temperature=name == "product",
        )
    return {path.name: path for path in folder.iterdir()}
