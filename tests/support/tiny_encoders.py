"""Two-layer encoders with random weights, in the layout of Hugging Face, and a tiny ONNX file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

#: values of a frame of every tiny encoder
DIM = 16
#: samples from frame to frame of the tiny wav2vec 2.0-like encoders, and samples of a frame
HOP, WINDOW = 320, 400

_SIZES = {
    "hidden_size": DIM,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8] * 3,
    "conv_stride": [20, 4, 4],
    "conv_kernel": [80, 5, 4],
    "num_conv_pos_embedding_groups": 4,
}


def tiny_whisper(directory: Path, *, seed: int = 0, max_positions: int = 1500) -> Path:
    """A whole Whisper, decoder and all, with its preprocessor."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    config = WhisperConfig(
        d_model=DIM,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        vocab_size=64,
        max_source_positions=max_positions,
        max_target_positions=16,
        num_mel_bins=80,
        **{f"{name}_token_id": 1 for name in ("pad", "bos", "eos", "decoder_start")},
        begin_suppress_tokens=None,
    )
    _save(lambda: WhisperForConditionalGeneration(config), directory, seed)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(directory)
    return directory


def tiny_wav2vec2(directory: Path, *, seed: int = 0, head: str = "ForCTC", **config: Any) -> Path:
    """A wav2vec 2.0 with group norm, saved with a head for CTC."""
    return _waveform("Wav2Vec2", directory, seed, head, config)


def tiny_hubert(directory: Path, *, seed: int = 0, head: str = "Model", **config: Any) -> Path:
    """A bare HuBERT."""
    return _waveform("Hubert", directory, seed, head, config)


def tiny_wavlm(
    directory: Path, *, seed: int = 0, head: str = "ForSequenceClassification", **config: Any
) -> Path:
    """A WavLM, saved with a classifier on top."""
    return _waveform("WavLM", directory, seed, head, {"num_buckets": 8, **config})


def tiny_data2vec(directory: Path, *, seed: int = 0, head: str = "Model", **config: Any) -> Path:
    """A bare data2vec-audio."""
    sizes = {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5}
    return _waveform("Data2VecAudio", directory, seed, head, {**sizes, **config})


#: the encoders that read the waveform
WAVEFORM: tuple[Callable[..., Path], ...] = (
    tiny_wav2vec2,
    tiny_hubert,
    tiny_wavlm,
    tiny_data2vec,
)


def _waveform(kind: str, directory: Path, seed: int, head: str, changes: dict[str, Any]) -> Path:
    import transformers

    sizes = (
        _SIZES if "num_conv_pos_embeddings" in changes else _SIZES | {"num_conv_pos_embeddings": 16}
    )
    config = getattr(transformers, f"{kind}Config")(**{**sizes, "vocab_size": 32, **changes})
    _save(lambda: getattr(transformers, kind + head)(config), directory, seed)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(directory)
    return directory


def _save(build: Callable[[], Any], directory: Path, seed: int) -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build()
        with torch.no_grad():  # as published ones: biases and norms are not all zero and one
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(directory, safe_serialization=True)


def edit_json(file: Path, **changes: Any) -> None:
    """Change values of a JSON file; None removes one."""
    content = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    kept = {name: value for name, value in content.items() if value is not None}
    file.write_text(json.dumps(kept), encoding="utf-8")


def tiny_onnx(
    path: Path,
    *,
    seed: int = 0,
    num_outputs: int = 2,
    input_shape: Sequence[int | str] = (1, "samples"),
    external: bool = False,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A convolution of :data:`WINDOW` samples every :data:`HOP`, and matrices after it.

    Args:
        path: of the file.
        seed: of the weights.
        num_outputs: layers; each is tanh of the one before times a matrix, (1, T, D).
        input_shape: (S,), (1, S) or (1, 1, S); words are free sizes.
        external: whether the weights lie in a file beside, of the same name with ``.data`` added.
        metadata: of the model.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    weights = {
        "kernel": rng.normal(0, 0.1, (DIM, 1, WINDOW)),
        "waveform_shape": np.array([1, 1, -1]),
    }
    nodes = [
        helper.make_node("Reshape", ["waveform", "waveform_shape"], ["row"]),
        helper.make_node("Conv", ["row", "kernel"], ["columns"], strides=[HOP]),
        helper.make_node("Transpose", ["columns"], ["layer0"], perm=[0, 2, 1]),
    ]
    for layer in range(1, num_outputs):
        weights[f"matrix{layer}"] = rng.normal(0, 0.3, (DIM, DIM))
        nodes.append(
            helper.make_node("MatMul", [f"layer{layer - 1}", f"matrix{layer}"], [f"m{layer}"])
        )
        nodes.append(helper.make_node("Tanh", [f"m{layer}"], [f"layer{layer}"]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, list(input_shape))],
        [
            helper.make_tensor_value_info(f"layer{k}", TensorProto.FLOAT, [1, "frames", DIM])
            for k in range(num_outputs)
        ],
        [
            numpy_helper.from_array(v.astype(np.float32 if v.dtype.kind == "f" else np.int64), name)
            for name, v in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save_model(
        model,
        path,
        save_as_external_data=external,
        location=f"{path.name}.data" if external else None,
        size_threshold=64,
    )
    return path
