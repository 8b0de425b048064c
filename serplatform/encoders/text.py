"""A pretrained text encoder: words of an utterance in, one contextual vector a word out.

The words are given to the fast tokenizer as words, so that it says which piece belongs to which;
the vectors of a word's pieces are averaged. Text longer than the encoder can hold is read in
windows of whole words, each by itself.

Shapes: L words, E values of a vector.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.artifacts.files import file_sha256
from serplatform.config import digest
from serplatform.encoders.checkpoint import Checkpoint, device, need_package
from serplatform.encoders.open import find_model, locate
from serplatform.encoders.places import content_sha256
from serplatform.errors import BadInputError

#: files of a tokenizer
_CUTS = re.compile(r"tokenizer.*|vocab.*|merges.*|special_tokens_map.*|added_tokens.*|spiece.*")
#: settings of a configuration that change no vector
_IDLE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures")
KINDS = ("bert", "roberta", "distilbert", "xlm-roberta", "camembert", "electra", "mpnet", "albert")


class TextEncoder:
    """One text encoder in a directory of Hugging Face layout; weights are loaded when first used.

    Attributes:
        path: the directory.
        files: what a copy of it needs.
        name: what it is called in datasets and models.
        num_layers: number of the last layer; 0 is the input of the first block.
        dim: E.
        sha256: of the weights.

    Raises:
        BadInputError: it is no text encoder, or has no fast tokenizer.
    """

    def __init__(self, path: Path, name: str) -> None:
        need_package("transformers", path)
        self._checkpoint = checkpoint = Checkpoint(path)
        if checkpoint.model_type not in KINDS:
            raise BadInputError(
                f"{path}: is a model of type '{checkpoint.model_type}', which is no text encoder "
                f"known here ({', '.join(KINDS)}); features of audio are pretrained:DIR@LAYER"
            )
        if not (path / "tokenizer.json").is_file():
            raise BadInputError(
                f"{path}: lacks tokenizer.json, which divides words into pieces; get the model "
                "again, or save its tokenizer anew with transformers"
            )
        layers, dim = (
            ("n_layers", "dim")
            if checkpoint.model_type == "distilbert"
            else ("num_hidden_layers", "hidden_size")
        )
        self.path, self.name, self.files = path, name, checkpoint.files
        self.num_layers: int = checkpoint.setting(layers)
        self.dim: int = checkpoint.setting(dim)
        positions: int = checkpoint.setting("max_position_embeddings")
        self._longest = positions - 4  # room for marks at both ends, and for RoBERTa's offset

    def check_layer(self, layer: int) -> None:
        """Raise a BadInputError where there is no such layer."""
        if not 0 <= layer <= self.num_layers:
            raise BadInputError(
                f"{self.path}: there is no layer {layer}; {self.name} has layers 0 to "
                f"{self.num_layers}, so ask for one of them, e.g. @{self.num_layers}"
            )

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of the weights."""
        return content_sha256(self.path, self._checkpoint.weights)

    def spec(self) -> dict[str, object]:
        """What determines the vectors, without the place it lies in: JSON."""
        return {
            "kind": self._checkpoint.model_type,
            "name": self.name,
            "sha256": self.sha256,
            "num_layers": self.num_layers,
            "dim": self.dim,
            "tokenizer": self._tokenizer_sha256,
            "config": digest({k: v for k, v in self._checkpoint.config.items() if k not in _IDLE}),
            "pieces": "mean",
            "longest": self._longest,
        }

    @functools.cached_property
    def _tokenizer_sha256(self) -> str:
        """Hash of all files that say how words are cut."""
        files = [file for file in self.files if _CUTS.match(file.name)]
        return digest({file.name: file_sha256(file) for file in files})

    def word_vectors(self, words: Sequence[str], layer: int) -> FloatArray:
        """Vectors of the words of one utterance: (L, E) float32; vector i is of word i.

        A word of which the tokenizer makes no piece gets zeros.
        """
        import torch

        vectors = np.zeros((len(words), self.dim), dtype=np.float32)
        for first, last in self._windows(words):
            made = self._tokenizer(
                list(words[first:last]),
                is_split_into_words=True,
                return_tensors="pt",
                truncation=True,  # of a single word that is longer than a window
                max_length=self._longest + 2,
            )
            owner = made.word_ids()
            with torch.inference_mode():
                output = self._model(**made.to(device()), output_hidden_states=True)
            states = output.hidden_states[layer][0].float().cpu().numpy()
            for word in range(last - first):
                own = [position for position, of in enumerate(owner) if of == word]
                if own:
                    vectors[first + word] = states[own].mean(axis=0)
        return vectors

    def _windows(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """First word and one past the last of each window."""
        windows: list[tuple[int, int]] = []
        first = count = 0
        for number, word in enumerate(words):
            pieces = len(
                self._tokenizer(
                    [word], is_split_into_words=True, add_special_tokens=False
                ).input_ids
            )
            if count and count + pieces > self._longest:
                windows.append((first, number))
                first, count = number, 0
            count += pieces
        return [*windows, (first, len(words))] if words else []

    @functools.cached_property
    def _model(self) -> Any:
        return self._checkpoint.pretrained("AutoModel", unused="pooler.")

    @functools.cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        extra = {"add_prefix_space": True} if self._checkpoint.model_type == "roberta" else {}
        return AutoTokenizer.from_pretrained(self.path, local_files_only=True, **extra)


def open_text_encoder(given: str) -> TextEncoder:
    """The text encoder at a place, as :func:`.open_encoder` takes it; once a process."""
    return _open(*locate(given))


def find_text_encoder(
    name: str, sha256: str, folders: Sequence[Path] = (), spec: Mapping[str, object] | None = None
) -> TextEncoder:
    """The text encoder with these weights, wherever it lies; see :func:`.find_encoder`."""
    return find_model(name, sha256, folders, _open, spec)


@functools.lru_cache(maxsize=4)
def _open(path: Path, name: str) -> TextEncoder:
    return TextEncoder(path, name)
