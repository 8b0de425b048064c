"""Long clips: encoded in overlapping pieces, so that memory and positions do not run out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from serplatform.arrays import FloatArray


def overlap_of(length: int, hop: int) -> int:
    """Samples that neighbouring pieces share at least: a sixth of a piece, in whole frames."""
    return length // 6 // hop * hop


def in_pieces(
    samples: FloatArray,
    encode: Callable[[FloatArray], dict[int, Any]],
    *,
    hop: int,
    length: int,
    join: Callable[[list[Any]], Any] = np.concatenate,
) -> dict[int, Any]:
    """Encode a clip at once if it is short enough, else in overlapping pieces.

    The pieces start at whole frames, evenly spread over the clip. Each frame is taken from the
    piece in which it is farthest from an edge.

    Args:
        samples: (S,), or (S, B) of several clips.
        encode: hidden states, layer to (T, D) or (T, B, D), of at most ``length`` samples.
        hop: samples from one frame to the next.
        length: of a piece, in samples; a multiple of ``hop``.
        join: puts parts one behind the other along the first axis.

    Returns:
        layer to (T, D) or (T, B, D), with as many frames as one pass would give.
    """
    if len(samples) <= length:
        return encode(samples)
    beyond = len(samples) - length
    num_steps = -(-beyond // (length - overlap_of(length, hop)))
    starts = [-(-(beyond * step) // (num_steps * hop)) for step in range(num_steps + 1)]  # frames
    kept: dict[int, list[Any]] = {}
    first = 0  # of the frames that are still to be taken
    for place, start in enumerate(starts):
        states = encode(samples[start * hop : start * hop + length])
        end = start + len(next(iter(states.values())))
        last = place == num_steps
        cut = end if last else (starts[place + 1] + end) // 2
        for layer, frames in states.items():
            kept.setdefault(layer, []).append(frames[first - start : cut - start])
        first = cut
    return {layer: join(parts) for layer, parts in kept.items()}
