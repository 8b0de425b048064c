"""The average of the last epochs' weights, as one more candidate."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from serplatform.metrics import classification_metrics
from serplatform.models.base import Batch, ModelOutput
from serplatform.models.layers.masked_batch_norm import MaskedBatchNorm
from serplatform.training import loop
from serplatform.training.averaging import SwaWeights, renew_batch_statistics


def finish(trainer):
    states, reports = [], []
    while not trainer.finished:
        reports.append(trainer.run_epoch())
        states.append({k: v.clone() for k, v in trainer.model.state_dict().items()})
    return states, reports


def script_dev(monkeypatch, values):
    script = iter(values)
    monkeypatch.setattr(
        loop, "classification_metrics", lambda *_: {"uar": next(script), "nll": 1.0}
    )


def test_average_is_the_mean_of_the_last_epochs_and_their_last_buffers():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    late = SwaWeights(3)
    for epoch in range(1, 6):
        with torch.no_grad():
            model[0].weight.fill_(float(epoch))
            model[1].running_mean.fill_(float(epoch))
        late.take(model, epoch)
    state = late.weights(model)
    assert (state["0.weight"] == 4.0).all()  # of 3, 4 and 5
    assert (state["1.running_mean"] == 5.0).all()
    assert state.keys() == model.state_dict().keys()
    assert len({name.partition("/")[0] for name in late.tensors()}) == 3


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = MaskedBatchNorm(2)

    def forward(self, batch):
        return ModelOutput(log_posteriors=self.norm(batch.frames), logits=batch.frames)


def test_statistics_are_the_mean_over_the_batches():
    torch.manual_seed(0)
    model = Normed()
    model.norm.running_mean.fill_(7.0)
    labels = torch.zeros(5, dtype=torch.int64)
    batches = [
        Batch(frames=torch.randn(5, 2, 4) + i, lengths=labels + 4, labels=labels) for i in range(3)
    ]
    renew_batch_statistics(model, [(batch, True) for batch in batches])
    means = torch.stack([b.frames.mean(dim=(0, 2)) for b in batches])
    variances = torch.stack([b.frames.transpose(0, 1).flatten(1).var(dim=1) for b in batches])
    torch.testing.assert_close(model.norm.running_mean, means.mean(dim=0))
    torch.testing.assert_close(model.norm.running_variance, variances.mean(dim=0))
    assert model.norm.momentum == 0.1


def test_a_better_average_is_kept_and_ends_training(make_trainer, monkeypatch, tmp_path):
    trainer = make_trainer(training__swa_epochs=3, training__max_epochs=5)
    script_dev(monkeypatch, [0.1, 0.5, 0.4, 0.3, 0.2, 0.6])
    states, reports = finish(trainer)
    assert len(reports) == 5
    assert trainer.finished
    assert (trainer.best_epoch, trainer.best_metrics["uar"]) == (5, 0.6)
    assert [r.averaged_dev for r in reports[:4]] == [None] * 4
    assert reports[4].averaged_dev["uar"] == 0.6
    assert reports[4].dev["uar"] == 0.2
    for name, kept in trainer._best_weights.items():
        expected = torch.stack([s[name] for s in states[-3:]]).mean(dim=0)
        torch.testing.assert_close(kept, expected)
    last = trainer.model.state_dict()
    assert all(torch.equal(last[name], states[4][name]) for name in last)
    averaged = trainer.posteriors("test")
    assert (averaged != trainer._predict("test")).any()
    trainer.save_model(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["metrics"]["averaged_epochs"] == 3


def test_an_average_that_is_no_better_is_not_kept(make_trainer, monkeypatch, tmp_path):
    trainer = make_trainer(training__swa_epochs=3, training__max_epochs=4)
    script_dev(monkeypatch, [0.1, 0.5, 0.4, 0.3, 0.5])
    states, _ = finish(trainer)
    assert (trainer.best_epoch, trainer.best_metrics["uar"]) == (2, 0.5)
    for name, kept in trainer._best_weights.items():
        assert torch.equal(kept, states[1][name])
    trainer.save_model(tmp_path)
    assert "averaged_epochs" not in json.loads((tmp_path / "config.json").read_text())["metrics"]


def test_patience_that_ends_training_averages_the_epochs_until_then(make_trainer, monkeypatch):
    trainer = make_trainer(training__swa_epochs=2, training__max_epochs=50, training__patience=2)
    script_dev(monkeypatch, [0.5, 0.4, 0.3, 0.9])
    states, reports = finish(trainer)
    assert len(reports) == 3  # a better average is no reason to go on
    expected = (states[1]["head.weight"] + states[2]["head.weight"]) / 2
    torch.testing.assert_close(trainer._best_weights["head.weight"], expected)


@pytest.mark.parametrize("architecture", ["toy", "csa", "functionals_mlp", "cnn_lstm"])
def test_other_epochs_are_as_without_it_and_dev_is_of_what_is_kept(make_trainer, architecture):
    values = {
        "toy": {},
        "csa": {"model__channels": 8},
        "functionals_mlp": {"model__hidden_dim": 8},
        "cnn_lstm": {f"model__channels_{i}": 4 for i in (1, 2, 3)} | {"model__hidden_dim": 4},
    }[architecture] | {"training__max_epochs": 3, "data__feature": "log_mel_23"}
    plain = make_trainer(architecture, **values)
    late = make_trainer(architecture, training__swa_epochs=2, **values)
    (_, before), (_, after) = finish(plain), finish(late)
    assert [r.dev for r in before] == [r.dev for r in after]
    assert late.best_metrics["uar"] >= plain.best_metrics["uar"]
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(tensor, late.model.state_dict()[name])
    found = classification_metrics(late.data.labels("dev"), late.posteriors("dev"))
    assert found == late.best_metrics


@pytest.mark.parametrize("epochs", [2, 3, 4])
def test_a_resumed_training_continues_the_average_bit_for_bit(
    make_trainer, tmp_path, monkeypatch, epochs
):
    """Stopped before, in the middle of and after the epochs that are averaged."""
    values = {"training__max_epochs": 4, "training__swa_epochs": 2, "training__ema_decay": 0.9}
    monkeypatch.setattr(loop.FoldTrainer, "_improves", lambda self, value: True)
    whole, first, second = (make_trainer("csa", model__channels=8, **values) for _ in range(3))
    finish(whole)
    for _ in range(epochs):
        first.run_epoch()
    first.save_state(tmp_path / "state")
    second.load_state(tmp_path / "state")
    finish(second)
    assert second.finished
    assert whole._best_is_swa
    assert second._best_is_swa
    assert np.array_equal(whole.posteriors("test"), second.posteriors("test"))
    assert whole.best_metrics == second.best_metrics


def test_kept_statistics_are_those_of_the_averaged_weights(make_trainer, monkeypatch):
    """Of the first layer they are what its averaged weights make of the training frames."""
    monkeypatch.setattr(loop.FoldTrainer, "_improves", lambda self, value: True)
    trainer = make_trainer(
        "functionals_mlp",
        model__hidden_dim=8,
        data__feature="log_mel_23",
        training__max_epochs=3,
        training__swa_epochs=2,
        training__batch_size=1000,
    )
    finish(trainer)
    kept, last = trainer._best_weights, trainer.model.state_dict()
    given = []
    trainer.model.standardise.register_forward_hook(lambda module, values, _: given.append(values))
    trainer.model.eval()
    with torch.no_grad():
        trainer.model(trainer.data.collate(trainer.data.rows("train")))
    values = given[0][0].reshape(len(trainer.data.rows("train")), -1)
    torch.testing.assert_close(kept["standardise.running_mean"], values.mean(dim=0))
    assert not torch.allclose(kept["standardise.running_mean"], last["standardise.running_mean"])
