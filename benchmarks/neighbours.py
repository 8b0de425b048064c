"""How near a copy and how near another take is to a clip, as the canary measures it.

The measure is the distance to a training clip over that to the tenth nearest one. For every
protocol: its least values over test clips of a corpus without copies, and UAR of the nearest clip
and of the nearest clip of another speaker. For every kind of twin (louder, later, through a codec,
…): its greatest values for the distance from a clip to its own twin.

    python benchmarks/neighbours.py DATA AUDIO PROTOCOL… > results/neighbours-NAME.json

DATA is a prepared dataset with log_mel_23 or log_mel_40, AUDIO the folder of its audio files.
Prints one JSON object: hardware, versions, date, command, numbers.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from copies import RATE, TWINS

from serplatform.corpora.audio import read_audio
from serplatform.datasets import neighbours as module
from serplatform.datasets.dataset import Dataset
from serplatform.environment import hardware, now, versions
from serplatform.features.base import FEATURES
from serplatform.features.clip import Clip
from serplatform.protocols.plan import make_plan

CLIPS = 100  # that get twins


def faster(percent: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda samples: soxr.resample(samples, RATE + RATE * percent // 100, RATE)


KINDS = TWINS | {f"{percent} % faster": faster(percent) for percent in (1, 3, 5)}


def ends(values: Any, *shares: float) -> dict[str, float]:
    return {f"{share:g}": round(float(np.quantile(values, share)), 4) for share in shares}


def main() -> None:
    data, audio, *protocols = sys.argv[1:]
    dataset = Dataset.open(data)
    feature = next(name for name in module.FEATURES if name in dataset.feature_names)
    table = np.stack([module.describe(dataset.frames(feature, r)) for r in range(len(dataset))])
    files = {path.stem: path for path in Path(audio).rglob("*") if path.is_file()}
    speakers = np.array(dataset.speaker_ids)
    chosen = np.random.default_rng(0).choice(len(dataset), min(CLIPS, len(dataset)), replace=False)
    extractor, twins = FEATURES.make(feature), {}
    for row in chosen.tolist():
        samples = read_audio(files[Path(dataset.utterances["path"][row].as_py()).stem]).samples
        for kind, change in KINDS.items():
            made = change(samples)
            clip = Clip(np.ascontiguousarray(made[0] if isinstance(made, tuple) else made, "f4"))
            twins[kind, row] = module.describe(extractor.extract_clip(clip))
    found: dict[str, Any] = {}
    for protocol in protocols:
        plan = make_plan(dataset.utterances, protocol, 0, classes=dataset.classes)
        takes: dict[str, list[float]] = {"of one speaker": [], "of two speakers": []}
        copies: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for fold in plan.folds:
            train, test = ([dataset.row_of[n] for n in part] for part in (fold.train, fold.test))
            mean, deviation = table[train].mean(axis=0), table[train].std(axis=0) + 1e-9
            scaled = (table - mean) / deviation
            for row in test:
                away = np.linalg.norm(scaled[train] - scaled[row], axis=1)
                tenth, nearest = np.partition(away, 9)[9], int(away.argmin())
                same = speakers[train[nearest]] == speakers[row]
                takes["of one speaker" if same else "of two speakers"].append(away[nearest] / tenth)
                for kind in KINDS:
                    if (kind, row) in twins:
                        twin = (twins[kind, row] - mean) / deviation
                        copies[kind].append(float(np.linalg.norm(twin - scaled[row]) / tenth))
        began = time.process_time()
        said = module.neighbours(dataset, plan)
        assert said is not None
        found[protocol] = {
            "processor_seconds": round(time.process_time() - began, 2),
            "near_copies": len(said.near_copies),
            "test_clips": said.test_clips,
            "uar": round(said.uar, 4),
            "uar_other": round(said.uar_other, 4),
            "leaks": said.leaks,
            "nearest_take": {k: ends(v, 0, 0.001, 0.01, 0.5) for k, v in takes.items() if v},
            "twin": {kind: ends(values, 0.5, 0.9, 1) for kind, values in copies.items()},
        }
    result = {
        "command": ["python", "benchmarks/neighbours.py", dataset.meta["corpus"], *protocols],
        "date": now(),
        "hardware": hardware(),
        "versions": versions(),
        "feature": feature,
        "limits": [module.NEAR_COPY, module.NEAR_COPY_OF_ONE_SPEAKER],
        "protocols": found,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
