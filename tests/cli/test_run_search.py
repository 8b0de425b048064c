"""The result of a search in words."""

from __future__ import annotations

from pathlib import Path

from serplatform.api.execute import SearchSummary
from serplatform.cli.search import describe
from serplatform.ensembles.build import build_ensemble
from serplatform.report.answer import read_answer
from tests.support.synthetic_run import make_run


def told(run: Path) -> list[str]:
    summary = SearchSummary(
        run=str(run),
        status="complete",
        trials={"complete": 2, "pruned": 1, "failed": 0},
        best_trial={"trial": 1, "architecture": "csa", "dev_uar": 0.75, "params": {}},
        answer=read_answer(run),
        report="run/report.html",
        seconds=61.0,
    )
    return describe(summary).splitlines()


def test_the_answer_stands_first_and_the_leaderboard_shows_each_architecture(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", num_trials=12, skill=1.0)
    build_ensemble([run], run / "ensemble")
    answer, lines = read_answer(run), told(run)
    assert lines[0] == answer.headline
    assert lines[0].startswith("UAR ")
    assert lines[0].endswith("chance 25.0 %")
    for row in answer.rows:
        assert any(line.startswith(row.label) and row.what in line for line in lines)
    board = [line.split() for line in lines if line.split()[:1] and line.split()[0].isdigit()]
    ranked = [
        (int(line[0]), int(line[1]), line[2].rstrip("*")) for line in board if line[1].isdigit()
    ]
    assert [rank for rank, *_ in ranked][:5] == [1, 2, 3, 4, 5]
    names = {name.rstrip("*") for *_, name in ranked}
    assert names == {row.architecture for row in answer.leaderboard}
    assert f"Use the ensemble: serplatform predict {run}/ensemble AUDIO" in lines
    assert lines[-1] == "Report, after 1 min 1 s: run/report.html"


def test_one_finished_trial_is_not_compared_with_itself(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_trials=1)
    build_ensemble([run], run / "ensemble")
    text = "\n".join(told(run))
    assert "One trial finished: there is nothing to combine." in text
    assert "p = " not in text
    assert "Use the ensemble" not in text
