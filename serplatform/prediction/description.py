"""What is known of a system: its data, protocol, test metrics and limits, as plain values.

Shapes: N test rows, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from serplatform.artifacts.dataset import read_dataset_description
from serplatform.artifacts.ensemble import EnsembleRecord, read_ensemble
from serplatform.ensembles.build import SYSTEMS
from serplatform.ensembles.evaluation import over_folds
from serplatform.errors import ArtifactError
from serplatform.metrics import METRICS, classification_metrics
from serplatform.prediction.system import PredictionSystem
from serplatform.run_directory import RunDirectory
from serplatform.statistics.bootstrap import bootstrap_intervals
from serplatform.storage.cache import fetch_tables
from serplatform.storage.location import parse
from serplatform.storage.remote import RemoteError

NUM_RESAMPLES = 2000


def describe(system: PredictionSystem) -> dict[str, Any]:
    """Describe a system that was opened from a run or an ensemble, for a bundle.

    No path of this machine is in it.

    Returns:
        ``title, data, protocol, members, selection, metrics, notes``.

    Raises:
        ArtifactError: the posterior table of the trial is missing or damaged.
    """
    if system.kind == "ensemble":
        return _of_ensemble(system, read_ensemble(system.source))
    return _of_run(system)


def _of_run(system: PredictionSystem) -> dict[str, Any]:
    directory = RunDirectory(system.source)
    run = directory.read_run()
    number = int(system.folds[0].members[0].name.rpartition("-")[2])
    record = directory.records()[number]
    complete = sum(r["state"] == "complete" for r in directory.records().values())
    objective = run["objective"][0]
    return {
        "title": f"{record['architecture']}, trial {number} of {complete} complete trials",
        "data": _data(run),
        "protocol": _protocol(run),
        "members": _members(system),
        "parameters": record["params"],
        "num_parameters": record.get("num_parameters"),
        "selection": (
            f"Trial {number} of {complete} complete ones; the search ranks them by mean dev "
            f"{objective}. Dev rows also chose each model's epoch. Test rows chose nothing."
        ),
        "metrics": _run_metrics(directory, number, system.classes),
        "notes": list(run["notes"]),
    }


def _run_metrics(
    directory: RunDirectory, trial: int, classes: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Every metric on the pooled test rows with its interval, and over folds."""
    table = directory.read_posteriors(trial)
    rows = [row for row in table.to_pylist() if row["part"] == "test"]
    truth = np.array([classes.index(row["truth"]) for row in rows])
    posteriors = np.array([[row[f"p_{name}"] for name in classes] for row in rows])
    fold = np.array([row["fold"] for row in rows])
    speakers = [row["speaker_id"] for row in rows]
    pooled = bootstrap_intervals(truth, posteriors, speakers, num_resamples=NUM_RESAMPLES, seed=0)
    over = over_folds(
        [classification_metrics(truth[fold == k], posteriors[fold == k]) for k in np.unique(fold)]
    )
    return {name: {**pooled[name].as_dict(), **over[name]} for name in METRICS}


def _of_ensemble(system: PredictionSystem, ensemble: EnsembleRecord) -> dict[str, Any]:
    pooled, over = ensemble["pooled"]["ensemble"], ensemble["over_folds"]["ensemble"]
    count = len(ensemble["parameter_order"])
    return {
        "title": f"{ensemble['combiner']} ensemble of {len(_members(system))} trials",
        "data": _data(ensemble),
        "protocol": {**_protocol(ensemble), "num_folds": len(system.folds)},
        "members": _members(system),
        "parameters": {
            "combiner": ensemble["combiner"],
            "temperature_scaling": ensemble.get("temperature_scaling", False),
        },
        "selection": (f"{count} candidates; {SYSTEMS['ensemble']}. Test rows chose nothing."),
        "metrics": {name: {**pooled[name], **over[name]} for name in METRICS},
        "notes": list(ensemble.get("notes", [])),
    }


def _members(system: PredictionSystem) -> list[dict[str, Any]]:
    """Each trial with its mean share over the folds, heaviest first."""
    rows: dict[str, dict[str, Any]] = {}
    for fold in system.folds:
        for member in fold.members:
            row = rows.setdefault(
                member.name,
                {
                    "member": member.name,
                    "architecture": member.architecture,
                    "mean_share": 0.0,
                    "folds": 0,
                },
            )
            row["mean_share"] += member.share / len(system.folds)
            row["folds"] += 1
    return sorted(rows.values(), key=lambda row: -row["mean_share"])


def _data(found: Mapping[str, Any]) -> dict[str, Any]:
    """The dataset; language and licence where it still lies where it did."""
    dataset = dict(found.get("dataset") or {})
    path = dataset.pop("path", None)
    counts = dict(dataset.pop("counts", None) or {})
    dataset["counts"] = {
        key: counts[key] for key in ("utterances", "speakers", "by_emotion") if key in counts
    }
    try:
        meta = read_dataset_description(fetch_tables(parse(str(path))))
    except (ArtifactError, RemoteError, OSError):
        return dataset
    if meta["fingerprint"] == dataset.get("fingerprint"):
        dataset |= {key: meta.get(key) for key in ("language", "licence") if key in meta}
    return dataset


def _protocol(found: Mapping[str, Any]) -> dict[str, Any]:
    protocol = found.get("protocol")
    values = dict(protocol) if isinstance(protocol, Mapping) else {"name": protocol}
    values.setdefault("speaker_independent", found.get("speaker_independent"))
    values["folds_hash"] = found.get("folds_hash")
    return {
        key: values.get(key)
        for key in ("name", "speaker_independent", "label_map", "num_folds", "folds_hash", "notes")
    }
