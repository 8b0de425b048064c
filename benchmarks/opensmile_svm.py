"""The classical reference: openSMILE functionals and an SVM on the folds of a protocol.

Standardised features, RBF SVM with C = 10 (gamma ``scale``), trained on the train and dev rows of
each fold, for nothing is chosen by dev rows here; test rows pooled over folds. Prepare the
dataset with the feature first::

    serplatform prepare ravdess SOURCE --out DATA --features compare_2016
    python benchmarks/opensmile_svm.py DATA --out benchmarks/results/classical/NAME
        [--protocol NAME] [--normalization train|speaker]
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
from publish import of_dataset, write
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from serplatform.artifacts.posteriors import posterior_table
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.environment import hardware, now, versions
from serplatform.inputs.config import DataConfig
from serplatform.protocols.plan import make_plan, plan_hash

#: largest standardised value; a few functionals have far outliers
CLIP = 10.0


def vectors(data: FoldData, parts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) normalized functionals and (N,) labels of some parts."""
    rows = np.concatenate([data.rows(part) for part in parts])
    labels = np.concatenate([data.labels(part) for part in parts])
    return data.collate(rows).frames[:, 0].double().numpy().clip(-CLIP, CLIP), labels


def main() -> None:
    """Fit, predict, publish."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--protocol")
    parser.add_argument("--feature", default="compare_2016")
    parser.add_argument("--normalization", choices=["train", "speaker"], default="train")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    dataset = Dataset.open(arguments.data)
    protocol = arguments.protocol or dataset.meta["default_protocol"]
    plan = make_plan(dataset.utterances, protocol, arguments.seed, classes=dataset.classes)
    config = DataConfig(feature=arguments.feature, normalization=arguments.normalization)
    pieces, begun = [], time.process_time()
    for fold in range(len(plan.folds)):
        data = FoldData(dataset, plan, fold, config)
        features, labels = vectors(data, ("train", "dev"))
        model = make_pipeline(StandardScaler(), SVC(C=10.0)).fit(features, labels)
        features, labels = vectors(data, ("test",))
        decided = np.eye(len(plan.classes))[model.predict(features)]
        who = data.utterance_ids("test"), data.speaker_ids("test")
        pieces.append(
            posterior_table(*who, labels, decided, fold=fold, part="test", classes=plan.classes)
        )
    made = versions()
    found = write(
        arguments.out,
        {"svm": pa.concat_tables(pieces)},
        {
            "what": f"{arguments.feature}, RBF SVM with C = 10; posteriors are decisions, 0 or 1",
            "looks_at_test_rows_before": "nothing is chosen",
            "command": shlex.join(["python", "benchmarks/opensmile_svm.py", *sys.argv[1:]]),
            "commits": [made["commit"]],
            "versions": made,
            "normalization": arguments.normalization,
            "processor_seconds": round(time.process_time() - begun, 1),
            "hardware": hardware(),
            "date": now(),
            "dataset": {
                "path": arguments.data,
                "corpus": dataset.meta["corpus"],
                **of_dataset(Path(arguments.data), dataset.meta["fingerprint"]),
            },
            "protocol": {"name": plan.protocol},
            "folds_hash": plan_hash(plan),
            "classes": list(plan.classes),
            "systems": {"svm": "fixed settings; trained on train and dev rows of each fold"},
        },
        pairs=[],
        hidden={arguments.data: "DATA"},
    )
    print(arguments.out, found["pooled"]["svm"]["uar"], found["pooled"]["svm"]["accuracy"])


if __name__ == "__main__":
    main()
