"""Tensors and plain values as a directory: safetensors and JSON, never a pickle.

``write_state`` gives each tensor file a name made of its checksum and then replaces the JSON
file, which names it, in one rename. Whatever moment the process dies at, the directory holds
one whole state: the new one or the one before.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from serplatform.artifacts.files import SCHEMA_VERSION, write_bytes, write_json
from serplatform.artifacts.records import read_record
from serplatform.artifacts.trial import TrainingState
from serplatform.config import digest
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import ArtifactError
from serplatform.training.trial_config import TrialConfig

#: name of the JSON file of a state
STATE_FILE = "state.json"
#: names of the files of a state
TRAINER_FILES = re.compile(r"state\.json|state-[0-9a-f]{16}\.safetensors")


def pack_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors in the safetensors format.

    Tensors that share memory are stored once each; reading gives independent tensors.
    """
    seen: set[int] = set()
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        storage = own.untyped_storage().data_ptr()
        if storage in seen and own.numel():
            own = own.clone()
        seen.add(storage)
        plain[name] = own
    return save(plain)


def unpack_tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    """Read what :func:`pack_tensors` wrote; an ArtifactError names ``path``."""
    try:
        return load(content)
    except (SafetensorError, ValueError, KeyError, json.JSONDecodeError, struct.error) as error:
        raise ArtifactError(f"{path}: not a readable safetensors file ({error})") from None


def read_checked(path: Path, sha256: str, what: str) -> bytes:
    """A file's contents; an ArtifactError where they are not of the recorded checksum."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{path}: the {what} cannot be read ({error.strerror}); it is needed by the JSON "
            "file beside it"
        ) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ArtifactError(
            f"{path}: the {what} is truncated or altered (its SHA-256 is not the one recorded "
            "in the JSON file beside it); restore it or train again"
        )
    return content


def write_state(
    directory: str | Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]
) -> None:
    """Write tensors and JSON-serialisable values atomically over whatever state is there."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    content = pack_tensors(tensors)
    sha256 = hashlib.sha256(content).hexdigest()
    file = f"state-{sha256[:16]}.safetensors"
    write_bytes(directory / file, content)
    write_json(
        directory / STATE_FILE,
        {
            "schema_version": SCHEMA_VERSION,
            "tensors": {"file": file, "sha256": sha256},
            "values": dict(values),
        },
        checksum=True,
    )
    for old in directory.glob("state-*.safetensors"):
        if old.name != file and TRAINER_FILES.fullmatch(old.name):
            old.unlink(missing_ok=True)


def read_state(directory: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors (on the CPU) and values that :func:`write_state` wrote.

    Raises:
        ArtifactError: a file is missing, truncated, altered or of another schema version.
    """
    path = Path(directory) / STATE_FILE
    state = read_record(TrainingState, path, "training state", "train again")
    file, sha256 = state["tensors"]["file"], state["tensors"]["sha256"]
    tensor_path = path.parent / file
    content = read_checked(tensor_path, sha256, "training state")
    return unpack_tensors(content, tensor_path), state["values"]


def flatten_optimizer(
    optimizer: torch.optim.Optimizer, names: Mapping[Any, str]
) -> dict[str, Tensor]:
    """The optimiser's tensors as ``<parameter>/<quantity>``."""
    return {
        f"{names[parameter]}/{quantity}": value
        for parameter, state in optimizer.state.items()
        for quantity, value in state.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: Mapping[Any, str], tensors: Mapping[str, Tensor]
) -> None:
    """Give the optimiser the tensors of :func:`flatten_optimizer`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    position = {names[parameter]: i for i, parameter in enumerate(parameters)}
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, quantity = key.rpartition("/")
        state.setdefault(position[name], {})[quantity] = value.clone()
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def trainer_identity(config: TrialConfig, data: FoldData, seed: int) -> dict[str, Any]:
    """What a state must share with the trainer that continues it."""
    ids = {part: list(data.utterance_ids(part)) for part in ("train", "dev")}
    return {
        "architecture": config.architecture,
        "config": digest(config.identity()),
        "seed": seed,
        "classes": list(data.classes),
        "fold": digest(ids),
    }
