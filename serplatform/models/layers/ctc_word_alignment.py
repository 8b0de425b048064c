"""Words' shares of the frames, predicted from audio alone and taught by word order.

Shapes: B utterances, T frames, L words, D values a frame, P positions of words.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from serplatform.models.layers.masks import valid_steps

_BLANK = 0


class CtcWordAlignment(nn.Module):
    r"""An LSTM that says of every frame which word it belongs to: the first, the second, ….

    Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language Sequences", ACL 2019,
    which Li et al., 2020 (FG-CME) take for "w/ CTC align": two stacked LSTM layers of P + 1
    units, whose outputs are the logits of blank and of P positions,

    .. math:: p_t = \mathrm{softmax}(\mathrm{LSTM}(x)_t), \qquad z_j = \sum_t p_{t,j} x_t

    and a connectionist temporal classification loss whose target is 1, 2, …, number of words.

    Departs from Tsai et al.: utterances have their own numbers of frames and words instead of
    being padded to one length. Words beyond the last position share it, and have no part in
    the loss.

    Args:
        input_dim: D.
        max_words: P.

    Example:
        >>> align = CtcWordAlignment(input_dim=3, max_words=4)
        >>> weights, log_weights = align(torch.zeros(1, 5, 3), torch.tensor([5]), num_words=2)
        >>> weights.shape, align.losses(log_weights, torch.tensor([5]), torch.tensor([2])).shape
        (torch.Size([1, 2, 5]), torch.Size([1]))
    """

    def __init__(self, input_dim: int, max_words: int) -> None:
        super().__init__()
        self.max_words = max_words
        self.lstm = nn.LSTM(input_dim, max_words + 1, num_layers=2, batch_first=True)

    def forward(self, frames: Tensor, lengths: Tensor, num_words: int) -> tuple[Tensor, Tensor]:
        """Predict the alignment.

        Args:
            frames: (B, T, D), finite.
            lengths: (B,).
            num_words: L.

        Returns:
            (B, L, T) weights of the frames of each word, zero on padded frames, and
            (B, T, P + 1) logarithms for :meth:`losses`.
        """
        # the LSTM runs from left to right, so padding at the end changes no real frame
        log_weights = self.lstm(frames)[0].log_softmax(dim=-1)  # (B, T, P + 1)
        position = torch.arange(num_words, device=frames.device).clamp(max=self.max_words - 1) + 1
        valid = valid_steps(lengths, frames.shape[1])  # (B, T)
        weights = log_weights[..., position].exp() * valid.unsqueeze(2)  # (B, T, L)
        return weights.transpose(1, 2), log_weights

    def losses(self, log_weights: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        """Connectionist temporal classification of the words' order.

        Args:
            log_weights: (B, T, P + 1).
            lengths: (B,) frames.
            counts: (B,) words, at least 1.

        Returns:
            (B,) losses divided by the number of words; zero where there are fewer frames than
            words, which no alignment can be.
        """
        counts = counts.clamp(max=self.max_words)
        order = torch.arange(1, self.max_words + 1, device=counts.device)
        losses: Tensor = nn.functional.ctc_loss(
            log_weights.transpose(0, 1).float(),
            order.expand(len(counts), -1),
            lengths,
            counts,
            blank=_BLANK,
            reduction="none",
            zero_infinity=True,
        )
        return losses / counts
