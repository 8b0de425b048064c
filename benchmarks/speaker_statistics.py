"""UAR where a test speaker's statistics are of few clips, of neutral clips, or of a skewed mixture.

The platform's own ``svm`` at its fixed settings, nothing searched, with every way to normalise by
speaker. Test clips are always the same; their speaker's statistics are of n random clips, of
neutral clips only, or of clips two thirds of which are of one emotion. ``enrolment`` is the
variant in which training speakers too are normalised by their neutral clips (it reads which clips
of a test speaker are neutral, and answers these too, so its numbers are an upper bound; it is no
option of the platform). How statistics are shrunk was chosen on the test rows of the first half of
the speakers (``chosen``); the others (``unseen``) chose nothing.

    python benchmarks/speaker_statistics.py DATA... [--features compare_2016,egemaps_v02]
        [--draws 5] --out benchmarks/results/speaker_statistics.json
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from serplatform.arrays import IntArray
from serplatform.datasets import fold_data
from serplatform.datasets.dataset import Dataset
from serplatform.environment import hardware, versions
from serplatform.explanations.speaker_statistics import NEUTRAL, SpeakerAnswers, draw_clips
from serplatform.inputs.clips import ClipSource, Moments
from serplatform.inputs.selection import FrameSelection
from serplatform.metrics import classification_metrics
from serplatform.protocols.base import FoldPlan
from serplatform.protocols.plan import make_plan, plan_hash
from serplatform.statistics.chance import chance_uar
from serplatform.statistics.speaker_clips import SpeakerClips
from serplatform.training.all_rows import AllRowsTrainer, Course
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import resolve

VARIANTS = ("train", "speaker", "speaker_shrunk", "enrolment")
ONCE = Course(best_epochs=(1,), epochs=1, rates=(), averaged=False)
SITUATIONS: tuple[tuple[str, int | None], ...] = (
    *(("random", n) for n in (1, 3, 5, 10, 20, None)),
    *(("neutral", n) for n in (3, None)),
    *(("skewed", n) for n in (6, 12)),
)


@contextlib.contextmanager
def neutral_statistics(selection: FrameSelection, neutral: IntArray) -> Iterator[None]:
    """Every speaker's statistics are of their neutral rows, where there are some."""
    made = fold_data.stored_clips

    def enrolled(dataset: Dataset, speakers: list[IntArray]) -> ClipSource:
        source = made(dataset, speakers)
        clips = selection.apply(source)
        moments = clips.moments()
        chosen = [np.intersect1d(rows, neutral) for rows in speakers]
        known = Moments.stack(
            [
                moments.pool(own if len(own) else rows)
                for own, rows in zip(chosen, speakers, strict=True)
            ]
        )
        return dataclasses.replace(source, known_speaker={clips.identity: known})

    with mock.patch.object(fold_data, "stored_clips", enrolled):
        yield


def trained(dataset: Dataset, plan: FoldPlan, feature: str, variant: str, fold: int) -> FoldTrainer:
    """The SVM of one fold, fitted on its training and dev rows."""
    normalization = "speaker" if variant == "enrolment" else variant
    values = {"data.feature": feature, "data.normalization": normalization}
    config = resolve("svm", {**values, "data.pooling": "none"}, "benchmark")
    whole = plan.with_dev_in_training(fold)
    names = dataset.utterances.column("emotion").to_pylist()
    neutral = np.flatnonzero([name in NEUTRAL for name in names])
    with contextlib.ExitStack() as stack:
        if variant == "enrolment":
            selection = dataset.feature_info(feature).selection(trim=False)
            stack.enter_context(neutral_statistics(selection, neutral))
        data = fold_data.FoldData(dataset, whole, fold, config.data)
        trainer = AllRowsTrainer(config, data, ONCE, seed=fold, device="cpu")
    trainer.run_epoch()
    return trainer


def measure(dataset: Dataset, feature: str, variant: str, draws: int) -> dict[str, Any]:
    """Answers of all folds in every situation; UAR of each half of the speakers."""
    protocol = str(dataset.meta["default_protocol"])
    plan = make_plan(dataset.utterances, protocol, 0, classes=dataset.classes)
    neutral = np.array([plan.classes.index(name) for name in NEUTRAL if name in plan.classes])
    names = sorted(dataset.speaker_ids)
    speakers = list(dict.fromkeys(names))
    chosen_on = set(speakers[: len(speakers) // 2])
    begun = time.process_time()
    truth: list[int] = []
    owner: list[str] = []
    answers: dict[tuple[str, int | None], list[list[Any]]] = {}
    for fold in range(len(plan.folds)):
        trainer = trained(dataset, plan, feature, variant, fold)
        fold_answers = SpeakerAnswers(trainer.data, trainer.model)
        truth += fold_answers.labels.tolist()
        owner += trainer.data.speaker_ids("test")
        for number, (kind, count) in enumerate(SITUATIONS):
            for draw in range(1 if count is None or variant == "train" else draws):
                chosen = []
                for at, rows in enumerate(fold_answers.speakers):
                    own, seed = fold_answers.of(rows), (fold, draw, number, at)
                    found = draw_clips(kind, count, rows, neutral, own, seed)
                    chosen.append(found if len(found) else rows)
                place = answers.setdefault((kind, count), [])
                if len(place) == draw:
                    place.append([])
                place[draw].append(fold_answers.posteriors(chosen))
    labels = np.array(truth)
    halves = {"chosen": [], "unseen": []}
    for row, name in enumerate(owner):
        halves["chosen" if name in chosen_on else "unseen"].append(row)
    result = []
    for (kind, count), by_draw in answers.items():
        row: dict[str, Any] = {"kind": kind, "clips": count}
        for half, rows in halves.items():
            values = [
                classification_metrics(labels[rows], np.concatenate(found)[rows])["uar"]
                for found in by_draw
            ]
            row[half] = {"uar": float(np.mean(values)), "sd": float(np.std(values))}
        result.append(row)
    counts = SpeakerClips.count(labels, owner, plan.classes)
    return {
        "protocol": protocol,
        "folds": plan_hash(plan),
        "feature": feature,
        "variant": variant,
        "chosen_on": sorted(chosen_on),
        "speaker_clips": dataclasses.asdict(counts),
        "chance": chance_uar(truth),
        "points": result,
        "processor_seconds": time.process_time() - begun,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--features", default="compare_2016,egemaps_v02")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = []
    for path in given.data:
        dataset = Dataset.open(path)
        for feature in given.features.split(","):
            if dataset.lacking(feature):
                continue
            for variant in VARIANTS:
                row = measure(dataset, feature, variant, given.draws)
                corpus = {"corpus": dataset.meta["title"], "fingerprint": dataset.fingerprint}
                rows.append({**corpus, **row})
                unseen = [f"{100 * point['unseen']['uar']:.1f}" for point in row["points"]]
                print(Path(path).name, feature, variant, *unseen, flush=True)
    arguments = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    content = {
        "command": shlex.join(["python", "benchmarks/speaker_statistics.py", *arguments]),
        "commit": subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip(),
        "versions": versions(),
        "hardware": hardware(),
        "situations": [f"{kind} {count or 'all'}" for kind, count in SITUATIONS],
        "rows": rows,
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
