"""Copies of test clips among training clips are seen in the features, takes are none."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from serplatform.cli.data import canary_errors
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.neighbours import neighbours
from serplatform.distributed import extraction
from serplatform.distributed import prepare as prepare_module
from serplatform.distributed.extraction import run_shard
from serplatform.distributed.prepare import prepare
from serplatform.protocols.base import Fold, FoldPlan
from serplatform.protocols.plan import make_plan
from tests.support.speech_like import speech_like

RATE = 16_000
SPEAKERS, TAKES = 6, 6
CLASSES = ("happy", "sad", "angry")


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are extracted here instead of in Ray tasks, and no cluster is started."""
    monkeypatch.setattr(prepare_module, "connect", lambda **_: None)
    monkeypatch.setattr(extraction, "_run", lambda tasks, workers: map(run_shard, tasks))


def one_bit(samples: Any) -> Any:
    return samples + np.random.default_rng(0).integers(-1, 2, len(samples)) / 32768


TWINS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "none": (lambda samples: samples, ""),
    "3 dB louder": (lambda samples: samples * 1.4125, "wav"),
    "10 ms later": (lambda samples: np.r_[np.zeros(RATE // 100), samples], "wav"),
    "one bit": (one_bit, "wav"),
    "Vorbis": (lambda samples: samples, "ogg"),
    # which the fingerprint of `prepare` does not bear
    "3 % faster": (lambda samples: soxr.resample(samples, 1.03 * RATE, RATE), "wav"),
}


def twinned(folder: Path, kind: str) -> Dataset:
    """Six speakers say six things each, and a speaker of another fold has the twin of each."""
    rows = []
    change, ending = TWINS[kind]
    for number in range(SPEAKERS * TAKES):
        speaker, take = divmod(number, TAKES)
        emotion = CLASSES[take % 3]
        samples = speech_like(1.6, seed=number)
        soundfile.write(folder / f"c{number}.wav", samples, RATE)
        rows.append((f"c{number}.wav", f"s{speaker}", emotion))
        if ending:
            codec = "VORBIS" if ending == "ogg" else "PCM_16"
            soundfile.write(folder / f"t{number}.{ending}", change(samples), RATE, subtype=codec)
            rows.append((f"t{number}.{ending}", f"s{(speaker + 1) % SPEAKERS}", emotion))
    with (folder / "t.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "speaker", "emotion"), *rows])
    prepare("csv", folder / "t.csv", folder / "d", features=["log_mel_23"])
    return Dataset.open(folder / "d")


def ungrouped(dataset: Dataset, *, independent: bool = True) -> FoldPlan:
    """Three folds of two speakers each, who are not neighbours; nothing is kept together."""
    speaker = dict(zip(dataset.utterance_ids, dataset.speaker_ids, strict=True))

    def part(*numbers: int) -> tuple[str, ...]:
        return tuple(sorted(name for name, s in speaker.items() if int(s[1:]) % 3 in numbers))

    folds = [Fold(train=part(k, (k + 1) % 3), dev=(), test=part((k + 2) % 3)) for k in range(3)]
    return FoldPlan(
        protocol="by-hand",
        speaker_independent=independent,
        classes=CLASSES,
        label_map={name: name for name in CLASSES},
        folds=tuple(folds),
        seed=0,
    )


@pytest.mark.parametrize("kind", TWINS)
def test_twins_under_another_speaker_are_seen(tmp_path: Path, kind: str) -> None:
    dataset = twinned(tmp_path, kind)
    found = neighbours(dataset, ungrouped(dataset))
    assert found is not None
    pairs = {frozenset(pair) for pair in found.near_copies}
    if kind == "none":
        assert pairs == set()
        assert not found.leaks
        assert found.uar < 0.6
        return
    assert pairs <= {frozenset((f"c{n}", f"t{n}")) for n in range(SPEAKERS * TAKES)}
    assert len(found.near_copies) > 0.8 * found.test_clips
    assert found.uar > 0.9
    assert found.uar_other < 0.6
    assert found.suspicious
    assert found.leaks


def test_what_prepare_keeps_together_is_no_near_copy(tmp_path: Path) -> None:
    dataset = twinned(tmp_path, "3 dB louder")
    plan = make_plan(dataset.utterances, "random-kfold:3", 0)
    found = neighbours(dataset, plan)
    assert found is not None
    assert found.near_copies == ()
    assert not found.leaks


def test_a_near_copy_is_a_fault_of_the_canary_that_names_it() -> None:
    near = {
        "feature": "log_mel_23",
        "test_clips": 40,
        "near_copies": [("a", "b"), ("c", "d")],
        "uar": 0.9,
        "uar_other": 0.3,
        "leaks": True,
    }
    chance = {"value": 0.25, "low": 0.2, "high": 0.3}
    values = {
        "level": 0.99,
        "permuted_labels": {"uar": chance},
        "neighbours": near,
        "planted_speaker_refused": None,
    }
    (fault,) = canary_errors(values, [])
    assert fault.startswith("2 of 40 test clips (5.0 %) have a near copy in the training part")
    assert "a ~ b; c ~ d" in fault
    assert canary_errors({**values, "neighbours": {**near, "leaks": False}}, []) == []


@pytest.mark.skipif("SERPLATFORM_RAVDESS" not in os.environ, reason="SERPLATFORM_RAVDESS not set")
@pytest.mark.parametrize("protocol", ["loso", "random-kfold:5"])
def test_takes_of_acted_sentences_raise_no_alarm(tmp_path: Path, protocol: str) -> None:
    """Four of RAVDESS's actors say two sentences twice, in each emotion."""
    for actor in range(1, 5):
        name = f"Actor_{actor:02d}"
        shutil.copytree(Path(os.environ["SERPLATFORM_RAVDESS"]) / name, tmp_path / "r" / name)
    prepare("ravdess", tmp_path / "r", tmp_path / "d", features=["log_mel_23"])
    dataset = Dataset.open(tmp_path / "d")
    found = neighbours(dataset, make_plan(dataset.utterances, protocol, 0))
    assert found is not None
    assert found.near_copies == ()
    assert not found.leaks
