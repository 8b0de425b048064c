from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from serplatform.training.optim import LearningRate, build_optimizer
from serplatform.training.training_config import TrainingConfig


def make(**settings):
    config = TrainingConfig(**settings)
    parameter = nn.Parameter(torch.ones(3))
    optimizer = build_optimizer(config, [parameter])
    return parameter, optimizer, LearningRate(config, optimizer, higher_is_better=True)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("rmsprop", torch.optim.RMSprop),
        ("sgd", torch.optim.SGD),
    ],
)
def test_optimisers_step_as_torch_does(name, reference):
    momentum = 0.5 if name in ("sgd", "rmsprop") else 0.0
    parameter, optimizer, _ = make(
        optimizer=name, learning_rate=0.1, weight_decay=0.01, momentum=momentum
    )
    twin = nn.Parameter(torch.ones(3))
    extra = {"momentum": momentum} if momentum else {}
    plain = reference([twin], lr=0.1, weight_decay=0.01, **extra)
    for step in range(5):
        for value, rule in ((parameter, optimizer), (twin, plain)):
            value.grad = torch.tensor([1.0, -2.0, 0.5 * step])
            rule.step()
    torch.testing.assert_close(parameter, twin)
    assert not torch.equal(parameter, torch.ones(3))


@pytest.mark.parametrize(
    ("name", "reference", "constants"),
    [
        ("adam", torch.optim.Adam, {"betas": (0.7, 0.8), "eps": 0.1}),
        ("adamw", torch.optim.AdamW, {"betas": (0.7, 0.8), "eps": 0.1}),
        ("rmsprop", torch.optim.RMSprop, {"momentum": 0.6, "alpha": 0.8, "eps": 0.1}),
    ],
)
def test_every_constant_of_an_optimiser_is_a_setting(name, reference, constants):
    parameter, optimizer, _ = make(
        optimizer=name, learning_rate=0.1, momentum=0.6, beta_1=0.7, beta_2=0.8, epsilon=0.1
    )
    twin = nn.Parameter(torch.ones(3))
    plain = reference([twin], lr=0.1, weight_decay=0.0, **constants)
    for step in range(5):
        for value, rule in ((parameter, optimizer), (twin, plain)):
            value.grad = torch.tensor([1.0, -2.0, 0.5 * step])
            rule.step()
    torch.testing.assert_close(parameter, twin)


def test_frozen_parameters_are_left_out():
    frozen = nn.Parameter(torch.ones(1), requires_grad=False)
    optimizer = build_optimizer(TrainingConfig(), [frozen, nn.Parameter(torch.ones(1))])
    assert len(optimizer.param_groups[0]["params"]) == 1


def test_plateau_waits_then_reduces():
    _, _, rate = make(
        learning_rate=1.0, scheduler="plateau", plateau_patience=2, plateau_factor=0.5
    )
    rates = []
    for value in (0.5, 0.6, 0.6, 0.6, 0.6, 0.7):
        rate.after_epoch(value)
        rates.append(rate.current)
    # epochs 3, 4 and 5 are no better: the third of them exceeds a patience of two
    assert rates == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5]


def schedule(name, epochs=10, steps=5):
    _, _, rate = make(learning_rate=2.0, scheduler=name, max_epochs=epochs)
    rates = []
    for epoch in range(epochs):
        for step in range(steps):
            rate.before_step(epoch, step, steps)
            rates.append(rate.current)
    return rates


def test_constant_rate():
    assert schedule("none") == [2.0] * 50


def test_cosine_falls_along_half_a_period():
    for step, rate in enumerate(schedule("cosine")):
        assert rate == pytest.approx(1 + math.cos(math.pi * step / 50))


def test_one_cycle_agrees_with_torch():
    rates = schedule("one_cycle")
    twin = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    # torch's last step stands where ours would be after the last one
    reference = torch.optim.lr_scheduler.OneCycleLR(
        twin, max_lr=2.0, total_steps=1001, pct_start=0.3, cycle_momentum=False
    )
    # torch ends its rise at step 0.3 * 1001 - 1; a fine grid makes that offset small
    fine = schedule("one_cycle", epochs=10, steps=100)
    for rate in fine:
        assert rate == pytest.approx(reference.get_last_lr()[0], abs=0.01)
        twin.step()
        reference.step()
    assert rates[0] == pytest.approx(2.0 / 25)
    assert max(rates) == pytest.approx(2.0)
    assert rates[-1] < 0.05


def test_state_survives_json():
    settings = {"scheduler": "plateau", "plateau_patience": 1, "learning_rate": 0.3}
    _, _, rate = make(**settings)
    _, _, other = make(**settings)
    state = json.loads(json.dumps(rate.state()))  # before any epoch: no best value yet
    other.restore(state)
    for value in (0.5, 0.5, 0.5, 0.4):  # reduced once, and one epoch of waiting
        rate.after_epoch(value)
    assert rate.current == pytest.approx(0.03)
    other.restore(json.loads(json.dumps(rate.state())))
    assert other.current == rate.current
    for value in (0.5, 0.6, 0.1, 0.1, 0.1):
        rate.after_epoch(value)
        other.after_epoch(value)
        assert rate.current == other.current
    assert rate.current < 0.003
