"""Temperature scaling: one number per member that makes its confidence match its accuracy.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, Eq. (9): the logits are
divided by T > 0, which keeps the order of the classes. Log posteriors serve as logits.

Shapes: M members, N utterances, K classes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from serplatform.arrays import DoubleArray, IntArray
from serplatform.ensembles.base import PosteriorSet
from serplatform.errors import LeakError
from serplatform.metrics import POSTERIOR_FLOOR

#: range searched; a member that is always right on dev rows would otherwise get T = 0
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.1, 10.0


def apply_temperature(posteriors: DoubleArray, temperature: npt.ArrayLike) -> DoubleArray:
    """Sharpen (T < 1) or soften (T > 1) posteriors.

    Args:
        posteriors: (..., N, K), rows sum to 1.
        temperature: T, positive: one number or (...) one a table.

    Returns:
        same shape, rows sum to 1.

    Example:
        >>> apply_temperature(np.array([[0.2, 0.8]]), 0.5).round(3)
        array([[0.059, 0.941]])
    """
    divisor = np.asarray(temperature, dtype=np.float64)[..., None, None]
    logits = np.log(np.maximum(posteriors, POSTERIOR_FLOOR)) / divisor  # Eq. (9)
    logits -= logits.max(axis=-1, keepdims=True)
    scaled = np.exp(logits)
    return np.asarray(scaled / scaled.sum(axis=-1, keepdims=True), dtype=np.float64)


def fit_temperature(truth: IntArray, posteriors: DoubleArray) -> float:
    """The T with the lowest negative log-likelihood on (N, K) posteriors and (N,) class indices,
    between :data:`LOWEST_TEMPERATURE` and :data:`HIGHEST_TEMPERATURE`.
    """
    from scipy.optimize import minimize_scalar

    logits = np.log(np.maximum(posteriors, POSTERIOR_FLOOR))
    logits -= logits[np.arange(truth.size), truth][:, None]  # the true class is at 0

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        top = scaled.max(axis=1)
        total = np.exp(scaled - top[:, None]).sum(axis=1)
        return float((np.log(total) + top).mean())

    bounds = (float(np.log(LOWEST_TEMPERATURE)), float(np.log(HIGHEST_TEMPERATURE)))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-5})
    return float(np.exp(found.x))


def fit_temperatures(dev: PosteriorSet) -> DoubleArray:
    """(M,) one temperature a member, fitted on dev rows.

    Raises:
        LeakError: the rows are not dev rows.
    """
    if dev.part != "dev":
        raise LeakError(
            f"temperature scaling was offered {dev.part} rows to fit on; temperatures are "
            "fitted on dev rows only"
        )
    return np.array([fit_temperature(dev.truth, table) for table in dev.posteriors])


def scale_members(members: PosteriorSet, temperatures: DoubleArray) -> PosteriorSet:
    """The set with each member's posteriors at its temperature."""
    scaled = np.empty_like(members.posteriors)
    for m, temperature in enumerate(temperatures):  # one at a time: a set can be large
        scaled[m] = apply_temperature(members.posteriors[m], temperature)
    return dataclasses.replace(members, posteriors=scaled)
