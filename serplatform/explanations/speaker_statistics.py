"""What a model that normalises by speaker is worth when little of a test speaker is known.

The same test clips are answered with the speaker's statistics taken of some of their clips only.
This opens the test rows of a trial that was measured already, chooses nothing, and is never used
for a choice.

Shapes: N test rows of a fold, K classes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from serplatform import plugins
from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.files import SCHEMA_VERSION, write_json
from serplatform.artifacts.model import WITHIN_SPEAKER
from serplatform.artifacts.speaker_statistics import (
    FILE,
    SpeakerStatistics,
    SpeakerStatisticsPoint,
)
from serplatform.artifacts.trial import TrialRecord
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import KEPT_BYTES, FoldData, stored_clips
from serplatform.explanations.probe_request import merit, open_dataset, recorded_posteriors
from serplatform.inputs.clips import Moments
from serplatform.metrics import classification_metrics
from serplatform.models.base import SerModel
from serplatform.protocols.plan import plan_hash, read_plan
from serplatform.run_directory import RunDirectory
from serplatform.statistics.speaker_clips import SpeakerClips
from serplatform.storage.mirror import ensure
from serplatform.training.bundle import load_model
from serplatform.training.seal import refuse_sealed

#: classes that count as neutral speech
NEUTRAL = ("neutral", "calm")
#: kinds of clips, and how many of a speaker; None: all
SITUATIONS: tuple[tuple[str, int | None], ...] = (
    *(("random", n) for n in (3, 5, 10, 20, None)),
    *(("neutral", n) for n in (3, None)),
    *(("skewed", n) for n in (6, 12)),
)
DRAWS = 5
#: processor seconds for every so many test clips, and at most
BUDGET, CLIPS, MOST_SECONDS = 10.0, 240, 60.0
_BATCH = 64


def draw_clips(
    kind: str, count: int | None, rows: IntArray, neutral: IntArray, labels: IntArray, seed: object
) -> IntArray:
    """Some of a speaker's rows: of any class, of neutral ones, or two thirds of one class.

    A speaker with fewer gives what there is; one without neutral clips gives none.

    Args:
        rows: the speaker's.
        neutral: classes that are.
        labels: class of each row of ``rows``.
        seed: whatever :func:`numpy.random.default_rng` takes.
    """
    rng = np.random.default_rng(seed)  # type: ignore[arg-type]
    if kind == "neutral":
        rows = rows[np.isin(labels, neutral)]
    if kind == "skewed" and count is not None:
        most = rng.choice(np.unique(labels))
        same, others = rows[labels == most], rows[labels != most]
        many = min(round(2 * count / 3), len(same))
        few = min(max(many // 2, 1), len(others))
        return np.concatenate([rng.choice(same, many, False), rng.choice(others, few, False)])
    return rows if count is None or count >= len(rows) else rng.choice(rows, count, replace=False)


class SpeakerAnswers:
    """A fold's test clips, ready to be answered with other statistics of their speakers.

    Args:
        data: of a model that normalises by speaker.
        model: fitted on it.
    """

    def __init__(self, data: FoldData, model: SerModel) -> None:
        self.rows = data.rows("test")
        names = np.array(data.speaker_ids("test"))
        self.speakers = [self.rows[names == name] for name in np.unique(names)]
        self.labels = data.labels("test")
        self._model, self._normalization = model, data.pipeline.normalization
        clips = data.pipeline.unnormalized(stored_clips(data.dataset, self.speakers))
        self._moments, self._clips = clips.moments(), clips.kept(KEPT_BYTES)

    def of(self, speaker: IntArray) -> IntArray:
        """Class of each of a speaker's rows."""
        return self.labels[np.searchsorted(self.rows, speaker)]

    def posteriors(self, chosen: Sequence[IntArray]) -> DoubleArray:
        """(N, K) with the statistics of the rows ``chosen`` of each of ``speakers``, at least
        one of each."""
        known = Moments.stack([self._moments.pool(rows) for rows in chosen])
        identity = self._clips.identity
        source = dataclasses.replace(self._clips.source, known_speaker={identity: known})
        clips = self._normalization.apply(dataclasses.replace(self._clips, source=source))
        device = next(iter(self._model.state_dict().values())).device
        with torch.inference_mode():
            parts = [
                self._model(clips.collate(self.rows[at : at + _BATCH]).to(device)).log_posteriors
                for at in range(0, len(self.rows), _BATCH)
            ]
        return np.asarray(torch.cat(parts).double().softmax(dim=1).cpu().numpy())


def measure_speaker_statistics(
    run: Path, *, dataset: str | Path | None = None, seed: int = 0, budget: float | None = None
) -> SpeakerStatistics | None:
    """Measure the run's best trial that normalises by speaker, and write it into the run.

    Args:
        run: the directory.
        dataset: where the dataset lies now, if it has moved.
        seed: of the draws.
        budget: processor seconds, None: by the test clips; where a first draw would take longer
            nothing is measured.

    Returns:
        what the file holds; None where no finished trial normalises by speaker.

    Raises:
        ArtifactError: the dataset is not the run's, or a model is missing or damaged.
    """
    directory = RunDirectory(run)
    refuse_sealed(directory, "a curve on test clips")
    description = directory.read_run()
    found = [
        record
        for record in directory.records().values()
        if record["state"] == "complete"
        and "fold" not in record  # of a nested search: it has no model of the other folds
        and record.get("dev", {}).get("uar") is not None
        and record["params"].get("data.normalization") in WITHIN_SPEAKER
    ]
    if not found:
        return None
    best: TrialRecord = max(found, key=merit)
    plugins.restore(directory.path, description)
    plan = read_plan(directory.folds_file)
    neutral = [name for name in NEUTRAL if name in plan.classes]
    made: SpeakerStatistics = {
        "schema_version": SCHEMA_VERSION,
        "trial": best["trial"],
        "architecture": best["architecture"],
        "normalization": str(best["params"]["data.normalization"]),
        "folds_hash": plan_hash(plan),
        "needs": "",
        "draws": 0,
        "test_utterances": sum(len(fold.test) for fold in plan.folds),
        "neutral": neutral,
        "points": [],
    }
    table, _ = recorded_posteriors(directory, best["trial"], plan.classes)
    truth = np.array([plan.classes.index(name) for name in table.column("truth").to_pylist()])
    speakers = table.column("speaker_id").to_pylist()
    made["needs"] = str(SpeakerClips.count(truth, speakers, plan.classes))
    if budget is None:
        budget = min(BUDGET * max(1.0, made["test_utterances"] / CLIPS), MOST_SECONDS)
    if plan.speaker_independent:
        begun = time.process_time()
        opened = open_dataset(directory, description, dataset)
        folds = []
        for fold in range(len(plan.folds)):
            folds.append(_answers(directory, opened, best["trial"], fold))
            if time.process_time() - begun > budget:
                made["skipped"] = f"it would take more than {budget:g} processor seconds"
                break
        else:
            codes = np.array([plan.classes.index(name) for name in neutral], dtype=np.int64)
            _measure(made, folds, codes, seed, begun + budget)
    else:
        made["skipped"] = "test speakers are training speakers in this protocol"
    write_json(directory.path / FILE, made)
    return made


def _answers(run: RunDirectory, dataset: Dataset, trial: int, fold: int) -> SpeakerAnswers:
    model = load_model(ensure(run.model_directory(trial, fold)))
    plan = read_plan(run.folds_file)
    if model.config.training.refit:  # its inputs were fitted on dev rows too
        plan = plan.with_dev_in_training(fold)
    return SpeakerAnswers(FoldData(dataset, plan, fold, model.config.data), model.model)


def _measure(
    made: SpeakerStatistics,
    folds: Sequence[SpeakerAnswers],
    neutral: IntArray,
    seed: int,
    deadline: float,
) -> None:
    """Draw after draw of all situations, until the time is over."""
    labels = np.concatenate([fold.labels for fold in folds])
    possible = [
        (kind, count)
        for kind, count in SITUATIONS
        if kind != "neutral"
        or all(np.isin(fold.of(rows), neutral).any() for fold in folds for rows in fold.speakers)
    ]
    found: dict[tuple[str, int | None], list[float]] = {place: [] for place in possible}
    for draw in range(DRAWS):
        round_begun = time.process_time()
        for number, (kind, count) in enumerate(possible):
            if draw and (count is None or time.process_time() > deadline):
                continue
            answered = [
                fold.posteriors(
                    [
                        draw_clips(
                            kind, count, rows, neutral, fold.of(rows), (seed, draw, number, at)
                        )
                        for at, rows in enumerate(fold.speakers)
                    ]
                )
                for fold in folds
            ]
            uar = classification_metrics(labels, np.concatenate(answered))["uar"]
            found[kind, count].append(uar)
            spent = time.process_time() - round_begun
            if not draw and spent / (number + 1) * len(possible) > deadline - round_begun:
                made["skipped"] = "it would take more processor time than is given"
                return
        made["draws"] = min(map(len, (v for (_, n), v in found.items() if n is not None)))
        if time.process_time() > deadline:
            break
    made["points"] = [_point(kind, count, values) for (kind, count), values in found.items()]


def _point(kind: str, count: int | None, values: list[float]) -> SpeakerStatisticsPoint:
    uar, sd = float(np.mean(values)), float(np.std(values))
    return {"kind": kind, "clips": count, "uar": uar, "sd": sd}  # type: ignore[typeddict-item]
