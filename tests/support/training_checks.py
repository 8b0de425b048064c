"""Whether a module can be trained: every value gets a gradient, a batch is learned by heart."""

from __future__ import annotations

import torch

from serplatform.models.base import Batch, Criterion, InputSpec, SerModel
from serplatform.testing.batches import random_batch
from serplatform.testing.contracts import training_losses


def gradient_faults(model: SerModel, batch: Batch, criterion: Criterion) -> list[str]:
    """Find values of parameters that a training batch cannot change.

    Vectors of words that are not in the batch may get no gradient; of every other parameter each
    value must get one that is finite and not zero.

    Args:
        model: in any mode; left in training mode with its gradients.
        batch: with words; the first word of the first utterance is made the unknown word.
        criterion: of the training loss.

    Returns:
        One sentence a parameter; empty when all are trained.
    """
    assert batch.word_ids is not None
    batch.word_ids[0, 0] = 1  # the unknown word
    model.train()
    loss = training_losses(model(batch, criterion), criterion, batch.labels).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    present = {i - 2 for i in batch.word_ids.flatten().tolist() if i > 1}
    faults = []
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        if gradient is None:
            faults.append(f"{name} gets no gradient")
            continue
        if name == "embedding.vectors":
            gradient = gradient[sorted(present)]
        dead = int((gradient == 0).sum())
        if dead or not torch.isfinite(gradient).all():
            faults.append(f"{name}: {dead} of {gradient.numel()} values get no gradient")
    return faults


def learn_by_heart(model: SerModel, spec: InputSpec, *, steps: int = 300) -> float:
    """Train on 32 utterances whose labels are random, and tell the accuracy on them."""
    lengths = [20 + 3 * (row % 8) for row in range(32)]
    batch = random_batch(lengths, spec, seed=3)
    criterion = Criterion()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    accuracy = 0.0
    for step in range(steps):
        model.train()
        optimizer.zero_grad()
        loss = training_losses(model(batch, criterion), criterion, batch.labels).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 10 == 9:
            model.eval()
            with torch.inference_mode():
                prediction = model(batch).log_posteriors.argmax(dim=1)
            accuracy = float((prediction == batch.labels).float().mean())
            if accuracy == 1.0:
                break
    return accuracy
