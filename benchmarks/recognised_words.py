"""What recognition errors cost CAN: words that were recognised against the true text.

    python benchmarks/recognised_words.py NAME WORK --corpus CORPUS --source SOURCE
        --whisper DIRECTORY --out benchmarks/results/recognised_words [--aligner pocketsphinx]
        [--prepare "--map fear=fearful …"] [--protocol speaker-kfold:4] [--epochs 15] [--seeds 2]
        [--set data.normalization=speaker …]
    python benchmarks/recognised_words.py --check benchmarks/results/recognised_words/*.json

CAN's own future work (Lee, Yoon and Jung, Interspeech 2020, section 5). One corpus is prepared
once for each source of words: ``aligned``, the true text located by a local Whisper;
``recognised``, text and times by the same Whisper; ``pocketsphinx`` or another forced aligner of
the true text, where one is named; ``equal``, the recognised words in segments of equal length
(``data.word_segmentation=equal`` on ``recognised``). CAN is trained on each with the same settings,
folds and seeds by ``serplatform search``; nothing is chosen between them. What is in WORK is kept.

Written to OUT/NAME.json, and the test posteriors of every source and seed to OUT/NAME.parquet: the
word error rate (edits over true words), test UAR pooled over folds, its mean over seeds, and the
difference from ``aligned`` with a jackknife interval over speakers. ``--check`` computes the UARs
and differences again from the posteriors, ``recompute.py`` what is ``pooled`` and ``over_folds``.
In RAVDESS and nEMO actors say the same sentences in every emotion, so that text tells nothing of
it: the cost is one of segmentation.
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
import pyarrow as pa
from publish import write
from recompute import Answers, differences, read_answers, to_json

from serplatform.alignment.tidy import is_special
from serplatform.alignment.tokens import tokens
from serplatform.artifacts.files import read_parquet
from serplatform.datasets.dataset import Dataset
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


def drawn(seeds: list[Answers]) -> tuple[np.ndarray, np.ndarray]:
    """(1 + S,) mean UAR over seeds on all speakers and without each, and (S,) utterances."""
    found = []
    for one in seeds:
        sums = speaker_sums(one.rows.truth, one.posteriors, one.rows.speaker_ids)
        found.append(sums.metrics(leave_one_out(len(sums.num_utterances)))["uar"])
    return np.mean(found, axis=0), sums.num_utterances


def compared(answers: dict[str, Answers]) -> dict[str, dict[str, Any]]:
    """UAR of each source, and its difference from ``aligned``; systems are named SOURCE.SEED."""
    arms: dict[str, list[Answers]] = {}
    for name, one in answers.items():
        arms.setdefault(name.partition(".")[0], []).append(one)
    base, utterances = drawn(arms["aligned"])
    found: dict[str, dict[str, Any]] = {}
    for arm, own in arms.items():
        for one, aligned in zip(own, arms["aligned"], strict=False):  # folds are of a seed
            assert one.rows.utterance_ids == aligned.rows.utterance_ids, "the folds differ"
        values, _ = drawn(own)
        found[arm] = {
            "uar": metric_interval("uar", values, utterances).as_dict(),
            "uar_by_seed": [float(drawn([one])[0][0]) for one in own],
        }
        if arm != "aligned":
            away = jackknife_interval(values - base, "difference", utterances=utterances)
            found[arm]["difference_from_aligned"] = away.as_dict()
    return found


def check(file: Path) -> list[str]:
    """What of a result its posteriors do not give again."""
    result = json.loads(file.read_text(encoding="utf-8"))
    again = compared(read_answers(file.with_suffix(".parquet"), result["classes"]))
    return [
        f"{file}: {line}"
        for arm, found in again.items()
        for line in differences(
            {key: result["sources"][arm].get(key) for key in found}, found, f"sources.{arm}"
        )
    ]


def main() -> None:
    """Prepare, train, compare, publish; or check."""
    if sys.argv[1:2] == ["--check"]:
        faults = [line for name in sys.argv[2:] for line in check(Path(name))]
        print(*faults, sep="\n")
        sys.exit(1 if faults else 0)
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
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    sources = {
        "aligned": f"whisper:{given.whisper}",
        "recognised": f"whisper-asr:{given.whisper}",
        **({given.aligner: given.aligner} if given.aligner else {}),
    }
    commands: list[str] = []
    tables: dict[str, pa.Table] = {}
    runs: list[Any] = []
    arms: dict[str, Any] = {}
    for arm in (*sources, "equal"):
        data = given.work / ("recognised" if arm == "equal" else arm)
        if arm in sources:
            options = ["--align", sources[arm], "--features", "mfcc_40", *given.prepare.split()]
            run(commands, "prepare", given.corpus, given.source, "--out", str(data), *options)
        settings = {**SETTINGS, "training.max_epochs": given.epochs}
        settings |= dict(setting.split("=", 1) for setting in given.set)
        settings["data.word_segmentation"] = "equal" if arm == "equal" else "aligned"
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
            tables[f"{arm}.{seed}"] = RunDirectory(out).read_posteriors(0)
            runs.append(RunDirectory(out).read_run())
        arms[arm] = {"words": word_errors(Dataset.open(data)), "settings": settings}
    dataset = Dataset.open(given.work / "aligned")
    content = {
        "what": "CAN by source of its words; test rows pooled over folds, mean over seeds",
        "date": now(),
        "command": shlex.join(["python", "benchmarks/recognised_words.py", *sys.argv[1:]]),
        "commands": commands,
        "commits": sorted({run["versions"]["commit"] for run in runs}),
        "protocol": runs[0]["protocol"]["name"],
        "folds_hash": [run["folds_hash"] for run in runs[: given.seeds]],
        "whisper": Path(given.whisper).name,
        "utterances": len(dataset),
        "speakers": len(set(dataset.speaker_ids)),
        "classes": runs[0]["classes"],
        "fingerprint": dataset.meta["fingerprint"],
        "seeds": given.seeds,
        "sources": arms,
        "hardware": hardware(),
        "versions": versions(),
    }
    places = {str(given.work): "WORK", given.whisper: Path(given.whisper).name}
    places |= {given.source: "SOURCE", str(Path(given.source).resolve()): "SOURCE"}
    file = given.out / f"{given.name}.json"
    write(file, tables, content, pairs=[], hidden=places)
    found = json.loads(file.read_text(encoding="utf-8"))
    for arm, values in compared(
        read_answers(file.with_suffix(".parquet"), found["classes"])
    ).items():
        found["sources"][arm] |= values
    file.write_text(f"{to_json(found)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
