"""Chunks, against a loop that cuts one utterance at a time."""

import pytest
import torch

from serplatform.models.csa import Chunks


def starts(length, context, overlap):
    """First frame of every chunk, the plain way."""
    if length <= context:
        return [0]
    found = [0]
    while found[-1] + context < length:
        found.append(found[-1] + context - overlap)
    found[-1] = length - context
    return found


@pytest.mark.parametrize(("context", "overlap"), [(4, 0), (4, 2), (5, 4), (30, 10), (7, 3)])
def test_chunks_equal_a_plain_loop(context, overlap):
    lengths = [1, 2, 4, 5, 6, 7, 8, 29, 30, 31, 50, 51, 70]
    torch.manual_seed(0)
    frames = torch.randn(len(lengths), 73, 2)
    chunks = Chunks.of(torch.tensor(lengths), context_frames=context, overlap_frames=overlap)
    cut = chunks.gather(frames)
    number = 0
    for row, length in enumerate(lengths):
        begins = starts(length, context, overlap)
        assert int(chunks.count[row]) == len(begins)
        covered = set()
        for begin in begins:
            assert int(chunks.utterance[number]) == row
            expected = torch.zeros(context, 2)
            own = frames[row, begin : min(begin + context, length)]
            expected[: len(own)] = own
            assert torch.equal(cut[number], expected)
            assert chunks.valid[number].sum() == len(own)
            covered |= set(range(begin, begin + len(own)))
            number += 1
        assert covered == set(range(length))
    assert number == len(cut)


def test_sums_by_utterance():
    chunks = Chunks.of(torch.tensor([10, 3, 6]), context_frames=4, overlap_frames=1)
    assert chunks.count.tolist() == [3, 1, 2]
    values = torch.arange(6.0)
    assert chunks.sum_by_utterance(values).tolist() == [3.0, 3.0, 9.0]
