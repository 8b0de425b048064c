"""Attention pooling over frames: a light head for features that already know much.

None of the five papers: what is commonly put on a frozen speech encoder. Frames are projected,
pooled into their attention-weighted mean and standard deviation (Okabe, Koshinaka and Shinoda,
"Attentive Statistics Pooling for Deep Speaker Embedding", Interspeech 2018), by several heads each
over its own share of the values (India, Safari and Hernando, "Self Multi-Head Attention for
Speaker Recognition", Interspeech 2019), and classified by a perceptron. There is no recurrence, so
it trains in seconds.

Shapes: B utterances, T frames, D feature dimension, H hidden units, N heads, K classes.
"""

from __future__ import annotations

import dataclasses

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
from serplatform.models.layers.attentive_statistics import attentive_statistics, local_statistics
from serplatform.models.layers.masks import valid_steps

#: frames that a frame's class is of, it in their middle
LOCAL_FRAMES = 51


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttnPoolConfig:
    """Settings of :class:`AttnPool`."""

    hidden_dim: int = setting(128, "values that frames are projected to", low=1)
    num_heads: int = setting(4, "attention heads; divides hidden_dim", low=1, high=64)
    attention_dim: int = setting(64, "hidden units of the attention", low=1)
    classifier_dim: int = setting(128, "hidden units of the perceptron", low=1)
    input_dropout: float = setting(0.2, "share of a frame's values dropped", low=0.0, high=0.95)
    dropout: float = setting(
        0.4, "share dropped of what is pooled and of the perceptron's units", low=0.0, high=0.95
    )

    def __post_init__(self) -> None:
        if self.hidden_dim % self.num_heads:
            raise ValueError(
                f"num_heads = {self.num_heads}: must divide hidden_dim = {self.hidden_dim}"
            )


@architecture(
    "attn_pool",
    AttnPoolConfig,
    reference="after Okabe et al., Interspeech 2018, and India et al., Interspeech 2019",
    training={
        "optimizer": "adamw",
        "weight_decay": 1e-2,
        "scheduler": "cosine",
        "label_smoothing": 0.1,
        "max_epochs": 30,
        "patience": 30,
    },
    data={"feature": "log_mel_40", "trim": True},
    small={"hidden_dim": 16, "num_heads": 2, "attention_dim": 12, "classifier_dim": 16},
)
class AttnPool(SerModel):
    r"""A projection, attentive statistics of several heads, a perceptron.

    .. math::

        h_t = \mathrm{relu}(W x_t + b), \quad e_t = V \tanh(U h_t + c), \quad
        \alpha_{n,t} = \mathrm{softmax}_t(e_{n,t}), \\
        \mu_n = \sum_t \alpha_{n,t} h_{n,t}, \quad
        \sigma_n = \sqrt{\sum_t \alpha_{n,t} (h_{n,t} - \mu_n)^2}

    where :math:`h_{n,t}` is head n's share of :math:`h_t`.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        hidden_dim: int,
        num_heads: int,
        attention_dim: int,
        classifier_dim: int,
        input_dropout: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.input_dropout = nn.Dropout(input_dropout)
        self.projection = nn.Linear(feature_dim, hidden_dim)  # W, b
        self.attention = nn.Sequential(
            nn.Linear(hidden_dim, attention_dim),  # U, c
            nn.Tanh(),
            nn.Linear(attention_dim, num_heads, bias=False),  # V; a constant would cancel
        )
        self.norm = nn.LayerNorm(2 * hidden_dim)
        self.hidden = nn.Linear(2 * hidden_dim, classifier_dim)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(classifier_dim, num_classes)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch; ``attention["frames"]`` is the heads' mean, (B, T)."""
        frames, weights = self._attend(batch)
        logits = self._classify(attentive_statistics(weights, frames))  # (B, K)
        return ModelOutput.of(logits, frames=weights.mean(dim=1))

    def framewise(self, batch: Batch) -> Framewise:
        """The class of the :data:`LOCAL_FRAMES` around each frame, pooled as if they were all.

        Ours: the classifier reads deviations too, which a single frame has not.
        """
        frames, weights = self._attend(batch)
        local = local_statistics(weights, frames, LOCAL_FRAMES)
        return Framewise.of_frames(self._classify(local), batch.lengths)

    def _attend(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, T, H) frames as projected and their (B, N, T) weights, zero on padding."""
        frames = self.projection(self.input_dropout(batch.frames)).relu()  # (B, T, H)
        valid = valid_steps(batch.lengths, frames.shape[1])
        energies = self.attention(frames).transpose(1, 2)  # (B, N, T)
        return frames, energies.masked_fill(~valid.unsqueeze(1), -torch.inf).softmax(dim=2)

    def _classify(self, pooled: Tensor) -> Tensor:
        """(…, 2H) to (…, K)."""
        hidden = self.hidden(self.dropout(self.norm(pooled))).relu()
        logits: Tensor = self.classifier(self.dropout(hidden))
        return logits
