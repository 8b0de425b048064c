"""A directory in which the pages' examples run: tiny recordings, and what some of them start from.

What a page is given is made once, by the commands that a user would give, and copied for each page.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from tests.docs.pages import ROOT, Block
from tests.support.speech_like import speech_like

_RATE = 16_000
_EMOTIONS = ("angry", "happy", "neutral", "sad")
_LOUDNESS = {"angry": 1.6, "happy": 1.2, "neutral": 0.7, "sad": 0.3}
#: name → what it needs, and the command that makes it
GIVEN: dict[str, tuple[str, str]] = {
    "data/mine": (
        "",
        "serplatform prepare csv recordings/labels.csv --out data/mine",
    ),
    "runs/mine": (
        "data/mine",
        "serplatform search logistic lda functionals_mlp --data data/mine --trials 3 --small "
        "--set functionals_mlp.training.max_epochs=2 --no-explain --out runs/mine",
    ),
    "ensembles/mine": ("runs/mine", "serplatform ensemble runs/mine --out ensembles/mine"),
    "runs/csa": (
        "data/mine",
        "serplatform train csa --data data/mine --set model.channels=8 --set "
        "training.max_epochs=1 --out runs/csa",
    ),
    "runs/vrnn": (
        "data/mine",
        "serplatform train vrnn --data data/mine --set training.max_epochs=1 --set "
        "model.encoder_dim=8 --out runs/vrnn",
    ),
    "models/whisper-base": ("", ""),
}


class Stage:
    """Makes what is given, each thing once, below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir(parents=True)
        command = self.programs / "serplatform"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m serplatform "$@"\n')
        command.chmod(0o755)
        self.things = folder / "given"
        write_recordings(self.things)

    def page(self, place: Path, given: list[str]) -> None:
        """Put the recordings and what is given into a new directory."""
        for name in given:
            self._make(name)
        shutil.copytree(self.things / "recordings", place / "recordings")
        for name in ("interview.wav", "calls"):
            source = self.things / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, place / name)
        for name in given:
            shutil.copytree(self.things / name, place / name)

    def run(self, block: Block, place: Path, *, timeout: float = 1500) -> str:
        """Run a block there; what it printed.

        Raises:
            AssertionError: it failed.
        """
        words = (
            ["bash", "-euo", "pipefail", "-c", block.as_run]
            if block.language == "bash"
            else [sys.executable, "-c", block.as_run]
        )
        environment = {
            **os.environ,
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "100",
        }
        done = subprocess.run(
            words,
            cwd=place,
            env=environment,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block.as_run}\nexit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def _make(self, name: str) -> None:
        if (self.things / name).exists():
            return
        if name == "models/whisper-base":
            from tests.support.tiny_encoders import tiny_whisper

            (self.things / name).mkdir(parents=True)
            tiny_whisper(self.things / name)
            return
        needs, command = GIVEN[name]
        if needs:
            self._make(needs)
        self.run(Block("bash", command), self.things)


def write_recordings(folder: Path, *, speakers: int = 5, takes: int = 2) -> None:
    """Some seconds of noise shaped like speech: a table of short ones, and a longer one."""
    rows = ["file,emotion,speaker"]
    seed = 0
    for speaker in range(speakers):
        for emotion in _EMOTIONS:
            for take in range(takes):
                seed += 1
                name = f"s{speaker}/{emotion}_{take}.wav"
                samples = speech_like(0.8 + 0.05 * (seed % 5), seed=seed) * _LOUDNESS[emotion]
                path = folder / "recordings" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, samples, _RATE)
                rows.append(f"{name},{emotion},s{speaker}")
    (folder / "recordings" / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    long = np.concatenate([speech_like(2.0, seed=900 + part) for part in range(3)])
    soundfile.write(folder / "interview.wav", long, _RATE)
    (folder / "calls").mkdir()
    for number in range(2):
        soundfile.write(
            folder / "calls" / f"{number}.wav", speech_like(1.0, seed=950 + number), _RATE
        )
