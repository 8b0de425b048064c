"""A local Whisper: what is said in a clip, and when each piece of the text is said.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", ICML 2023. Text is
decoded greedily, without timestamp tokens. Times come from a second pass over the same encoding,
as in the authors' code (``whisper/timing.py``): the cross-attention of the heads that follow the
speech, normalised over tokens, smoothed over frames, averaged, and the best monotone path. The
path departs from theirs: a frame belongs to one token and a token has at least one frame, so that
nothing is without time.

Shapes: S samples, T encoder frames of 20 ms, N tokens.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serplatform.arrays import FloatArray, IntArray
from serplatform.artifacts.files import read_json
from serplatform.encoders.base import SAMPLING_RATE
from serplatform.encoders.checkpoint import Checkpoint, need_package
from serplatform.encoders.open import find_encoder, open_encoder
from serplatform.encoders.places import content_sha256
from serplatform.errors import BadInputError

#: of the encoder's frames, in seconds
FRAME = 0.02
#: most tokens decoded of a window, as in the authors' code
MOST_TOKENS = 224

_FILES = {
    "generation_config.json": "says which heads follow the speech",
    "preprocessor_config.json": "describes its spectrograms",
    "tokenizer.json": "holds its pieces of words",
}
_DECODER = "decoder.embed_tokens.weight"


class TextTooLongError(ValueError):
    """A text has more tokens than the decoder can hold, or than the clip has frames."""


@dataclasses.dataclass(frozen=True)
class EncodedSpeech:
    """A clip as the decoder hears it.

    Attributes:
        hidden: the encoder's output.
        frames: how many of its frames are of the clip; the others are silence.
    """

    hidden: Any
    frames: int


@dataclasses.dataclass(frozen=True)
class TimedPiece:
    """A piece of text of whole characters, in seconds from the start of the clip."""

    text: str
    start: float
    end: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimedText:
    """What is said in a clip.

    Attributes:
        pieces: of the text, in order; without gaps, each at least one frame long.
        mean_log_probability: of a token of the text or of its end, natural logarithm.
        no_speech: probability that there is no speech.
    """

    pieces: tuple[TimedPiece, ...]
    mean_log_probability: float
    no_speech: float

    @property
    def text(self) -> str:
        """All pieces."""
        return "".join(piece.text for piece in self.pieces)


class SpeechRecognizer:
    """One Whisper in a directory of Hugging Face layout; its weights are loaded at the first clip.

    Attributes:
        path: the directory.
        name: what it is called in datasets and models.
        languages: codes of the languages that it recognises; empty where it knows English alone.
        window: seconds that it hears at a time.

    Raises:
        BadInputError: a file is missing, or it is no Whisper that can give times of words.
    """

    def __init__(self, path: Path, name: str) -> None:
        need_package("transformers", path)
        self._checkpoint = checkpoint = Checkpoint(path)
        generation = _generation_settings(checkpoint)
        self.path, self.name = path, name
        self._heads: list[tuple[int, int]] = [(a, b) for a, b in generation["alignment_heads"]]
        self._start: int = generation["decoder_start_token_id"]
        self._no_timestamps: int = generation["no_timestamps_token_id"]
        self._end: int = checkpoint.config["eos_token_id"]
        known: dict[str, int] = generation.get("lang_to_id") or {}
        self._languages = {name.strip("<|>"): number for name, number in known.items()}
        self._tasks: dict[str, int] = generation.get("task_to_id") or {}
        self._positions: int = checkpoint.setting("max_target_positions")
        self._smoothing: int = checkpoint.config.get("median_filter_width", 7)
        self._frames: int = checkpoint.setting("max_source_positions")
        self.languages = frozenset(self._languages)
        self.window = self._frames * FRAME

    @classmethod
    def open(cls, given: str) -> SpeechRecognizer:
        """The one at a place, as :func:`.open_encoder` takes it."""
        found = open_encoder(given)
        return cls(found.path, found.name)

    @classmethod
    def find(cls, name: str, sha256: str, folders: Sequence[Path] = ()) -> SpeechRecognizer:
        """The one with these weights, wherever it lies; see :func:`.find_encoder`."""
        found = find_encoder(name, sha256, folders)
        return cls(found.path, found.name)

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of the weights."""
        return content_sha256(self.path, self._checkpoint.weights)

    def encode(self, samples: FloatArray) -> EncodedSpeech:
        """Hear (S,) samples, at most a window, float32 mono at 16 kHz, full scale 1."""
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        made = self._extractor(samples, sampling_rate=SAMPLING_RATE, return_tensors="pt")
        with torch.inference_mode():
            hidden = self._model.get_encoder()(
                made.input_features.to(self._model.device)
            ).last_hidden_state
        frames = math.ceil(len(samples) / (FRAME * SAMPLING_RATE))
        return EncodedSpeech(
            BaseModelOutput(last_hidden_state=hidden), max(1, min(frames, self._frames))
        )

    def detect_language(self, speech: EncodedSpeech) -> str:
        """The most probable language, where several are known."""
        found = int(self._model.detect_language(encoder_outputs=speech.hidden))
        return next(name for name, number in self._languages.items() if number == found)

    def recognize(self, speech: EncodedSpeech, language: str | None) -> TimedText:
        """Decode what is said in one of ``languages``; None where English alone is known."""
        given = {"language": language, "task": "transcribe"} if self.languages else {}
        (tokens,) = self._model.generate(
            encoder_outputs=speech.hidden,
            num_beams=1,
            do_sample=False,
            return_timestamps=False,
            max_new_tokens=max(1, min(MOST_TOKENS, speech.frames - 1)),
            **given,
        ).tolist()
        return self._timed(speech, [token for token in tokens if token < self._end], language)

    def align(self, speech: EncodedSpeech, text: str, language: str | None) -> TimedText:
        """Locate a text that is known.

        Raises:
            TextTooLongError: there is no place for it in the decoder or in the clip.
        """
        made = self._tokenizer(f" {text}", add_special_tokens=False, split_special_tokens=True)
        return self._timed(speech, made["input_ids"], language)

    def _timed(self, speech: EncodedSpeech, tokens: list[int], language: str | None) -> TimedText:
        """Let the decoder read the tokens, and see where it looks."""
        import torch
        from scipy.ndimage import median_filter

        prompt = [self._start, self._no_timestamps]
        if language is not None and self.languages:
            prompt[1:1] = [self._languages[language], self._tasks["transcribe"]]
        if len(prompt) + len(tokens) + 1 > self._positions or len(tokens) >= speech.frames:
            raise TextTooLongError(f"{len(tokens)} tokens in {speech.frames * FRAME:.2f} s")
        read = torch.tensor([[*prompt, *tokens, self._end]], device=self._model.device)
        with torch.inference_mode():
            output = self._model(
                encoder_outputs=speech.hidden,
                decoder_input_ids=read,
                output_attentions=True,
                use_cache=False,
            )
            heads = [output.cross_attentions[layer][0, head] for layer, head in self._heads]
            attention = (
                torch.stack(heads)[:, :, : speech.frames].cpu().numpy()
            )  # (H, N + prompt + 1, T)
            log_probabilities = output.logits[0].log_softmax(dim=-1)
        deviation = np.maximum(attention.std(axis=1, keepdims=True), 1e-9)
        attention = (attention - attention.mean(axis=1, keepdims=True)) / deviation
        attention = median_filter(attention, size=(1, 1, self._smoothing), mode="mirror")
        # a row belongs to the token that follows it: the first row here is the prompt's last token
        first = len(prompt) - 1
        starts = monotone_path(attention.mean(axis=0)[first:-1])  # of tokens, then of the end
        said = log_probabilities[first:-1].gather(1, read[0, first + 1 :, None])
        return TimedText(
            pieces=self._pieces(tokens, starts),
            mean_log_probability=float(said.mean()),
            no_speech=float(log_probabilities[0, self._no_timestamps - 1].exp()),
        )

    def _pieces(self, tokens: list[int], starts: IntArray) -> tuple[TimedPiece, ...]:
        """Join tokens where a character is divided between them."""
        pieces: list[TimedPiece] = []
        done, first = "", 0
        for number in range(len(tokens)):
            text = self._tokenizer.decode(tokens[: number + 1], clean_up_tokenization_spaces=False)
            if text.endswith("\ufffd") and number + 1 < len(tokens):
                continue
            start, end = (round(int(starts[i]) * FRAME, 4) for i in (first, number + 1))
            pieces.append(TimedPiece(text[len(done) :], start, end))
            done, first = text, number + 1
        return tuple(pieces)

    @functools.cached_property
    def _model(self) -> Any:
        # attention of other implementations does not tell where it looks
        return self._checkpoint.pretrained(
            "WhisperForConditionalGeneration", attn_implementation="eager"
        )

    @functools.cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.path, local_files_only=True)

    @functools.cached_property
    def _extractor(self) -> Any:
        from transformers import WhisperFeatureExtractor

        return WhisperFeatureExtractor.from_pretrained(self.path, local_files_only=True)


def _generation_settings(checkpoint: Checkpoint) -> dict[str, Any]:
    """What ``generation_config.json`` says, checked with what lies beside it."""
    path, kind = checkpoint.path, checkpoint.model_type
    if kind != "whisper":
        raise BadInputError(
            f"{path}: is a model of type '{kind}', and only a Whisper writes down speech with the "
            "times of words; give a Whisper"
        )
    if not any(name.endswith(_DECODER) for name in checkpoint.tensors):
        raise BadInputError(
            f"{path}: has the weights of an encoder without its decoder, so that it hears and does "
            "not write; give the whole Whisper"
        )
    for name, purpose in _FILES.items():
        if not (path / name).is_file():
            raise BadInputError(f"{path}: lacks {name}, which {purpose}; get the model again")
    file = path / "generation_config.json"
    settings = read_json(file)
    needed = ["alignment_heads", "no_timestamps_token_id", "decoder_start_token_id"]
    if settings.get("is_multilingual"):
        needed += ["lang_to_id", "task_to_id"]
    if missing := [name for name in needed if not settings.get(name)]:
        raise BadInputError(
            f"{file}: lacks {', '.join(missing)}, without which words have no times; take the "
            "file that was published with the model"
        )
    layers, heads = map(checkpoint.setting, ("decoder_layers", "decoder_attention_heads"))
    for layer, head in settings["alignment_heads"]:
        if layer >= layers or head >= heads:
            raise BadInputError(
                f"{file}: alignment_heads names head {head} of layer {layer}, and the decoder has "
                f"{layers} layers of {heads} heads; take the file that was published with the model"
            )
    return settings


def monotone_path(weights: FloatArray) -> IntArray:
    """Divide frames among rows in order, so that the sum of (N, T) weights passed is greatest.

    Each row gets at least one frame, N ≤ T. Returns (N,): the first frame of each row.

    Example:
        >>> monotone_path(np.array([[9.0, 8, 1, 0, 0], [0, 1, 7, 2, 0], [0, 0, 1, 6, 9]])).tolist()
        [0, 2, 3]
    """
    rows, frames = weights.shape
    best = np.full(rows, -np.inf)
    best[0] = weights[0, 0]
    advanced = np.zeros(weights.shape, dtype=bool)
    for frame in range(1, frames):
        before = np.concatenate([[-np.inf], best[:-1]])
        advanced[:, frame] = before > best
        best = np.maximum(before, best) + weights[:, frame]
    starts, row = np.zeros(rows, dtype=np.int64), rows - 1
    for frame in range(frames - 1, 0, -1):
        if advanced[row, frame]:
            starts[row] = frame
            row -= 1
    return starts
