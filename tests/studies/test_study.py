"""The studies of a run: asking, telling, pruning, and coming back after a crash."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from serplatform.errors import BadInputError
from serplatform.studies.space import Parameter, SearchSpace
from serplatform.studies.study import (
    Studies,
    Suggestion,
    objective_values,
)
from serplatform.studies.study_storage import check_storage, open_storage

SPACE = SearchSpace(
    architecture="moma",
    description="two parameters",
    fixed={"training.max_epochs": 8},
    parameters={
        "model.hidden_dim": Parameter(kind="choice", values=(64, 128, 512)),
        "training.learning_rate": Parameter(kind="float", low=1e-5, high=1e-2, log=True),
    },
)
OTHER = SearchSpace(
    architecture="csa",
    description="one parameter",
    parameters={"model.pooling": Parameter(kind="choice", values=("flatten", "mean"))},
)


def record(suggestion: Suggestion, uar: float = 0.5, state: str = "complete") -> dict[str, Any]:
    return {
        "trial": suggestion.number,
        "architecture": suggestion.architecture,
        "state": state,
        "paper": suggestion.paper,
        "params": dict(suggestion.values),
        "dev": {"uar": uar},
        "num_parameters": 7,
        "seconds": 1.0,
    }


def make(
    path: Path,
    records: Mapping[int, Mapping[str, Any]] | None = None,
    spaces: Mapping[str, SearchSpace] | None = None,
    **options: Any,
) -> Studies:
    return Studies(
        spaces or {"moma": SPACE},
        storage=str(path / "study.journal"),
        records=records or {},
        max_epochs=8,
        num_folds=3,
        seed=0,
        **options,
    )


def states(studies: Studies, architecture: str = "moma") -> list[str]:
    return [trial.state.name for trial in studies._studies[architecture].trials]


def test_first_trial_is_the_papers_configuration(tmp_path: Path) -> None:
    first = make(tmp_path).ask()
    assert first.paper
    assert first.values == {
        "training.max_epochs": 8,
        "model.hidden_dim": 512,
        "training.learning_rate": 1e-4,
    }


def test_no_trial_is_the_papers_where_the_space_does_not_hold_it(tmp_path: Path) -> None:
    rate = Parameter(kind="float", low=1e-3, high=1e-2, log=True)  # the paper's is 1e-4
    space = dataclasses.replace(
        SPACE, parameters={**SPACE.parameters, "training.learning_rate": rate}
    )
    studies = make(tmp_path, spaces={"moma": space})
    asked = [studies.ask() for _ in range(3)]
    studies.tell(record(asked[0]))
    resumed = make(tmp_path, {0: record(asked[0])}, spaces={"moma": space})
    asked += [resumed.ask() for _ in range(4)]
    assert [suggestion.number for suggestion in asked] == [0, 1, 2, 1, 2, 3, 4]
    assert not any(suggestion.paper for suggestion in asked)
    assert all(1e-3 <= s.values["training.learning_rate"] <= 1e-2 for s in asked)


def test_architectures_take_turns_and_numbers_are_of_the_run(tmp_path: Path) -> None:
    kernel = SPACE
    space = SearchSpace(
        architecture="blstmatt",
        description="one parameter",
        parameters={"model.hidden_dim": Parameter(kind="choice", values=(64, 512))},
    )
    studies = make(tmp_path, spaces={"moma": kernel, "blstmatt": space})
    asked = [studies.ask() for _ in range(6)]
    assert [s.number for s in asked] == list(range(6))
    assert [s.architecture for s in asked] == ["moma", "blstmatt"] * 3
    assert [s.paper for s in asked] == [True, True, False, False, False, False]


def test_weak_trial_is_pruned_and_the_papers_never(tmp_path: Path) -> None:
    studies = make(tmp_path, pruner="asha")
    paper, weak, strong = studies.ask(), studies.ask(), studies.ask()
    assert not any(studies.report(strong.number, step, 0.9) for step in range(1, 9))
    assert not any(studies.report(paper.number, step, 0.1) for step in range(1, 9))
    assert any(studies.report(weak.number, step, 0.2) for step in range(1, 9))


def test_without_pruner_nothing_is_pruned(tmp_path: Path) -> None:
    studies = make(tmp_path, pruner="none")
    studies.ask()
    strong, weak = studies.ask(), studies.ask()
    assert not any(studies.report(strong.number, step, 0.9) for step in range(1, 9))
    assert not any(studies.report(weak.number, step, 0.1) for step in range(1, 9))


def test_telling_twice_changes_nothing(tmp_path: Path) -> None:
    studies = make(tmp_path)
    first = studies.ask()
    studies.tell(record(first, 0.5))
    studies.tell(record(first, 0.9))
    assert studies._studies["moma"].trials[0].value == 0.5


def test_failed_and_nan_trials_are_told_as_failed(tmp_path: Path) -> None:
    studies = make(tmp_path)
    failed, diverged = studies.ask(), studies.ask()
    studies.tell(record(failed, state="failed"))
    studies.tell(record(diverged, float("nan")))
    assert states(studies) == ["FAIL", "FAIL"]


def test_crash_hands_unfinished_trials_out_again_and_settles_recorded_ones(
    tmp_path: Path,
) -> None:
    before = make(tmp_path)
    told, recorded, running = before.ask(), before.ask(), before.ask()
    before.tell(record(told))
    # the process dies: one trial is recorded but not told, one runs, a line is half written
    with (tmp_path / "study.journal").open("ab") as stream:
        stream.write(b'{"op_code": 3, "worker')
    (tmp_path / "study.journal.lock").symlink_to("nowhere")

    after = make(tmp_path, {0: record(told), 1: record(recorded, 0.7)})

    assert states(after) == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert after.num_in_flight == 1
    again = after.ask()
    assert (again.number, again.values, again.resumed) == (running.number, running.values, True)
    assert after.ask().number == 3
    assert after.num_asked == 4


def test_lost_journal_is_rebuilt_from_the_records(tmp_path: Path) -> None:
    before = make(tmp_path, spaces={"csa": OTHER})
    asked = [before.ask() for _ in range(3)]
    records = {s.number: record(s, 0.3 + s.number / 10) for s in asked[:2]}
    records[2] = record(asked[2], state="pruned")
    (tmp_path / "study.journal").unlink()

    after = make(tmp_path, records, spaces={"csa": OTHER})

    trials = after._studies["csa"].trials
    assert [trial.value for trial in trials[:2]] == [0.3, 0.4]
    assert OTHER.decode(trials[0].params) == {"model.pooling": asked[0].values["model.pooling"]}
    following = after.ask()
    assert (following.number, following.paper) == (3, False)


def test_resumed_sampler_does_not_repeat_its_first_draws(tmp_path: Path) -> None:
    before = make(tmp_path)
    asked = [before.ask() for _ in range(4)]
    after = make(tmp_path, {s.number: record(s) for s in asked})
    fresh = after.ask()
    drawn = [s.values["training.learning_rate"] for s in asked]
    assert fresh.values["training.learning_rate"] not in drawn


def test_several_objectives_take_their_directions(tmp_path: Path) -> None:
    studies = make(tmp_path, objectives=("uar", "parameters"))
    first = studies.ask()
    assert not studies.report(first.number, 1, 0.5)
    studies.tell(record(first, 0.6))
    assert studies._studies["moma"].trials[0].values == [0.6, 7.0]
    assert [d.name for d in studies._studies["moma"].directions] == ["MAXIMIZE", "MINIMIZE"]


def test_objective_values_are_none_when_one_is_missing() -> None:
    assert objective_values({"dev": {"uar": 0.5}}, ["uar", "parameters"]) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "tpp"}, "Unknown sampler 'tpp'.*Did you mean 'tpe'"),
        ({"pruner": "asah"}, "Unknown pruner 'asah'.*Did you mean 'asha'"),
        ({"objectives": ("aur",)}, "Unknown objective 'aur'.*Did you mean 'uar'"),
        ({"objectives": ("uar", "uar")}, "give each objective once"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        make(tmp_path, **options)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("studies.db", r"--storage 'studies\.db': is no URL; write sqlite:///studies\.db"),
        ("journal:a.log", r"is no URL; write sqlite:///a\.log"),
        ("", r"is no URL; write sqlite:///studies\.db"),
        ("sqlite://", "names no file, and in memory nothing is kept"),
        ("sqlite:///:memory:", "names no file, and in memory nothing is kept"),
        ("sqlite:///notes.txt", "is a file already, and not a SQLite database"),
        ("sqlite:///folder", "is a directory; give a file"),
        ("sqlite:///absent/a.db", "there is no directory for this file"),
        ("sqllite:///a.db", "cannot be opened .*sqllite"),
        ("postgresql+pg9:///a", "cannot be opened|is not installed"),
        ("mysql://me:hush@host/a", r"mysql://\*\*\*@host/a: the package .* is not installed"),
    ],
)
def test_storage_that_cannot_be_used_is_refused_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInputError, match=message) as caught:
        check_storage(url)
    assert "hush" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "notes.txt"]


def test_database_is_recorded_with_its_whole_path_and_may_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/studies.db"
    assert check_storage("sqlite:///studies.db") == url
    assert not (tmp_path / "studies.db").exists()
    open_storage(url)
    assert (tmp_path / "studies.db").exists()
    assert check_storage("sqlite:///studies.db") == check_storage(url) == url
