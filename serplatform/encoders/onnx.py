"""Any network in an ONNX file that makes frames from a waveform.

Shapes: S samples, T frames, D values.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.encoders.base import LONGEST_PIECE, SAMPLING_RATE, Encoder
from serplatform.encoders.checkpoint import need_package
from serplatform.encoders.places import content_sha256
from serplatform.errors import BadInputError

#: the field "location" of weights that lie beside an ONNX file, and the length of what follows
_EXTERNAL = re.compile(rb"\x0a\x08location\x12([\x01-\x7f]|[\x80-\xff][\x01-\x7f])", re.DOTALL)
#: samples of the clips of weak noise from which the frame shift is found; the usual frame shifts
#: divide their difference
_SHORT, _LONG = 16_000, 64_000
#: a frame shift is a multiple of so many samples: half a millisecond
_STEP = 8


class OnnxEncoder(Encoder):
    """A file with one float32 waveform as its input, (S,), (1, S) or (1, 1, S), S free.

    Its outputs are frames, (T, D) or (1, T, D), all of the same T and D: layer k is output k. The
    frame shift is found by encoding clips of two lengths, rounded to half a millisecond and tried
    on a third. How long a frame is cannot be known: it is said to be as long as the frame shift.
    """

    kind = "onnx"

    def __init__(self, path: Path, name: str) -> None:
        need_package("onnxruntime", path)
        self.path = path
        self.name = name
        self.files = (path, *_external_files(path))
        self._session = _open_session(path)
        self._check_rate()
        self._rank = self._input_rank()
        self.num_layers = len(self._session.get_outputs()) - 1
        layers = range(self.num_layers + 1)
        short, long = (self._run(_noise(length), layers) for length in (_SHORT, _LONG))
        shapes = {frames.shape for frames in short.values()}
        if len(shapes) != 1:
            raise BadInputError(
                f"{path}: its outputs have {sorted(shapes)} frames and values; all outputs must "
                "have the same, so export only the layers"
            )
        (num_frames, self.dim), num_long = short[0].shape, len(long[0])
        self.hop = self._find_hop(num_frames, num_long)
        self.frame_length = self.hop / SAMPLING_RATE
        self.shortest = max(self.hop, _SHORT - (num_frames - 1) * self.hop)
        self.piece = LONGEST_PIECE * SAMPLING_RATE // self.hop * self.hop
        self.sha256 = content_sha256(path, self.files)
        self.num_parameters = sum(file.stat().st_size for file in self.files) // 4

    def _check_rate(self) -> None:
        rate = self._session.get_modelmeta().custom_metadata_map.get("sampling_rate")
        if rate not in {None, str(SAMPLING_RATE)}:
            raise BadInputError(
                f"{self.path}: its metadata ask for audio at {rate} Hz, and audio is brought to "
                f"{SAMPLING_RATE} Hz here; use a model for {SAMPLING_RATE} Hz"
            )

    def _input_rank(self) -> int:
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        free = [size for size in shape if not isinstance(size, int)]
        fixed = [size for size in shape if isinstance(size, int)]
        if (
            len(inputs) != 1
            or inputs[0].type != "tensor(float)"
            or not 1 <= len(shape) <= 3
            or isinstance(shape[-1], int)
            or len(free) > 2
            or any(size != 1 for size in fixed)
        ):
            found = ", ".join(f"{i.name}: {i.type} {i.shape}" for i in inputs)
            raise BadInputError(
                f"{self.path}: has the inputs {found}; it must have one, a float32 waveform whose "
                "number of samples is free, (S,), (1, S) or (1, 1, S); export it so"
            )
        return len(shape)

    def _find_hop(self, num_short: int, num_long: int) -> int:
        """Samples from frame to frame.

        Raises:
            BadInputError: frames do not follow each other at one distance.
        """
        hop = _STEP * round((_LONG - _SHORT) / max(1, num_long - num_short) / _STEP)
        if 0 < hop < _LONG - _SHORT:
            steps = min(hop, LONGEST_PIECE * SAMPLING_RATE // hop)  # one sample's difference shows
            third = self._run(_noise(_SHORT + steps * hop), [0])[0]
            if len(third) == num_short + steps:
                return hop
        raise BadInputError(
            f"{self.path}: {_SHORT} samples give {num_short} frames and {_LONG} give {num_long}, "
            "which is no frame shift in steps of half a millisecond; outputs must have a frame "
            "for every so many samples"
        )

    def _run(self, samples: FloatArray, layers: Sequence[int]) -> dict[int, FloatArray]:
        names = [output.name for output in self._session.get_outputs()]
        waveform = samples.reshape((1,) * (self._rank - 1) + (-1,))
        try:
            values = self._session.run(
                [names[layer] for layer in layers], {self._session.get_inputs()[0].name: waveform}
            )
        except _errors() as error:
            raise BadInputError(
                f"{self.path}: fails on a clip of {len(samples) / SAMPLING_RATE:.2f} s "
                f"({_reason(error)}); export it so that the number of samples is free"
            ) from None
        states = {}
        for layer, found in zip(layers, values, strict=True):
            frames = np.asarray(found)
            if frames.ndim == 3 and len(frames) == 1:
                frames = frames[0]
            if frames.ndim != 2 or frames.dtype.kind != "f" or not len(frames):
                raise BadInputError(
                    f"{self.path}: output {layer} ({names[layer]}) has shape {list(frames.shape)}; "
                    "outputs must be frames of numbers, (T, D) or (1, T, D): export only those"
                )
            states[layer] = frames.astype(np.float32)
        return states

    def _encode(self, samples: FloatArray, layers: Sequence[int]) -> dict[int, FloatArray]:
        return self._run(samples, layers)

    def _settings(self) -> dict[str, object]:
        return {"hop": self.hop}


def _noise(length: int) -> FloatArray:
    return 0.01 * np.random.default_rng(0).standard_normal(length, dtype=np.float32)


def _errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: its errors have no class in common."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = [value for value in vars(state).values() if isinstance(value, type)]
    return (RuntimeError, *(value for value in found if issubclass(value, Exception)))


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _open_session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)  # 0: its own choice
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    there = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(
            path, options, providers=[name for name in wanted if name in there]
        )
    except _errors() as error:
        raise BadInputError(
            f"{path}: is not a whole ONNX file that onnxruntime can run ({_reason(error)}); "
            "export it again"
        ) from None


def _external_files(path: Path) -> tuple[Path, ...]:
    """Files of weights that an ONNX file names, in the order of their names.

    Raises:
        BadInputError: one lies elsewhere, or is missing.
    """
    if not path.stat().st_size:
        return ()
    names = set()
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        for found in _EXTERNAL.finditer(view):
            low, *high = found[1]  # a protobuf varint: seven bits a byte, lowest first
            length = (low & 0x7F) | (high[0] << 7 if high else 0)
            names.add(view[found.end() : found.end() + length].decode("utf-8", "replace"))
    files = tuple(path.parent / name for name in sorted(names))
    for file, name in zip(files, sorted(names), strict=True):
        if Path(name).is_absolute() or ".." in Path(name).parts or not file.is_file():
            raise BadInputError(
                f"{path}: its weights lie in the file {name!r}, which is not beside it; put it "
                "there, or export the model again in one file"
            )
    return files
