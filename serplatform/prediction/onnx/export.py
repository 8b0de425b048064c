"""Write the graphs of a system, each compared with its model on utterances of the dataset.

``onnx.json`` says what the graphs read and how their posteriors are combined; ``combiner.onnx``
does that; ``models/<member>/fold-<k>.onnx`` are the models.

Shapes: N utterances, S models, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from serplatform.arrays import IntArray
from serplatform.artifacts.files import SCHEMA_VERSION, file_sha256, write_bytes, write_json
from serplatform.console import say
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import stored_clips
from serplatform.environment import now, versions
from serplatform.errors import BadInputError
from serplatform.features.base import SAMPLING_RATE
from serplatform.inputs.clips import ClipSource
from serplatform.prediction.export import directory_name, whole_folder
from serplatform.prediction.onnx.combiner import CombinerGraph
from serplatform.prediction.onnx.compare import Compared, compare
from serplatform.prediction.onnx.graph import (
    INPUTS,
    REFUSED,
    TOLERANCE,
    GraphSession,
    export_graph,
    need_onnx,
)
from serplatform.prediction.open import BUNDLE_FILE, open_system
from serplatform.prediction.predictor import average
from serplatform.prediction.refit import dataset_of
from serplatform.prediction.system import MemberModel, PredictionSystem
from serplatform.run_directory import RunDirectory
from serplatform.storage.destination import NEW, check_directory
from serplatform.training.bundle import LoadedModel, load_model

DESCRIPTION_FILE, COMBINER_FILE = "onnx.json", "combiner.onnx"
#: utterances that a graph is compared with its model on, from the shortest to the longest
UTTERANCES = 6

#: what is in the graph already, of ``preprocessing``
_IN_GRAPH = ("mean", "deviation", "deviation_floor", "prior_clips", "prior_variance")


def export_onnx(
    source: Path, out: Path, *, trial: int | None = None, data: str | Path | None = None
) -> dict[str, Any]:
    """Write the graphs of a run, an ensemble or a bundle; the directory appears whole or never.

    Args:
        source: what to export.
        out: a directory that does not exist or is empty.
        trial: of a run; None: the best on dev.
        data: where the dataset lies now; None: where it lay when the run was begun.

    Returns:
        the content of ``onnx.json``.

    Raises:
        BadInputError: a package is missing, an architecture or the combiner has no graph, a graph
            says something else than its model, ``out`` is in use, or the dataset is not there.
        ArtifactError: a model is missing or damaged, or the dataset is another.
    """
    check_directory(out, NEW)
    system = open_system(source, trial)
    members = {member.directory: member for member in system.members}
    if not members:
        raise BadInputError(f"{system.title} has no member, and so no graph")
    found = sorted({member.architecture for member in members.values()} & REFUSED.keys())
    if found:
        raise BadInputError(
            f"{system.title} cannot be written as ONNX graphs:",
            [f"{architecture}: {REFUSED[architecture]}" for architecture in found],
        )
    need_onnx()
    datasets: dict[str, Dataset] = {}
    templates: dict[str, bytes] = {}
    models: list[dict[str, object]] = []
    posteriors: list[Tensor] = []
    names: dict[str, str] = {}
    with whole_folder(out) as folder:
        for number, (directory, member) in enumerate(members.items(), start=1):
            say(f"Graph {number} of {len(members)}: {member.name} ({member.architecture}) …")
            dataset = _dataset(source, member, data, datasets)
            loaded = load_model(directory)
            compared = compare(loaded, *utterances(dataset), member.architecture, templates)
            file = f"models/{directory_name(member.name, names)}/{directory.name}.onnx"
            write_bytes(folder / file, compared.content)
            posteriors.append(compared.posteriors)
            models.append(
                {
                    "file": file,
                    "sha256": file_sha256(folder / file),
                    "member": member.name,
                    **describe_model(member.architecture, loaded, compared),
                }
            )
        content = _combiner(system, list(members), posteriors)
        write_bytes(folder / COMBINER_FILE, content)
        places = {directory: number for number, directory in enumerate(members)}
        description = {
            "schema_version": SCHEMA_VERSION,
            "kind": system.kind,
            "title": _title(system),
            "classes": list(system.classes),
            "synthetic": system.synthetic,
            "sampling_rate": SAMPLING_RATE,
            "models": models,
            "combiner": {
                "file": COMBINER_FILE,
                "sha256": file_sha256(folder / COMBINER_FILE),
                "inputs": {"models": _input("models", "float32")},
                "folds": [
                    {
                        "fold": fold.fold,
                        "models": [places[m.directory] for m in fold.members],
                        "temperatures": [m.temperature for m in fold.members],
                        "shares": [m.share for m in fold.members],
                        "combiner": (fold.parameters or {}).get("combiner"),
                    }
                    for fold in system.folds
                ],
            },
            "checked": {"utterances": UTTERANCES, "tolerance": TOLERANCE},
            "made": now(),
            "versions": versions(),
        }
        write_json(folder / DESCRIPTION_FILE, description)
    return description


def describe_model(architecture: str, loaded: LoadedModel, compared: Compared) -> dict[str, object]:
    """What ``onnx.json`` says of a graph."""
    pipeline = loaded.pipeline
    preprocessing = {k: v for k, v in pipeline.describe().items() if k not in _IN_GRAPH}
    reals = ("frames", "word_vectors", "speaker_mean", "speaker_deviation")
    return {
        "architecture": architecture,
        "inputs": {
            name: _input(name, "float32" if name in reals else "int64") for name in compared.inputs
        },
        "values": pipeline.dim,
        "preprocessing": preprocessing,
        "normalization": _NORMALIZATION[pipeline.normalization.kind],
        "largest_difference": compared.difference,
    }


_NORMALIZATION = {
    "none": "none",
    "train": "in the graph, by the training frames",
    "utterance": "in the graph, by each utterance's own frames",
    "speaker": "in the graph, by the speaker's mean and deviation that it is given",
    "speaker_shrunk": "in the graph, by the speaker's mean and deviation that it is given, shrunk "
    "to those of training by the number of utterances that they are of",
}


def _input(name: str, kind: str) -> dict[str, object]:
    axes, meaning = INPUTS[name]
    return {"type": kind, "axes": list(axes), "meaning": meaning}


def _dataset(
    source: Path, member: MemberModel, data: str | Path | None, opened: dict[str, Dataset]
) -> Dataset:
    """The dataset that a member was trained on."""
    bundled = (source / BUNDLE_FILE).is_file()
    if bundled and data is None:
        raise BadInputError(
            f"{source}: is a bundle, which knows no dataset, and --onnx compares graphs with "
            "models on its utterances: name it with --data"
        )
    run = member.directory.parents[2]
    key = "" if bundled else str(run)
    if key not in opened:
        opened[key] = (
            Dataset.open(str(data))
            if bundled
            else dataset_of(RunDirectory(run), data, "--onnx compares graphs with models")
        )
    return opened[key]


def utterances(dataset: Dataset) -> tuple[ClipSource, IntArray]:
    """A dataset's utterances, and some of all lengths, at least two."""
    _, numbers = np.unique(dataset.speaker_ids, return_inverse=True)
    speakers = [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]
    order = np.argsort(dataset.utterances.column("duration").to_numpy(), kind="stable")
    places = np.unique(np.linspace(0, len(order) - 1, UTTERANCES).round().astype(np.int64))
    return stored_clips(dataset, speakers), order[places]


def _combiner(system: PredictionSystem, places: list[Path], posteriors: list[Tensor]) -> bytes:
    """The graph that combines (S, N, K) posteriors, compared with the system's own way."""
    models = torch.stack(posteriors)
    content = export_graph(CombinerGraph(system, places), {"models": models})
    solo: Mapping[Path, Any] = dict(zip(places, models.double().numpy(), strict=True))
    shape = (models.shape[1], models.shape[2])
    expected = average(
        np.stack(
            [
                fold.combine(
                    fold.combiner(shape[1]), [solo[m.directory] for m in fold.members], shape
                )
                for fold in system.folds
            ]
        )
    )
    difference = float(np.abs(GraphSession(content)({"models": models}) - expected).max())
    if not difference <= TOLERANCE:
        raise BadInputError(
            f"the combiner's graph differs by up to {difference:.2g}, more than {TOLERANCE:g}"
        )
    return content


def _title(system: PredictionSystem) -> str:
    """What a system is, without a path of this machine."""
    names = {member.name: member.architecture for member in system.members}
    if "title" in system.description:
        return system.description["title"]
    if system.kind == "run":
        return f"{next(iter(names.values()))}, trial {system.trial}"
    return f"ensemble of {len(names)} trials"
