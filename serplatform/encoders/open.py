"""From what a user names, or a dataset remembers, to an encoder on this machine."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from serplatform.encoders.base import Encoder
from serplatform.encoders.checkpoint import Checkpoint
from serplatform.encoders.names import encoder_name
from serplatform.encoders.onnx import OnnxEncoder
from serplatform.encoders.places import places_of
from serplatform.encoders.transformer import TransformerEncoder
from serplatform.encoders.wav2vec import Wav2Vec2Encoder
from serplatform.encoders.whisper import WhisperEncoder
from serplatform.errors import BadInputError

#: folders in which encoders are looked for, as PATH is written
FOLDERS_VARIABLE = "SERPLATFORM_ENCODERS"

_CLASSES: tuple[type[TransformerEncoder], ...] = (WhisperEncoder, Wav2Vec2Encoder)
#: folders of bundles, see :func:`look_in`
_bundled: list[Path] = []
_ID = re.compile(r"(?:[\w.-]+/)?[\w.-]+")


def open_encoder(given: str) -> Encoder:
    """The encoder at a place; settings and headers are read and checked, its weights later.

    Args:
        given: a directory in the layout of Hugging Face or an ONNX file, by its place or by its
            name within a folder of SERPLATFORM_ENCODERS; or the id of a model that the local cache
            of the Hugging Face hub already has. Nothing is downloaded.

    Raises:
        BadInputError: there is no such place, or it holds no speech encoder that can be used.
    """
    return _open(*locate(given))


def locate(given: str) -> tuple[Path, str]:
    """Where a model lies that is given as :func:`open_encoder` takes it, and its name."""
    for folder in (Path(), *_listed_folders()):
        place = Path(os.path.abspath(folder / os.path.expanduser(given)))
        if place.exists():
            return place, encoder_name(str(place))
    if _ID.fullmatch(given) and (snapshot := _hub_snapshot(given)) is not None:
        return snapshot, encoder_name(given)
    raise BadInputError(
        f"{given}: no such directory or ONNX file, and no model of this id in the Hugging Face "
        "cache of this machine; nothing is downloaded, so get the model first (hf download ID) "
        "and name its directory or id"
    )


def look_in(folder: Path) -> None:
    """Look for encoders in a folder too, first of all, as long as the process lives.

    What is found is told by its hash, so a folder that others brought does no harm.
    """
    if folder not in _bundled:
        _bundled.append(folder)


class Opened(Protocol):
    """What lies at a place: known by its weights."""

    @property
    def sha256(self) -> str:
        """Of its weights."""

    def spec(self) -> dict[str, object]:
        """Everything that determines what it gives."""


T = TypeVar("T", bound=Opened)


def find_encoder(
    name: str, sha256: str, folders: Sequence[Path] = (), spec: Mapping[str, object] | None = None
) -> Encoder:
    """The encoder with these weights, wherever on this machine it lies.

    Searched in this order: ``folders``, those of :func:`look_in`, those of the environment
    variable SERPLATFORM_ENCODERS, places where it was seen before, the local cache of the Hugging
    Face hub.

    Args:
        name: of the encoder; what is found bears it, whatever its directory is called.
        sha256: of its weights.
        folders: that are, or hold, directories or ONNX files of encoders, e.g. a bundle's.
        spec: of the encoder: where several places have its weights, one with these settings is
            taken.

    Raises:
        BadInputError: it is not there; the message says what was tried and the remedy.
    """
    return find_model(name, sha256, folders, _open, spec)


def find_model(
    name: str,
    sha256: str,
    folders: Sequence[Path],
    open_path: Callable[[Path, str], T],
    spec: Mapping[str, object] | None = None,
) -> T:
    """What ``open_path`` makes of the place with these weights; see :func:`find_encoder`."""
    fault, other = "", None
    for place in _candidates(name, sha256, [*folders, *_bundled, *_listed_folders()]):
        try:
            encoder = open_path(Path(os.path.abspath(place)), name)
        except BadInputError as error:
            fault = fault or f" ({error})"
            continue
        if encoder.sha256 == sha256:
            if spec is None or encoder.spec() == spec:
                return encoder
            other = other or encoder
        elif name == encoder_name(str(place)):
            fault = fault or f" ({place} has other weights, {encoder.sha256[:12]}…)"
    if other is not None:  # whoever asks says what differs
        return other
    raise BadInputError(
        f"the encoder {name} with weights {sha256[:12]}… is not on this machine{fault}; get it "
        f"and name the folder that holds its directory in {FOLDERS_VARIABLE}, or use a bundle "
        "exported with --with-encoder"
    )


def _listed_folders() -> list[Path]:
    listed = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    return [Path(os.path.expanduser(folder)) for folder in listed if folder]


def _candidates(name: str, sha256: str, folders: Iterable[Path]) -> Iterator[Path]:
    """Places to look at, likely ones first."""
    for folder in folders:
        for place in (folder, folder / name, folder / f"{name}.onnx"):
            if _is_encoder(place):
                yield place
    yield from places_of(sha256)
    yield from _hub_snapshots(name)
    for folder in folders:
        if folder.is_dir():
            yield from (place for place in sorted(folder.iterdir()) if _is_encoder(place))


def _is_encoder(place: Path) -> bool:
    return (place / "config.json").is_file() or (place.suffix == ".onnx" and place.is_file())


def _open(path: Path, name: str) -> Encoder:
    """The encoder of a path, once a process as long as its files stay the same."""
    if path.is_dir():
        files = sorted(path.iterdir())
    else:  # with weights beside it, which bear its name by custom
        files = sorted(f for f in path.parent.iterdir() if f.name.startswith(path.stem))
    status = [(str(file), file.stat()) for file in files if file.is_file()]
    stamp = tuple((file, found.st_size, found.st_mtime_ns) for file, found in status)
    return _open_once(path, name, stamp)


@functools.lru_cache(maxsize=8)
def _open_once(path: Path, name: str, stamp: tuple[tuple[str, int, int], ...]) -> Encoder:
    if path.is_file():
        if path.suffix != ".onnx":
            raise BadInputError(
                f"{path}: is neither a directory nor an ONNX file (.onnx); name the directory "
                "that holds config.json and model.safetensors"
            )
        return OnnxEncoder(path, name)
    checkpoint = Checkpoint(path)
    for encoder in _CLASSES:
        if checkpoint.model_type in encoder.kinds:
            return encoder(checkpoint, name)
    known = ", ".join(kind for encoder in _CLASSES for kind in encoder.kinds)
    raise BadInputError(
        f"{path}: config.json says model_type {checkpoint.model_type!r}, which is not a speech "
        f"encoder known here ({known}); take one of those, export this one to ONNX if it takes a "
        f"waveform, or name it pretrained-text:{path}@LAYER if it reads text"
    )


def _hub_snapshot(model_id: str) -> Path | None:
    """The directory of a model in the local cache of the hub, or None."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import constants, try_to_load_from_cache

    with contextlib.suppress(ValueError):  # not an id
        found = try_to_load_from_cache(model_id, "config.json", cache_dir=constants.HF_HUB_CACHE)
        return Path(found).parent if isinstance(found, str) else None
    return None


def _hub_snapshots(name: str) -> Iterator[Path]:
    """Directories in the local cache of the hub of models whose id ends in a name."""
    if importlib.util.find_spec("huggingface_hub") is not None:
        from huggingface_hub import constants

        for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*")):
            if folder.name.split("--")[-1] == name:
                yield from sorted((folder / "snapshots").glob("*"))
