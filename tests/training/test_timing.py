"""What an epoch will cost: the estimate, its limit, and what it leaves alone."""

from __future__ import annotations

import dataclasses
import os
import random
import time

import numpy as np
import pytest
import torch

from serplatform.datasets.fold_data import FoldData
from serplatform.models.base import ARCHITECTURES, SerModel
from serplatform.training.loop import FoldTrainer
from serplatform.training.timing import epoch_seconds
from serplatform.training.trial_config import resolve

SECONDS_A_FRAME = 2e-4


class Busy(SerModel):
    """Its forward pass takes processor time for every padded frame."""

    seen = 0

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch, criterion=None):
        ends = time.thread_time() + batch.frames.shape[0] * batch.frames.shape[1] * SECONDS_A_FRAME
        Busy.seen += len(batch)
        while time.thread_time() < ends:
            pass
        return self.model(batch, criterion)


@pytest.fixture
def busy():
    Busy.seen = 0
    toy = ARCHITECTURES.get("toy")
    ARCHITECTURES.register("busy")(
        dataclasses.replace(toy, name="busy", build=lambda *given: Busy(toy.build(*given)))
    )
    return resolve("busy", {"training.batch_size": 2}, "test")


def test_few_batches_tell_the_epoch(busy, dataset, plan):
    data = FoldData(dataset, plan, 0, busy.data)
    frames = int(data.lengths("train").sum() + data.lengths("dev").sum())
    found = epoch_seconds(busy, dataset, plan, limit=0.2)
    assert frames * SECONDS_A_FRAME < found < 1.4 * frames * SECONDS_A_FRAME
    assert Busy.seen < len(data.rows("train")) / 2 + len(data.rows("dev"))


def test_a_short_epoch_is_measured_whole(busy, dataset, plan):
    data = FoldData(dataset, plan, 0, busy.data)
    frames = int(data.lengths("train").sum() + data.lengths("dev").sum())
    found = epoch_seconds(busy, dataset, plan, limit=20 * frames * SECONDS_A_FRAME)
    assert frames * SECONDS_A_FRAME < found < 1.4 * frames * SECONDS_A_FRAME
    assert Busy.seen > len(data.rows("train")) + len(data.rows("dev"))


@pytest.mark.parametrize("refit", [False, True])
def test_a_fit_in_closed_form(dataset, plan, refit):
    values = {"data.feature": "log_mel_23", "training.refit": refit}
    config = resolve("svm", values, "test")
    found = epoch_seconds(config, dataset, plan)
    trainer = FoldTrainer(config, FoldData(dataset, plan, 0, config.data), seed=0)
    begun = time.thread_time()
    trainer.run_epoch()
    taken = (time.thread_time() - begun) * (2 if refit else 1)
    assert taken / 3 < found < taken * 3


def test_a_fit_that_would_last_is_extrapolated(dataset, plan, monkeypatch):
    ticks = iter(np.cumsum([0.0, 1.0] * 4))  # each fit takes a second, the clock says
    monkeypatch.setattr(time, "thread_time", lambda: float(next(ticks)))
    config = resolve("logistic", {"data.feature": "log_mel_23", "training.refit": False}, "test")
    assert epoch_seconds(config, dataset, plan, limit=2.5) == 64.0  # an eighth took 1: the square


def test_nothing_is_left_behind(busy, dataset, plan):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    files = sorted(os.walk(dataset.path))
    threads = torch.get_num_threads()
    epoch_seconds(busy, dataset, plan, limit=0.01)
    assert states[0] == random.getstate()
    assert states[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(states[2], torch.get_rng_state())
    assert files == sorted(os.walk(dataset.path))
    assert threads == torch.get_num_threads()
