"""Vectors that a model classifies, and a picture of them in two dimensions.

Shapes: B utterances of a batch, N utterances, D vector dimension, K classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from torch import Tensor, nn

from serplatform.arrays import DoubleArray, IntArray
from serplatform.models.front import architecture_module

#: neighbours that :func:`neighbour_purity` looks at
NUM_NEIGHBOURS = 5
#: fewer vectors than this have no neighbourhoods for t-SNE to keep
_TSNE_LEAST = 12
_PERPLEXITY = 30.0


class Penultimate:
    """What reaches a model's ``classifier`` layer in the latest forward pass."""

    vectors: Tensor | None = None

    def take(self, num_utterances: int) -> DoubleArray | None:
        """(B, D) vectors of the latest batch; None where the layer reads no vector a row."""
        found, self.vectors = self.vectors, None
        if found is None or found.ndim != 2 or found.shape[0] != num_utterances:
            return None
        return np.asarray(found.double().cpu().numpy(), dtype=np.float64)


@contextlib.contextmanager
def watch_classifier(model: nn.Module) -> Iterator[Penultimate]:
    """Record the input of ``model.classifier``, where it has that layer."""
    seen = Penultimate()
    with contextlib.ExitStack() as stack:
        layer = getattr(architecture_module(model), "classifier", None)
        if isinstance(layer, nn.Linear):
            handle = layer.register_forward_pre_hook(
                lambda _, inputs: setattr(seen, "vectors", inputs[0].detach())
            )
            stack.callback(handle.remove)
        yield seen


def picture(vectors: DoubleArray, *, seed: int = 0) -> tuple[DoubleArray, str]:
    """(N, D) vectors to (N, 2) so that neighbours stay neighbours, and ``t-SNE`` or ``PCA``.

    t-SNE (van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008) from the
    first principal components; fewer than 12 vectors are drawn by their principal components.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):
        reduced = _principal_components(standardized(vectors))
        start = reduced[:, :2].copy()
        if len(start) < _TSNE_LEAST or not start.any():
            return start, "PCA"
        start *= 1e-4 / start[:, 0].std()
        made = TSNE(
            n_components=2,
            perplexity=min(_PERPLEXITY, (len(start) - 1) / 3),
            init=start,
            random_state=seed,
            n_jobs=1,
        ).fit_transform(reduced)
    return np.asarray(made, dtype=np.float64), "t-SNE"


def _principal_components(centred: DoubleArray) -> DoubleArray:
    """(N, D) to (N, at least 2 and at most 50), signs fixed by the largest entry."""
    left, size, right = np.linalg.svd(centred, full_matrices=False)
    sign = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    values = (left * size * np.where(sign == 0, 1.0, sign))[:, :50]
    if values.shape[1] < 2:
        values = np.pad(values, ((0, 0), (0, 2 - values.shape[1])))
    return np.asarray(values, dtype=np.float64)


def standardized(vectors: DoubleArray) -> DoubleArray:
    """(N, D) with mean 0 and, where it varies, std 1 in each dimension."""
    centred = vectors - vectors.mean(axis=0)
    std = centred.std(axis=0)
    return np.asarray(centred / np.where(std > 1e-12, std, 1.0), dtype=np.float64)


def neighbour_purity(vectors: DoubleArray, labels: IntArray) -> tuple[float, float]:
    """Share of an utterance's five nearest neighbours that are of its class, and by chance.

    Measured on the standardized (N, D) vectors themselves, N above 1, not on the picture.

    Example:
        >>> points, labels = np.array([[0.0], [0.1], [5.0], [5.1]]), np.array([0, 0, 1, 1])
        >>> [round(x, 3) for x in neighbour_purity(points, labels)]
        [0.333, 0.333]
    """
    sizes, count = np.bincount(labels), len(labels)
    chance = float((sizes * (sizes - 1)).sum() / (count * (count - 1)))
    return float(neighbour_shares(vectors, labels).mean()), chance


def neighbour_shares(vectors: DoubleArray, labels: IntArray) -> DoubleArray:
    """(N,) share of each utterance's nearest neighbours that are of its class."""
    distance = _squared_distances(vectors)
    np.fill_diagonal(distance, np.inf)
    near = min(NUM_NEIGHBOURS, len(labels) - 1)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :near]
    return np.asarray((labels[nearest] == labels[:, None]).mean(axis=1))


def distance_ratios(vectors: DoubleArray, labels: IntArray) -> DoubleArray:
    """(N,) mean distance to utterances of other classes over that to others of its own.

    1 where classes are not kept apart; NaN where there are none of either.

    Example:
        >>> points, labels = np.array([[0.0], [1.0], [5.0]]), np.array([0, 0, 1])
        >>> distance_ratios(points, labels).round(6).tolist()
        [5.0, 4.0, nan]
    """
    distance = np.sqrt(np.maximum(_squared_distances(vectors), 0.0))
    same = (labels[:, None] == labels[None, :]).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = (distance * (1 - same)).sum(axis=1) / (1 - same).sum(axis=1)
        within = (distance * same).sum(axis=1) / (same.sum(axis=1) - 1)
        return np.asarray(apart / within)


def _squared_distances(vectors: DoubleArray) -> DoubleArray:
    """(N, N) between the standardized (N, D) vectors."""
    values = standardized(vectors)
    squares = (values**2).sum(axis=1)
    return np.asarray(squares[:, None] + squares[None, :] - 2 * values @ values.T)
