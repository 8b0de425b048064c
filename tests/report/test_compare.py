"""Several runs on one page: rows, paired tests corrected for their number, and refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serplatform.artifacts.files import read_json, write_json
from serplatform.cli.main import run as command
from serplatform.errors import BadInputError
from serplatform.report.compare import (
    ComparedRun,
    build_comparison,
    comparable,
    compare,
    names,
    pairs_table,
    read_runs,
    runs_table,
    why_no_test,
)
from serplatform.statistics.holm import holm
from serplatform.statistics.intervals import metric_differences
from tests.support.synthetic_run import make_run


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs on the same rows, of which the last is far better, and one on other rows."""
    folder = tmp_path_factory.mktemp("runs")
    same = {"num_trials": 1, "num_speakers": 8, "per_speaker": 16, "data_seed": 3}
    return [
        make_run(folder / "first", skill=0.5, **same),
        make_run(folder / "second", skill=0.5, **same | {"seed": 9}),
        make_run(folder / "third", skill=4.0, **same),
        make_run(folder / "other", **same | {"num_speakers": 10}),
    ]


@pytest.fixture(scope="module")
def runs(paths: list[Path]) -> list[ComparedRun]:
    return read_runs(paths)


def test_pairs_with_the_same_rows_are_tested_by_speaker(runs: list[ComparedRun]) -> None:
    found = {(t.first, t.second): t for t in compare(runs)}
    assert len(found) == 6
    test = found["first", "third"]
    ours, theirs = (runs[n].report.systems[0].test for n in (0, 2))
    expected = metric_differences(
        ours.truth, ours.values, theirs.values, ours.speaker_ids.tolist()
    )["uar"]
    assert test.difference == expected
    assert test.verdict == "third is better than first."
    known = [t for t in found.values() if t.difference is not None]
    assert len(known) == 3
    p_values = [t.difference.p_value for t in known if t.difference]
    assert [t.adjusted for t in known] == holm([p for p in p_values if p is not None])
    assert all((t.adjusted or 0) >= (p or 0) for t, p in zip(known, p_values, strict=True))


def test_holm_is_the_step_down_of_its_paper() -> None:
    rng = np.random.default_rng(0)
    for count in (0, 1, 2, 7):
        p = rng.uniform(size=count).tolist()
        for level in (0.01, 0.05, 0.2, 0.5):
            rejected = set()
            for place, n in enumerate(sorted(range(count), key=p.__getitem__)):
                if p[n] * (count - place) > level:
                    break
                rejected.add(n)
            assert {n for n, q in enumerate(holm(p)) if q <= level} == rejected


def test_other_rows_labels_classes_and_data_are_refused(runs: list[ComparedRun]) -> None:
    first, second, _, other = runs
    assert why_no_test(first, second) == ""
    assert why_no_test(first, other) == "other test utterances"

    def changed(**columns: Any) -> ComparedRun:
        system = second.report.systems[0]
        test = dataclasses.replace(system.test, **columns)
        systems = (dataclasses.replace(system, test=test),)
        return dataclasses.replace(
            second, report=dataclasses.replace(second.report, systems=systems)
        )

    test = second.report.systems[0].test
    assert why_no_test(first, changed(truth=(test.truth + 1) % 2)).startswith("other labels")
    assert why_no_test(first, changed(folds=test.folds + 1)) == "other folds"
    speakers = changed(speaker_ids=np.roll(test.speaker_ids, 1))
    assert why_no_test(first, speakers).startswith("other speakers")
    classes = dataclasses.replace(second.report, classes=("a", "b", "c", "d"))
    assert why_no_test(first, dataclasses.replace(second, report=classes)) == "other classes"
    verdicts = [row[-1] for row in pairs_table(compare([first, other])).shown()]
    assert verdicts == ["No test: other test utterances."]


def test_a_sealed_run_shows_no_test_value(paths: list[Path], tmp_path: Path) -> None:
    sealed = make_run(tmp_path / "sealed", num_trials=1, num_speakers=8, per_speaker=16)
    write_json(sealed / "run.json", read_json(sealed / "run.json") | {"sealed": True})
    runs = read_runs([paths[0], sealed])
    row = runs_table(runs).shown()[1]
    assert row[6:9] == ["sealed"] * 3
    assert row[5] != "–"  # dev values are told
    (test,) = compare(runs)
    assert test.difference is None
    assert test.verdict == "No test: the test rows of sealed are sealed."


def test_the_command_writes_a_page_without_hostile_names(
    paths: list[Path], tmp_path: Path, capsys: Any
) -> None:
    hostile = make_run(tmp_path / "<b>run", num_trials=1, num_speakers=8, per_speaker=16)
    out = tmp_path / "compare.html"
    assert command(["report", *map(str, [*paths, hostile]), "--out", str(out)]) == 0
    assert "first and third: third is better than first." in capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    assert "<b>run" not in page
    assert "&lt;b&gt;run" in page
    assert page.count("<svg") == 1


def test_only_runs_with_the_same_test_rows_stand_on_one_axis(
    runs: list[ComparedRun], paths: list[Path], tmp_path: Path
) -> None:
    first, second, third, other = runs
    sealed = dataclasses.replace(
        second, answer=dataclasses.replace(second.answer, rows=()), name="sealed"
    )
    assert [names(group) for group in comparable([first, other, sealed, second, third])] == [
        "first, second, third"
    ]
    assert comparable([first, other]) == []
    out = tmp_path / "compare.html"
    build_comparison([paths[0], paths[1], paths[3]], out)
    page = out.read_text(encoding="utf-8")
    assert page.count("<svg") == 1
    assert "Test UAR of first, second with its 95 % interval" in page
    assert "Not drawn: other." in page
    build_comparison([paths[0], paths[3]], out)
    page = out.read_text(encoding="utf-8")
    assert "<svg" not in page
    assert "Not drawn: first, other." in page


def test_a_run_given_twice_and_a_missing_page_are_errors(
    paths: list[Path], tmp_path: Path, capsys: Any
) -> None:
    with pytest.raises(BadInputError, match="is given twice"):
        read_runs([paths[0], paths[1], paths[0]])
    assert command(["report", str(paths[0]), str(paths[1])]) == 2
    assert "give --out FILE.html" in capsys.readouterr().err
