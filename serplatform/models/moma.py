"""MOMA: residual mixture of multi-view attention over a bidirectional LSTM.

Jalal, Milner, Hain and Moore, "Removing Bias with Residual Mixture of Multi-View Attention for
Speech Emotion Recognition", Interspeech 2020, Eqs. (1)-(9) and Figure 1.

Shapes: B utterances, T frames, D feature dimension, H hidden units a direction, N attention
blocks, K classes.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor, nn

from serplatform.models import (
    Batch,
    Criterion,
    Framewise,
    ModelOutput,
    SerModel,
    architecture,
    setting,
)
from serplatform.models.layers.bilstm import BiLstm
from serplatform.models.layers.masks import valid_steps
from serplatform.models.layers.mean_tanh_attention import MeanTanhAttention
from serplatform.models.layers.pooling import weighted_sum


@dataclasses.dataclass(frozen=True, kw_only=True)
class MomaConfig:
    """Settings of :class:`Moma`; the defaults are the paper's."""

    hidden_dim: int = setting(512, "LSTM units a direction", low=1)
    num_layers: int = setting(2, "stacked bidirectional LSTM layers", low=1, high=8)
    attention_dim: int = setting(128, "units of every attention block", low=1)
    num_blocks: int = setting(3, "attention blocks in the mixture", low=1, high=32)
    mixture_layers: int = setting(
        1, "mixtures one on another; all but the last give frames", low=1, high=8
    )
    residual: bool = setting(True, "add the first attention's input to its output, Eq. (6)")
    gamma_init: Literal["uniform", "normal", "constant"] = setting(
        "uniform", "distribution that the mixture weights start from"
    )
    gamma_scale: float = setting(
        1.0,
        "uniform: upper end (the lower is 0); normal: deviation around 0; constant: the value",
        low=0.0,
    )
    dropout: float = setting(
        0.0, "share dropped between LSTM layers and before the projection", low=0.0, high=0.95
    )


def initial_gamma(
    num_blocks: int, init: Literal["uniform", "normal", "constant"], scale: float
) -> Tensor:
    """Draw the mixture weights γ: (N,).

    Example:
        >>> initial_gamma(3, "constant", 0.5)
        tensor([0.5000, 0.5000, 0.5000])
    """
    if init == "uniform":
        return scale * torch.rand(num_blocks)
    if init == "normal":
        return scale * torch.randn(num_blocks)
    return torch.full((num_blocks,), float(scale))


def mixture(views: Tensor, gamma: Tensor) -> Tensor:
    """(B, N, T) weights a_n of N blocks, and γ (N,), to their mixture, Eq. (9): (B, T)."""
    return torch.einsum("n,bnt->bt", gamma, views)


@architecture(
    "moma",
    MomaConfig,
    reference="Jalal, Milner, Hain and Moore, Interspeech 2020, Eqs. (1)-(9)",
    training={
        "learning_rate": 1e-4,
        "scheduler": "plateau",
        "plateau_patience": 4,
        "plateau_factor": 0.1,
    },
    data={"feature": "log_mel_23"},
    small={"hidden_dim": 16, "attention_dim": 12},
)
class Moma(SerModel):
    r"""BLSTM, an attention layer with a skip connection, a mixture of attentions, classifier.

    .. math::

        Y' = a_{att1} \odot Y, \qquad Y \leftarrow Y' + Y, \qquad
        a_{att2} = \sum_n \gamma_n a_n, \qquad
        v = W_p \sum_t a_{att2,t} y_t + b_p, \qquad o = W_c v + b_c

    Departs from the paper: padded frames take no part in the means, the softmaxes or the sum;
    dropout is ours and off by default. The paper says that the γ start at random without
    naming a distribution: uniform between 0 and 1 here, searchable. Attention layer 2 computes
    its mean M over its own input, the output of Eq. (6).

    Section 5.2 leaves depth against width open. Ours: ``mixture_layers`` above 1 stacks mixtures of
    ``num_blocks`` blocks, each with weights and γ of its own. All but the last are an Eq. (6) over
    their own mixture, :math:`Y \leftarrow a_{att2} \odot Y + Y`: frames in, frames out. They keep
    the skip whatever ``residual`` says, as weights sum to about one over the utterance and would
    scale its frames down by its length at every layer.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        hidden_dim: int,
        num_layers: int,
        attention_dim: int,
        num_blocks: int,
        mixture_layers: int,
        residual: bool,
        gamma_init: Literal["uniform", "normal", "constant"],
        gamma_scale: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.encoder = BiLstm(feature_dim, hidden_dim, num_layers, dropout)
        self.layer1 = MeanTanhAttention(2 * hidden_dim, attention_dim)
        self.layer2 = MeanTanhAttention(2 * hidden_dim, attention_dim, num_blocks)
        self.gamma = nn.Parameter(initial_gamma(num_blocks, gamma_init, gamma_scale))
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(2 * hidden_dim, 2 * hidden_dim)
        self.classifier = nn.Linear(2 * hidden_dim, num_classes)
        self.stacked = nn.ModuleList()  # mixtures below layer 2, after all that the paper has
        self.stacked_gammas = nn.ParameterList()
        for _ in range(mixture_layers - 1):
            self.stacked.append(MeanTanhAttention(2 * hidden_dim, attention_dim, num_blocks))
            self.stacked_gammas.append(initial_gamma(num_blocks, gamma_init, gamma_scale))

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch.

        ``attention["layer1"]`` is a_att1 and sums to 1, ``attention["layer2"]`` is a_att2 and
        sums to the sum of the γ; both (B, T).
        """
        hidden, first, second = self._attend(batch)
        utterance = weighted_sum(second, hidden)  # (B, 2H)
        logits = self.classifier(self.projection(self.dropout(utterance)))  # (B, K)
        return ModelOutput.of(logits, layer1=first, layer2=second)

    def framewise(self, batch: Batch) -> Framewise:
        """The class of each frame were all attention of layer 2 on it (ours).

        That attention sums to the sum of the γ, and what follows is linear: an utterance's logits
        are the mean of its frames' logits weighted by a_att2. A frame's BLSTM output knows what
        lies around it.
        """
        hidden, _, second = self._attend(batch)
        alone = second.sum(dim=1).view(-1, 1, 1) * hidden
        return Framewise.of_frames(self.classifier(self.projection(alone)), batch.lengths)

    def _attend(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, 2H) frames that layer 2 weighs, (B, T) a_att1 and (B, T) a_att2."""
        hidden = self.encoder(batch.frames, batch.lengths)  # Y, Eqs. (1)-(3), (B, T, 2H)
        valid = valid_steps(batch.lengths, hidden.shape[1])  # (B, T)
        first = self.layer1(hidden, valid).squeeze(1)  # a_att1, Eqs. (4)-(5), (B, T)
        factor = first + 1 if self.residual else first
        hidden = factor.unsqueeze(-1) * hidden  # Y' + Y, or Y' alone, Eq. (6), (B, T, 2H)
        for attention, gamma in zip(self.stacked, self.stacked_gammas, strict=True):
            hidden = (mixture(attention(hidden, valid), gamma) + 1).unsqueeze(-1) * hidden
        return (
            hidden,
            first,
            mixture(self.layer2(hidden, valid), self.gamma),
        )  # a_att2, Eqs. (7)-(9)
