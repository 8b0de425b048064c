"""Sharpness-aware minimisation: Equations (2) and (3) written out, and what it goes with."""

import pytest
import torch
from torch import nn

from serplatform.errors import BadInputError
from serplatform.training import loop
from serplatform.training.sam import perturbed
from serplatform.training.trial_config import resolve

ONE_BATCH = {
    "training__optimizer": "sgd",
    "training__learning_rate": 0.5,
    "training__batch_size": 1000,
}


def gradients(model, batch):
    """Of the mean cross-entropy, by parameter name."""
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(batch).logits, batch.labels)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("clip", [None, 0.05])
def test_first_step_is_that_of_the_equations(make_trainer, clip):
    extra = {} if clip is None else {"training__gradient_clip": clip}
    trainer = make_trainer(**ONE_BATCH, **extra, training__sharpness=0.3)
    twin = make_trainer().model
    data = trainer.data
    batch = data.collate(data.rows("train"))
    loss, gradient = gradients(twin, batch)
    norm = torch.sqrt(sum(g.square().sum() for g in gradient.values()))
    before = {name: p.detach().clone() for name, p in twin.named_parameters()}
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            parameter += 0.3 * gradient[name] / norm
    _, sharp = gradients(twin, batch)
    shrink = 1.0
    if clip is not None:
        shrink = clip / torch.sqrt(sum(g.square().sum() for g in sharp.values()))
        assert shrink < 1
    report = trainer.run_epoch()
    assert report.train_loss == pytest.approx(loss, abs=1e-6)
    plain_step = 0.0
    for name, weight in before.items():
        got = dict(trainer.model.named_parameters())[name]
        torch.testing.assert_close(got, weight - 0.5 * shrink * sharp[name])
        plain_step += float((got.detach() - (weight - 0.5 * shrink * gradient[name])).abs().sum())
    assert plain_step > 1e-4  # another step than the plain one


def test_weights_and_buffers_are_put_back_bit_for_bit():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[2].bias.requires_grad_(False)
    model(torch.randn(8, 4)).square().sum().backward()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    flat = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    moved = {n: p.detach() + 0.1 * p.grad / flat.norm() for n, p in model[0].named_parameters()}
    with perturbed(model, 0.1):
        for name, expected in moved.items():
            torch.testing.assert_close(dict(model[0].named_parameters())[name].data, expected)
        assert torch.equal(model[2].bias, before["2.bias"])
        model.zero_grad()
        model(torch.randn(8, 4)).sum().backward()
        assert model[1].num_batches_tracked == 2
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_gradient_of_zeros_moves_nothing():
    model = nn.Linear(2, 1)
    (model(torch.zeros(1, 2)).sum() * 0).backward()
    before = model.weight.detach().clone()
    with perturbed(model, 0.5):
        assert torch.equal(model.weight, before)


def test_both_passes_see_the_same_mixed_batch_and_dropout(make_trainer, monkeypatch):
    trainer = make_trainer(
        training__sharpness=0.1,
        training__mixup=0.4,
        model__dropout=0.5,
        data__noise=0.2,
        training__max_epochs=1,
    )
    seen = []
    losses = trainer._losses

    def watched(batch, criterion):
        masks = []
        handle = trainer.model.dropout.register_forward_hook(
            lambda module, given, out: masks.append(out == 0)
        )
        found = losses(batch, criterion)
        handle.remove()
        seen.append((batch.frames, criterion.targets, masks[0]))
        return found

    monkeypatch.setattr(trainer, "_losses", watched)
    trainer.run_epoch()
    assert len(seen) % 2 == 0
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        for one, other in zip(first, second, strict=True):
            assert torch.equal(one, other)
    assert not torch.equal(seen[0][2][:2], seen[2][2][:2])


@pytest.mark.parametrize("architecture", ["csa", "functionals_mlp"])
def test_running_statistics_are_updated_once_a_batch(make_trainer, monkeypatch, architecture):
    """With a step of length 0 the statistics are those of plain training."""
    values = {"model__channels": 8} if architecture == "csa" else {"model__hidden_dim": 8}
    values |= {"training__max_epochs": 1, "training__learning_rate": 1e-3}
    values |= {"data__feature": "log_mel_23"}
    plain = make_trainer(architecture, **values)
    sharp = make_trainer(architecture, **values, training__sharpness=1e-7)
    plain.run_epoch(), sharp.run_epoch()
    names = [n for n, _ in plain.model.named_buffers() if "running" in n]
    assert names
    for name in names:
        torch.testing.assert_close(
            sharp.model.state_dict()[name],
            plain.model.state_dict()[name],
            rtol=2e-3,
            atol=2e-4,
        )


def test_average_is_updated_once_a_step_and_training_learns(make_trainer):
    trainer = make_trainer(training__sharpness=0.05, training__ema_decay=0.5)
    steps = len(trainer._cut(1))
    trainer.run_epoch()
    assert trainer._ema.steps == steps
    while not trainer.finished:
        trainer.run_epoch()
    assert trainer.best_metrics["uar"] > 0.8


def test_a_resumed_training_continues_bit_for_bit(make_trainer, tmp_path):
    values = {"training__sharpness": 0.1, "model__dropout": 0.3, "data__noise": 0.1}
    whole, first, second = (make_trainer(training__max_epochs=4, **values) for _ in range(3))
    for _ in range(4):
        whole.run_epoch()
    for _ in range(2):
        first.run_epoch()
    first.save_state(tmp_path)
    second.load_state(tmp_path)
    while not second.finished:
        second.run_epoch()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name])


def test_without_it_nothing_is_drawn_or_done_otherwise(make_trainer, monkeypatch):
    monkeypatch.setattr(loop, "perturbed", None)
    make_trainer(training__max_epochs=1).run_epoch()


def test_it_goes_with_bfloat16_and_not_with_float16(make_trainer):
    trainer = make_trainer(training__sharpness=0.05, training__precision="bfloat16")
    while not trainer.finished:
        trainer.run_epoch()
    assert trainer.best_metrics["uar"] > 0.8
    with pytest.raises(BadInputError, match=r"sharpness = 0\.1: scaled losses of float16"):
        resolve("toy", {"training.sharpness": 0.1, "training.precision": "float16"}, "here")
