"""UAR of an SVM on the built-in descriptors, on openSMILE's sets and on log mel, on the same folds.

The platform's own ``svm`` at its fixed settings (RBF kernel, C = 10, fitted again on training and
dev rows), nothing searched, features normalised over training speakers and within each speaker;
test rows pooled over the folds of the dataset's protocol, 95 % intervals by speaker.

    python benchmarks/descriptors.py DATA... [--features descriptors,compare_2016,egemaps_v02]
        [--protocol P] [--chosen-on SPEAKERS] --out benchmarks/results/descriptors.json

``--chosen-on`` names speakers on whose rows the design of the descriptors was chosen: their test
rows flatter ``descriptors``, so ``unseen_uar`` leaves them out. With ``--add`` rows join the file.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.environment import hardware, versions
from serplatform.protocols.plan import make_plan, plan_hash
from serplatform.statistics.chance import chance_uar
from serplatform.statistics.intervals import metric_intervals
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import resolve


def measure(
    dataset: Dataset, protocol: str, feature: str, normalization: str, chosen_on: set[str]
) -> dict[str, Any]:
    """Train on each fold; pool the test rows, once all and once of speakers not chosen on."""
    plan = make_plan(dataset.utterances, protocol, 0, classes=dataset.classes)
    values = {"data.feature": feature, "data.normalization": normalization}
    config = resolve("svm", values, "benchmark")
    truth: list[int] = []
    speakers: list[str] = []
    posteriors, dev = [], []
    begun = time.process_time()
    for fold in range(len(plan.folds)):
        data = FoldData(dataset, plan, fold, config.data)
        trainer = FoldTrainer(config, data, seed=fold)
        trainer.run_epoch()
        dev.append(trainer.best_metrics["uar"])
        posteriors.append(trainer.posteriors("test"))
        truth += data.labels("test").tolist()
        speakers += data.speaker_ids("test")
    labels, answers = np.array(truth), np.concatenate(posteriors)

    def uar(rows: list[int]) -> dict[str, Any] | None:
        if not rows:
            return None
        of = [speakers[row] for row in rows]
        return metric_intervals(labels[rows], answers[rows], of)["uar"].as_dict()

    unseen = [row for row, speaker in enumerate(speakers) if speaker not in chosen_on]
    return {
        "feature": feature,
        "normalization": normalization,
        "protocol": protocol,
        "folds": plan_hash(plan),
        "dev_uar": float(np.mean(dev)),
        "test_uar": uar(list(range(len(truth)))),
        "unseen_speakers": len({speakers[row] for row in unseen}),
        "unseen_uar": uar(unseen),
        "chance": chance_uar(truth),
        "processor_seconds": time.process_time() - begun,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--features", default="descriptors,compare_2016,log_mel_40")
    parser.add_argument("--protocol")
    parser.add_argument("--chosen-on", default="")
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    old = json.loads(given.out.read_text(encoding="utf-8")) if given.add else {}
    rows = old.get("rows", [])
    chosen_on = set(given.chosen_on.split(","))
    for path in given.data:
        dataset = Dataset.open(path)
        protocol = given.protocol or str(dataset.meta["default_protocol"])
        for feature in given.features.split(","):
            if dataset.lacking(feature):
                continue
            for normalization in ("train", "speaker"):
                row = measure(dataset, protocol, feature, normalization, chosen_on)
                counts = dataset.meta["counts"]
                rows.append(
                    {
                        "corpus": dataset.meta["title"],
                        "utterances": counts["utterances"],
                        "speakers": counts["speakers"],
                        "name": Path(path).name,
                        "fingerprint": dataset.fingerprint,
                        **row,
                    }
                )
                print(Path(path).name, feature, normalization, row["test_uar"], row["unseen_uar"])
    arguments = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    commit = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    content = {
        "commands": [
            *old.get("commands", []),
            shlex.join(["python", "benchmarks/descriptors.py", *arguments]),
        ],
        "commit": commit,
        "versions": versions(),
        "hardware": hardware(),
        "rows": rows,
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
