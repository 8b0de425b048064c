r"""Class weights, and how per-utterance losses become the one number that is minimised.

The loss of a batch is the weighted mean that ``torch.nn.functional.cross_entropy`` computes,

.. math:: L = \frac{\sum_i \ell_i}{\sum_i w_{y_i}}

where :math:`\ell_i` already holds its class weight and :math:`w = 1` without class weights.
The denominator depends on the labels of the whole batch only, so that workers which hold a
shard each divide by the same number and their gradients add up to the whole batch's.

Shapes: N utterances, K classes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from serplatform.arrays import IntArray


def class_weights(
    kind: Literal["none", "balanced"], labels: IntArray, num_classes: int
) -> Tensor | None:
    r"""Weights of the classes, from the training rows.

    Args:
        kind: ``"none"`` gives None; ``"balanced"`` gives :math:`w_k = N / (C n_k)`, where C is
            the number of classes that occur: their mean over the rows is 1.
        labels: (N,) class indices of the training rows.
        num_classes: K.

    Returns:
        (K,) float32, 0 for a class that does not occur; or None.

    Example:
        >>> class_weights("balanced", np.array([0, 0, 0, 1]), 2)
        tensor([0.6667, 2.0000])
    """
    if kind == "none":
        return None
    counts = np.bincount(labels, minlength=num_classes)
    occurring = np.count_nonzero(counts)
    weights = np.divide(
        len(labels), occurring * counts, out=np.zeros(num_classes), where=counts > 0
    )
    return torch.tensor(weights, dtype=torch.float32)


def denominator(weights: Tensor | None, labels: IntArray) -> float:
    """Sum of the class weights of a batch's labels; their number when there are no weights.

    Args:
        weights: (K,) or None.
        labels: (N,) class indices of the whole batch, over all workers.
    """
    if weights is None:
        return float(len(labels))
    return float(weights.double().numpy()[labels].sum())
