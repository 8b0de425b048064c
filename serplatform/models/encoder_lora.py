r"""A pretrained speech encoder, fine-tuned through low-rank adapters, and a linear head.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, on the attention of a
wav2vec 2.0, HuBERT, WavLM, data2vec or Whisper encoder; the layers' sum is weighted as by Yang et
al., "SUPERB", Interspeech 2021:

.. math:: h_t = \sum_{l=0}^{L} \mathrm{softmax}_l(w) \, h_t^{(l)}

Utterances go through the encoder one by one, or together where they are of one length: padding
would change what these encoders compute. The weights of a trained model are its adapters, w and
the head; the encoder is found by its name and checksum.

Shapes: B utterances, S samples, T frames of the encoder, D its dimension, L its blocks, K classes.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from serplatform.arrays import FloatArray
from serplatform.encoders.pieces import in_pieces
from serplatform.encoders.pinned import locate
from serplatform.encoders.transformer import TransformerEncoder
from serplatform.errors import BadInputError
from serplatform.features.base import SAMPLING_RATE
from serplatform.models import Batch, Criterion, ModelOutput, SerModel, architecture, setting
from serplatform.models.layers.adapters import add_adapters, train_adapters
from serplatform.models.layers.pooling import UtterancePooling


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderLoraConfig:
    """Settings of :class:`EncoderLora`."""

    encoder: str | None = setting(
        None,
        "the encoder: a directory in Hugging Face layout, an id that lies in the local cache, or "
        "NAME@sha256:CHECKSUM",
    )
    depth: float = setting(
        1.0, "share of the encoder's blocks that run, from the first on", low=0.0, high=1.0
    )
    layers: Literal["weighted", "last"] = setting(
        "weighted", "what the head reads: a learned weighted sum of all layers, or the last one run"
    )
    target_modules: str = setting(
        "q_proj,v_proj", "linear layers of each block that get adapters, with commas between"
    )
    rank: int = setting(8, "rank of an adapter", low=1, high=256)
    alpha: float = setting(16.0, "adapters are scaled by alpha / rank", low=0.0, high=1024.0)
    adapter_dropout: float = setting(
        0.1, "share of an adapter's inputs dropped", low=0.0, high=0.95
    )
    pooling: Literal["attention", "mean"] = setting("attention", "how frames become one vector")
    dropout: float = setting(0.1, "share dropped before the classifier", low=0.0, high=0.95)
    checkpointing: bool = setting(
        False,
        "keep the activations of one utterance at a time and compute the others again: less "
        "memory, a third more time",
    )


@architecture(
    "encoder_lora",
    EncoderLoraConfig,
    reference="low-rank adapters as of Hu et al., ICLR 2022",
    training={
        "optimizer": "adamw",
        "learning_rate": 5e-4,
        "weight_decay": 1e-2,
        "scheduler": "one_cycle",
        "batch_size": 16,
        "frames_per_batch": 120 * SAMPLING_RATE,
        "max_epochs": 15,
        "patience": 15,
        "gradient_clip": 1.0,
        "precision": "bfloat16",
    },
    data={"feature": "waveform", "normalization": "none"},
    small={"rank": 2},
    encoder="encoder",
)
class EncoderLora(SerModel):
    """An encoder with adapters, a sum of its layers, pooling, and a linear classifier.

    Raises:
        BadInputError: no encoder is named or it is not found, it lacks the blocks or layers asked
            for, peft is not installed, or the input is not the waveform.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        frame_shift: float,
        encoder: str | None,
        depth: float,
        layers: Literal["weighted", "last"],
        target_modules: str,
        rank: int,
        alpha: float,
        adapter_dropout: float,
        pooling: Literal["attention", "mean"],
        dropout: float,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        if feature_dim != 1 or abs(frame_shift * SAMPLING_RATE - 1) > 1e-6:
            raise BadInputError(
                "encoder_lora reads samples: set data.feature = waveform, and neither "
                "data.deltas nor data.pooling"
            )
        found = locate(encoder)
        if not isinstance(found, TransformerEncoder):
            raise BadInputError(
                f"{found.path}: an ONNX file cannot be fine-tuned; name the model's directory in "
                "the layout of Hugging Face"
            )
        self.source = found
        self.last = max(1, round(depth * found.num_layers))
        self.encoder = found.copy()
        add_adapters(
            self.encoder,
            found.blocks_of(self.encoder)[: self.last],
            targets=[name.strip() for name in target_modules.split(",")],
            rank=rank,
            alpha=alpha,
            dropout=adapter_dropout,
        )
        weighted = layers == "weighted"
        self.mix = nn.Parameter(torch.zeros(self.last + 1)) if weighted else None  # w
        self.pooling = UtterancePooling(found.dim, pooling)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(found.dim, num_classes)
        self.checkpointing = checkpointing

    def train(self, mode: bool = True) -> EncoderLora:
        """Train or evaluate; the encoder's own dropout, masks and dropped blocks stay off."""
        super().train(mode)
        train_adapters(self.encoder, mode)
        return self

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch of waveforms, (B, S, 1)."""
        samples = batch.frames[:, :, 0].detach().cpu().numpy()
        lengths = batch.lengths.cpu()
        parts, rows = [], []
        for length in sorted(set(lengths.tolist())):
            same = (lengths == length).nonzero().squeeze(1)
            parts.append(self._pooled(samples[same.numpy(), :length]))
            rows.append(same)
        order = torch.cat(rows).argsort().to(batch.frames.device)
        pooled = torch.cat(parts)[order]  # (B, D)
        return ModelOutput.of(self.classifier(self.dropout(pooled)))

    def _pooled(self, samples: FloatArray) -> Tensor:
        """(B, S) samples of one length to (B, D)."""
        if self.checkpointing and self.training:
            hidden = checkpoint(self._hidden, samples, use_reentrant=False)
        else:
            hidden = self._hidden(samples)  # (B, T, D)
        valid = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        lengths = torch.full_like(valid[:, 0], hidden.shape[1], dtype=torch.int64)
        vectors: Tensor = self.pooling(hidden, lengths, valid)[0]
        return vectors

    def _hidden(self, samples: FloatArray) -> Tensor:
        """(B, S) samples of one length to (B, T, D): the last layer, or the sum of all."""

        def encode(piece: FloatArray) -> dict[int, Tensor]:  # (S, B) to (T, B, D) of each layer
            states = self.source.states(self.encoder, piece.T, self.last)
            return {layer: state.transpose(0, 1) for layer, state in enumerate(states)}

        prepared = np.stack([self.source.prepared(row) for row in samples], axis=1)  # (S, B)
        states = in_pieces(
            prepared, encode, hop=self.source.hop, length=self.source.piece, join=torch.cat
        )
        if self.mix is None:
            return states[self.last].transpose(0, 1)
        stacked = torch.stack([states[layer] for layer in range(self.last + 1)])  # (L + 1, T, B, D)
        return torch.einsum("l,ltbd->btd", self.mix.softmax(dim=0), stacked)
