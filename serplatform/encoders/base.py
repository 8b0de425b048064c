"""What every encoder is: samples in, hidden states of its layers out, one clip at a time.

Shapes: S samples, T frames, D values of a frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.encoders.pieces import in_pieces, overlap_of
from serplatform.errors import BadInputError

#: rate, in hertz, of the samples that every encoder takes
SAMPLING_RATE = 16_000
#: seconds of audio that an encoder sees at once; longer clips come in overlapping pieces
LONGEST_PIECE = 30


class Encoder(ABC):
    """A frozen network whose hidden states are frames of speech.

    Layer 0 is the input of the first transformer block and layer k the output of block k; of an
    ONNX file, layer k is output k, counted from 0.

    Attributes:
        name: last part of the directory or id, or an ONNX file's name without its suffix.
        kind: "whisper", "wav2vec2", "hubert", "wavlm", "data2vec-audio" or "onnx".
        path: the directory or ONNX file.
        files: what a copy of the encoder needs: weights, settings, licence and model card.
        num_layers: number of the last layer.
        dim: D, the same in every layer.
        hop: samples from one frame to the next.
        frame_length: seconds that a frame covers.
        shortest: samples that give at least one frame; shorter clips are padded with silence.
        piece: samples that are encoded at once, a multiple of ``hop``.
        sha256: of the content of the weights: of the file itself where there is one.
        num_parameters: of the encoder alone; of an ONNX file, its bytes divided by four.
    """

    name: str
    kind: str
    path: Path
    files: tuple[Path, ...]
    num_layers: int
    dim: int
    hop: int
    frame_length: float
    shortest: int
    piece: int
    sha256: str
    num_parameters: int

    @property
    def frame_shift(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop / SAMPLING_RATE

    def check_layers(self, layers: Sequence[int]) -> None:
        """Raise a BadInputError that names the first layer that is not there."""
        for layer in layers:
            if not 0 <= layer <= self.num_layers:
                raise BadInputError(
                    f"{self.path}: there is no layer {layer}; {self.name} has layers 0 to "
                    f"{self.num_layers}, so ask for one of them, e.g. @{self.num_layers // 2}"
                )

    def check_weights(self) -> None:  # noqa: B027 (of an ONNX file, opening has checked them)
        """Check that every weight is there and of the right shape, without reading them.

        Raises:
            BadInputError: one is not.
        """

    def hidden_states(self, samples: FloatArray, layers: Sequence[int]) -> dict[int, FloatArray]:
        """Encode a clip by itself: never padded to a fixed length, never beside another clip.

        Clips longer than ``piece`` are encoded in overlapping pieces; see :func:`.in_pieces`.

        Args:
            samples: (S,), mono at 16 kHz, full scale 1.
            layers: their numbers.

        Returns:
            layer to (T, D), float32, finite, T at least 1.

        Raises:
            BadInputError: a layer is not there, the weights are damaged or not those of the
                configuration, or values are not finite.
        """
        self.check_layers(layers)
        wanted = sorted(set(layers))
        states = in_pieces(
            self.prepared(samples),
            lambda piece: self._encode(piece, wanted),
            hop=self.hop,
            length=self.piece,
        )
        for layer, frames in states.items():
            if not np.isfinite(frames).all():
                raise BadInputError(
                    f"{self.path}: layer {layer} gives values that are not finite for a clip of "
                    f"{len(samples) / SAMPLING_RATE:.2f} s; use another layer, or get the weights "
                    "again"
                )
        return states

    def prepared(self, samples: FloatArray) -> FloatArray:
        """A clip's samples as they are cut into pieces: float32, normalised, not too few."""
        samples = np.asarray(samples, dtype=np.float32)
        if len(samples) < self.shortest:
            samples = np.pad(samples, (0, self.shortest - len(samples)))
        return self._normalised(samples)

    def _normalised(self, samples: FloatArray) -> FloatArray:
        """The samples of a whole clip as the network wants them, before it is cut into pieces."""
        return samples

    @abstractmethod
    def _encode(self, samples: FloatArray, layers: Sequence[int]) -> dict[int, FloatArray]:
        """Hidden states of at most ``piece`` and at least ``shortest`` samples, in one pass."""

    @abstractmethod
    def _settings(self) -> dict[str, object]:
        """Everything beside the weights that determines the values: JSON."""

    def spec(self) -> dict[str, object]:
        """What determines the values, without the place it lies in: JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "sha256": self.sha256,
            "num_layers": self.num_layers,
            "dim": self.dim,
            **self._settings(),
            "sampling_rate": SAMPLING_RATE,
            "short_clip_padded_to_samples": self.shortest,
            "pieces": {"samples": self.piece, "overlap": overlap_of(self.piece, self.hop)},
        }
