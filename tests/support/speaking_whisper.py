"""A tiny Whisper that says one sentence, and looks at a known stretch of time for each word.

Its weights are set by hand: positions of the decoder point to the next token, and its one
cross-attention head from that token to frames of the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

#: seconds of each token, one after another
STEP = 0.3
_DIM, _FRAMES, _PER_STEP = 64, 1500, 15
_MARKS = ("<|startoftranscript|>", "<|pl|>", "<|en|>", "<|translate|>", "<|transcribe|>")


def speaking_whisper(
    directory: Path,
    text: str,
    *,
    languages: bool = True,
    doubts: bool = False,
    detected: str = "pl",
) -> Path:
    """Save one that says ``text``, of any number of different words, or of one that is repeated.

    ``doubts``: it gives the first token to "no speech" and its words little probability.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )
    from transformers.utils import logging

    logging.disable_progress_bar()
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [f" {text}"] * 3,
        trainers.BpeTrainer(initial_alphabet=alphabet, vocab_size=600, show_progress=False),
    )
    marks = _MARKS if languages else _MARKS[:1]
    marks = ("<|endoftext|>", *marks, "<|nospeech|>", "<|notimestamps|>")
    made.add_special_tokens(list(marks))
    vocabulary = made.get_vocab()
    ids = {mark: vocabulary[mark] for mark in marks}
    end, size = ids["<|endoftext|>"], made.get_vocab_size()
    said = made.encode(f" {text}").ids
    config = WhisperConfig(
        vocab_size=size,
        d_model=_DIM,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=1,
        decoder_attention_heads=1,
        encoder_ffn_dim=8,
        decoder_ffn_dim=8,
        max_source_positions=_FRAMES,
        max_target_positions=448,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    rng = np.random.default_rng(0)
    tokens = rng.normal(0, 0.05 if doubts else 0.3, (size, _DIM))
    times = _normal(rng.normal(size=(_FRAMES // _PER_STEP, _DIM)))
    prompt = 4 if languages else 2
    follows = [ids[f"<|{detected}|>"] if languages else end] + [end] * (prompt - 2) + [*said, end]
    if doubts:
        follows[0] = ids["<|nospeech|>"]
    follows += [end] * (448 - len(follows))
    points = _normal(20 * tokens[follows])
    rows = points[prompt - 1 : prompt + len(said)]
    looks = np.linalg.lstsq(rows, times[: len(rows)], rcond=None)[0].T
    if doubts:
        tokens[ids["<|nospeech|>"]] *= 40
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(float(name.endswith("norm.weight")))
        body = model.model
        body.encoder.embed_positions.weight.copy_(
            torch.tensor(times.repeat(_PER_STEP, axis=0)[:_FRAMES])
        )
        body.decoder.embed_tokens.weight.copy_(torch.tensor(tokens))
        body.decoder.embed_positions.weight.copy_(torch.tensor(20 * tokens[follows]))
        attention = body.decoder.layers[0].encoder_attn
        attention.k_proj.weight.copy_(torch.eye(_DIM))
        attention.q_proj.weight.copy_(torch.tensor(looks))
    facts: dict[str, Any] = {
        "alignment_heads": [[0, 0]],
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "is_multilingual": languages,
        "max_length": 448,
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        **{f"{name}_token_id": end for name in ("pad", "bos", "eos")},
    }
    if languages:
        facts["lang_to_id"] = {mark: ids[mark] for mark in _MARKS[1:3]}
        facts["task_to_id"] = {name: ids[f"<|{name}|>"] for name in ("translate", "transcribe")}
    model.generation_config = GenerationConfig(**facts)
    model.save_pretrained(directory, safe_serialization=True)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(directory)
    plain = {f"{name}_token": "<|endoftext|>" for name in ("bos", "eos", "unk", "pad")}
    WhisperTokenizer(tokenizer_object=made, **plain).save_pretrained(directory)
    made.save(str(directory / "tokenizer.json"))
    return directory


def noise(seconds: float) -> npt.NDArray[Any]:
    """(S,) samples that are speech all over, as far as their energy tells."""
    rng = np.random.default_rng(1)
    return rng.normal(0, 0.1, round(16_000 * seconds)).astype(np.float32)


def expected(words: Sequence[str], offset: float = 0.0) -> list[tuple[str, float, float]]:
    """Words with the times that the model gives them."""
    return [
        (w, round(offset + i * STEP, 4), round(offset + (i + 1) * STEP, 4))
        for i, w in enumerate(words)
    ]


def _normal(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """As layer normalisation leaves them."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / rows.std(axis=1, keepdims=True)
