"""A trained model as two files that need nothing else: ``model.safetensors``, ``config.json``.

``config.json`` holds everything that turns new audio into posteriors, how the model was trained,
its dev metrics, and the SHA-256 of the weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from serplatform import plugins
from serplatform.artifacts.files import SCHEMA_VERSION, write_bytes, write_json
from serplatform.artifacts.layout import CONFIG_FILE, WEIGHTS_FILE
from serplatform.artifacts.model import ModelDescription, Preprocessing
from serplatform.artifacts.records import read_record
from serplatform.errors import ArtifactError, BadInputError
from serplatform.inputs.config import feature_parts
from serplatform.inputs.pipeline import InputPipeline
from serplatform.models.base import ARCHITECTURES, InputSpec, SerModel
from serplatform.models.front import build_model
from serplatform.training.checkpoint import pack_tensors, read_checked, unpack_tensors
from serplatform.training.trial_config import SECTIONS, TrialConfig, resolve


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model read back, in evaluation mode.

    Attributes:
        model: the network.
        classes: K names, the order of its posteriors.
        pipeline: how stored utterances and new audio become its input.
        config: what it was trained with.
        input_spec: the sizes it was built for.
        metrics: ``{"epoch": its epoch, "dev": its dev metrics}``; with ``training.refit`` those
            of the fit on training rows alone.
    """

    model: SerModel
    classes: tuple[str, ...]
    pipeline: InputPipeline
    config: TrialConfig
    input_spec: InputSpec
    metrics: dict[str, Any]


def write_model(
    directory: str | Path,
    *,
    weights: Mapping[str, Tensor],
    config: TrialConfig,
    input_spec: InputSpec,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    metrics: Mapping[str, Any],
) -> None:
    """Write a model; each file appears whole or not at all, ``config.json`` last.

    ``weights`` is the module's ``state_dict``, ``preprocessing`` of the pipeline that made its
    input; ``metrics`` are JSON-serialisable.
    """
    directory = Path(directory)
    content = pack_tensors(weights)
    write_bytes(directory / WEIGHTS_FILE, content)
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for dotted, value in config.values().items():
        section, _, name = dotted.partition(".")
        sections[section][name] = value
    vectors = input_spec.word_vectors
    write_json(
        directory / CONFIG_FILE,
        {
            "schema_version": SCHEMA_VERSION,
            "architecture": config.architecture,
            **sections,
            "input_spec": {
                **{k: v for k, v in vars(input_spec).items() if k != "word_vector_dim" or v},
                "word_vectors": None if vectors is None else list(vectors.shape),
            },
            "classes": list(classes),
            "preprocessing": preprocessing,
            "metrics": dict(metrics),
            "weights": {"file": WEIGHTS_FILE, "sha256": hashlib.sha256(content).hexdigest()},
            **plugins.made_with(
                architecture=[config.architecture], feature=feature_parts(config.data.feature)
            ),
        },
        checksum=True,
    )


def stored_config(stored: ModelDescription, path: Path) -> TrialConfig:
    """The whole configuration of a model; an ArtifactError names ``path``, where it was read."""
    sections = {"model": stored["model"], "training": stored["training"], "data": stored["data"]}
    values = {f"{s}.{name}": v for s, found in sections.items() for name, v in found.items()}
    values.setdefault("training.refit", False)  # written before the option was there
    try:
        return resolve(stored["architecture"], values, str(path))
    except BadInputError as error:
        raise ArtifactError(f"{path}: made by another version of the program: {error}") from None


def load_model(directory: str | Path, device: str = "cpu") -> LoadedModel:
    """Read a model that :func:`write_model` wrote.

    Raises:
        ArtifactError: a file is missing, truncated, altered, of another schema version, or
            the weights do not fit the configuration; the message names the file.
    """
    path = Path(directory) / CONFIG_FILE
    again = "write the model again with this version"
    stored = read_record(ModelDescription, path, "model description", again)
    plugins.require(stored, path)
    config = stored_config(stored, path)
    sizes: dict[str, Any] = {**stored["input_spec"]}
    classes, vectors = tuple(stored["classes"]), sizes.pop("word_vectors")
    zeros = None if vectors is None else torch.zeros(vectors)
    input_spec = InputSpec(**sizes, word_vectors=zeros)
    if len(classes) != input_spec.num_classes:
        raise ArtifactError(
            f"{path}: lists {len(classes)} classes for a model of {input_spec.num_classes}"
        )
    weights_path = path.parent / WEIGHTS_FILE
    weights = unpack_tensors(
        read_checked(weights_path, stored["weights"]["sha256"], "model weights"), weights_path
    )
    model = build_model(ARCHITECTURES.get(config.architecture), config.model, input_spec)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ArtifactError(
            f"{weights_path}: the weights do not fit the configuration in {path}: {error}"
        ) from None
    return LoadedModel(
        model=model.to(device).eval(),
        classes=classes,
        pipeline=InputPipeline.load(stored["preprocessing"]),
        config=config,
        input_spec=input_spec,
        metrics=stored["metrics"],
    )
