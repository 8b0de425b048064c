"""Finds damaged files in a run that is resumed, and moves them to the run's ``damaged/``.

A trial whose record or posteriors are damaged is trained again under its own number; a study's
journal is rebuilt from the records.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from serplatform.artifacts.files import file_sha256
from serplatform.artifacts.model import read_model
from serplatform.artifacts.posteriors import check_recorded
from serplatform.artifacts.records import checked
from serplatform.artifacts.run import RunDescription
from serplatform.artifacts.trial import StudyAttribute, TrialRecord, new_record
from serplatform.artifacts.trial import TrialState as RecordedState
from serplatform.errors import ArtifactError
from serplatform.run_directory import RunDirectory, RunLock
from serplatform.seeding import derive_seed
from serplatform.studies.nested import fold_of
from serplatform.studies.study import ATTRIBUTE, OBSERVATION, outcome
from serplatform.studies.study_storage import open_storage
from serplatform.training.recovery import repair_state
from serplatform.training.trial_config import known_parameters


def repair_run(run: RunDirectory, description: RunDescription) -> list[str]:
    """Check a run's records, posteriors, models, saved states and journal before it is resumed.

    Args:
        run: not in use by another process.
        description: the content of its ``run.json``.

    Returns:
        one sentence on each file that was damaged, and on what becomes of it.

    Raises:
        BadInputError: another process is writing to the run.
    """
    if run.mirror.is_remote:
        return []  # what lies here is a copy of a part; a trial checks the state it fetches
    with RunLock(run):
        notes = list(_repair_trials(run))
        if description.get("storage") is None:
            notes += _repair_journal(run, description)
        for state in run.unfinished().values():
            repaired = repair_state(state)
            notes += [repaired] if repaired else []
        return notes


def _repair_trials(run: RunDirectory) -> Iterator[str]:
    for path in run.record_files():
        try:
            check_trial(run, run.read_record(path))
        except ArtifactError as error:
            _quarantine(run, path)
            yield f"{error}: {path.stem} is trained again"


def check_trial(run: RunDirectory, record: TrialRecord) -> None:
    """Compare a finished trial's posteriors and models with their checksums.

    Raises:
        ArtifactError: a file is damaged, or the posteriors are missing.
    """
    if record["state"] != "complete":
        return
    number = int(record["trial"])
    file = run.posteriors_file(number)
    if not file.exists():
        raise ArtifactError(f"{file}: no such posterior table")
    check_recorded(file, record.get("posteriors_sha256"))
    for config in sorted(run.models_directory(number).glob("fold-*/config.json")):
        weights = read_model(config.parent)["weights"]
        model = config.with_name(weights["file"])
        if not model.exists() or file_sha256(model) != weights["sha256"]:
            raise ArtifactError(f"{model}: the model's weights are missing, truncated or altered")


def _repair_journal(run: RunDirectory, description: RunDescription) -> list[str]:
    if not run.journal.exists():
        return []
    records = run.records()
    try:
        trials = dict(_journal_trials(run, description))
        differences = [
            f"trial {number}: {difference}"
            for number, (frozen, _) in trials.items()
            if number in records
            for difference in _disagreement(frozen, records[number], description["objective"])
        ]
        differences += [
            f"trial {number}: its settings are not those that were drawn"
            for number, (frozen, architecture) in trials.items()
            if number not in records and not _possible(frozen, architecture)
        ]
        if differences:
            raise ArtifactError(f"{run.journal}: {differences[0]}")
    except ArtifactError as error:
        _quarantine(run, run.journal)
        reason = str(error)
        where = "" if str(run.journal) in reason else f"{run.journal}: "
        return [f"{where}{reason}: the study is rebuilt from the trials' records"]
    _record_lost(run, description, trials, records)
    return []


def _journal_trials(
    run: RunDirectory, description: RunDescription
) -> Iterator[tuple[int, tuple[FrozenTrial, str]]]:
    """Number, Optuna trial and architecture of all trials in the journal.

    Raises:
        ArtifactError: the journal cannot be the run's own.
    """
    storage = open_storage(str(run.journal))
    seen = set()
    for study in storage.get_all_studies():
        architecture = study.study_name.rpartition("/")[2]  # of a fold, in a nested search
        if architecture not in description["spaces"]:
            raise ArtifactError(f"{run.journal}: holds a study of '{study.study_name}'")
        study_id = storage.get_study_id_from_name(study.study_name)
        for frozen in storage.get_all_trials(study_id, deepcopy=False):
            if set(frozen.user_attrs) - {ATTRIBUTE, OBSERVATION}:
                raise ArtifactError(f"{run.journal}: holds an attribute that is not ours")
            if ATTRIBUTE not in frozen.user_attrs:
                continue
            attribute = frozen.user_attrs[ATTRIBUTE]
            number = checked(StudyAttribute, attribute, run.journal, "study's journal")["trial"]
            if number in seen:
                raise ArtifactError(f"{run.journal}: holds trial {number} twice")
            seen.add(number)
            yield number, (frozen, architecture)


def _disagreement(frozen: FrozenTrial, record: TrialRecord, objectives: list[str]) -> Iterator[str]:
    """In what the study and a trial's record differ."""
    plain = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in frozen.user_attrs[ATTRIBUTE]["values"].items()
    }
    if plain != record["params"]:
        yield "its settings are not those of its record"
    if frozen.state == TrialState.RUNNING:
        return
    expected, values = outcome(record, objectives)
    known = {expected}
    if expected == TrialState.PRUNED:
        known.add(TrialState.FAIL)  # as a study that was rebuilt counts it
    if frozen.state not in known:
        yield f"it is {frozen.state.name} here, {record['state']} in its record"
    elif values is not None and list(frozen.values or ()) != values:
        yield f"its values are {frozen.values} here, {values} in its record"


def _possible(frozen: FrozenTrial, architecture: str) -> bool:
    """Whether a trial without a record has known settings, those that were drawn as drawn."""
    values = frozen.user_attrs[ATTRIBUTE]["values"]
    drawn = ((values.get(name), value) for name, value in frozen.params.items())
    return set(values) <= set(known_parameters(architecture)) and all(
        ours == value for ours, value in drawn if isinstance(value, (int, float))
    )


def _record_lost(
    run: RunDirectory,
    description: RunDescription,
    trials: Mapping[int, tuple[FrozenTrial, str]],
    records: Mapping[int, TrialRecord],
) -> None:
    """Write records of pruned and failed trials that only the study knows any more."""
    for number, (frozen, architecture) in trials.items():
        if number in records or frozen.state not in (TrialState.PRUNED, TrialState.FAIL):
            continue
        attribute = frozen.user_attrs[ATTRIBUTE]
        state: RecordedState = "pruned" if frozen.state == TrialState.PRUNED else "failed"
        record = new_record(
            trial=number,
            architecture=architecture,
            values=attribute["values"],
            paper=bool(attribute["paper"]),
            seed=derive_seed(int(description["seed"]), "trial", number),
            state=state,
            error=f"its record was lost; the study knows that it was {state}",
            fold=fold_of(number, description),
        )
        run.write_record(record)


def _quarantine(run: RunDirectory, path: Path) -> None:
    folder = run.path / "damaged"
    folder.mkdir(exist_ok=True)
    path.replace(folder / path.name)
    with contextlib.suppress(OSError):
        Path(f"{path}.lock").unlink()
