"""The reference system: trained once, on the run's folds, told with its interval and chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.metrics import classification_metrics
from serplatform.run_directory import RunDirectory
from serplatform.studies.reference import read_reference, train_reference
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import OpenRun, create_run
from serplatform.testing.synthetic import make_dataset
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import resolve


@pytest.fixture
def run(tmp_path: Path) -> OpenRun:
    features = {"log_mel_23": 23, "log_mel_40": 40, "descriptors": (30, 86_400.0, 86_400.0)}
    data = make_dataset(tmp_path / "data", per_speaker=8, seconds=(0.2, 0.3), features=features)
    request = SearchRequest(architectures=("moma",), dataset=data)
    return create_run(tmp_path / "run", request, ["test"])


def test_it_is_an_svm_on_the_same_folds(run: OpenRun) -> None:
    assert read_reference(run.directory) is None
    record = train_reference(run)
    assert (record["architecture"], record["params"]) == ("svm", {"data.feature": "descriptors"})
    found = read_reference(run.directory)
    assert found is not None
    dataset = Dataset.open(run.description["dataset"]["path"])
    config = resolve("svm", record["params"], "reference")
    truths, posteriors = [], []
    for fold in range(len(run.plan.folds)):
        data = FoldData(dataset, run.plan, fold, config.data)
        trainer = FoldTrainer(config, data, seed=0)
        trainer.run_epoch()
        truths.append(data.labels("test"))
        posteriors.append(trainer.posteriors("test"))
    truth, values = np.concatenate(truths), np.concatenate(posteriors)
    assert found.test.value == pytest.approx(classification_metrics(truth, values)["uar"])
    assert found.chance == pytest.approx(1 / len(np.unique(truth)))
    assert found.test.low is not None
    assert found.test.low <= found.test.value
    assert run.directory.records() == {}  # no trial of the run
    assert (
        RunDirectory(run.directory.reference_directory).read_run()["folds_hash"]
        == (run.description["folds_hash"])
    )


def test_it_is_trained_once_and_what_was_left_half_way_again(run: OpenRun) -> None:
    first = train_reference(run)
    assert train_reference(run) == first
    directory = RunDirectory(run.directory.reference_directory)
    directory.record_file(0).unlink()  # as if the process had been killed before its end
    again = train_reference(run)
    assert again["fold_dev"] == first["fold_dev"]


def test_it_shares_what_the_user_fixed_of_the_data(tmp_path: Path, run: OpenRun) -> None:
    request = SearchRequest(
        architectures=("moma",),
        dataset=run.description["dataset"]["path"],
        settings=("data.normalization=speaker",),
    )
    other = create_run(tmp_path / "other", request, ["test"])
    assert train_reference(other)["params"]["data.normalization"] == "speaker"


def test_a_run_that_is_replaced_takes_its_reference_along(run: OpenRun) -> None:
    train_reference(run)
    request = SearchRequest(
        architectures=("csa",), dataset=run.description["dataset"]["path"], seed=3
    )
    again = create_run(run.directory.path, request, ["test"])
    assert again.replaced is not None
    assert read_reference(again.directory) is None
