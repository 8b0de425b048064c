"""The encoder of Whisper, on a clip as long as it is.

Radford, Kim, Xu, Brockman, McLeavey and Sutskever, "Robust Speech Recognition via Large-Scale Weak
Supervision", ICML 2023.

Shapes: S samples, M mel bands, T frames, D values.
"""

from __future__ import annotations

import functools
from typing import Any

from serplatform.arrays import FloatArray
from serplatform.encoders.base import LONGEST_PIECE, SAMPLING_RATE
from serplatform.encoders.checkpoint import Checkpoint, chosen
from serplatform.encoders.transformer import TransformerEncoder
from serplatform.errors import BadInputError


class WhisperEncoder(TransformerEncoder):
    """Hidden states of Whisper's encoder; the last layer is after the final layer norm.

    Departs from the paper, whose encoder sees every clip padded to 30 s: here there is nothing but
    the clip, with the position embeddings of its first T frames. Frame t is centred at t frame
    shifts. Of a checkpoint with a decoder, only the encoder is read.
    """

    kinds = ("whisper",)
    parts = ("conv1.", "conv2.", "embed_positions.", "layers.", "layer_norm.")
    prefixes = ("model.encoder.", "encoder.", "")
    blocks = "layers."
    architecture = (
        *("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"),
        *("activation_function", "num_mel_bins", "max_source_positions"),
    )

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        self.dim = checkpoint.setting("d_model")
        self.num_layers = checkpoint.setting("encoder_layers")
        bands = checkpoint.setting("num_mel_bins")
        self.preprocessing = {"feature_size": bands, "n_fft": 400, "hop_length": 160}
        self.preprocessing |= chosen(checkpoint.preprocessor, self.preprocessing)
        if self.preprocessing["feature_size"] != bands:
            raise BadInputError(
                f"{checkpoint.path}: the preprocessor gives {self.preprocessing['feature_size']} "
                f"mel bands and config.json asks for {bands}; get both files again"
            )
        self.hop = 2 * self.preprocessing["hop_length"]  # the second convolution has stride 2
        self.frame_length = self.hop / SAMPLING_RATE
        self.shortest = self.preprocessing["n_fft"]
        positions = checkpoint.setting("max_source_positions")
        self.piece = min(positions, LONGEST_PIECE * SAMPLING_RATE // self.hop) * self.hop
        super().__init__(checkpoint, name)

    def _build(self) -> Any:
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder as Module

        return Module(WhisperConfig(**chosen(self.checkpoint.config, self.architecture)))

    @functools.cached_property
    def _log_mel(self) -> Any:
        from transformers import WhisperFeatureExtractor

        return WhisperFeatureExtractor(**self.preprocessing, sampling_rate=SAMPLING_RATE)

    def states(self, module: Any, samples: FloatArray, last: int) -> list[Any]:
        import torch
        from torch.nn.functional import gelu

        with torch.autocast("cpu", enabled=False):  # where it is computed, in full precision
            mel = self._log_mel(
                list(samples),
                sampling_rate=SAMPLING_RATE,
                padding="do_not_pad",
                truncation=False,
                return_tensors="np",
            )["input_features"]  # (B, M, 2T or 2T - 1)
        weight = module.conv1.weight
        hidden = gelu(module.conv1(torch.as_tensor(mel, device=weight.device, dtype=weight.dtype)))
        hidden = gelu(module.conv2(hidden)).transpose(1, 2)
        states = [hidden + module.embed_positions.weight[: hidden.shape[1]]]
        for block in module.layers[:last]:
            states.append(block(states[-1], None))
        if last == self.num_layers:
            states[-1] = module.layer_norm(states[-1])
        return states
