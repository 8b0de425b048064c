"""An evaluation as JSON, which ``--out`` and ``--json`` give, and its files."""

from __future__ import annotations

import itertools
import posixpath
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from serplatform.artifacts.evaluation import FairnessRecord, GroupRecord
from serplatform.artifacts.files import write_json, write_parquet
from serplatform.environment import now, versions
from serplatform.evaluation.evaluate import EvaluationRequest, EvaluationResult, evaluate
from serplatform.evaluation.measures import Measured
from serplatform.report.fairness import Kind, fairness
from serplatform.statistics.intervals import Interval
from serplatform.storage.destination import check_file
from serplatform.storage.outgoing import written_file

SCHEMA_VERSION = 1


def write_evaluation(
    request: EvaluationRequest, out: str | Path | None = None
) -> tuple[EvaluationResult, dict[str, Any]]:
    """Evaluate, and write the JSON ``out`` with the posteriors beside it as Parquet.

    Returns:
        what was found, and the content of the JSON.
    """
    beside = None if out is None else posixpath.splitext(str(out))[0] + ".parquet"
    if out is not None and beside is not None:
        check_file(out)
        check_file(beside)
    found = evaluate(request)
    values = {**record(found), "posteriors": beside}
    if out is not None and beside is not None:
        with written_file(beside) as target:
            write_parquet(target, found.table())
        with written_file(out) as target:
            write_json(target, values, checksum=True)
    return found, values


def record(result: EvaluationResult) -> dict[str, Any]:
    """Everything that was found, for JSON."""
    main, request = result.measured[0], result.request
    genders = list(main.groups(result.genders))
    return {
        "schema_version": SCHEMA_VERSION,
        "system": request.system,
        "system_title": result.system.title,
        "evaluated": result.system.identity,
        "kind": result.system.kind,
        "data": request.data,
        "data_title": result.dataset.meta["title"],
        "fingerprint": result.dataset.fingerprint,
        "synthetic": result.system.synthetic or result.dataset.synthetic,
        "training_rows_excluded": result.checked,
        "labels": result.labels,
        "classes": list(result.system.classes),
        "classes_the_data_lacks": result.lacking,
        "utterances": len(result.rows),
        "speakers": len(set(main.speakers)),
        "left_out": result.left_out,
        "unusable": result.unusable,
        "features": result.features,
        "reading": main.reading,
        "readings": {one.reading: _reading(one) for one in result.measured},
        "by_gender": genders,
        "gender_differences": [
            {"one": one, "other": other, "uar": found.as_dict()}
            for one, other, found in differences(main, result.genders, genders)
        ],
        "by_speaker": list(main.groups(main.speakers)),
        "robustness": result.robustness,
        "fairness": found_fairness(result),
        "seed": request.seed,
        "notes": result.notes,
        "command": sys.argv,
        "made": now(),
        "versions": versions(),
    }


def differences(
    measured: Measured, names: Sequence[str], groups: Sequence[GroupRecord]
) -> Iterator[tuple[str, str, Interval]]:
    """UAR of each group against each later one, by name."""
    for one, other in itertools.combinations([group["name"] for group in groups], 2):
        yield one, other, measured.difference(names, one, other)


def found_fairness(result: EvaluationResult) -> list[FairnessRecord]:
    """By gender and by speaker, where it was asked for."""
    if not result.request.fairness:
        return []
    main = result.measured[0]
    kinds: dict[Kind, Sequence[str]] = {"gender": result.genders, "speaker": main.speakers}
    return [fairness(main, kind, n, seed=result.request.seed) for kind, n in kinds.items()]


def _reading(measured: Measured) -> dict[str, Any]:
    return {
        "classes": list(measured.classes),
        "metrics": {name: found.as_dict() for name, found in measured.metrics.items()},
        "chance_uar": measured.chance,
        "recall": {
            name: {"utterances": number, **recall.as_dict()}
            for name, (number, recall) in measured.recalls.items()
        },
        "confusion": measured.confusion.tolist(),
    }
