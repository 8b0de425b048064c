"""Two workers give what one worker gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import serplatform
from serplatform.errors import SerplatformError
from serplatform.training.checkpoint import read_state
from serplatform.training.data_parallel import Workers

WORKER = Path(__file__).with_name("distributed_worker.py")


CASES = [
    {
        "architecture": "moma",
        "values": {
            "model.hidden_dim": 8,
            "model.attention_dim": 8,
            "training.learning_rate": 1e-3,
            "data.time_masks": 1,
            "data.speed": 0.1,
        },
        "epochs": 2,
    },
    {
        "architecture": "csa",
        "values": {
            "model.channels": 16,
            "training.learning_rate": 1e-3,
            "training.class_weights": "balanced",
            "training.gradient_clip": 1.0,
            # some batches of one utterance, which leave the second worker without
            "training.frames_per_batch": 100,
        },
        "epochs": 2,
    },
    {
        "architecture": "csa",
        "name": "sharp",
        "values": {
            "model.channels": 16,
            "training.learning_rate": 1e-3,
            "training.sharpness": 0.1,
            "training.max_epochs": 2,
            "training.swa_epochs": 2,
            "data.noise": 0.1,
        },
        "epochs": 2,
    },
    {"architecture": "svm", "values": {}, "epochs": 1},
]


def name_of(case):
    return case.get("name", case["architecture"])


@pytest.fixture(scope="module")
def trained_by_two(tmp_path_factory, dataset_path):
    """Directory of the results of two workers, for all cases."""
    directory = tmp_path_factory.mktemp("workers")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(serplatform.__file__).parents[1]),
    }
    if sys.platform == "linux":  # the machine's own name need not be known to any server
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, str(WORKER), str(rank), "2", str(directory / "init")),
                *(str(dataset_path), json.dumps(CASES), str(directory)),
            ],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return directory


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_two_workers_equal_one(trained_by_two, make_trainer, case):
    values = {name.replace(".", "__"): value for name, value in case["values"].items()}
    single = make_trainer(case["architecture"], **values)
    reports = [single.run_epoch() for _ in range(case["epochs"])]
    workers = [trained_by_two / name_of(case) / str(rank) for rank in range(2)]
    for directory in workers:
        tensors, state = read_state(directory)
        assert state["epoch"] == case["epochs"]
        for name, tensor in single.model.state_dict().items():
            difference = (tensors[f"model/{name}"] - tensor).abs().max()
            assert difference < 1e-5, name
        np.testing.assert_allclose(
            np.load(directory / "test.npy"), single.posteriors("test"), atol=1e-5
        )
        for found, report in zip(
            json.loads((directory / "reports.json").read_text()), reports, strict=True
        ):
            assert found == pytest.approx(
                [report.train_loss, report.dev["nll"], report.padded_share], abs=1e-5
            )
    first, second = (read_state(directory)[0] for directory in workers)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_single_process_keeps_whole_batches():
    workers = Workers(False)
    model = nn.Linear(2, 2)
    assert workers.wrap(model) is model
    positions, counts = workers.shard(np.arange(5))
    assert positions.tolist() == [0, 1, 2, 3, 4]
    assert counts


def test_shards_of_a_batch_are_disjoint_and_whole():
    workers = Workers(False)
    workers.count = 3
    shards = []
    for workers.rank in range(3):
        shards.append(workers.shard(np.arange(7, 0, -1))[0].tolist())
    assert shards == [[7, 4, 1], [6, 3], [5, 2]]


def test_worker_without_an_utterance_repeats_one_that_does_not_count():
    workers = Workers(False)
    workers.count, workers.rank = 2, 1
    positions, counts = workers.shard(np.array([4]))
    assert positions.tolist() == [4]
    assert not counts


def test_statistics_that_workers_do_not_share_are_refused():
    workers = Workers(False)
    workers._distributed = True
    with pytest.raises(SerplatformError, match=r"layer '1' .BatchNorm1d. takes its statistics"):
        workers.wrap(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
