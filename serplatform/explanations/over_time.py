"""What a model says inside an utterance: its class at each step, and the input it expected.

Everything about the input is in standard deviations of the model's training frames (of the speaker
or the utterance, where these normalise it; behind a projection, of what it makes of the training
frames), so that elements of all sizes count alike.

Shapes: B utterances, T frames (vrnn: windows), D elements of a frame.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from torch import Tensor

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.explanations import GeneratedRecord
from serplatform.explanations.attention import FrameGrid
from serplatform.inputs.normalization import Normalization
from serplatform.models.base import Framewise, Generation

#: frames of an utterance that are shown whole
SHOWN_FRAMES = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratedInput:
    """One utterance of at least two frames as it was expected.

    Attributes:
        row: what the table ``generation`` holds of it: mean squared errors by element and by
            frame after the first, also of two predictions that take no model: the frame before,
            and the mean of the training frames.
        frames: (T, D), at most the first :data:`SHOWN_FRAMES`.
        predicted: (T-1, D).
        deviation: (T-1, D), standard deviations of the predictions.
        sampled: (T-1, D), 1 where the model observed the element.
    """

    row: dict[str, object]
    frames: DoubleArray
    predicted: DoubleArray
    deviation: DoubleArray
    sampled: DoubleArray

    @classmethod
    def of(
        cls,
        frames: DoubleArray,
        predicted: DoubleArray,
        log_std: DoubleArray,
        sampled: DoubleArray,
        unit: DoubleArray | None,
    ) -> GeneratedInput:
        """Measure (T, D) frames against (T-1, D) predictions; ``unit`` is a deviation in the
        feature's own units, (D,), where it is known."""
        after = frames[1:]
        error = np.square(after - predicted)
        previous, mean = np.square(np.diff(frames, axis=0)), np.square(after)
        nll = log_std + 0.5 * error * np.exp(-2 * log_std) + 0.5 * math.log(2 * math.pi)
        measured = {"error": error, "previous": previous, "mean": mean, "sampled": sampled}
        row: dict[str, object] = {"num_windows": len(frames), "nll": float(nll.mean())}
        row |= {name: values.mean(axis=0) for name, values in measured.items()}
        row |= {f"{name}_over_time": values.mean(axis=1) for name, values in measured.items()}
        kept = SHOWN_FRAMES - 1
        return cls(
            row=row | {"unit": unit},
            frames=frames[:SHOWN_FRAMES],
            predicted=predicted[:kept],
            deviation=np.exp(log_std[:kept]),
            sampled=sampled[:kept],
        )

    def shown(self, trial: int, architecture: str, grid: FrameGrid) -> GeneratedRecord:
        """All of it, for a picture."""
        parts = (self.frames, self.predicted, self.deviation, self.sampled)
        frames, predicted, deviation, sampled = (part.round(3).tolist() for part in parts)
        return {
            "trial": trial,
            "architecture": architecture,
            "centres": grid.centres[: len(self.frames)].round(4).tolist(),
            "frames": frames,
            "predicted": predicted,
            "deviation": deviation,
            "sampled": sampled,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameUnits:
    """What makes a model's frames z-scores of its training frames.

    Attributes:
        mean: (D,) or one for all; of the frames as the model receives them.
        std: likewise.
        own: (D,) a standard deviation in the feature's own units, where it is known.
    """

    mean: DoubleArray
    std: DoubleArray
    own: DoubleArray | None = None

    @classmethod
    def of_normalized(cls, normalization: Normalization) -> FrameUnits:
        """Of frames that a model receives as the pipeline normalises them."""
        if normalization.kind == "none":
            return cls(mean=normalization.mean, std=normalization.std, own=normalization.std)
        own = normalization.std if normalization.kind == "train" else None
        return cls(mean=np.zeros(1), std=np.ones(1), own=own)

    @classmethod
    def of_batches(cls, frames: Iterable[tuple[Tensor, Sequence[int]]]) -> FrameUnits:
        """Of (B, T, D) batches of training frames and their lengths, at least one frame: what a
        projection makes of them has no units but these."""
        count, total, squares = 0, np.zeros(1), np.zeros(1)
        for values, lengths in frames:
            for row, length in zip(values, lengths, strict=True):
                own = _array(row[:length])
                count, total = count + length, total + own.sum(axis=0)
                squares = squares + np.square(own).sum(axis=0)
        mean = total / count
        variance = np.maximum(squares / count - np.square(mean), 0.0)
        return cls(mean=mean, std=np.sqrt(np.where(variance > 0, variance, 1.0)))


def generated_inputs(
    frames: Tensor, lengths: Sequence[int], found: Generation, units: FrameUnits
) -> Iterator[GeneratedInput | None]:
    """What was expected of each utterance of (B, T, D) frames; None where there is one frame."""
    for b, length in enumerate(lengths):
        if length < 2:
            yield None
            continue
        predicted, log_std, sampled = (_array(values[b, : length - 1]) for values in found)
        yield GeneratedInput.of(
            (_array(frames[b, :length]) - units.mean) / units.std,
            (predicted - units.mean) / units.std,
            log_std - np.log(units.std),
            sampled,
            units.own,
        )


def classes_over_time(
    found: Framewise, grids: Sequence[FrameGrid]
) -> Iterator[tuple[DoubleArray, IntArray]]:
    """For each utterance (S,) shares of its time that are heard at each step's end, and the
    class there."""
    for b, (steps, grid) in enumerate(zip(found.lengths.tolist(), grids, strict=True)):
        ends = (_array(found.spans[b, :steps, 1]) - 1) * grid.shift + grid.length
        whole = (grid.count - 1) * grid.shift + grid.length
        classes = found.log_posteriors[b, :steps].argmax(dim=1).cpu().numpy()
        yield ends / whole, classes.astype(np.int64)


def _array(values: Tensor) -> DoubleArray:
    return np.asarray(values.double().cpu().numpy(), dtype=np.float64)
