"""A batch with every kind of word that data and users bring.

Shapes: B utterances, T frames, L words.
"""

from __future__ import annotations

import torch

from serplatform.models.base import Batch, InputSpec

#: frames of each utterance
ODD_LENGTHS = (12, 5, 7, 1, 9)
#: first frame and one past the last of each word, as data give them
ODD_SPANS = (
    ((0, 4), (3, 6), (6, 6), (11, 20)),  # overlap, no frame, an end beyond the audio
    ((1, 3),),  # one word
    (),  # no words
    ((0, 0), (0, 1)),  # more words than frames
    ((-3, 2), (20, 30)),  # before the start, and wholly beyond the end
)
#: the frames that each word has, by the rules of ``WordSegments`` and ``batch_words``
ODD_FRAMES = (
    ((0, 4), (3, 6), (6, 7), (11, 12)),
    ((1, 3),),
    ((0, 7),),
    ((0, 1), (0, 1)),
    ((0, 2), (8, 9)),
)


def odd_words_batch(spec: InputSpec, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    """Make the batch; ids are random, frames too, labels 0, 1, 2, ….

    Args:
        spec: D, K and the vocabulary.
        seed: determines what is random.
        dtype: of the frames.
    """
    generator = torch.Generator().manual_seed(seed)
    count, longest = len(ODD_LENGTHS), max(ODD_LENGTHS)
    most = max(len(spans) for spans in ODD_SPANS)
    batch = Batch(
        frames=torch.zeros(count, longest, spec.feature_dim, dtype=dtype),
        lengths=torch.tensor(ODD_LENGTHS),
        labels=torch.arange(count) % spec.num_classes,
        word_ids=torch.zeros(count, most, dtype=torch.int64),
        word_spans=torch.zeros(count, most, 2, dtype=torch.int64),
        num_words=torch.tensor([len(spans) for spans in ODD_SPANS]),
    )
    assert batch.word_ids is not None
    assert batch.word_spans is not None
    for row, (length, spans) in enumerate(zip(ODD_LENGTHS, ODD_SPANS, strict=True)):
        shape = (length, spec.feature_dim)
        batch.frames[row, :length] = torch.randn(shape, generator=generator, dtype=dtype)
        for place, span in enumerate(spans):
            batch.word_spans[row, place] = torch.tensor(span)
            drawn = torch.randint(1, spec.vocabulary_size, (1,), generator=generator)
            batch.word_ids[row, place] = drawn[0]
    return batch


def odd_word_ids(batch: Batch, row: int) -> list[int]:
    """Ids of the words of an utterance; one unknown word where there are none."""
    assert batch.word_ids is not None
    count = len(ODD_SPANS[row])
    return [int(i) for i in batch.word_ids[row, :count]] or [1]
