"""A run trained on real audio files: tones that differ by class, prepared and trained in-process.

No Ray is started. The models are tiny and train for an epoch or two: what matters is that new
audio takes the same way through extraction, preprocessing and model as training's did.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soundfile

from serplatform.distributed import extraction
from serplatform.distributed import prepare as prepare_module
from serplatform.distributed.extraction import run_shard
from serplatform.distributed.prepare import prepare
from serplatform.run_directory import RunDirectory
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import create_run
from serplatform.training.trial import TrialTask, TrialTraining

#: class to the frequency of its tone, in hertz
TONES = {"angry": 900.0, "neutral": 300.0, "sad": 150.0}

_SMALL = {"training.max_epochs": 2, "training.batch_size": 16}

#: trials of :func:`make_audio_run` when none are given: architecture and settings
TRIALS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("blstmatt", {**_SMALL, "model.hidden_dim": 4, "model.num_layers": 1}),
    (
        "blstmatt",
        {
            **_SMALL,
            "model.hidden_dim": 5,
            "model.num_layers": 1,
            "data.normalization": "speaker",
            "data.trim": True,
        },
    ),
    ("csa", {**_SMALL, "model.channels": 4, "data.normalization": "utterance"}),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioRun:
    """Where everything lies.

    Attributes:
        audio: folder of ``<speaker>/<utterance>.wav``.
        dataset: prepared from it.
        run: with every trial complete.
    """

    audio: Path
    dataset: Path
    run: Path


def make_audio_run(
    folder: Path,
    *,
    trials: Sequence[tuple[str, Mapping[str, Any]]] = TRIALS,
    num_speakers: int = 4,
    per_speaker: int = 6,
    language: str = "en",
    features: Sequence[str] = ("log_mel_23",),
    settings: Sequence[str] = (),
    align: str = "none",
    sealed: bool = False,
) -> AudioRun:
    """Write tones, prepare them as a CSV corpus and train the trials over two folds.

    Args:
        folder: to write into.
        trials: architecture and dotted settings of each trial, numbered from 0.
        num_speakers: half of them higher in pitch.
        per_speaker: clips a speaker; classes in turn.
        language: that the corpus states.
        features: to prepare; trials read the log mel energies unless they say otherwise.
        settings: of the run, besides.
        align: as ``prepare --align``.
        sealed: compute no test posteriors.
    """
    audio, dataset = folder / "audio", folder / "data"
    table = _write_corpus(audio, num_speakers, per_speaker, language)
    with in_process():
        prepare("csv", table, dataset, features=features, align=align)
    run = train_trials(folder / "run", dataset, trials, settings=settings, sealed=sealed)
    return AudioRun(audio=audio, dataset=dataset, run=run)


def train_trials(
    folder: Path,
    dataset: Path,
    trials: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    protocol: str = "speaker-kfold:2",
    settings: Sequence[str] = (),
    sealed: bool = False,
) -> Path:
    """Train trials, numbered from 0, without Ray; the run."""
    opened = create_run(
        folder,
        SearchRequest(
            architectures=tuple(dict.fromkeys(name for name, _ in trials)),
            dataset=dataset,
            protocol=protocol,
            settings=("data.feature=log_mel_23", *settings),
            exact=True,
            sealed=sealed,
        ),
        ["serplatform", "train"],
    )
    for number, (architecture, values) in enumerate(trials):
        task = TrialTask(
            number=number,
            architecture=architecture,
            values={"data.feature": "log_mel_23", **values},
            run=str(opened.directory.path),
            dataset=str(dataset),
            seed=number,
            sealed=sealed,
        )
        trial = TrialTraining(task)
        while not trial.finished:
            trial.step()
    opened.set_status("complete")
    RunDirectory(opened.directory.path).write_trials_table()
    return opened.directory.path


def prepare_tones(
    folder: Path,
    *,
    num_speakers: int = 2,
    per_speaker: int = 6,
    first_speaker: int = 0,
    features: Sequence[str] = ("log_mel_23",),
) -> Path:
    """Write tones of further speakers and prepare them in-process; the dataset."""
    table = _write_corpus(folder / "audio", num_speakers, per_speaker, "en", first_speaker)
    with in_process():
        prepare("csv", table, folder / "data", features=features)
    return folder / "data"


def write_tone(
    path: Path, *, frequency: float = 300.0, seconds: float = 0.5, rate: int = 16_000, seed: int = 0
) -> Path:
    """Write a tone with overtones in noise, with silence at both ends."""
    rng = np.random.default_rng([seed, round(frequency)])
    time = np.arange(round(seconds * rate)) / rate
    loud = np.where((time > 0.3 * seconds) & (time < 0.7 * seconds), 0.3, 0.001)
    wave = sum(np.sin(2 * np.pi * frequency * k * time) / k for k in (1, 2, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = loud * wave + 0.001 * rng.standard_normal(len(time))
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


def _write_corpus(
    folder: Path, num_speakers: int, per_speaker: int, language: str, first_speaker: int = 0
) -> Path:
    rows = []
    for speaker in range(first_speaker, first_speaker + num_speakers):
        for index in range(per_speaker):
            emotion = list(TONES)[index % len(TONES)]
            name = f"s{speaker}/u{index}.wav"
            write_tone(
                folder / name,
                frequency=TONES[emotion] * (1.0 + 0.1 * (speaker % 2)),
                seconds=0.3 + 0.05 * index,
                seed=10 * speaker + index,
            )
            text = ("the door is open", "dogs are sitting", "kids talk")[index % 3]
            rows.append([name, emotion, f"s{speaker}", language, text])
    table = folder / "corpus.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "emotion", "speaker_id", "language", "text"])
        writer.writerows(rows)
    return table


@contextlib.contextmanager
def in_process() -> Iterator[None]:
    """Shards are extracted here instead of in Ray tasks."""
    with (
        mock.patch.object(prepare_module, "connect", return_value=None),
        mock.patch.object(extraction, "_run", lambda tasks, workers: map(run_shard, tasks)),
        mock.patch.object(prepare_module, "announce", return_value=""),
    ):
        yield
