"""One vector for the frames of each word: their mean and maximum.

Shapes: B utterances, T frames, L words, D values a frame.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from serplatform.models.layers.word_segments import WordSegments

WordPooling = Literal["mean_max", "mean", "max"]


def pool_words(values: Tensor, segments: WordSegments, pooling: WordPooling) -> Tensor:
    """Pool the frames that the alignment gives to each word.

    Li, Ding, Wu and Liu, 2020 (FG-CME), section 3.2. Only the frames of a word take part: the
    matrix A of zeros and ones is never made, and the zeros of other frames are not maxima.

    Args:
        values: (B, T, D).
        segments: of the same batch.
        pooling: ``"mean_max"`` puts both side by side.

    Returns:
        (B, L, D), or (B, L, 2D) with ``"mean_max"``; zero where there is no word.
    """
    frames = segments.frames(values)  # (F, D)
    kinds = ("mean", "max") if pooling == "mean_max" else (pooling,)
    pooled = [torch.segment_reduce(frames, kind, lengths=segments.length) for kind in kinds]
    return segments.spread(torch.cat(pooled, dim=1))
