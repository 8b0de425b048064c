"""What recognition errors cost CAN: words that were recognised against the true text.

    python benchmarks/recognised_words.py NAME WORK --corpus CORPUS --source SOURCE
        --whisper DIRECTORY --out benchmarks/results/recognised_words.json [--aligner pocketsphinx]
        [--prepare "--map fear=fearful …"] [--protocol speaker-kfold:4] [--epochs 15] [--seeds 2]

CAN's own future work (Lee, Yoon and Jung, Interspeech 2020, section 5). One corpus is prepared
once for each source of words: ``aligned``, the true text located by a local Whisper;
``recognised``, text and times by the same Whisper; ``pocketsphinx`` or another forced aligner of
the true text, where one is named; ``equal``, the recognised words in segments of equal length
(``data.word_segmentation=equal`` on ``recognised``). CAN is trained on each with the same settings,
folds and seeds by ``serplatform search``; nothing is chosen between them. What is in WORK is kept.

Written under NAME in OUT, beside what it holds: the word error rate (edits over true words), test
UAR pooled over folds, its mean over seeds, and the difference from ``aligned`` with a jackknife
interval over speakers. In RAVDESS and nEMO actors say the same sentences in every emotion, so that
text tells nothing of it: the cost is one of segmentation.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from serplatform.alignment.tidy import is_special
from serplatform.alignment.tokens import tokens
from serplatform.artifacts.files import read_parquet
from serplatform.datasets.dataset import Dataset
from serplatform.ensembles.posteriors import Library, read_library
from serplatform.environment import hardware, now, versions
from serplatform.run_directory import RunDirectory
from serplatform.statistics.intervals import (
    jackknife_interval,
    leave_one_out,
    metric_interval,
    speaker_sums,
)

SETTINGS = {
    "model.hidden_dim": 32,
    "model.embedding_dim": 50,
    "model.dropout": 0.3,
    "training.learning_rate": 2e-3,
    "training.batch_size": 16,
}


def edits(said: list[str], heard: list[str]) -> int:
    """Substitutions, insertions and deletions: the Levenshtein distance of two lists of words.

    Example:
        >>> edits("dogs are sitting".split(), "the dogs sitting".split())
        2
    """
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def word_errors(dataset: Dataset) -> dict[str, float | int]:
    """Edits between the words of the alignment and of the text, over all utterances."""
    heard: dict[str, list[str]] = {}
    table = read_parquet(dataset.path / "alignment.parquet")
    for row in table.to_pylist():
        if row["tier"] == "word" and not is_special(row["label"]):
            heard.setdefault(row["utterance_id"], []).extend(tokens(row["label"]))
    rows = dataset.utterances.select(["utterance_id", "text"]).to_pylist()
    said = {row["utterance_id"]: tokens(row["text"]) for row in rows}
    wrong = [edits(words, heard.get(name, [])) for name, words in said.items()]
    total = sum(map(len, said.values()))
    return {
        "words": total,
        "edits": sum(wrong),
        "wer": sum(wrong) / total,
        "utterances_with_errors": sum(map(bool, wrong)),
        "utterances_without_words": len(said.keys() - heard.keys()),
    }


def run(commands: list[str], *arguments: str, done: bool = False) -> None:
    """One call of the command line, noted; not made again where it is done."""
    commands.append(shlex.join(["serplatform", *arguments]))
    if not done:
        subprocess.run([sys.executable, "-m", "serplatform", *arguments], check=True)


def drawn(libraries: list[Library]) -> tuple[np.ndarray, np.ndarray]:
    """(1 + S,) mean UAR over seeds on all speakers and without each, and (S,) utterances."""
    found = []
    for library in libraries:
        tests = [library.take(fold, "test") for fold in library.folds]
        sums = speaker_sums(
            np.concatenate([test.truth for test in tests]),
            np.concatenate([test.posteriors[0] for test in tests]),
            [name for test in tests for name in test.speaker_ids],
        )
        found.append(sums.metrics(leave_one_out(len(sums.num_utterances)))["uar"])
    return np.mean(found, axis=0), sums.num_utterances


def main() -> None:
    """Prepare, train, compare, publish."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name")
    parser.add_argument("work", type=Path)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--whisper", required=True)
    parser.add_argument("--aligner")
    parser.add_argument("--prepare", default="")
    parser.add_argument("--protocol", default="speaker-kfold:4")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    sources = {
        "aligned": f"whisper:{given.whisper}",
        "recognised": f"whisper-asr:{given.whisper}",
        **({given.aligner: given.aligner} if given.aligner else {}),
    }
    commands: list[str] = []
    libraries: dict[str, list[Library]] = {}
    arms: dict[str, Any] = {}
    for arm in (*sources, "equal"):
        data = given.work / ("recognised" if arm == "equal" else arm)
        if arm in sources:
            options = ["--align", sources[arm], "--features", "mfcc_40", *given.prepare.split()]
            run(commands, "prepare", given.corpus, given.source, "--out", str(data), *options)
        settings = {**SETTINGS, "training.max_epochs": given.epochs}
        settings["data.word_segmentation"] = "equal" if arm == "equal" else "aligned"
        libraries[arm] = []
        for seed in range(given.seeds):
            out = given.work / f"{arm}-{seed}"
            options = [x for k, v in settings.items() for x in ("--set", f"{k}={v}")]
            options += ["--protocol", given.protocol, "--seed", str(seed), "--trials", "1"]
            options += ["--combiner", "none", "--no-reference", "--no-explain"]
            there = (out / "run.json").is_file()
            options += ["--resume"] * there
            whole = there and RunDirectory(out).read_run()["status"] == "complete"
            run(
                commands,
                "search",
                "can",
                "--data",
                str(data),
                "--out",
                str(out),
                *options,
                done=whole,
            )
            libraries[arm].append(read_library([out]))
        arms[arm] = {"words": word_errors(Dataset.open(data)), "settings": settings}
    base, utterances = drawn(libraries["aligned"])
    for arm, own in libraries.items():
        for one, other in zip(own, libraries["aligned"], strict=True):
            assert one.utterance_ids == other.utterance_ids, "the folds differ"
        values, _ = drawn(own)
        uar = metric_interval("uar", values, utterances)
        arms[arm] |= {"uar": uar.as_dict(), "uar_by_seed": [float(drawn([x])[0][0]) for x in own]}
        if arm != "aligned":
            away = jackknife_interval(values - base, "difference", utterances=utterances)
            arms[arm]["difference_from_aligned"] = away.as_dict()
    dataset = Dataset.open(given.work / "aligned")
    content = json.loads(given.out.read_text(encoding="utf-8")) if given.out.is_file() else {}
    content[given.name] = {
        "what": "CAN by source of its words; test rows pooled over folds, mean over seeds",
        "date": now(),
        "command": shlex.join(["python", "benchmarks/recognised_words.py", *sys.argv[1:]]),
        "commands": commands,
        "whisper": Path(given.whisper).name,
        "utterances": len(dataset),
        "speakers": len(set(dataset.speaker_ids)),
        "classes": list(dataset.classes),
        "fingerprint": dataset.meta["fingerprint"],
        "seeds": given.seeds,
        "sources": arms,
        "hardware": hardware(),
        "versions": versions(),
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
