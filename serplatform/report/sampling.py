"""What models that choose their observations sample: Baruah and Banerjee, Interspeech 2022.

Figures of explained runs and the reproduced tables (Table 2, Fig. 2) are made of these numbers.

Shapes: N utterances over folds and trials, D elements of a window, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serplatform.arrays import BoolArray, DoubleArray, IntArray
from serplatform.report.speaker_intervals import mean_interval
from serplatform.statistics.intervals import Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """What was sampled, an entry per utterance, trial and fold.

    Attributes:
        trial: (N,).
        fold: (N,).
        truth: (N,) class names.
        speaker_ids: (N,).
        windows: (N,) number of windows.
        share: (N,) of the elements sampled, mean over the windows after the first; unused
            where there is one window, which is observed whole by definition.
        elements: (N, D) how often each element was sampled in the windows after the first.
    """

    trial: IntArray
    fold: IntArray
    truth: npt.NDArray[np.object_]
    speaker_ids: npt.NDArray[np.object_]
    windows: IntArray
    share: DoubleArray
    elements: DoubleArray

    def where(self, rows: BoolArray) -> Sampling:
        """Some of the rows."""
        return Sampling(**{name: column[rows] for name, column in vars(self).items()})

    @property
    def chosen(self) -> BoolArray:
        """(N,) whether there was something to choose: a second window."""
        return np.asarray(self.windows > 1)

    @property
    def with_first(self) -> DoubleArray:
        """(N,) share sampled, the first window counted as sampled whole."""
        whole = (1 + (self.windows - 1) * self.share) / self.windows
        return np.where(self.chosen, whole, 1.0)

    def mean_share(self) -> Interval:
        """Mean share over utterances of more than one window, of which there must be some."""
        own = self.where(self.chosen)
        return mean_interval(own.share, own.speaker_ids.tolist())

    def similarity(self, classes: Sequence[str]) -> DoubleArray:
        """(C, C) absolute cosines of the classes' mean samplings, NaN for a class not there.

        The means are over windows: an utterance counts as often as it has windows after the
        first.
        """
        means = np.full((len(classes), self.elements.shape[1]), np.nan)
        for c, name in enumerate(classes):
            rows = self.chosen & (self.truth == name)
            if rows.any():
                weights = (self.windows[rows] - 1).astype(np.float64)
                means[c] = np.average(self.elements[rows], axis=0, weights=weights)
        return cosine_similarity(means)


def cosine_similarity(vectors: DoubleArray) -> DoubleArray:
    """(C, D) vectors to (C, C) absolute cosines; 0 for a vector of zeros.

    Example:
        >>> cosine_similarity(np.array([[1.0, 0.0], [3.0, 4.0]])).round(2).tolist()
        [[1.0, 0.6], [0.6, 1.0]]
    """
    length = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    unit = vectors / np.where(length > 0, length, 1.0)
    return np.asarray(np.minimum(np.abs(unit @ unit.T), 1.0), dtype=np.float64)
