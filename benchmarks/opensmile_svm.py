"""The classical reference: openSMILE functionals and an SVM on the folds of a protocol.

Standardised features, RBF SVM with C = 10 (gamma ``scale``), trained on the train and dev rows of
each fold, for nothing is chosen by dev rows here; test rows pooled over folds. Prepare the
dataset with the feature first::

    serplatform prepare ravdess SOURCE --out DATA --features compare_2016
    python benchmarks/opensmile_svm.py DATA [--protocol NAME] [--normalization train|speaker]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.environment import hardware, now, versions
from serplatform.inputs.config import DataConfig
from serplatform.protocols.plan import make_plan, plan_hash
from serplatform.statistics.bootstrap import bootstrap_intervals

#: largest standardised value; a few functionals have far outliers
CLIP = 10.0


def vectors(data: FoldData, parts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) normalized functionals and (N,) labels of some parts."""
    rows = np.concatenate([data.rows(part) for part in parts])
    labels = np.concatenate([data.labels(part) for part in parts])
    return data.collate(rows).frames[:, 0].double().numpy().clip(-CLIP, CLIP), labels


def main() -> None:
    """Fit, predict, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--protocol")
    parser.add_argument("--feature", default="compare_2016")
    parser.add_argument("--normalization", choices=["train", "speaker"], default="train")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    dataset = Dataset.open(arguments.data)
    protocol = arguments.protocol or dataset.meta["default_protocol"]
    plan = make_plan(dataset.utterances, protocol, arguments.seed, classes=dataset.classes)
    config = DataConfig(feature=arguments.feature, normalization=arguments.normalization)
    truth, posteriors, speakers = [], [], []
    begun = time.process_time()
    for fold in range(len(plan.folds)):
        data = FoldData(dataset, plan, fold, config)
        features, labels = vectors(data, ("train", "dev"))
        model = make_pipeline(StandardScaler(), SVC(C=10.0)).fit(features, labels)
        features, labels = vectors(data, ("test",))
        predicted = model.predict(features)
        truth.append(labels)
        posteriors.append(np.eye(len(plan.classes))[predicted])
        speakers += data.speaker_ids("test")
    intervals = bootstrap_intervals(
        np.concatenate(truth), np.concatenate(posteriors), speakers, seed=arguments.seed
    )
    pooled = {name: dataclasses.asdict(intervals[name]) for name in ("accuracy", "uar")}
    print(
        json.dumps(
            {
                "corpus": dataset.meta["corpus"],
                "feature": arguments.feature,
                "normalization": arguments.normalization,
                "protocol": plan.protocol,
                "folds_hash": plan_hash(plan),
                "pooled": pooled,
                "processor_seconds": round(time.process_time() - begun, 1),
                "versions": versions(),
                "hardware": hardware(),
                "date": now(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
