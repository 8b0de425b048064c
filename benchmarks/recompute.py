"""Compute every number of published results again, from their posteriors alone.

    python benchmarks/recompute.py benchmarks/results/headline/*.json [--write]

RESULT.json lies beside RESULT.parquet: one row an utterance, outer fold and system, float32, as
``publish.py`` writes both. Metrics are computed twice, by plain NumPy with scikit-learn and by the
package, and then its intervals and tests. Exit 1 names each number that differs. ``--write``
replaces intervals and tests where the metrics hold, after the package's statistics have changed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.metrics import accuracy_score, f1_score, recall_score

from serplatform.artifacts.files import file_sha256
from serplatform.ensembles import evaluation
from serplatform.ensembles.nested import PooledTest
from serplatform.metrics import classification_metrics

#: numbers may differ by so much: sums in another order
TOLERANCE = 1e-9


@dataclasses.dataclass(frozen=True)
class Answers:
    """One system's N test rows: who, truth (N,), outer folds (N,) and posteriors (N, K)."""

    rows: PooledTest
    folds: np.ndarray
    posteriors: np.ndarray


def read_answers(path: Path, classes: Sequence[str]) -> dict[str, Answers]:
    """Every system of a published table, in its order, all on the same rows."""
    table, found = pq.read_table(path), {}
    for system in pc.unique(table["system"]).to_pylist():
        part = table.filter(pc.equal(table["system"], system))
        values = np.stack([part[f"p_{name}"].to_numpy() for name in classes], axis=1)
        truth = np.array([list(classes).index(name) for name in part["truth"].to_pylist()])
        ids, speakers = (part[name].to_pylist() for name in ("utterance_id", "speaker_id"))
        rows = PooledTest(utterance_ids=tuple(ids), speaker_ids=tuple(speakers), truth=truth)
        found[system] = Answers(rows, part["fold"].to_numpy(), values.astype(np.float64))
    return found


def measure(
    answers: Mapping[str, Answers],
    pairs: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """What a result file holds of numbers; ``pairs`` of systems are compared."""
    return {
        "pooled": {
            name: evaluation.pooled_intervals(one.rows, one.posteriors)
            for name, one in answers.items()
        },
        "over_folds": {
            name: evaluation.over_folds(
                [
                    classification_metrics(one.rows.truth[rows], one.posteriors[rows])
                    for rows in (one.folds == fold for fold in np.unique(one.folds))
                ]
            )
            for name, one in answers.items()
        },
        "comparisons": [
            {
                "of": ours,
                "with": theirs,
                **evaluation.compare(
                    answers[ours].rows,
                    answers[ours].posteriors,
                    answers[theirs].posteriors,
                ),
            }
            for ours, theirs in pairs
        ],
    }


def plain_metrics(truth: np.ndarray, posteriors: np.ndarray) -> dict[str, float]:
    """The metrics without this package; every class occurs in ``truth``."""
    size, num_classes = posteriors.shape
    answer, confidence = posteriors.argmax(axis=1), posteriors.max(axis=1)
    one_hot, given = np.eye(num_classes)[truth], np.eye(num_classes)[answer]
    specificity = [(answer[truth != k] != k).mean() for k in range(num_classes)]
    recall = recall_score(truth, answer, average=None)
    gaps = [
        abs(
            ((answer == truth) - confidence)[
                (confidence > k / 15) & (confidence <= (k + 1) / 15)
            ].sum()
        )
        for k in range(15)
    ]
    floored = np.maximum(posteriors, 1e-12)
    return {
        "accuracy": accuracy_score(truth, answer),
        "uar": recall_score(truth, answer, average="macro"),
        "macro_f1": f1_score(truth, answer, average="macro"),
        "ova_accuracy": float((one_hot == given).mean()),
        "ova_balanced_accuracy": float(np.mean((recall + specificity) / 2)),
        "nll": float(-np.log(floored[np.arange(size), truth]).mean()),
        "brier": float(((posteriors - one_hot) ** 2).sum(axis=1).mean()),
        "ece": sum(gaps) / size,
    }


def differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Where two JSON values differ: a path, the old value and the new one."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from differences(old.get(key), new.get(key), f"{place}.{key}" if place else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, f"{place}[{index}]")
    elif isinstance(old, float) and isinstance(new, float):
        if abs(old - new) > TOLERANCE:
            yield f"{place}: {old!r} in the file, {new!r} again"
    elif old != new:
        yield f"{place}: {str(old)[:80]} in the file, {str(new)[:80]} again"


def recompute(path: Path, *, write: bool = False) -> list[str]:
    """What differs between a result file and its posteriors, each a line; see the module."""
    result = json.loads(path.read_text(encoding="utf-8"))
    table = path.with_suffix(".parquet")
    if file_sha256(table) != result["posteriors_sha256"]:
        return [f"{table}: its SHA-256 is not the one in {path.name}"]
    answers = read_answers(table, result["classes"])
    if list(answers) != list(result["pooled"]):
        return [f"{table}: systems are {', '.join(answers)}; not those of {path.name}"]
    found = []
    for name, one in answers.items():
        again = plain_metrics(one.rows.truth, one.posteriors)
        values = {key: float(at["value"]) for key, at in result["pooled"][name].items()}
        found += differences(values, again, f"pooled.{name} (scikit-learn)")
    pairs = [(one["of"], one["with"]) for one in result["comparisons"]]
    again = measure(answers, pairs)
    if write and not found:
        result.pop("statistics", None)  # of tests that drew numbers
        path.write_text(f"{to_json(result | again)}\n", encoding="utf-8")
        return []
    return found + list(differences({key: result[key] for key in again}, again))


def to_json(content: Mapping[str, Any]) -> str:
    """As result files are written."""
    return json.dumps(content, indent=1, ensure_ascii=False)


def main() -> None:
    """Check, or write; exit 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--write", action="store_true", help="new statistics into the files")
    options = parser.parse_args()
    failed = False
    for path in options.results:
        lines = recompute(path, write=options.write)
        failed |= bool(lines)
        print(f"{path}: {'DIFFERS' if lines else 'the same'}", *lines, sep="\n  ")
    sys.exit(failed)


if __name__ == "__main__":
    main()
