"""The fast kernels against plain torch, for every architecture, and what they need of torch."""

import re
from pathlib import Path

import pytest
import torch

import serplatform
from serplatform.errors import BadInputError
from serplatform.models import kernels
from serplatform.models.base import ARCHITECTURES, Criterion
from serplatform.models.kernels import fast_kernels_enabled, private
from serplatform.models.kernels.matmul import linear, product
from serplatform.testing.batches import input_spec, random_batch
from serplatform.testing.contracts import small_model, training_losses

#: versions of torch with which this file was run and passed
TRIED = {"2.13"}

#: operators and modules that torch does not document
PRIVATE = re.compile(r"torch\.ops\b|torch\._|\b(nn|utils|optim|mkldnn)\.(\w+\.)*_[a-zA-Z]")


def test_torch_is_of_a_version_that_was_tried():
    version = ".".join(torch.__version__.split(".")[:2])
    assert version in TRIED, (
        f"the kernels were not compared under torch {version}; where the other tests of this "
        "file pass, add it to TRIED"
    )
    assert private.HAS_SLOPES
    assert private.linear_pointwise is not None


def test_private_operators_are_named_in_one_file_only():
    package = Path(serplatform.__file__).parent
    files = [p for part in ("models", "training") for p in (package / part).rglob("*.py")]
    assert len(files) > 30
    naming = {p.relative_to(package).as_posix() for p in files if PRIVATE.search(p.read_text())}
    assert naming == {"models/kernels/private.py"}


def test_the_variable_chooses(monkeypatch):
    monkeypatch.delenv(kernels.VARIABLE, raising=False)
    assert fast_kernels_enabled()
    monkeypatch.setenv(kernels.VARIABLE, "reference")
    assert not fast_kernels_enabled()
    monkeypatch.setenv(kernels.VARIABLE, "quick")
    with pytest.raises(BadInputError, match="'quick': must be fast or reference"):
        fast_kernels_enabled()


def test_without_the_operators_plain_torch_takes_their_place(monkeypatch):
    left, right = torch.randn(3, 5), torch.randn(4, 5, requires_grad=True)
    expected = left @ right.detach().T
    monkeypatch.setattr(private, "linear_pointwise", None)
    monkeypatch.setattr(private, "HAS_ONEDNN", False)
    for result in (product(left, right.detach()), linear(left, right)):
        torch.testing.assert_close(result.detach(), expected, rtol=0, atol=1e-5)
    monkeypatch.setattr(private, "HAS_SLOPES", False)
    assert not fast_kernels_enabled()


@pytest.mark.parametrize(
    "name", [name for name in ARCHITECTURES.names() if not ARCHITECTURES.get(name).closed_form]
)
def test_both_ways_give_the_same_posteriors_losses_and_gradients(monkeypatch, name):
    spec = input_spec(ARCHITECTURES.get(name))
    batch = random_batch((35, 3, 22), spec)
    criterion = Criterion()
    results = []
    for choice in ("fast", "reference"):
        monkeypatch.setenv(kernels.VARIABLE, choice)
        model = small_model(name, dropout=0.0, num_layers=2)  # packed rows draw another dropout
        with torch.inference_mode():
            posteriors = model.eval()(batch).log_posteriors
        torch.manual_seed(3)
        losses = training_losses(model.train()(batch, criterion), criterion, batch.labels)
        gradients = torch.autograd.grad(losses.mean(), list(model.parameters()))
        results.append([posteriors, losses.detach(), *gradients])
    for fast, reference in zip(*results, strict=True):
        torch.testing.assert_close(fast, reference, rtol=1e-4, atol=2e-5)
