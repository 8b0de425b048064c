"""Run the models of one trial on test utterances: attention, statistics, vectors, posteriors.

Shapes: B utterances of a batch, T frames, L words, D vector dimension, K classes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from serplatform.arrays import DoubleArray, IntArray
from serplatform.datasets.batching import batches
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import ArtifactError
from serplatform.explanations.attention import FrameGrid, MapKind, map_kind, shares
from serplatform.explanations.embeddings import watch_classifier
from serplatform.explanations.over_time import (
    FrameUnits,
    GeneratedInput,
    classes_over_time,
    generated_inputs,
)
from serplatform.models.base import Batch, ModelOutput
from serplatform.models.front import architecture_module
from serplatform.prediction.steps import Steps, gives_steps, model_steps
from serplatform.protocols.base import FoldPlan
from serplatform.run_directory import RunDirectory
from serplatform.storage.mirror import ensure
from serplatform.training.bundle import LoadedModel, load_model
from serplatform.training.loader import load_batches

#: padded frames of a batch
_FRAMES_PER_BATCH = 20_000
#: passes that a latency is the median of, and seconds after which three are enough
_MOST_PASSES = 15
_PASS_SECONDS = 0.3


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What a model computed for one utterance.

    Attributes:
        row: of the utterance in the dataset.
        posteriors: (K,).
        grid: the frames that the model read.
        maps: attention maps over frames or words: their kind and shares, which sum to 1.
        word_frames: (L,) first frame of each word; None for a model that reads none.
        statistics: named values that the model reports.
        elements: (D,) mean over windows after the first of what a model that chooses its
            observations sampled; None for other models and for a single window.
        vector: (D,) what the classifier read, or None.
        over_time: shares of the utterance that are heard and the class there; None for a model
            without a class of what is heard so far.
        generated: what the model expected of its input, or None.
    """

    row: int
    posteriors: DoubleArray
    grid: FrameGrid
    maps: Mapping[str, tuple[MapKind, DoubleArray]]
    word_frames: IntArray | None
    statistics: Mapping[str, float]
    elements: DoubleArray | None
    vector: DoubleArray | None
    over_time: tuple[DoubleArray, IntArray] | None = None
    generated: GeneratedInput | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldProbe:
    """One fold's model of a trial with its inputs, and its results in the order of the rows."""

    model: LoadedModel
    data: FoldData
    results: list[ProbeResult]


def probe_model(
    run: RunDirectory, dataset: Dataset, plan: FoldPlan, trial: int, fold: int, rows: IntArray
) -> FoldProbe:
    """Run one fold's model of a trial on some of the fold's test rows, at least one.

    Not on dev rows: a model with ``training.refit`` was fitted on them, and its posteriors there
    are not those on record.

    Raises:
        ArtifactError: the model is missing, damaged, or of other classes.
    """
    directory = ensure(run.model_directory(trial, fold))
    model = load_model(directory)
    if model.classes != plan.classes:
        raise ArtifactError(
            f"{directory}: its classes are {', '.join(model.classes)}, where the run's are "
            f"{', '.join(plan.classes)}; it is a model of another run"
        )
    if model.config.training.refit:  # its inputs were fitted on dev rows too
        plan = plan.with_dev_in_training(fold)
    data = FoldData(dataset, plan, fold, model.config.data)
    if data.input_spec.vocabulary_size != model.input_spec.vocabulary_size:
        raise ArtifactError(
            f"{directory}: knows {model.input_spec.vocabulary_size} words, where its training "
            f"rows have {data.input_spec.vocabulary_size}; it is a model of another run"
        )
    info = data.info
    first, last = data.kept(rows)  # what trimming leaves
    durations = dataset.utterances.column("duration").to_numpy()[rows]
    grids = [
        FrameGrid.of(a, b, shift=info.frame_shift, length=info.frame_length, seconds=seconds)
        for a, b, seconds in zip(*(v.tolist() for v in (first, last, durations)), strict=True)
    ]
    cut = batches(
        np.array([grid.count for grid in grids], dtype=np.int64),
        batch_size=64,
        frames_per_batch=_FRAMES_PER_BATCH,
        rng=None,
    )
    results: dict[int, ProbeResult] = {}
    units: FrameUnits | None = None
    heard = architecture_module(model.model).carries  # classes of what is heard so far
    with torch.inference_mode(), watch_classifier(model.model) as seen:
        shards = [rows[positions] for positions in cut]
        loaded = load_batches(data, shards, torch.device("cpu"), None)
        for positions, batch in zip(cut, loaded, strict=True):
            output = model.model(batch)
            own = [grids[p] for p in positions]
            found = list(_results(batch, output, own, seen.take(len(batch))))
            generation = model.model.generate(batch)
            if heard and (framewise := model.model.framewise(batch)) is not None:
                each = zip(found, classes_over_time(framewise, own), strict=True)
                found = [dataclasses.replace(r, over_time=classes) for r, classes in each]
            if generation is not None:
                units = _frame_units(model, data) if units is None else units
                received = model.model.received(batch)
                inputs = generated_inputs(received, batch.lengths.tolist(), generation, units)
                pairs = zip(found, inputs, strict=True)
                found = [dataclasses.replace(r, generated=made) for r, made in pairs]
            results.update(zip(positions.tolist(), found, strict=True))
    ordered = [results[position] for position in range(len(rows))]
    return FoldProbe(model=model, data=data, results=ordered)


def _frame_units(model: LoadedModel, data: FoldData) -> FrameUnits:
    """Those of the frames that the architecture receives; in inference mode."""
    if architecture_module(model.model) is model.model:  # nothing in front of it
        return FrameUnits.of_normalized(data.pipeline.normalization)
    rows = data.rows("train")
    first, last = data.kept(rows)
    cut = batches(last - first, batch_size=64, frames_per_batch=_FRAMES_PER_BATCH, rng=None)
    loaded = load_batches(data, [rows[positions] for positions in cut], torch.device("cpu"), None)
    return FrameUnits.of_batches((model.model.received(b), b.lengths.tolist()) for b in loaded)


def latency(found: FoldProbe) -> tuple[float, float]:
    """Seconds that the model takes for one utterance alone, and seconds that the utterance lasts.

    On one thread of this machine's CPU, for the utterance of median length, its features ready:
    the median of repeated passes after one that is not counted.
    """
    order = sorted(found.results, key=lambda result: (result.grid.count, result.row))
    middle = order[len(order) // 2]
    batch = found.data.collate(np.array([middle.row], dtype=np.int64))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            found.model.model(batch)
            taken: list[float] = []
            while len(taken) < _MOST_PASSES and (len(taken) < 3 or sum(taken) < _PASS_SECONDS):
                begun = time.perf_counter()
                found.model.model(batch)
                taken.append(time.perf_counter() - begun)
    finally:
        torch.set_num_threads(threads)
    grid = middle.grid
    return float(np.median(taken)), (grid.count - 1) * grid.shift + grid.length


def example_steps(found: FoldProbe, result: ProbeResult) -> Steps | None:
    """Classes inside one utterance; None where the model gives none."""
    if not gives_steps(found.model):
        return None
    grid, batch = result.grid, found.data.collate(np.array([result.row], dtype=np.int64))
    with torch.inference_mode():
        return model_steps(
            found.model.model, batch, first=grid.first, shift=grid.shift, length=grid.length
        )


def _results(
    batch: Batch, output: ModelOutput, grids: list[FrameGrid], vectors: DoubleArray | None
) -> Iterator[ProbeResult]:
    """Cut a batch's output into utterances, padding off."""
    posteriors = output.log_posteriors.double().softmax(dim=1).cpu().numpy()
    frames = batch.frames.shape[1]
    words = 0 if batch.word_ids is None else batch.word_ids.shape[1]
    maps: dict[str, tuple[MapKind, Any]] = {}
    for name, values in output.attention.items():
        kind = map_kind(name, values.shape, frames, words)
        if kind is not None:
            maps[name] = (kind, values.double().cpu().numpy())
    elements = output.attention.get("elements")
    statistics = {n: v.double().cpu().tolist() for n, v in output.statistics.items()}
    lengths = batch.lengths.tolist()
    for b, grid in enumerate(grids):
        length, count = lengths[b], 0
        word_frames = None
        if batch.num_words is not None and batch.word_spans is not None:
            count = int(batch.num_words[b])
            word_frames = batch.word_spans[b, :count, 0].numpy().astype(np.int64)
        own = {
            name: (kind, shares(values[b, : length if kind == "frames" else count]))
            for name, (kind, values) in maps.items()
            if kind == "frames" or count
        }
        chosen = None
        if elements is not None and length > 1:
            chosen = elements[b, 1:length].double().mean(dim=0).numpy()
        assert batch.rows is not None  # noqa: S101 - for the type checker
        yield ProbeResult(
            row=int(batch.rows[b]),
            posteriors=posteriors[b],
            grid=grid,
            maps=own,
            word_frames=word_frames,
            statistics={name: float(values[b]) for name, values in statistics.items()},
            elements=chosen,
            vector=None if vectors is None else vectors[b],
        )
