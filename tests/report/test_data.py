"""What the page claims: best single nested by fold, recalls, comparison, members."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serplatform.artifacts.files import read_json
from serplatform.ensembles.build import build_ensemble
from serplatform.errors import ArtifactError
from serplatform.metrics import classification_metrics
from serplatform.report.data import best_by_fold, build_report_data
from serplatform.report.load import Posteriors, ReportTrial, load_source
from serplatform.report.members import read_members
from serplatform.report.speaker_intervals import recall_intervals
from serplatform.report.systems import measure
from tests.support.synthetic_run import make_run


def test_best_single_is_chosen_fold_by_fold(trial: Callable[..., ReportTrial]) -> None:
    first = trial(0, fold_dev=[{"uar": 0.9}, {"uar": 0.1}])
    second = trial(1, fold_dev=[{"uar": 0.2}, {"uar": 0.8}])
    pruned = trial(2, fold_dev=[{"uar": 1.0}], state="pruned")
    assert [t.number for t in best_by_fold([first, second, pruned])] == [0, 1]


def test_tie_goes_to_the_likelier_then_to_the_earlier(trial: Callable[..., ReportTrial]) -> None:
    unlikely = trial(0, fold_dev=[{"uar": 0.7, "nll": 1.2}])
    likely = trial(1, fold_dev=[{"uar": 0.7, "nll": 1.1}])
    later = trial(2, fold_dev=[{"uar": 0.7, "nll": 1.1}])
    assert best_by_fold([unlikely, likely, later])[0].number == 1


def test_the_page_of_a_run_and_its_ensemble_choose_the_same_single_trials(
    tmp_path: Path,
) -> None:
    """On small dev parts many trials have one UAR."""
    run = make_run(tmp_path / "run", num_trials=6, per_speaker=4, skill=1.0)
    source = load_source(run)
    dev = [
        [fold["uar"] for fold in t.fold_dev] for t in source.runs[0].trials if t.state == "complete"
    ]
    assert any(sorted(column)[-1] == sorted(column)[-2] for column in zip(*dev, strict=True))
    chosen = [trial.number for trial in best_by_fold(source.runs[0].trials)]
    content = build_ensemble([run], tmp_path / "ens", combiner="mean")
    assert [fold["best_single"]["trial"] for fold in content["folds"]] == chosen


def test_no_finished_trial_gives_no_choice(trial: Callable[..., ReportTrial]) -> None:
    assert best_by_fold([trial(0, state="failed", uar=None)]) == ()


def test_best_single_rows_come_from_each_folds_own_choice(on_disk: Any) -> None:
    source = load_source(on_disk.run)
    found = build_report_data(source)
    (single,) = found.systems
    chosen = best_by_fold(source.runs[0].trials)
    for fold, trial in enumerate(chosen):
        rows = source.runs[0].posteriors(trial.number).where(part="test", fold=fold).ordered()
        np.testing.assert_array_equal(single.test.where(fold=fold).values, rows.values)
    expected = classification_metrics(single.test.truth, single.test.values)
    assert {k: v.value for k, v in single.pooled.items()} == pytest.approx(expected)


def test_recall_and_its_interval_by_hand(posteriors: Callable[..., Posteriors]) -> None:
    # speaker a: happy right; speaker b: happy wrong; each speaks one sad, recognised
    test = posteriors(
        [[0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.2, 0.8]], [0, 0, 1, 1], ["a", "b", "a", "b"]
    )
    happy, sad = recall_intervals(test)
    assert happy.value == 0.5
    assert (happy.low, happy.high) == pytest.approx((0.0, 1.0), abs=1e-9)
    assert (sad.value, sad.low, sad.high) == pytest.approx((1.0, 0.025**0.5, 1.0))


def test_recall_without_utterances_or_with_one_speaker_has_no_interval(
    posteriors: Callable[..., Posteriors],
) -> None:
    test = posteriors([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]], [0, 0], ["a", "a"])
    happy, sad, _ = recall_intervals(test)
    assert (happy.value, happy.low, happy.high) == (0.5, None, None)
    assert math.isnan(sad.value)


def test_systems_measured_again_are_what_the_ensemble_recorded(on_disk: Any) -> None:
    found = build_report_data(load_source(on_disk.ensemble))
    info = found.ensemble
    assert [m.key for m in found.measured] == ["ensemble", "single", "trial", "mean"]
    assert found.comparisons["single"].as_dict() == info["comparison"]["difference"]["uar"]
    assert set(found.comparisons) == {"single", "mean"}
    for system in found.systems:
        again = measure(system.test, key=system.key, chosen="")
        for fold, values in again.by_fold.items():
            assert values == pytest.approx(system.by_fold[fold])
        for metric, interval in system.pooled.items():
            assert interval.ends() == pytest.approx(again.pooled[metric].ends(), abs=1e-9)


def test_ensemble_without_its_runs_keeps_the_recorded_comparison(
    on_disk: Any, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(on_disk.ensemble, alone)
    info = read_json(alone / "ensemble.json")
    info["runs"][0]["path"] = "nowhere"
    (alone / "ensemble.json").write_text(json.dumps(info))
    found = build_report_data(load_source(alone))
    assert [s.key for s in found.systems] == ["ensemble"]
    assert [m.key for m in found.measured] == ["ensemble", "single", "mean"]
    assert found.comparisons["single"].as_dict() == info["comparison"]["difference"]["uar"]


def test_ensemble_whose_posteriors_were_exchanged_is_refused(on_disk: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(on_disk.ensemble, other)
    info = read_json(other / "ensemble.json")
    info["pooled"]["ensemble"]["uar"]["value"] += 0.01
    (other / "ensemble.json").write_text(json.dumps(info))
    with pytest.raises(
        ArtifactError, match=r"records uar .* of the ensemble, but its posteriors give"
    ):
        build_report_data(load_source(other))


def test_ensemble_without_a_key_is_refused_by_name(on_disk: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(on_disk.ensemble, other)
    info = read_json(other / "ensemble.json")
    del info["folds"]
    (other / "ensemble.json").write_text(json.dumps(info))
    with pytest.raises(ArtifactError, match=r"ensemble\.json: .* is damaged: lacks folds"):
        build_report_data(load_source(other))


def test_members_are_gathered_over_folds() -> None:
    def row(name: str, share: float, gain: float | None) -> dict[str, Any]:
        return {
            "member": f"run/trial-0000{name}",
            "trial": int(name),
            "run": "run",
            "architecture": "csa",
            "weight": 2 * share,
            "share": share,
            "temperature": None,
            "dev": {"uar": 0.5},
            "gain": {"dev": None if gain is None else {"uar": gain}},
        }

    info: Any = {
        "runs": [{"path": "run"}],
        "folds": [
            {"members": [row("1", 0.25, 0.02), row("2", 0.75, None)]},
            {"members": [row("2", 1.0, None)]},
        ],
    }
    second, first = read_members(info)
    assert (second.name, second.shares, second.gain) == ("csa #2", (0.75, 1.0), None)
    assert (first.name, first.shares, first.weights) == ("csa #1", (0.25, 0.0), (0.5, 0.0))
    assert first.gain == 0.02
