"""One story of best: the rows, their comparison, what became of the trials, the leaderboard."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serplatform.artifacts.dataset import NO_SPEAKER
from serplatform.artifacts.files import read_json, write_json
from serplatform.artifacts.trial import ranked
from serplatform.ensembles.build import build_ensemble
from serplatform.prediction.open import choose_trial
from serplatform.report.answer import find_answer, read_answer
from serplatform.report.build import build_report
from serplatform.report.data import build_report_data
from serplatform.report.leaderboard import first_shown, rank_trials
from serplatform.report.load import load_run, load_source
from serplatform.run_directory import RunDirectory
from serplatform.statistics.intervals import metric_differences, metric_intervals
from tests.support.synthetic_run import make_run


def change(run: Path, **fields: Any) -> None:
    write_json(run / "run.json", read_json(run / "run.json") | fields)


@pytest.fixture
def run(on_disk: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(on_disk.run, tmp_path / "run"))


def test_the_exported_trial_is_the_one_that_prediction_opens(run: Path) -> None:
    directory = RunDirectory(run)
    opened = choose_trial(directory, directory.read_run(), None)["trial"]
    answer = read_answer(run)
    (row,) = [r for r in answer.rows if r.system == "trial"]
    assert f"#{opened}," in row.what
    test = load_run(run).posteriors(opened).where(part="test").ordered()
    found = metric_intervals(test.truth, test.values, test.speaker_ids.tolist())
    assert row.uar.ends() == pytest.approx(found["uar"].ends())
    assert [r.trial for r in answer.leaderboard] == [
        r["trial"] for r in ranked(directory.records().values(), "uar")
    ]
    assert any("test rows of other folds" in text for text in answer.sentences)


def test_an_ensemble_of_one_run_is_not_said_to_be_one_trial(on_disk: Any) -> None:
    (told,) = [text for text in read_answer(on_disk.ensemble).sentences if "`export` use" in text]
    assert told.startswith("Given this ensemble, `predict` and `export` use all its members; given")
    (told,) = [text for text in read_answer(on_disk.run).sentences if "`export` use" in text]
    assert told.startswith("`predict` and `export` use blstmatt #10,")


def test_every_trial_has_the_interval_that_it_has_alone(run: Path) -> None:
    loaded = load_run(run)
    for row in rank_trials([loaded]):
        test = loaded.posteriors(row.trial).where(part="test").ordered()
        alone = metric_intervals(test.truth, test.values, test.speaker_ids.tolist())["uar"]
        assert row.test is not None
        assert row.test.ends() == pytest.approx(alone.ends(), abs=1e-12)


def test_clips_without_a_named_speaker_are_not_said_to_be_of_one(run: Path) -> None:
    report = build_report_data(load_source(run))
    system = report.systems[0]
    nobody = np.full(len(system.test.truth), NO_SPEAKER)
    test = dataclasses.replace(system.test, speaker_ids=nobody)
    systems = (dataclasses.replace(system, test=test), *report.systems[1:])
    caveats = find_answer(dataclasses.replace(report, systems=systems)).caveats
    assert any(text.startswith("No speaker is named") for text in caveats)
    assert not any("test speaker:" in text for text in caveats)


def test_a_trial_without_posteriors_keeps_its_rank(run: Path) -> None:
    last = rank_trials([load_run(run)])[-1]
    RunDirectory(run).posteriors_file(last.trial).unlink()
    found = rank_trials([load_run(run)])[-1]
    assert found == dataclasses.replace(last, test=None)


def test_first_ranks_and_the_best_of_each_architecture_are_shown(run: Path) -> None:
    board = rank_trials([load_run(run)])
    shown = first_shown(board, 1)
    assert shown[0].rank == 1
    assert [r.architecture for r in shown] == list(dict.fromkeys(r.architecture for r in board))


def test_the_reference_is_tested_on_the_same_rows(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", num_trials=1, num_speakers=9, skill=0.0, seed=3)
    assert "reference" not in {row.system for row in read_answer(run).rows}
    alone = make_run(tmp_path / "same", num_trials=1, num_speakers=9, skill=0.0, data_seed=0)
    shutil.copytree(alone, run / "reference")
    answer = read_answer(run)
    assert [r.system for r in answer.rows] == ["single", "trial", "reference"]
    (found,) = answer.comparisons
    assert (found.of, found.against) == ("single", "reference")
    ours = load_run(run)
    single = answer.rows[0].uar.value - answer.rows[2].uar.value
    assert found.difference.value == pytest.approx(single)
    theirs = load_run(run / "reference").posteriors(0).where(part="test").ordered()
    assert "better than the reference" in str(found)
    assert found.difference.p_value < 0.05
    assert ours.reference is not None
    assert found.speakers == len(set(theirs.speaker_ids))
    shutil.rmtree(run / "reference")
    shutil.copytree(other, run / "reference")
    table = RunDirectory(run / "reference").posteriors_file(0)
    table.write_bytes(b"")
    assert "reference" not in {row.system for row in read_answer(run).rows}


def test_the_ensemble_is_tested_against_single_mean_and_reference(
    run: Path, tmp_path: Path
) -> None:
    alone = make_run(tmp_path / "same", num_trials=1, num_speakers=9, skill=1.0, data_seed=0)
    shutil.copytree(alone, run / "reference")
    build_ensemble([run], run / "ensemble")
    report = build_report_data(load_source(run))
    ours, theirs = report.systems[0].test, report.others[-1].test
    found = read_answer(run).comparisons
    assert [(c.of, c.against) for c in found] == [
        ("ensemble", other) for other in ("single", "mean", "reference")
    ]
    expected = metric_differences(
        ours.truth, ours.values, theirs.values, ours.speaker_ids.tolist()
    )["uar"]
    content = read_json(run / "ensemble" / "ensemble.json")
    assert found[-1].difference.as_dict() == expected.as_dict()
    assert expected.as_dict() == content["comparison_with_reference"]["difference"]["uar"]
    recorded = content["comparison_with_mean"]["difference"]["uar"]
    assert found[1].difference.as_dict() == recorded
    pooled = content["pooled"]
    assert recorded["value"] == pytest.approx(
        pooled["ensemble"]["uar"]["value"] - pooled["mean_of_all"]["uar"]["value"]
    )


def test_an_ensemble_of_an_earlier_version_is_tested_again(run: Path) -> None:
    build_ensemble([run], run / "ensemble")
    now = read_answer(run).comparisons[0]
    file = run / "ensemble" / "ensemble.json"
    content = read_json(file)
    del content["comparison_with_mean"]
    content["comparison"]["permutation"] = {"uar": {"p_value": 0.07}}
    for interval in content["comparison"]["difference"].values():
        interval.pop("p_value", None)
    content["comparison"]["mcnemar"] = {"only_a": 7, "only_b": 3, "p_value": 0.34}
    file.write_text(json.dumps(content | {"num_resamples": 2000}))
    (found,) = read_answer(run).comparisons
    assert found == now


def test_what_was_asked_and_what_became_of_it(run: Path) -> None:
    change(run, trials=20, architectures=["moma", "blstmatt", "csa", "mha", "can"])
    change(run, left_out={"can": "the dataset has no text"})
    state = RunDirectory(run).state_directory(11)
    state.mkdir(parents=True)
    (found,) = read_answer(run).trials
    assert (found.asked, found.trained, found.pruned, found.failed) == (20, 9, 1, 1)
    assert (found.cut_off, found.not_begun, found.no_trial) == (1, 8, ("mha",))
    assert found.by_architecture["unknown"]["cut_off"] == 1
    assert str(found).startswith(
        "20 trials asked for: 9 trained, 1 pruned, 1 failed, 1 cut off, 8 not begun: mha. By "
    )
    assert str(found).endswith("Not tried, cannot be trained on this dataset: can.")
    question = build_report(run).read_text(encoding="utf-8").split("</header>")[0]
    assert "11 configurations of moma, blstmatt and csa" in question  # those that were trained
    change(run, trials=None)
    assert str(read_answer(run).trials[0]).startswith(
        "12 trials begun: 9 trained, 1 pruned, 1 failed, 1 cut off; not begun: mha. "
    )


def test_one_finished_trial_has_one_row_and_no_test(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_trials=1)
    build_ensemble([run], run / "ensemble")
    answer = read_answer(run)
    assert [row.system for row in answer.rows] == ["single"]
    assert answer.comparisons == ()
    assert answer.caveats[0] == f"Normalised by speaker: {answer.speaker_needs}"
    assert answer.sentences == ("One trial finished: there is nothing to combine.",)
    page = build_report(run).read_text(encoding="utf-8")
    assert "McNemar's exact" not in page
    assert "not shown to differ" not in page


def test_the_same_trial_in_every_fold_is_one_row(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_trials=3, skill=(0.0, 3.0), per_speaker=40)
    answer = read_answer(run)
    assert [row.system for row in answer.rows] == ["single"]
    assert answer.rows[0].what.endswith("in every fold")
    assert any("its test UAR is a fair estimate" in text for text in answer.sentences)


def test_no_finished_trial_has_no_answer(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_trials=0)
    answer = read_answer(run)
    assert answer.headline == "There is no answer yet: no trial has finished."
    assert (answer.rows, answer.leaderboard) == ((), ())
    assert str(answer.trials[0]).startswith("2 trials begun: 1 pruned, 1 failed")


def test_json_has_fractions(run: Path) -> None:
    values = json.loads(json.dumps(dataclasses.asdict(read_answer(run)), allow_nan=False))
    assert 0 < values["rows"][0]["uar"]["low"] < values["rows"][0]["uar"]["value"] < 1
    assert 0 < values["leaderboard"][0]["test"]["value"] < 1
