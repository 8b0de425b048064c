"""What a new run takes over from an earlier one, and what it does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from serplatform.artifacts.files import SCHEMA_VERSION
from serplatform.artifacts.run import WarmStartRecord
from serplatform.artifacts.trial import DEV_METRICS
from serplatform.datasets.dataset import Dataset
from serplatform.errors import ArtifactError, BadInputError
from serplatform.protocols.base import FoldPlan
from serplatform.protocols.plan import make_plan, plan_hash, write_plan
from serplatform.run_directory import RunDirectory
from serplatform.studies.parameter import Parameter
from serplatform.studies.recovery import repair_run
from serplatform.studies.space import SearchSpace
from serplatform.studies.study import OBSERVATION, Studies
from serplatform.studies.warm_start import collect, notes, sentences
from serplatform.testing.synthetic import make_dataset

SPACE = SearchSpace(
    architecture="moma",
    description="two parameters",
    fixed={"training.max_epochs": 8},
    parameters={
        "model.hidden_dim": Parameter(kind="choice", values=(64, 128, 512)),
        "training.learning_rate": Parameter(kind="float", low=1e-5, high=1e-2, log=True),
    },
)
HERE: dict[str, Any] = {"objectives": ("uar",)}


@pytest.fixture(autouse=True, scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = make_dataset(tmp_path_factory.mktemp("here") / "data", num_speakers=6, per_speaker=4)
    HERE["dataset"] = Dataset.open(path)
    HERE["plan"] = make_plan(HERE["dataset"].utterances, "speaker-kfold:3")


def fewer_folds() -> FoldPlan:
    return dataclasses.replace(HERE["plan"], folds=HERE["plan"].folds[:2])


def record(number: int, uar: float, state: str = "complete", **params: Any) -> dict[str, Any]:
    """Of a trial of 3 folds and 8 epochs; a pruned one ends in the third epoch of fold 1."""
    history = [
        {"fold": fold, "epoch": epoch + 1, "train_loss": 1.0, "dev": {"uar": value}}
        for fold, values in enumerate([[uar - 0.1, uar] + [0.1] * 6, [0.1, uar - 0.2, 0.0]])
        for epoch, value in enumerate(values)
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "trial": number,
        "architecture": "moma",
        "state": state,
        "paper": False,
        "params": {"training.max_epochs": 8, "model.hidden_dim": 512, **params},
        "dev": {**dict.fromkeys(DEV_METRICS, 0.5), "uar": uar},
        "history": history if state == "pruned" else [],
    }


def write_run(
    path: Path, records: list[dict[str, Any]], plan: FoldPlan | None = None, **changes: Any
) -> str:
    run, plan = RunDirectory(path), plan or HERE["plan"]
    write_plan(run.folds_file, plan)
    data = HERE["dataset"]
    description: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "classes": ["sad", "happy"],
        "dataset": {"path": str(data.path), "fingerprint": data.fingerprint},
        "protocol": {"name": "speaker-kfold:3"},
        "spaces": {},
        "seed": 0,
        "folds_hash": plan_hash(plan),
        "objective": ["uar"],
        "status": "complete",
        "notes": [],
        **changes,
    }
    run.write_run(description)
    for entry in records:
        run.write_record(entry)
    return str(path)


RECORDS = [
    record(0, 0.30, **{"training.learning_rate": 1e-4}),  # the paper's
    record(1, 0.50, **{"training.learning_rate": 1e-3}),
    record(2, 0.60, **{"training.learning_rate": 2e-3}),
    record(3, 0.55, **{"training.learning_rate": 2e-3}),  # the same again
    record(4, 0.40, **{"training.learning_rate": 3e-3}),
    record(5, 0.35, **{"training.learning_rate": 4e-3}),
    record(6, 0.90, "pruned", **{"training.learning_rate": 5e-3}),
    record(7, 0.20, "failed", **{"training.learning_rate": 6e-3}),
]


def test_the_best_distinct_configurations_are_the_points(tmp_path: Path) -> None:
    start = collect(write_run(tmp_path / "run", RECORDS), {"moma": SPACE}, **HERE)
    assert start["points"]["moma"] == [
        {"model.hidden_dim": 512, "training.learning_rate": rate} for rate in (2e-3, 1e-3, 3e-3)
    ]
    assert start["remarks"] == []


def test_comparable_trials_are_observations_as_they_were_reported(tmp_path: Path) -> None:
    start = collect(write_run(tmp_path / "run", RECORDS), {"moma": SPACE}, **HERE)
    known = start["observations"]["moma"]
    assert [o["trial"] for o in known] == [0, 1, 2, 3, 4, 5, 6]  # not the failed one
    assert [o["objectives"] for o in known][:2] == [[0.3], [0.5]]
    assert known[6]["objectives"] is None
    assert known[6]["step"] == 8 + 3
    assert known[6]["reached"] == pytest.approx((0.9 + 0.7) / 2)  # best epochs of the folds begun
    assert start["why_no_observations"] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dataset": {"path": "data", "fingerprint": "other"}}, "another dataset"),
        ({}, "other folds"),
        ({"objective": ["accuracy"]}, "another objective"),
    ],
)
def test_incomparable_runs_give_points_alone(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    records = [dict(r, dev={**r["dev"], "accuracy": 0.5}) for r in RECORDS]
    plan = HERE["plan"] if change else fewer_folds()
    start = collect(write_run(tmp_path / "run", records, plan, **change), {"moma": SPACE}, **HERE)
    assert start["num_points"] == 3
    assert start["num_observations"] == 0
    assert start["why_no_observations"] == [reason]
    assert reason in sentences(start)[0]
    # only there may this run's test rows have been looked at
    assert bool(notes(start)) == (reason == "other folds")


@pytest.mark.parametrize("renamed", [False, True])
def test_test_rows_that_chose_the_points_are_counted_whatever_the_dataset_is(
    tmp_path: Path, renamed: bool
) -> None:
    """The same corpus prepared again, with one more feature or under other names."""
    data = HERE["dataset"]
    meta = {**data.meta, "fingerprint": "with one more feature"}
    table = data.utterances
    if renamed:
        ids = pa.array([f"x-{name}" for name in data.utterance_ids])
        table = table.set_column(table.schema.get_field_index("utterance_id"), "utterance_id", ids)
    again = Dataset(data.path, meta, table)
    plan = make_plan(table, "loso")
    run = write_run(tmp_path / "run", RECORDS)
    start = collect(run, {"moma": SPACE}, dataset=again, plan=plan, objectives=("uar",))
    dev = {name for fold in HERE["plan"].folds for name in fold.dev}
    assert 0 < start["test_rows_seen"] == len(dev)  # each row tests once
    assert start["why_no_observations"] == ["another dataset", "other folds"]
    assert notes(start)[0].endswith(f": {len(dev)} of the test rows are among these.")


def test_a_minimised_objective_ranks_the_other_way(tmp_path: Path) -> None:
    records = [dict(r, dev={**r["dev"], "nll": r["dev"]["uar"]}) for r in RECORDS]
    run = write_run(tmp_path / "run", records, objective=["nll"])
    start = collect(run, {"moma": SPACE}, **HERE)
    assert [p["training.learning_rate"] for p in start["points"]["moma"]] == [4e-3, 3e-3, 1e-3]


def test_what_the_new_space_cannot_take_is_dropped_and_said(tmp_path: Path) -> None:
    records = [
        record(1, 0.5, **{"training.learning_rate": 0.5, "model.hidden_dim": 64}),
        record(2, 0.4, **{"training.learning_rate": 1e-3, "training.batch_size": 7}),
    ]
    start = collect(write_run(tmp_path / "run", records), {"moma": SPACE}, **HERE)
    assert start["points"]["moma"] == [
        {"model.hidden_dim": 64, "training.learning_rate": 1e-4},
        {"model.hidden_dim": 512, "training.learning_rate": 1e-3},
    ]
    assert start["num_observations"] == 0  # neither is a configuration of this space
    assert len(start["remarks"]) == 1
    assert "training.learning_rate = 0.5, outside the space" in start["remarks"][0]
    assert "training.batch_size = 7, here 32 in every trial" in start["remarks"][0]


def test_a_run_without_the_architecture_is_refused(tmp_path: Path) -> None:
    other = [dict(RECORDS[0], architecture="csa")]
    with pytest.raises(BadInputError, match=r"no complete trial of moma \(its trials are of: csa"):
        collect(write_run(tmp_path / "run", other), {"moma": SPACE}, **HERE)
    with pytest.raises(ArtifactError, match="not a run directory"):
        collect(str(tmp_path / "nothing"), {"moma": SPACE}, **HERE)


def test_run_json_holds_a_warm_start(tmp_path: Path) -> None:
    start = collect(write_run(tmp_path / "run", RECORDS), {"moma": SPACE}, **HERE)
    run = RunDirectory(tmp_path / "new")
    write_run(run.path, [], warm_start=[start])
    description = run.read_run()
    assert description["warm_start"] == [start]
    assert description["warm_start"][0]["num_points"] == 3
    assert description["warm_start"][0]["num_observations"] == 7


def start_of(tmp_path: Path) -> WarmStartRecord:
    return collect(write_run(tmp_path / "run", RECORDS), {"moma": SPACE}, **HERE)


def make(tmp_path: Path, *starts: WarmStartRecord, **options: Any) -> Studies:
    return Studies(
        {"moma": SPACE},
        storage=str(tmp_path / "study.journal"),
        records={},
        max_epochs=8,
        num_folds=3,
        seed=0,
        warm_starts=starts,
        **options,
    )


def test_observations_are_no_trials_of_the_run(tmp_path: Path) -> None:
    studies = make(tmp_path, start_of(tmp_path))
    assert studies.num_asked == 0
    asked = [studies.ask() for _ in range(5)]
    assert [s.number for s in asked] == [0, 1, 2, 3, 4]
    assert asked[0].paper
    assert [s.values["training.learning_rate"] for s in asked[:4]] == [1e-4, 2e-3, 1e-3, 3e-3]
    assert studies.num_asked == 5


def test_a_resumed_run_has_its_observations_once(tmp_path: Path) -> None:
    start = start_of(tmp_path)
    studies = make(tmp_path, start)
    studies.ask()
    again = make(tmp_path, start)
    trials = again._studies["moma"].trials
    assert sum(OBSERVATION in t.user_attrs for t in trials) == 7
    assert len(trials) == 7 + 1 + 3  # the paper's, and the points
    assert again.num_in_flight == 1


def test_the_journal_of_a_run_with_observations_is_sound(tmp_path: Path) -> None:
    start = start_of(tmp_path)
    run = RunDirectory(write_run(tmp_path / "new", [], spaces={"moma": {}}))
    make(run.path, start).ask()
    assert repair_run(run, run.read_run()) == []
    assert run.journal.exists()


@pytest.mark.parametrize("pruner", ["asha", "median", "hyperband"])
def test_no_trial_is_pruned_against_observations(tmp_path: Path, pruner: str) -> None:
    start = start_of(tmp_path)
    better = {"moma": [{**o, "objectives": [0.99]} for o in start["observations"]["moma"][:6]]}
    studies = make(tmp_path, {**start, "observations": better}, pruner=pruner)
    studies.ask()
    second = studies.ask()
    assert not any(studies.report(second.number, step, 0.2) for step in range(1, 25))


def test_the_sampler_learns_from_observations(tmp_path: Path) -> None:
    start = start_of(tmp_path)
    known = [
        {
            **start["observations"]["moma"][1],
            "trial": n,
            "values": {"model.hidden_dim": 64, "training.learning_rate": 10 ** (-5 + 3 * n / 40)},
            "objectives": [n / 40],
        }
        for n in range(40)
    ]
    studies = make(tmp_path, {**start, "points": {}, "observations": {"moma": known}})
    studies.ask()
    drawn = [studies.ask().values["training.learning_rate"] for _ in range(8)]
    assert sum(rate > 1e-3 for rate in drawn) >= 6  # a third of the range, were it at random
