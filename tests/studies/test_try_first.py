"""Points that a space's file asks to try first: what is accepted, and when they are tried."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from serplatform.errors import BadInputError
from serplatform.studies.setup import space_mapping
from serplatform.studies.space import SearchSpace, first_points, load_space, parse_space
from serplatform.studies.study import Studies, Suggestion

SPACE = """
architecture: moma
description: a few parameters
fixed: {training.max_epochs: 8}
parameters:
  model.hidden_dim: {type: choice, values: [64, 128, 512]}
  training.learning_rate: {type: float, low: 1.0e-5, high: 1.0e-2, log: true}
  training.scheduler: {type: choice, values: [plateau, cosine]}
  training.label_smoothing: {type: float, low: 0, high: 0.1, when: {training.scheduler: [cosine]}}
"""
PAPER_RATE = 1e-4


def load(tmp_path: Path, points: str, **overrides: Any) -> SearchSpace:
    path = tmp_path / "space.yaml"
    path.write_text(f"{SPACE}try_first:{points}\n", encoding="utf-8")
    return load_space(str(path), overrides)


def faults_of(tmp_path: Path, points: str) -> str:
    with pytest.raises(BadInputError, match=r"space\.yaml: the search space has") as caught:
        load(tmp_path, points)
    return str(caught.value)


def test_a_point_is_completed_by_the_papers_values(tmp_path: Path) -> None:
    space = load(
        tmp_path,
        "\n  - {training.learning_rate: 1.0e-3}"
        "\n  - {training.scheduler: cosine, training.label_smoothing: 0, model.hidden_dim: 64}",
    )
    assert first_points(space) == [
        {
            "model.hidden_dim": 512,
            "training.learning_rate": 1e-3,
            "training.scheduler": "plateau",
        },
        {
            "model.hidden_dim": 64,
            "training.learning_rate": PAPER_RATE,
            "training.scheduler": "cosine",
            "training.label_smoothing": 0.0,
        },
    ]


def test_points_survive_run_json(tmp_path: Path) -> None:
    space = load(tmp_path, " [{model.hidden_dim: 64}]")
    again, faults = parse_space(space_mapping(space), "run.json")
    assert faults == []
    assert first_points(again) == first_points(space)
    assert "try_first" not in space_mapping(dataclasses.replace(space, try_first=()))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (" 3", "try_first: must be a list"),
        (" [3]", "point 1: must be a mapping of dotted"),
        (" [{model.hidden_dim: .inf}]", "point 1: model.hidden_dim = inf is not in the space"),
        (
            " [{model.hidden_dim: 100}]",
            r"point 1: model.hidden_dim = 100 is not in the space \(one of 64, 128, 512\); give a",
        ),
        (
            " [{training.learning_rate: 1}]",
            r"training.learning_rate = 1 is not in the space \(float from 1e-05 to 0.01\)",
        ),
        (" [{model.hiden_dim: 64}]", "Unknown parameter 'model.hiden_dim'.*'model.hidden_dim'"),
        (" [{training.max_epochs: 4}]", "training.max_epochs is fixed to 8 here; leave it out"),
        (" [{training.batch_size: 4}]", "training.batch_size is not searched here; leave it out"),
        (
            " [{training.label_smoothing: 0.1}]",
            "training.label_smoothing has no effect there, because of its `when`",
        ),
        (" [{}]", "point 1: is the same as the paper's configuration"),
        (" [{model.hidden_dim: 512}]", "is the same as the paper's configuration"),
        (
            " [{model.hidden_dim: 64}, {training.scheduler: plateau, model.hidden_dim: 64}]",
            "point 2: is the same as point 1; leave it out",
        ),
    ],
)
def test_a_wrong_point_is_named(tmp_path: Path, points: str, message: str) -> None:
    assert re.search(message, faults_of(tmp_path, points))


def test_all_wrong_points_are_named_at_once(tmp_path: Path) -> None:
    told = faults_of(tmp_path, " [{model.hidden_dim: 1}, {model.hidden_dim: 64}, {model.hid: 2}]")
    assert "2 fault(s)" in told
    assert "point 1:" in told
    assert "point 3:" in told


def test_a_point_must_name_what_the_paper_has_outside_the_space(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    text = SPACE.replace("low: 0,", "low: 0.05,")  # the default is 0
    path.write_text(f"{text}try_first: [{{training.scheduler: cosine}}]\n", encoding="utf-8")
    with pytest.raises(BadInputError, match=r"training\.label_smoothing must be named: the paper"):
        load_space(str(path))


def test_what_the_user_sets_leaves_the_points(tmp_path: Path) -> None:
    space = load(
        tmp_path,
        "\n  - {training.learning_rate: 1.0e-3}"
        "\n  - {training.learning_rate: 1.0e-3, model.hidden_dim: 64}"
        "\n  - {training.scheduler: cosine, training.label_smoothing: 0}",
        **{"training.scheduler": "plateau", "training.learning_rate": 0.002},
    )
    assert first_points(space) == [{"model.hidden_dim": 64}]  # the others are the paper's now


def studies(tmp_path: Path, space: SearchSpace, **options: Any) -> Studies:
    return Studies(
        {"moma": space},
        storage=str(tmp_path / "study.journal"),
        records=options.pop("records", {}),
        max_epochs=8,
        num_folds=3,
        seed=0,
        **options,
    )


def record(suggestion: Suggestion) -> dict[str, Any]:
    return {
        "trial": suggestion.number,
        "architecture": "moma",
        "state": "complete",
        "paper": suggestion.paper,
        "params": dict(suggestion.values),
        "dev": {"uar": 0.5},
    }


POINTS = "\n  - {training.learning_rate: 1.0e-3}\n  - {model.hidden_dim: 64}"


def test_points_follow_the_papers_configuration_in_order(tmp_path: Path) -> None:
    asked = studies(tmp_path, load(tmp_path, POINTS))
    first, second, third, fourth = (asked.ask() for _ in range(4))
    assert [s.paper for s in (first, second, third, fourth)] == [True, False, False, False]
    assert first.values["training.learning_rate"] == PAPER_RATE
    assert second.values["training.learning_rate"] == 1e-3
    assert third.values["model.hidden_dim"] == 64
    assert third.values["training.learning_rate"] == PAPER_RATE
    assert fourth.values["training.learning_rate"] not in (PAPER_RATE, 1e-3)


def test_a_resumed_run_tries_no_point_twice(tmp_path: Path) -> None:
    space = load(tmp_path, POINTS)
    begun = studies(tmp_path, space)
    done = [begun.ask() for _ in range(2)]
    for suggestion in done:
        begun.tell(record(suggestion))
    again = studies(tmp_path, space, records={s.number: record(s) for s in done})
    assert again.ask().values["model.hidden_dim"] == 64  # it was waiting
    assert len(again._studies["moma"].trials) == 3
    third = studies(tmp_path, space, records={s.number: record(s) for s in done})
    assert third.ask().resumed
    third.ask()
    assert len(third._studies["moma"].trials) == 4


def test_a_rebuilt_study_tries_only_the_points_without_a_record(tmp_path: Path) -> None:
    space = load(tmp_path, POINTS)
    begun = studies(tmp_path, space)
    done = [begun.ask() for _ in range(2)]
    (tmp_path / "study.journal").unlink()
    rebuilt = studies(tmp_path, space, records={s.number: record(s) for s in done})
    assert rebuilt.ask().values["model.hidden_dim"] == 64
    assert len(rebuilt._studies["moma"].trials) == 3


def test_the_papers_trial_is_known_where_it_was_lost_before_the_points(tmp_path: Path) -> None:
    space = load(tmp_path, POINTS)
    begun = studies(tmp_path, space)
    begun._studies["moma"].ask()  # the process dies before the trial has a number
    again = studies(tmp_path, space)
    asked = [again.ask() for _ in range(3)]
    assert [s.paper for s in asked] == [False, False, True]
    assert asked[2].values["training.learning_rate"] == PAPER_RATE
