"""Studies of each outer fold: nothing that is known of one fold reaches another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from serplatform.studies.nested import NestedStudies
from serplatform.studies.study import Studies, Suggestion
from tests.studies.test_study import OTHER, SPACE, record

FOLDS = 3


def make(path: Path, records: dict[int, dict[str, Any]]) -> NestedStudies:
    path.mkdir(exist_ok=True)
    by_fold = [
        Studies(
            {"moma": SPACE, "csa": OTHER},
            storage=str(path / "study.journal"),
            records={n: r for n, r in records.items() if r["fold"] == fold},
            max_epochs=8,
            num_folds=1,
            seed=fold,
            prefix=f"fold-{fold}/",
            fold=fold,
            numbers=(fold, FOLDS),
        )
        for fold in range(FOLDS)
    ]
    return NestedStudies(by_fold, sizing=None, on_sized=lambda _: ())


def search(
    path: Path, value: Callable[[Suggestion], float], trials: int
) -> tuple[list[Suggestion], dict[int, dict[str, Any]]]:
    studies, records = make(path, {}), {}
    asked: list[Suggestion] = []
    for _ in range(trials):
        asked.append(studies.ask())
        ended = record(asked[-1], value(asked[-1])) | {"fold": asked[-1].fold}
        records[asked[-1].number] = ended
        studies.tell(ended)
    return asked, records


def by_rate(suggestion: Suggestion) -> float:
    return float(suggestion.values.get("training.learning_rate", 0.0)) * 50


def test_folds_take_turns_and_numbers_tell_the_fold(tmp_path: Path) -> None:
    asked, _ = search(tmp_path, by_rate, 9)
    assert [s.number for s in asked] == list(range(9))
    assert [s.fold for s in asked] == [n % FOLDS for n in range(9)]
    assert [s.paper for s in asked] == [True] * 6 + [False] * 3
    assert asked[4].label == "csa of fold 1"


def test_what_other_folds_are_told_changes_no_proposal(tmp_path: Path) -> None:
    def otherwise(suggestion: Suggestion) -> float:
        return by_rate(suggestion) if suggestion.fold == 1 else 0.5 - by_rate(suggestion)

    first, _ = search(tmp_path / "a", by_rate, 72)
    second, _ = search(tmp_path / "b", otherwise, 72)
    values = [
        [[s.values for s in found if s.fold == f] for f in range(FOLDS)]
        for found in (first, second)
    ]
    assert values[0][1] == values[1][1]
    assert values[0][0] != values[1][0]  # told otherwise, a fold does propose otherwise
    assert values[0][2] != values[1][2]


def test_a_process_that_dies_is_resumed_fold_by_fold(tmp_path: Path) -> None:
    _, records = search(tmp_path, by_rate, 7)
    studies = make(tmp_path, records)
    lost = [studies.ask(), studies.ask()]
    assert [s.number for s in lost] == [7, 8]
    again = make(tmp_path, records)
    assert (again.num_asked, again.num_in_flight) == (9, 2)
    resumed = [again.ask(), again.ask()]
    assert [(s.number, s.fold, s.values, s.resumed) for s in resumed] == [
        (s.number, s.fold, s.values, True) for s in lost
    ]
    assert again.ask().number == 9


def test_trials_of_damaged_studies_are_restored_to_their_fold(tmp_path: Path) -> None:
    _, records = search(tmp_path, by_rate, 7)
    studies = make(tmp_path / "rebuilt", records)
    assert studies.num_asked == 7
    assert [(s.number, s.fold) for s in (studies.ask(), studies.ask())] == [(7, 1), (8, 2)]
