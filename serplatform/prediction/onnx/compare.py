"""A model's graph and the model itself on the same utterances.

Shapes: N utterances, K classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from serplatform.arrays import FloatArray, IntArray
from serplatform.artifacts.model import WITHIN_SPEAKER
from serplatform.errors import BadInputError
from serplatform.inputs.clips import ClipSource
from serplatform.models.base import ClosedFormModel
from serplatform.models.front import architecture_module
from serplatform.prediction.onnx.graph import (
    TOLERANCE,
    GraphSession,
    ModelGraph,
    export_graph,
    input_names,
    with_weights,
)
from serplatform.training.bundle import LoadedModel


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


def compare(
    loaded: LoadedModel,
    source: ClipSource,
    rows: IntArray,
    architecture: str,
    templates: dict[str, bytes] | None = None,
) -> Compared:
    """Make the graph of a model, and compare both on N utterances, each alone and all padded.

    ``templates`` are graphs of models before it; one that differs in its weights only is not traced
    again, which takes seconds.

    Raises:
        BadInputError: it cannot be made, or says something else; the message names the
            architecture.
    """
    templates = {} if templates is None else templates
    graph = ModelGraph(loaded.model, loaded.pipeline.normalization)
    inputs, expected = graph_inputs(loaded, source, rows)
    key = _structure(loaded, graph, inputs)
    given = [(inputs, expected)]
    for number, row in enumerate(rows):
        alone, _ = graph_inputs(loaded, source, np.array([row]))
        given.append((alone, expected[number : number + 1]))
    if key in templates:
        with contextlib.suppress(BadInputError):  # else it is traced
            return _compared(with_weights(templates[key], graph), given, architecture)
    try:
        templates[key] = export_graph(graph, inputs)
    except BadInputError as error:
        raise BadInputError(f"{architecture}: {error}; predict with serplatform") from None
    return _compared(templates[key], given, architecture)


def _structure(loaded: LoadedModel, graph: ModelGraph, inputs: Mapping[str, Tensor]) -> str:
    """Equal where graphs differ in weights alone; what a closed form is fitted by is in none."""
    closed = isinstance(architecture_module(loaded.model), ClosedFormModel)
    settings = {} if closed else loaded.config.values()
    state = {k: (v.dtype, v.shape[closed:]) for k, v in graph.state_dict().items()}
    read = {k: v.shape[2:] for k, v in inputs.items()}
    settings = {k: v for k, v in settings.items() if k.startswith("model.")}
    return repr((loaded.config.architecture, settings, graph.kind, read, state))


def _compared(
    content: bytes, given: Sequence[tuple[Mapping[str, Tensor], FloatArray]], architecture: str
) -> Compared:
    """What a graph says of batches, the first of which has all utterances."""
    try:
        session = GraphSession(content)
        found = [session(inputs) for inputs, _ in given]
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInputError(
            f"{architecture}: onnxruntime cannot run its graph ({reason}); predict with serplatform"
        ) from error
    pairs = zip(found, (expected for _, expected in given), strict=True)
    difference = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
    if not difference <= TOLERANCE:
        raise BadInputError(
            f"{architecture}: the posteriors of its graph differ by up to {difference:.2g} from "
            f"those of the model, more than {TOLERANCE:g}; predict with serplatform"
        )
    return Compared(content, session.inputs, difference, torch.from_numpy(found[0]))


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
