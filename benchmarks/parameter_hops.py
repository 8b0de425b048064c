"""Functions and files that see one hyperparameter on its way from a space's YAML to the module.

A run is made of a two-parameter space, and its first trial is trained for one epoch and told to
its study, in this process and without Ray, under ``sys.setprofile``. Counted is each function of
the package in whose arguments, variables or result the parameter is seen: by its dotted name, as
a key, or as a field of an object.

    serplatform prepare demo --out DATA --utterances 96 --speakers 6
    python benchmarks/parameter_hops.py DATA
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import serplatform
from serplatform.seeding import derive_seed
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import create_run
from serplatform.studies.study import Studies
from serplatform.training.trial import TrialTask, TrialTraining

FIELD = "context_frames"
NAME = f"model.{FIELD}"
PACKAGE = str(Path(serplatform.__file__).parent)
SPACE = f"""
architecture: csa
description: Two parameters.
fixed: {{training.max_epochs: 1, model.channels: 8}}
parameters:
  {NAME}: {{type: choice, values: [20, 30]}}
  training.learning_rate: {{type: float, low: 1e-4, high: 1e-3, log: true}}
"""


def holds(value: Any, depth: int = 3) -> bool:
    """Whether the parameter is seen in a value, at most ``depth`` containers deep."""
    if isinstance(value, str):
        return value in (NAME, FIELD)
    if depth == 0 or isinstance(value, (torch.Tensor, type)):
        return False
    if isinstance(value, dict):
        keys = any(isinstance(key, str) and key in (NAME, FIELD) for key in value)
        return keys or any(holds(inner, depth - 1) for inner in list(value.values())[:200])
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(holds(inner, depth - 1) for inner in list(value)[:50])
    own = getattr(value, "__dict__", None)
    if isinstance(own, dict) and type(value).__module__.startswith(("serplatform", "optuna")):
        return FIELD in own or any(holds(inner, depth - 1) for inner in list(own.values())[:60])
    return False


def main() -> None:
    """Trace and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    dataset = parser.parse_args().dataset
    seen: set[tuple[str, str]] = set()

    def profile(frame: FrameType, event: str, result: Any) -> None:
        code = frame.f_code
        key = (code.co_filename.removeprefix(f"{PACKAGE}/"), code.co_qualname)
        if event != "return" or key[0] == code.co_filename or key in seen:
            return
        own = frame.f_locals.get("self")
        others = [v for name, v in frame.f_locals.items() if name not in ("self", "cls")]
        if FIELD in getattr(own, "__dict__", ()) or any(map(holds, [*others, result])):
            seen.add(key)

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        space = Path(folder) / "csa.yaml"
        space.write_text(SPACE, encoding="utf-8")
        out = Path(folder) / "run"
        sys.setprofile(profile)
        request = SearchRequest(
            architectures=("csa",), dataset=dataset, spaces=(str(space),), max_folds=1
        )
        run = create_run(out, request, ["parameter_hops"])
        studies = Studies(
            run.spaces,
            storage=str(run.directory.journal),
            records={},
            max_epochs=1,
            num_folds=1,
            seed=0,
        )
        task = TrialTask(
            number=0,
            architecture="csa",
            values=studies.ask().values,
            run=str(out),
            dataset=str(dataset),
            seed=derive_seed(0, "trial", 0),
        )
        trial = TrialTraining(task)
        while not trial.finished:
            trial.step()
        studies.tell(run.directory.records()[0])
        run.directory.write_trials_table()
        sys.setprofile(None)
    files = collections.Counter(file for file, _ in seen)
    print(json.dumps({"functions": len(seen), "files": len(files), **dict(files.most_common())}))


if __name__ == "__main__":
    main()
