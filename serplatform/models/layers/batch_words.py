"""The words of a batch, with one for utterances that have none.

Shapes: B utterances, L words.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from serplatform.models.base import Batch
from serplatform.models.layers.masks import valid_steps

#: the id that stands for a word that training has not seen
UNKNOWN_ID = 1


@dataclasses.dataclass(frozen=True)
class BatchWords:
    """Words of every utterance, at least one each.

    Attributes:
        ids: (B, L) int64, 0 beyond the last word.
        spans: (B, L, 2) int64, first frame and one past the last; zero beyond the last word.
        counts: (B,) int64, at least 1.
        valid: (B, L) bool, true on words.
    """

    ids: Tensor
    spans: Tensor
    counts: Tensor
    valid: Tensor


def batch_words(batch: Batch) -> BatchWords:
    """Take the words out of a batch.

    An utterance without words (``num_words`` 0) is one unknown word that spans all its frames,
    which is also how datasets give a clip that has neither an alignment nor a transcript.

    Args:
        batch: with word ids, spans and numbers of words.

    Raises:
        ValueError: the batch has none.

    Example:
        >>> batch = Batch(torch.zeros(1, 3, 2), torch.tensor([3]), torch.tensor([0]))
        >>> batch.word_ids = torch.zeros(1, 0, dtype=torch.int64)
        >>> batch.word_spans = torch.zeros(1, 0, 2, dtype=torch.int64)
        >>> batch.num_words = torch.tensor([0])
        >>> words = batch_words(batch)
        >>> words.ids.tolist(), words.spans.tolist(), words.counts.tolist()
        ([[1]], [[[0, 3]]], [1])
    """
    if batch.word_ids is None or batch.word_spans is None or batch.num_words is None:
        raise ValueError("the model reads words, but the batch has none")
    ids, spans = batch.word_ids, batch.word_spans
    if ids.shape[1] == 0:
        ids = ids.new_zeros(len(batch), 1)
        spans = spans.new_zeros(len(batch), 1, 2)
    steps = torch.arange(ids.shape[1], device=ids.device)
    added = (batch.num_words == 0).unsqueeze(1) & (steps == 0)  # (B, L)
    whole = torch.stack([torch.zeros_like(batch.lengths), batch.lengths], dim=1)  # (B, 2)
    counts = batch.num_words.clamp(min=1)
    return BatchWords(
        ids=torch.where(added, UNKNOWN_ID, ids),
        spans=torch.where(added.unsqueeze(2), whole.unsqueeze(1), spans),
        counts=counts,
        valid=valid_steps(counts, ids.shape[1]),
    )
