"""Encoders that take the waveform: wav2vec 2.0, HuBERT, WavLM and data2vec-audio.

Baevski et al., "wav2vec 2.0", NeurIPS 2020; Hsu et al., "HuBERT", TASLP 2021; Chen et al.,
"WavLM", JSTSP 2022; Baevski et al., "data2vec", ICML 2022.

Shapes: S samples, T frames, D values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.encoders.base import LONGEST_PIECE, SAMPLING_RATE
from serplatform.encoders.checkpoint import Checkpoint, chosen
from serplatform.encoders.transformer import TransformerEncoder
from serplatform.errors import BadInputError

#: model_type to what the classes of transformers begin with
_CLASSES = {
    "wav2vec2": "Wav2Vec2",
    "hubert": "Hubert",
    "wavlm": "WavLM",
    "data2vec-audio": "Data2VecAudio",
}


class Wav2Vec2Encoder(TransformerEncoder):
    """Hidden states of a network of strided convolutions and transformer blocks.

    Layer k is the output of block k, also the last one; where layer norms come first within blocks
    (``do_stable_layer_norm``), it is taken before the norm that follows the last block, as
    ``hidden_states`` of transformers 5 are. Nothing is masked and no block is dropped.
    """

    kinds = tuple(_CLASSES)
    parts = ("feature_extractor.", "feature_projection.", "encoder.")
    blocks = "encoder.layers."
    architecture = (
        *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
        *("hidden_act", "layer_norm_eps", "do_stable_layer_norm", "adapter_attn_dim"),
        *("feat_extract_norm", "feat_extract_activation", "feat_proj_layer_norm"),
        *("conv_dim", "conv_stride", "conv_kernel", "conv_bias"),
        *("num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "conv_pos_batch_norm"),
        *("conv_pos_kernel_size", "num_buckets", "max_bucket_distance"),
    )

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        self.dim = checkpoint.setting("hidden_size")
        self.num_layers = checkpoint.setting("num_hidden_layers")
        self.preprocessing = {
            "do_normalize": bool(checkpoint.preprocessor.get("do_normalize", True))
        }
        strides, kernels = checkpoint.setting("conv_stride"), checkpoint.setting("conv_kernel")
        if not isinstance(strides, list) or not isinstance(kernels, list):
            raise BadInputError(
                f"{checkpoint.path / 'config.json'}: conv_stride and conv_kernel must be lists; "
                "get the model again"
            )
        self.hop = math.prod(strides)
        self.shortest = 1  # samples that one frame of the last convolution sees
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=False):
            self.shortest = (self.shortest - 1) * stride + kernel
        self.frame_length = self.shortest / SAMPLING_RATE
        self.piece = LONGEST_PIECE * SAMPLING_RATE // self.hop * self.hop
        self.prefixes = (checkpoint.model_type.replace("-", "_") + ".", "")
        super().__init__(checkpoint, name)

    def _build(self) -> Any:
        import transformers

        kind = _CLASSES[self.kind]
        config = getattr(transformers, f"{kind}Config")(
            **chosen(self.checkpoint.config, self.architecture),
            mask_time_prob=0.0,
            mask_feature_prob=0.0,
        )
        return getattr(transformers, f"{kind}Model")(config)

    def _normalised(self, samples: FloatArray) -> FloatArray:
        if not self.preprocessing["do_normalize"]:
            return samples
        return (samples - samples.mean()) / np.sqrt(samples.var() + np.float32(1e-7))

    def states(self, module: Any, samples: FloatArray, last: int) -> list[Any]:
        import torch

        found: list[Any] = []

        def keep(block: Any, given: Any, result: Any) -> None:
            found.append(result[0] if isinstance(result, tuple) else result)

        blocks = module.encoder.layers
        used = blocks[: max(1, last)]  # those after are not needed
        hooks = [block.register_forward_hook(keep) for block in used]
        hooks.append(used[0].register_forward_pre_hook(lambda block, given: found.append(given[0])))
        module.encoder.layers = used
        try:
            weight = module.feature_projection.projection.weight
            module(torch.as_tensor(samples, device=weight.device, dtype=weight.dtype))
        finally:
            module.encoder.layers = blocks
            for hook in hooks:
                hook.remove()
        return found[: last + 1]
