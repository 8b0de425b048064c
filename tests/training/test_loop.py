"""The training loop: what it learns, keeps, stops at, resumes from and refuses."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import ArtifactError, BadInputError, SerplatformError
from serplatform.metrics import classification_metrics
from serplatform.models.base import ARCHITECTURES, ModelOutput
from serplatform.protocols.plan import make_plan
from serplatform.testing.synthetic import make_dataset
from serplatform.training import inference, loop
from serplatform.training.device import seeded
from serplatform.training.epoch import TrainingDiverged
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import resolve


def run(trainer, epochs=None):
    reports = []
    while not trainer.finished and (epochs is None or len(reports) < epochs):
        reports.append(trainer.run_epoch())
    return reports


def untimed(reports):
    return [dataclasses.replace(report, seconds=0.0) for report in reports]


def assert_same_weights(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


SMALL_MOMA = {
    "model__hidden_dim": 8,
    "model__attention_dim": 8,
    "training__learning_rate": 0.01,
    "training__max_epochs": 8,
}


@pytest.mark.parametrize(
    ("architecture", "values"),
    [("toy", {}), ("moma", SMALL_MOMA), ("toy", {"model__own_losses": True})],
)
def test_learnable_data_are_learned(make_trainer, architecture, values):
    trainer = make_trainer(architecture, **values)
    reports = run(trainer)
    assert trainer.best_metrics["uar"] > 0.8
    assert reports[-1].train_loss < reports[0].train_loss / 2
    test = classification_metrics(trainer.data.labels("test"), trainer.posteriors("test"))
    assert test["uar"] > 0.6


def test_permuted_labels_stay_at_chance(tmp_path):
    dataset = Dataset.open(make_dataset(tmp_path, num_speakers=9, per_speaker=24))
    plan = make_plan(dataset.utterances, "speaker-kfold:3", 0)
    config = resolve("toy", {"training.monitor": "nll"}, "test")
    truth, posteriors = [], []
    for fold in range(3):
        data = FoldData(dataset, plan, fold, config.data)
        data._labels = np.random.default_rng(fold).permutation(data._labels)
        trainer = FoldTrainer(config, data, seed=0)
        run(trainer)
        truth.append(trainer.data.labels("test"))
        posteriors.append(trainer.posteriors("test"))
    uar = classification_metrics(np.concatenate(truth), np.concatenate(posteriors))["uar"]
    assert abs(uar - 0.25) < 0.09  # three standard deviations of 216 draws at 1 in 4


def test_model_without_own_losses_trains_as_one_with(make_trainer):
    plain, own = make_trainer(), make_trainer(model__own_losses=True)
    assert untimed(run(plain, 2)) == untimed(run(own, 2))
    assert_same_weights(plain.model.state_dict(), own.model.state_dict())


def test_first_step_is_that_of_plain_torch(make_trainer):
    """One batch, written out: weighted cross-entropy, clipped gradient, SGD step."""
    trainer = make_trainer(
        training__optimizer="sgd",
        training__learning_rate=0.5,
        training__batch_size=1000,
        training__class_weights="balanced",
        training__label_smoothing=0.1,
        training__gradient_clip=0.05,
    )
    twin = make_trainer().model
    data = trainer.data
    batch = data.collate(data.rows("train"))
    counts = torch.bincount(batch.labels, minlength=4)
    loss = torch.nn.functional.cross_entropy(
        twin(batch).logits,
        batch.labels,
        weight=len(batch.labels) / (4 * counts),
        label_smoothing=0.1,
    )
    loss.backward()
    norm = torch.sqrt(sum(p.grad.square().sum() for p in twin.parameters()))
    assert norm > 0.05
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter -= 0.5 * parameter.grad * 0.05 / norm
    report = trainer.run_epoch()
    assert report.train_loss == pytest.approx(loss.item(), abs=1e-6)
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(trainer.model.state_dict()[name], tensor, msg=name)


def test_report_describes_the_epoch(make_trainer, monkeypatch):
    trainer = make_trainer()
    lengths, shares = trainer.data.lengths("train"), []
    cut_batches = loop.batches

    def watched(*args, **settings):
        cut = cut_batches(*args, **settings)
        if settings["rng"] is not None:
            padded = sum(len(batch) * max(lengths[batch]) for batch in cut)
            shares.append(1 - sum(lengths) / padded)
        return cut

    monkeypatch.setattr(loop, "batches", watched)
    first, second = run(trainer, 2)
    assert (first.epoch, second.epoch) == (1, 2)
    assert first.learning_rate == 0.01
    assert first.padded_share == pytest.approx(shares[0])
    assert first.seconds > 0
    assert set(first.dev) == set(loop.HIGHER_IS_BETTER)
    expected = classification_metrics(trainer.data.labels("dev"), trainer.posteriors("dev"))
    assert trainer.best_metrics == expected


def set_dev(monkeypatch, trainer, values):
    """Make the dev UAR follow a script."""
    script = iter(values)
    monkeypatch.setattr(
        loop, "classification_metrics", lambda *_: {"uar": next(script), "nll": 1.0}
    )


def test_best_epoch_is_kept_and_the_earliest_of_equals(make_trainer, monkeypatch):
    trainer = make_trainer()
    set_dev(monkeypatch, trainer, [0.5, 0.7, 0.7, 0.6])
    weights = []
    for _ in range(4):
        trainer.run_epoch()
        weights.append({k: v.clone() for k, v in trainer.model.state_dict().items()})
    assert trainer.best_epoch == 2
    assert trainer.best_metrics["uar"] == 0.7
    last = trainer._predict("dev")
    best = trainer.posteriors("dev")
    assert_same_weights(trainer.model.state_dict(), weights[3])  # put back afterwards
    trainer.model.load_state_dict(weights[1])
    assert np.array_equal(trainer._predict("dev"), best)
    assert not np.array_equal(last, best)


def test_smaller_is_better_for_a_monitored_loss(make_trainer):
    trainer = make_trainer(training__monitor="nll")
    reports = run(trainer)
    assert trainer.best_metrics["nll"] == min(report.dev["nll"] for report in reports)


def test_training_stops_after_patience(make_trainer, monkeypatch):
    trainer = make_trainer(training__patience=2, training__max_epochs=50)
    set_dev(monkeypatch, trainer, [0.1, 0.5, 0.5, 0.4, 0.9])
    assert len(run(trainer)) == 4
    assert trainer.best_epoch == 2
    with pytest.raises(RuntimeError, match="finished after epoch 4"):
        trainer.run_epoch()


def test_training_stops_at_the_last_epoch(make_trainer):
    trainer = make_trainer(training__max_epochs=3)
    assert [report.epoch for report in run(trainer)] == [1, 2, 3]
    assert trainer.epoch == 3


def test_plateau_lowers_the_rate(make_trainer, monkeypatch):
    trainer = make_trainer(training__plateau_patience=1, training__plateau_factor=0.5)
    set_dev(monkeypatch, trainer, [0.5, 0.5, 0.5, 0.5])
    rates = [trainer.run_epoch().learning_rate for _ in range(4)]
    assert rates == [0.01, 0.01, 0.01, 0.005]


RESUMED = {
    "moma": SMALL_MOMA | {"model__dropout": 0.3},
    "csa": {"model__channels": 8, "model__dropout": 0.3, "training__optimizer": "rmsprop"},
    "toy": {
        "model__dropout": 0.5,
        "training__scheduler": "one_cycle",
        "training__optimizer": "adamw",
        "data__time_masks": 2,
        "data__gain_db": 6.0,
        "data__speed": 0.1,
    },
}


@pytest.mark.parametrize("architecture", RESUMED)
def test_resumed_training_continues_bit_for_bit(make_trainer, tmp_path, architecture):
    values = RESUMED[architecture] | {"training__plateau_patience": 0}
    straight = make_trainer(architecture, **values)
    expected = run(straight, 6)

    first = make_trainer(architecture, **values)
    reports = run(first, 3)
    first.save_state(tmp_path / "state")
    torch.manual_seed(123)  # whatever else happens in the process has no influence
    second = make_trainer(architecture, **values)
    second.load_state(tmp_path / "state")
    assert (second.epoch, second.best_epoch) == (3, first.best_epoch)
    assert second.best_metrics == first.best_metrics
    assert np.array_equal(second.posteriors("test"), first.posteriors("test"))
    reports += run(second, 3)

    assert untimed(reports) == untimed(expected)
    assert_same_weights(second.model.state_dict(), straight.model.state_dict())
    assert second.best_epoch == straight.best_epoch
    assert np.array_equal(second.posteriors("test"), straight.posteriors("test"))


def test_resumed_training_remembers_how_long_it_waited(make_trainer, monkeypatch, tmp_path):
    values = {"training__patience": 3, "training__max_epochs": 50}
    first = make_trainer(**values)
    set_dev(monkeypatch, first, [0.5, 0.4, 0.4, 0.4, 0.4, 0.4])
    run(first, 3)
    first.save_state(tmp_path)
    second = make_trainer(**values)
    second.load_state(tmp_path)
    assert len(run(second)) == 1


def test_finished_training_is_finished_when_read_back(make_trainer, tmp_path):
    trainer = make_trainer(training__max_epochs=2)
    run(trainer)
    trainer.save_state(tmp_path)
    other = make_trainer(training__max_epochs=2)
    other.load_state(tmp_path)
    assert other.finished
    assert np.array_equal(other.posteriors("dev"), trainer.posteriors("dev"))


@pytest.mark.parametrize("change", [{"seed": 1}, {"model__hidden_dim": 8}, {"fold": 1}])
def test_state_of_another_training_is_refused(make_trainer, tmp_path, change):
    trainer = make_trainer()
    trainer.run_epoch()
    trainer.save_state(tmp_path)
    with pytest.raises(ArtifactError, match=r"state\.json: the state is of another configuration"):
        make_trainer(**change).load_state(tmp_path)


def test_same_seed_gives_the_same_training(make_trainer):
    one, two, other = make_trainer(), make_trainer(), make_trainer(seed=1)
    for trainer in (one, two, other):
        run(trainer, 2)
    assert_same_weights(one.model.state_dict(), two.model.state_dict())
    assert not torch.equal(one.model.head.weight, other.model.head.weight)


def test_training_leaves_global_random_states_alone(make_trainer):
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(1), random.random(), np.random.rand()  # noqa: NPY002, S311
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    make_trainer(model__dropout=0.5).run_epoch()
    assert (torch.rand(1), random.random(), np.random.rand()) == expected  # noqa: NPY002, S311


def test_dropout_differs_between_epochs(make_trainer):
    trainer = make_trainer(model__dropout=0.5)
    drawn = []
    for epoch in (1, 2, 1):
        with seeded(trainer.device, trainer.seed, "epoch", epoch, 0):
            drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[2] != drawn[1]


def test_posteriors_are_in_row_order_and_sum_to_one(make_trainer, monkeypatch):
    trainer = make_trainer("moma", **SMALL_MOMA)
    trainer.run_epoch()
    data = trainer.data
    posteriors = trainer.posteriors("test")
    assert posteriors.dtype == np.float64
    assert posteriors.shape == (len(data.rows("test")), 4)
    assert np.abs(posteriors.sum(axis=1) - 1).max() < 1e-12
    trainer.model.eval()
    with torch.inference_mode():
        for row, expected in zip(data.rows("test"), posteriors, strict=True):
            single = trainer.model(data.collate(np.array([row]))).log_posteriors.exp()
            assert single.numpy()[0] == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr(inference, "EVALUATION_FRAMES", 50)  # one utterance or two a batch
    assert trainer.posteriors("test") == pytest.approx(posteriors, abs=1e-6)


def test_nothing_can_be_kept_before_the_first_epoch(make_trainer, tmp_path):
    trainer = make_trainer()
    with pytest.raises(ValueError, match="no epoch has been trained"):
        trainer.posteriors("dev")
    with pytest.raises(ValueError, match="no epoch has been trained"):
        trainer.save_model(tmp_path)


def test_infinite_loss_is_an_error_that_names_epoch_and_rate(make_trainer):
    trainer = make_trainer(model__explode=True)
    with pytest.raises(TrainingDiverged, match=r"toy: the training loss .* epoch 1 .* rate 0\.01"):
        trainer.run_epoch()
    assert issubclass(TrainingDiverged, SerplatformError)


def test_an_output_of_another_shape_names_model_and_shapes(make_trainer, monkeypatch):
    trainer = make_trainer()

    def one_class_short(batch, criterion):
        return ModelOutput.of(torch.zeros(len(batch), 3, requires_grad=True))

    monkeypatch.setattr(trainer, "_parallel", one_class_short)
    with pytest.raises(BadInputError, match=r"toy: its logits are of shape \(\d+, 3\), .* needs "):
        trainer.run_epoch()


def test_infinite_posteriors_are_an_error(make_trainer, monkeypatch):
    trainer = make_trainer()
    monkeypatch.setattr(trainer, "_predict", lambda part: np.full((3, 4), np.nan))
    with pytest.raises(TrainingDiverged, match=r"the dev posteriors .* epoch 1"):
        trainer.run_epoch()


def test_bfloat16_on_the_cpu_learns(make_trainer):
    trainer = make_trainer(training__precision="bfloat16")
    run(trainer)
    assert trainer.best_metrics["uar"] > 0.8
    assert trainer.model.head.weight.dtype == torch.float32


def test_float16_on_the_cpu_is_refused(make_trainer):
    with pytest.raises(BadInputError, match="float16' needs a CUDA device"):
        make_trainer(training__precision="float16")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu3", "device 'gpu3' is unknown"),
        ("meta", "device 'meta' is not supported"),
        pytest.param(
            "cuda",
            "no CUDA device here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
)
def test_devices_that_cannot_be_used_are_refused(make_trainer, device, message):
    with pytest.raises(BadInputError, match=message):
        make_trainer(device=device)


def test_fold_without_dev_rows_is_refused(dataset, plan):
    fold = dataclasses.replace(plan.folds[0], dev=())
    config = resolve("toy", {}, "test")
    data = FoldData(dataset, dataclasses.replace(plan, folds=(fold,)), 0, config.data)
    with pytest.raises(BadInputError, match="no dev rows"):
        FoldTrainer(config, data, seed=0)


def test_parameters_are_counted(make_trainer):
    assert make_trainer().num_parameters == 23 * 16 + 16 + 16 * 4 + 4
    assert "toy" in ARCHITECTURES.names()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_cuda_learns_in_every_precision(make_trainer, tmp_path, precision):
    trainer = make_trainer("moma", device="cuda", training__precision=precision, **SMALL_MOMA)
    run(trainer, 3)
    trainer.save_state(tmp_path)
    trainer.load_state(tmp_path)
    run(trainer)
    assert trainer.best_metrics["uar"] > 0.8


def test_dev_posteriors_are_kept_and_made_again_after_a_resume(make_trainer, tmp_path):
    trainer = make_trainer()
    while not trainer.finished:
        trainer.run_epoch()
    kept = trainer.posteriors("dev")
    trainer.save_state(tmp_path)
    resumed = make_trainer()
    resumed.load_state(tmp_path)
    assert np.array_equal(kept, resumed.posteriors("dev"))
