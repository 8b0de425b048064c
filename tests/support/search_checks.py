"""Whether the directory of a search is whole: every trial once, the study and the files agree."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serplatform.artifacts.files import file_sha256
from serplatform.artifacts.posteriors import posterior_schema
from serplatform.protocols.plan import read_plan
from serplatform.run_directory import RunDirectory
from serplatform.studies.study_storage import open_storage

#: state of a record to the state of its Optuna trial
STUDY_STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}

_SPACES = {
    "csa": {
        "fixed": {"model.channels": 8, "model.context_frames": 10, "model.overlap_frames": 2},
        "searched": "model.dropout: {type: float, low: 0.0, high: 0.5}",
    },
    "moma": {
        "fixed": {"model.hidden_dim": 8, "model.attention_dim": 8},
        "searched": "model.dropout: {type: float, low: 0.0, high: 0.5}",
    },
}


def write_tiny_space(
    path: Path, architecture: str, *, max_epochs: int = 3, fixed: Mapping[str, Any] | None = None
) -> Path:
    """Write the space file of a model that trains an epoch in hundredths of a second."""
    space = _SPACES[architecture]
    values = {
        **dict(space["fixed"]),  # type: ignore[arg-type]
        "training.learning_rate": 0.01,
        "training.max_epochs": max_epochs,
        **(fixed or {}),
    }
    lines = [
        f"architecture: {architecture}",
        "description: tiny",
        "fixed:",
        *(f"  {key}: {json.dumps(value)}" for key, value in values.items()),
        "parameters:",
        *([] if "model.dropout" in values else [f"  {space['searched']}"]),
        "  training.label_smoothing: {type: float, low: 0.0, high: 0.2}",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def study_trials(location: str | Path) -> dict[int, tuple[str, list[float], str]]:
    """Trials of every study in a storage: our number to (state, values, architecture).

    A trial that has no number yet is not listed.

    Raises:
        AssertionError: two Optuna trials have one number.
    """
    storage = open_storage(str(location))
    found: dict[int, tuple[str, list[float], str]] = {}
    for study in storage.get_all_studies():
        for trial in storage.get_all_trials(
            storage.get_study_id_from_name(study.study_name), deepcopy=False
        ):
            attribute = trial.user_attrs.get("serplatform")
            if attribute is None:
                continue
            number = int(attribute["trial"])
            assert number not in found, f"the studies hold trial {number} twice"
            name = study.study_name.rpartition("/")[2]  # of a fold, in a nested search
            found[number] = (trial.state.name, list(trial.values or []), name)
    return found


def run_faults(path: Path, *, ended: bool) -> list[str]:
    """Everything that is wrong with a run's directory.

    Args:
        path: the run.
        ended: the search has come to its end, so that nothing may be left in flight.
    """
    run = RunDirectory(path)
    faults: list[str] = []
    records = run.records()
    plan = read_plan(run.folds_file)
    for number, record in records.items():
        folds = [plan.folds[record["fold"]]] if "fold" in record else plan.folds
        tested = sorted(u for fold in folds for u in fold.test)
        faults += [f"trial {number}: {fault}" for fault in _record_faults(run, record, tested)]
    studies = study_trials(run.journal)
    for number, (state, values, architecture) in studies.items():
        told = records.get(number)
        if told is None:
            if state != "RUNNING" or ended:
                faults.append(f"trial {number} is {state} in the study and has no record")
            continue
        expected = STUDY_STATES[told["state"]]
        if state != expected and (ended or state != "RUNNING"):
            faults.append(f"trial {number} is {told['state']}, in the study {state}")
        if architecture != told["architecture"]:
            faults.append(f"trial {number} is of {told['architecture']}, in {architecture}'s study")
        if state == "COMPLETE" and not math.isclose(values[0], told["dev"]["uar"]):
            faults.append(f"trial {number} has dev uar {told['dev']['uar']}, in the study {values}")
    if ended:
        faults += [f"trial {n} has a record and is in no study" for n in records.keys() - studies]
        table = run.trials_table
        numbers = _table_numbers(run) if table.exists() else []
        if numbers != sorted(records):
            faults.append(f"trials.parquet has trials {numbers}, the records {sorted(records)}")
        if sorted(records) != list(range(len(records))):
            faults.append(f"trials are not numbered in a row: {sorted(records)}")
        left = [p.name for p in (path / "state").glob("*")] if (path / "state").exists() else []
        faults += [f"state/{name} was left behind" for name in left]
        partial = [str(p.relative_to(path)) for p in path.rglob("*.partial")]
        faults += [f"{name} was left behind" for name in partial]
        if (path / "tensorboard").exists():
            for record in records.values():
                faults += _curve_faults(path / "tensorboard", record)
    return faults


def _curve_faults(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Epochs that TensorBoard shows and the record does not have, or the other way round."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    name = f"trial-{record['trial']:05d}-{record['architecture']}"
    reader = EventAccumulator(str(folder / name)).Reload()
    faults = []
    for fold in {entry["fold"] for entry in record["history"]}:
        expected = [e["epoch"] for e in record["history"] if e["fold"] == fold]
        for tag in (f"dev_uar/fold-{fold}", f"train_loss/fold-{fold}"):
            shown = [event.step for event in reader.Scalars(tag)]
            if shown != expected:
                faults.append(f"{name}: {tag} has the epochs {shown}, the record {expected}")
    (state,) = reader.Tensors("state/text_summary")
    if not state.tensor_proto.string_val[0].decode().startswith(record["state"]):
        faults.append(f"{name}: its state in TensorBoard is {state}")
    return faults


def history_faults(history: Sequence[Mapping[str, Any]], first: int = 0) -> list[str]:
    """Epochs of a trial, from a fold on, that are repeated, missing or out of order."""
    faults: list[str] = []
    last: dict[int, int] = {}
    for entry in history:
        fold, epoch = int(entry["fold"]), int(entry["epoch"])
        if epoch != last.get(fold, 0) + 1:
            faults.append(f"fold {fold}: epoch {epoch} follows epoch {last.get(fold, 0)}")
        last[fold] = epoch
    if list(last) != list(range(first, first + len(last))):
        faults.append(f"folds come in the order {list(last)}")
    return faults


def _record_faults(run: RunDirectory, record: Mapping[str, Any], tested: list[str]) -> list[str]:
    number = int(record["trial"])
    faults = history_faults(record["history"], record.get("fold", 0))
    if record["epochs"] != len(record["history"]):
        faults.append(f"{record['epochs']} epochs, {len(record['history'])} in its history")
    if record["state"] != "complete":
        return faults
    file = run.posteriors_file(number)
    if not file.exists():
        return [*faults, f"{file.name} is missing"]
    if file_sha256(file) != record["posteriors_sha256"]:
        faults.append(f"{file.name} is not what was recorded")
    table = run.read_posteriors(number)
    classes = list(run.read_run()["classes"])
    if table.schema != posterior_schema(classes):
        faults.append(f"{file.name} has the columns {table.schema.names}")
    rows = np.stack([table[f"p_{name}"].to_numpy() for name in classes], axis=1)
    if not np.allclose(rows.sum(axis=1), 1.0, atol=1e-9):
        faults.append(f"{file.name} has rows that do not sum to 1")
    parts, ids = table["part"].to_pylist(), table["utterance_id"].to_pylist()
    test = sorted(u for u, part in zip(ids, parts, strict=True) if part == "test")
    if test != tested:
        faults.append(f"{file.name} does not hold each test utterance once")
    for fold in set(table["fold"].to_pylist()):
        model = run.model_directory(number, int(fold))
        missing = [f for f in ("model.safetensors", "config.json") if not (model / f).exists()]
        faults += [f"{model.name}/{name} is missing" for name in missing]
    return faults


def _table_numbers(run: RunDirectory) -> list[int]:
    from serplatform.artifacts.files import read_parquet

    return sorted(read_parquet(run.trials_table, "trials table")["trial"].to_pylist())
