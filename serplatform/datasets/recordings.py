"""The audio that a prepared dataset was made of, where it is still on this machine."""

from __future__ import annotations

from pathlib import Path

from serplatform.arrays import FloatArray
from serplatform.corpora.audio import read_audio
from serplatform.datasets.dataset import Dataset


def recording_path(dataset: Dataset, row: int) -> Path:
    """The file of a row, where it lay when the dataset was prepared."""
    request = dataset.meta.get("request") or {}
    root, path = request.get("root"), dataset.utterances.column("path")[row].as_py()
    return Path(root or dataset.path) / path  # an absolute path stays as it is


def read_recording(dataset: Dataset, row: int, most: float | None = None) -> FloatArray:
    """(S,) samples of a row, float32 mono at 16 kHz; the first ``most`` seconds of it.

    Raises:
        AudioError: with the reason why the recording cannot be read.
    """
    start, end = (float(dataset.utterances.column(name)[row].as_py()) for name in ("start", "end"))
    end = end if most is None else min(end, start + most)
    path = recording_path(dataset, row)
    return read_audio(path, start=start, end=end, max_duration=None).samples
