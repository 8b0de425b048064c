"""Digests of what every architecture learns on a small dataset, to compare two versions.

Each architecture is trained in this process, one thread, at the reduced sizes of its packaged
space, two epochs on each of the first two folds. Printed is one JSON object: for the dataset the
SHA-256 of every feature and of the folds, for an architecture those of its posteriors and of its
models' weights. The same seed must give the same digests before and after a change that is not
meant to alter numbers (on one machine, with one version of torch).

    serplatform prepare demo --out DATA --utterances 96 --speakers 6
    python benchmarks/frozen_results.py DATA > before.json
    python benchmarks/frozen_results.py DATA --compare before.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from serplatform.artifacts.files import file_sha256
from serplatform.datasets.dataset import Dataset
from serplatform.models.base import ARCHITECTURES
from serplatform.protocols.plan import plan_hash
from serplatform.seeding import derive_seed
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import create_run
from serplatform.studies.space import load_space, packaged_spaces
from serplatform.training.trial import TrialTask, TrialTraining


def main() -> None:
    """Train, print, and compare where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--only", nargs="*", help="architectures; default: all")
    parser.add_argument("--compare", type=Path, help="what an earlier version printed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before = None
    if options.compare is not None:
        before = json.loads(options.compare.read_text(encoding="utf-8"))
    known = [name for name in ARCHITECTURES.names() if ARCHITECTURES.get(name).encoder is None]
    if before is not None:
        known = [name for name in known if name in before]
    found = digests(options.dataset, options.only or known)
    if before is None:
        print(json.dumps(found, indent=2))
        return
    different = [name for name in found if found[name] != before.get(name)]
    print(json.dumps({"compared": len(found), "different": different}))
    sys.exit(bool(different))


def digests(dataset: Path, architectures: list[str]) -> dict[str, Any]:
    """SHA-256 digests of the dataset's features, the folds, and each architecture's results."""
    opened = Dataset.open(dataset)
    found: dict[str, Any] = {"features": {}}
    for feature in opened.feature_names:
        total = hashlib.sha256()
        for row in range(len(opened)):
            total.update(opened.frames(feature, row).tobytes())
        found["features"][feature] = total.hexdigest()
    for name in architectures:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = _train(name, dataset, Path(folder) / "run")
            found["folds"] = found[name].pop("folds")
    return found


def _train(name: str, dataset: Path, out: Path) -> dict[str, Any]:
    space = load_space(f"{name}-small" if f"{name}-small" in packaged_spaces() else name)
    closed = ARCHITECTURES.get(name).closed_form
    settings = {**space.fixed, **({} if closed else {"training.max_epochs": 2})}
    request = SearchRequest(architectures=(name,), dataset=dataset, exact=True, max_folds=2)
    run = create_run(out, request, ["frozen_results"])
    task = TrialTask(
        number=0,
        architecture=name,
        values=settings,
        run=str(out),
        dataset=str(dataset),
        seed=derive_seed(0, "trial", 0),
    )
    trial = TrialTraining(task)
    while not trial.finished:
        trial.step()
    posteriors = hashlib.sha256()
    table = trial.run.posteriors_file(0)
    for column in pq.read_table(table).to_pydict().items():
        posteriors.update(repr(column).encode())
    return {
        "folds": plan_hash(run.plan),
        "posteriors": posteriors.hexdigest(),
        "weights": [
            file_sha256(trial.run.model_directory(0, fold) / "model.safetensors")
            for fold in range(trial.num_folds)
        ],
    }


if __name__ == "__main__":
    main()
