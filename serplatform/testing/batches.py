"""Random padded batches for tests of architectures.

Shapes: B utterances, T frames, L words, D feature dimension.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn

from serplatform.features.base import SAMPLING_RATE
from serplatform.models.base import Architecture, Batch, InputSpec


def input_spec(
    architecture: Architecture, *, feature_dim: int = 23, num_classes: int = 4
) -> InputSpec:
    """Sizes to build an architecture with, a vocabulary included if it reads words.

    Of one that adapts an encoder, a frame is a sample of the waveform.
    """
    text = architecture.inputs & {"text", "words"}
    samples = architecture.encoder is not None
    return InputSpec(
        feature_dim=1 if samples else feature_dim,
        num_classes=num_classes,
        frame_shift=1 / SAMPLING_RATE if samples else 0.01,
        vocabulary_size=30 if text else 0,
    )


def random_batch(
    lengths: Sequence[int],
    spec: InputSpec,
    *,
    seed: int = 0,
    separation: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """Draw frames, labels and, where the spec has a vocabulary, words with their spans.

    Args:
        lengths: frames of each utterance.
        spec: D, K and the vocabulary.
        seed: everything is determined by it and the other arguments.
        separation: distance of the classes' means along each dimension.
        dtype: of the frames.
    """
    generator = torch.Generator().manual_seed(seed)
    count, longest = len(lengths), max(lengths)
    labels = torch.arange(count) % spec.num_classes
    means = separation * torch.randn(
        spec.num_classes, spec.feature_dim, generator=generator, dtype=dtype
    )
    frames = torch.zeros(count, longest, spec.feature_dim, dtype=dtype)
    for row, length in enumerate(lengths):
        noise = torch.randn(length, spec.feature_dim, generator=generator, dtype=dtype)
        frames[row, :length] = noise + means[labels[row]]
    batch = Batch(frames=frames, lengths=torch.tensor(lengths), labels=labels)
    batch.rows = torch.arange(count)
    if spec.vocabulary_size:
        _add_words(batch, spec.vocabulary_size, generator)
    return batch


def _add_words(batch: Batch, vocabulary_size: int, generator: torch.Generator) -> None:
    """Cut every utterance into one to six words of equal length."""
    drawn = torch.randint(1, 7, (len(batch),), generator=generator)
    batch.num_words = torch.minimum(drawn, batch.lengths)
    longest = int(batch.num_words.max())
    batch.word_ids = torch.zeros(len(batch), longest, dtype=torch.int64)
    batch.word_spans = torch.zeros(len(batch), longest, 2, dtype=torch.int64)
    for row in range(len(batch)):
        count, length = int(batch.num_words[row]), int(batch.lengths[row])
        words = torch.randint(1, vocabulary_size, (count,), generator=generator)
        edges = torch.arange(count + 1) * length // count
        batch.word_ids[row, :count] = words
        batch.word_spans[row, :count] = torch.stack([edges[:-1], edges[1:]], dim=1)


def pick(batch: Batch, rows: Sequence[int]) -> Batch:
    """Take utterances out of a batch, in the given order, without needless padding."""
    picked = batch.map(lambda values: values[torch.tensor(rows)])
    picked.frames = picked.frames[:, : int(picked.lengths.max())]
    if picked.num_words is not None and picked.word_ids is not None:
        longest = int(picked.num_words.max())
        picked.word_ids = picked.word_ids[:, :longest]
        picked.word_spans = None if picked.word_spans is None else picked.word_spans[:, :longest]
    return picked


def pad(batch: Batch, extra: int, value: float = 0.0) -> Batch:
    """Lengthen the padding by ``extra`` frames and words, and set all frame padding to ``value``.

    ``Batch`` promises zero padding; another value shows that nothing reads it.
    """
    padded = nn.functional.pad(batch.frames, (0, 0, 0, extra))
    steps = torch.arange(padded.shape[1])
    padded = padded.masked_fill((steps >= batch.lengths.unsqueeze(1)).unsqueeze(2), value)
    longer = dataclasses.replace(batch, frames=padded)
    if batch.word_ids is not None and batch.word_spans is not None:
        longer.word_ids = nn.functional.pad(batch.word_ids, (0, extra))
        longer.word_spans = nn.functional.pad(batch.word_spans, (0, 0, 0, extra))
    return longer
