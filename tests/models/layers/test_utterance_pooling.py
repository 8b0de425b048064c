"""Poolings of a padded batch read nothing of its padding."""

import pytest
import torch

from serplatform.models.layers.masks import valid_steps
from serplatform.models.layers.pooling import UtterancePooling

LENGTHS = torch.tensor([5, 1, 3])


@pytest.mark.parametrize("kind", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("value", [-100.0, 100.0])
def test_padding_takes_no_part(kind, value):
    torch.manual_seed(0)
    pooling = UtterancePooling(4, kind)
    valid = valid_steps(LENGTHS, 5)
    hidden = torch.randn(3, 5, 4)
    padded = hidden.masked_fill(~valid.unsqueeze(2), value)
    vectors, weights = pooling(padded, LENGTHS, valid)
    for row, length in enumerate(LENGTHS.tolist()):
        alone, _ = pooling(
            hidden[row : row + 1, :length], LENGTHS[row : row + 1], valid[row : row + 1, :length]
        )
        torch.testing.assert_close(vectors[row], alone[0], rtol=0, atol=1e-6)
    assert (weights is not None) == (kind == "attention")


def test_one_step_is_the_vector_itself():
    hidden = torch.randn(1, 1, 4, generator=torch.Generator().manual_seed(0))
    for kind in ("last", "mean", "max", "attention"):
        vector, _ = UtterancePooling(4, kind)(hidden, torch.tensor([1]), torch.tensor([[True]]))
        torch.testing.assert_close(vector, hidden[:, 0])
