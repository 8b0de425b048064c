"""Write the graphs of a system, each compared with its model on utterances of the dataset.

``onnx.json`` says what the graphs read and how their posteriors are combined; ``combiner.onnx``
does that; ``models/<member>/fold-<k>.onnx`` are the models.

Shapes: N utterances, S models, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from serplatform.arrays import FloatArray, IntArray
from serplatform.artifacts.files import SCHEMA_VERSION, file_sha256, write_bytes, write_json
from serplatform.artifacts.model import WITHIN_SPEAKER
from serplatform.console import say
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import stored_clips
from serplatform.environment import now, versions
from serplatform.errors import BadInputError
from serplatform.features.base import SAMPLING_RATE
from serplatform.inputs.clips import ClipSource
from serplatform.prediction.export import directory_name, whole_folder
from serplatform.prediction.onnx.combiner import CombinerGraph
from serplatform.prediction.onnx.graph import (
    INPUTS,
    REFUSED,
    TOLERANCE,
    GraphSession,
    ModelGraph,
    export_graph,
    input_names,
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


class Compared(NamedTuple):
    """A graph and its model on the same utterances.

    Attributes:
        content: the ONNX file.
        inputs: names that it reads.
        difference: the largest between posteriors.
        posteriors: (N, K) of the graph.
    """

    content: bytes
    inputs: list[str]
    difference: float
    posteriors: Tensor


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
    members = {member.directory: member for fold in system.folds for member in fold.members}
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
    models: list[dict[str, Any]] = []
    posteriors: list[Tensor] = []
    names: dict[str, str] = {}
    with whole_folder(out) as folder:
        for number, (directory, member) in enumerate(members.items(), start=1):
            say(f"Graph {number} of {len(members)}: {member.name} ({member.architecture}) …")
            dataset = _dataset(source, member, data, datasets)
            loaded = load_model(directory)
            compared = compare(loaded, *utterances(dataset), member.architecture)
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


def compare(loaded: LoadedModel, source: ClipSource, rows: IntArray, architecture: str) -> Compared:
    """Make the graph of a model, and compare both on N utterances, each alone and all padded.

    Raises:
        BadInputError: it cannot be made, or says something else; the message names the
            architecture.
    """
    inputs, expected = graph_inputs(loaded, source, rows)
    graph = ModelGraph(loaded.model, loaded.pipeline.normalization)
    try:
        content = export_graph(graph, inputs)
        session = GraphSession(content)
        together = session(inputs)
        differences = [np.abs(together - expected).max()]
        for number, row in enumerate(rows):
            alone, _ = graph_inputs(loaded, source, np.array([row]))
            differences.append(np.abs(session(alone) - expected[number]).max())
    except BadInputError as error:
        raise BadInputError(f"{architecture}: {error}; predict with serplatform") from None
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInputError(
            f"{architecture}: onnxruntime cannot run its graph ({reason}); predict with serplatform"
        ) from error
    difference = float(max(differences))
    if not difference <= TOLERANCE:
        raise BadInputError(
            f"{architecture}: the posteriors of its graph differ by up to {difference:.2g} from "
            f"those of the model, more than {TOLERANCE:g}; predict with serplatform"
        )
    return Compared(content, session.inputs, difference, torch.from_numpy(together))


def graph_inputs(
    loaded: LoadedModel, source: ClipSource, rows: IntArray
) -> tuple[dict[str, Tensor], FloatArray]:
    """What a graph reads of some utterances, by name, and the model's (N, K) posteriors."""
    pipeline = loaded.pipeline
    normalization, clips = pipeline.normalization, pipeline.unnormalized(source)
    batch = clips.collate(rows)
    names = input_names(
        normalization.kind,
        words=batch.word_ids is not None,
        vectors=batch.word_vectors is not None,
    )
    given = dict(vars(batch))
    if normalization.kind in WITHIN_SPEAKER:
        moments, group = normalization.statistics(clips)
        own = group[rows]
        given["speaker_mean"] = torch.from_numpy(moments.mean[own]).float()
        given["speaker_deviation"] = torch.from_numpy(moments.std[own]).float()
        given["speaker_clips"] = torch.from_numpy(moments.clips[own])
    with torch.inference_mode():
        output = loaded.model(normalization.apply(clips).collate(rows))
    return {name: given[name] for name in names}, output.log_posteriors.exp().numpy()


def describe_model(architecture: str, loaded: LoadedModel, compared: Compared) -> dict[str, Any]:
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


def _input(name: str, kind: str) -> dict[str, Any]:
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
    names = {m.name: m.architecture for fold in system.folds for m in fold.members}
    if "title" in system.description:
        return str(system.description["title"])
    if system.kind == "run":
        return f"{next(iter(names.values()))}, trial {system.trial}"
    return f"ensemble of {len(names)} trials"
