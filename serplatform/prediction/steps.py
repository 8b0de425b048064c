"""Emotion over time inside a recording: what models say of each step, in seconds.

After Jalal, Milner and Hain, Interspeech 2020 (CSA), who classify short overlapping chunks and
average their log posteriors. What a step is, a model's ``framewise`` says: a chunk (csa), a word
(can, fgcme) or frames (attention-pooled models, vrnn). What becomes of steps in seconds is ours.

Shapes: S steps of a clip, T frames, K classes, P points in time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from serplatform.arrays import DoubleArray
from serplatform.features.base import WHOLE_UTTERANCE
from serplatform.inputs.pooling import Pooling
from serplatform.models.base import Batch, SerModel
from serplatform.models.front import FrontedModel
from serplatform.training.bundle import LoadedModel

#: seconds from one point to the next where models of different steps are combined
GRID = 0.05

_SMALLEST = 1e-300  # posterior, before a logarithm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
    """Classes inside one clip.

    Attributes:
        start: (S,) seconds from the start of the clip; ``end`` too. Steps may overlap.
        posteriors: (S, K), rows sum to 1.
        attention: (S,) on its frames on average, or on its word, in multiples of even attention;
            None where the model has none over frames, or words.
    """

    start: DoubleArray
    end: DoubleArray
    posteriors: DoubleArray
    attention: DoubleArray | None

    def at(self, points: DoubleArray) -> Steps:
        """What is said of the time around (P,) points, :data:`GRID` each: the renormalised mean log
        posterior of the steps that hold a point; of the nearest where none does."""
        inside = (self.start <= points[:, None]) & (points[:, None] < self.end)  # (P, S)
        lonely = np.flatnonzero(~inside.any(axis=1))
        middles = (self.start + self.end) / 2
        inside[lonely, np.abs(points[lonely, None] - middles).argmin(axis=1)] = True
        weights = inside / inside.sum(axis=1, keepdims=True)
        return Steps(
            start=points - GRID / 2,
            end=points + GRID / 2,
            posteriors=_normalised(weights @ _logs(self.posteriors)),
            attention=None if self.attention is None else weights @ self.attention,
        )


def gives_steps(loaded: LoadedModel) -> bool:
    """Whether a model has classes inside utterances: itself, and frames that lie in time."""
    model, pipeline = loaded.model, loaded.pipeline
    inner = model.model if isinstance(model, FrontedModel) else model
    summed_up = pipeline.selection.frame_shift >= WHOLE_UTTERANCE
    in_time = not summed_up and pipeline.step(Pooling) is None
    return in_time and type(inner).framewise is not SerModel.framewise and not inner.no_steps


def model_steps(model: SerModel, batch: Batch, *, first: int, shift: float, length: float) -> Steps:
    """Steps of a model, one that :func:`gives_steps`, over a batch of one clip.

    Args:
        model: in evaluation mode.
        batch: B = 1.
        first: frames that trimming left out before the batch's first one.
        shift: seconds from one frame to the next.
        length: seconds that a frame covers.
    """
    found = model.framewise(batch)
    assert found is not None  # noqa: S101 - for the type checker
    number = int(found.lengths[0])
    spans = found.spans[0, :number].cpu().numpy()  # (S, 2)
    attention = _attention(model(batch).attention, batch, number if found.words else None)
    if attention is not None and not found.words:
        sums = np.append(0.0, np.cumsum(attention))
        attention = (sums[spans[:, 1]] - sums[spans[:, 0]]) / (spans[:, 1] - spans[:, 0])
    return Steps(
        start=(first + spans[:, 0]) * shift,
        end=(first + spans[:, 1] - 1) * shift + length,
        posteriors=found.log_posteriors[0, :number].double().softmax(dim=1).cpu().numpy(),
        attention=attention,
    )


def _attention(
    maps: Mapping[str, Tensor], batch: Batch, num_words: int | None
) -> DoubleArray | None:
    """(T,) of the last layer on the frames of a batch of one, or (L,) on so many words; 1 is even.

    Of an alignment it is what all words together give to a frame.
    """
    found: list[Tensor] = []
    for name, values in maps.items():
        own = values.sum(dim=1) if name == "alignment" else values
        if num_words is not None and "words" in name:
            found.append(own[0, :num_words])
        elif num_words is None and "words" not in name and own.shape == batch.frames.shape[:2]:
            found.append(own[0, : int(batch.lengths[0])])
    if not found or not (total := float(found[-1].double().abs().sum())):
        return None
    return np.asarray(found[-1].double().abs().cpu().numpy() * (len(found[-1]) / total))


def on_one_grid(found: Sequence[Steps]) -> list[Steps]:
    """Steps of several models of one clip at the same times: their own where they are equal."""
    first = found[0]
    if all(np.array_equal(steps.start, first.start) for steps in found) and all(
        np.array_equal(steps.end, first.end) for steps in found
    ):
        return list(found)
    start = min(float(steps.start[0]) for steps in found)
    end = max(float(steps.end.max()) for steps in found)
    return [steps.at(grid_points(start, end)) for steps in found]


def grid_points(start: float, end: float) -> DoubleArray:
    """(P,) middles of stretches of :data:`GRID` seconds from start to end, at least one."""
    number = max(1, round((end - start) / GRID))
    return np.asarray(start + GRID * (np.arange(number) + 0.5), dtype=np.float64)


def smoothed(posteriors: DoubleArray, middles: DoubleArray, seconds: float) -> DoubleArray:
    """(S, K): renormalised mean log posterior of the steps up to ``seconds`` / 2 from each.

    CSA's own way from chunks to an utterance, over a stretch instead of all of it. ``middles`` are
    (S,) seconds, ascending.
    """
    near = seconds / 2 + 1e-9
    first = np.searchsorted(middles, middles - near)
    last = np.searchsorted(middles, middles + near, side="right")
    sums = np.cumsum(np.vstack([np.zeros((1, posteriors.shape[1])), _logs(posteriors)]), axis=0)
    return _normalised((sums[last] - sums[first]) / (last - first)[:, None])


def _logs(posteriors: DoubleArray) -> DoubleArray:
    return np.asarray(np.log(np.maximum(posteriors, _SMALLEST)), dtype=np.float64)


def _normalised(logs: DoubleArray) -> DoubleArray:
    values = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(values / values.sum(axis=1, keepdims=True), dtype=np.float64)
