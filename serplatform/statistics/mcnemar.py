"""McNemar's exact test: do two classifiers err on different numbers of utterances?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serplatform.artifacts.ensemble import McNemarRecord


def mcnemar_exact(
    truth: npt.ArrayLike, prediction_a: npt.ArrayLike, prediction_b: npt.ArrayLike
) -> McNemarRecord:
    """Compare the accuracies of two systems on the same utterances.

    McNemar, "Note on the sampling error of the difference between correlated proportions",
    Psychometrika 12, 1947, in its exact binomial form. It takes utterances as independent;
    the speaker-clustered permutation test does not.

    Args:
        truth: (N,) class indices.
        prediction_a: (N,) class indices.
        prediction_b: (N,) class indices.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> mcnemar_exact([0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1])
        {'only_a': 3, 'only_b': 0, 'p_value': 0.25}
    """
    from scipy.stats import binomtest

    true, a, b = (np.asarray(x) for x in (truth, prediction_a, prediction_b))
    if not true.shape == a.shape == b.shape:
        raise ValueError(f"shapes {true.shape}, {a.shape} and {b.shape} differ")
    only_a = int(((a == true) & (b != true)).sum())
    only_b = int(((b == true) & (a != true)).sum())
    discordant = only_a + only_b
    p_value = float(binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0
    return {"only_a": only_a, "only_b": only_b, "p_value": p_value}
