"""Mixed utterances and their losses."""

import numpy as np
import pytest
import torch

from serplatform.errors import BadInputError
from serplatform.models.base import Criterion, InputSpec
from serplatform.testing.batches import random_batch
from serplatform.training.losses import SoftCriterion, mix
from serplatform.training.trial_config import resolve

SPEC = InputSpec(feature_dim=3, num_classes=4)


def test_mixed_frames_and_targets_are_the_same_weighted_sums():
    torch.manual_seed(0)
    batch = random_batch((9, 5, 7, 7), SPEC, dtype=torch.float64)
    batch.labels = torch.tensor([0, 1, 2, 3])  # a target tells who was mixed
    before = batch.frames.clone()
    mixed, criterion = mix(batch, Criterion(), 4, 0.5)
    assert torch.equal(batch.frames, before)
    for row in range(4):
        target = criterion.targets[mixed.labels[row]]
        expected = sum(share * batch.frames[other] for other, share in enumerate(target))
        torch.testing.assert_close(mixed.frames[row], expected)
        partners = [other for other in range(4) if target[other] > 0]
        assert row in partners
        assert mixed.lengths[row] == max(int(batch.lengths[other]) for other in partners)
    assert ((criterion.targets > 0).sum(dim=1) == 2).any()


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0, 1.0, 0.25])])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_target_that_is_one_class_has_the_loss_of_the_hard_label(weights, smoothing):
    torch.manual_seed(1)
    hard = Criterion(weights, smoothing)
    labels = torch.tensor([2, 0, 3])
    soft = SoftCriterion(torch.nn.functional.one_hot(labels, 4).float(), hard)
    logits = torch.randn(3, 4)
    torch.testing.assert_close(soft(logits, torch.arange(3)), hard(logits, labels))
    given, own = hard.weights_of(labels), soft.weights_of(torch.arange(3))
    if weights is None:
        assert given is None
        assert own is None
    else:
        torch.testing.assert_close(own, given)


def test_loss_is_linear_in_the_target():
    torch.manual_seed(2)
    hard = Criterion()
    logits = torch.randn(1, 4)
    soft = SoftCriterion(torch.tensor([[0.3, 0.7, 0.0, 0.0]]), hard)
    expected = 0.3 * hard(logits, torch.tensor([0])) + 0.7 * hard(logits, torch.tensor([1]))
    torch.testing.assert_close(soft(logits, torch.tensor([0])), expected)


@pytest.mark.parametrize("architecture", ["moma", "csa", "vrnn", "cnn_blstm_asp"])
def test_models_of_audio_train_with_mixup(make_trainer, architecture):
    sizes = {
        "moma": {"model__hidden_dim": 4, "model__attention_dim": 4},
        "csa": {"model__channels": 8},
        "vrnn": {"model__encoder_dim": 4, "model__generator_dim": 4, "model__classifier_dim": 4},
        "cnn_blstm_asp": {"model__channels": 2, "model__hidden_dim": 4},
    }[architecture]
    trainer = make_trainer(
        architecture,
        **sizes,
        training__mixup=0.4,
        training__max_epochs=1,
        training__class_weights="balanced",
        data__feature="log_mel_23",
    )
    assert np.isfinite(trainer.run_epoch().train_loss)


def test_mixing_is_repeated_by_the_same_seed_and_is_not_without_effect(make_trainer):
    losses = [
        make_trainer("toy", training__mixup=alpha, training__max_epochs=1).run_epoch().train_loss
        for alpha in (0.4, 0.4, 0.0)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_words_cannot_be_mixed():
    with pytest.raises(BadInputError, match=r"training\.mixup = 0\.2: can reads words"):
        resolve("can", {"training.mixup": 0.2}, "test")
