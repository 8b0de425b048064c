"""The moving average of the weights."""

import pytest
import torch
from torch import nn

from serplatform.training.averaging import EmaWeights


def test_average_is_the_recursion():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = EmaWeights(model, 0.6)
    expected = model[0].weight.detach().clone()
    for step in range(1, 30):
        with torch.no_grad():
            model[0].weight.add_(torch.full((2, 2), float(step)))
        average.update(model)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    torch.testing.assert_close(average.weights["0.weight"], expected)
    assert average.steps == 29


def test_counters_follow_the_model():
    model = nn.BatchNorm1d(2)
    average = EmaWeights(model, 0.9)
    model.train()(torch.randn(4, 2))
    average.update(model)
    assert average.weights["num_batches_tracked"] == 1


def test_the_averaged_weights_are_evaluated_and_kept(make_trainer):
    plain = make_trainer("toy", training__max_epochs=3)
    averaged = make_trainer("toy", training__max_epochs=3, training__ema_decay=0.99)
    for trainer in (plain, averaged):
        while not trainer.finished:
            trainer.run_epoch()
    for name, weight in plain.model.state_dict().items():  # the same steps were taken
        assert torch.equal(weight, averaged.model.state_dict()[name])
    assert (plain.posteriors("dev") != averaged.posteriors("dev")).any()
    kept = averaged._best_weights
    assert any(not torch.equal(kept[name], w) for name, w in averaged.model.state_dict().items())


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_resumed_training_continues_the_average_bit_for_bit(make_trainer, tmp_path, epochs):
    values = {"training__max_epochs": 4, "training__ema_decay": 0.95}
    whole, first, second = (make_trainer("toy", **values) for _ in range(3))
    for _ in range(4):
        whole.run_epoch()
    for _ in range(epochs):
        first.run_epoch()
    first.save_state(tmp_path / "state")
    second.load_state(tmp_path / "state")
    while not second.finished:
        second.run_epoch()
    assert (whole.posteriors("test") == second.posteriors("test")).all()
    assert whole.best_metrics == second.best_metrics
