r"""Sharpness-aware minimisation: the gradient is taken where the loss near the weights is worst.

Foret, Kleiner, Mobahi and Neyshabur, "Sharpness-Aware Minimization for Efficiently Improving
Generalization", ICLR 2021, Eqs. (2)-(3) for p = 2, the second-order term dropped as there:

.. math::

    \hat\epsilon(w) = \rho \nabla_w L(w) / \lVert \nabla_w L(w) \rVert_2, \qquad
    \nabla_w L^{SAM}(w) \approx \nabla_w L(w) \rvert_{w + \hat\epsilon(w)}

Both passes see the same batch and draw the same dropout. Running statistics of normalisations are
those of the first pass. Each worker has the whole batch's gradient before it perturbs (m of the
paper's section 4.1 is the global batch).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

#: keeps a gradient of zeros from being divided by zero
EPSILON = 1e-12


@contextlib.contextmanager
def perturbed(model: nn.Module, rho: float) -> Iterator[None]:
    """Move the weights by ``rho`` (L2 norm over all) to where the loss is worst, for a while.

    The gradients may be cleared inside. Weights and all buffers are put back afterwards.
    """
    weights = [(p, p.detach().clone()) for p in model.parameters() if p.grad is not None]
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    norms = [torch.linalg.vector_norm(p.grad) for p, _ in weights if p.grad is not None]
    scale = rho / (torch.linalg.vector_norm(torch.stack(norms)) + EPSILON)
    with torch.no_grad():
        for parameter, _ in weights:
            parameter.add_(parameter.grad * scale)  # Eq. (2)
    try:
        yield
    finally:
        with torch.no_grad():
            for changed, before in (*weights, *buffers):
                changed.copy_(before)
