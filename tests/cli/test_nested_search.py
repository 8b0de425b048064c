"""``serplatform search --nested`` from outside: stopped, resumed, combined, exported."""

from __future__ import annotations

import json
import signal
from collections import Counter

import numpy as np
import pytest

from serplatform.artifacts.files import read_parquet
from serplatform.artifacts.trial import ranked
from serplatform.cli.main import run as run_command_line
from serplatform.metrics import classification_metrics
from serplatform.prediction.open import open_system
from serplatform.run_directory import RunDirectory
from serplatform.testing.synthetic import make_dataset
from tests.cli.test_search import command, refused, start, wait_until
from tests.support.in_process import run_here
from tests.support.search_checks import run_faults, write_tiny_space

FOLDS, TRIALS = 3, 2


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    path = tmp_path_factory.mktemp("nested")
    make_dataset(path / "data", per_speaker=8, seconds=(0.2, 0.4))
    write_tiny_space(path / "moma.yaml", "moma", max_epochs=40)
    return path


@pytest.fixture(scope="module")
def nested(work, ray_cluster):
    """A nested search that was stopped half-way and resumed."""
    out, log = work / "run", work / "log"
    words = ["moma", "--space", work / "moma.yaml", "--protocol", f"speaker-kfold:{FOLDS}"]
    words += ["--nested", "--trials", TRIALS, "--out", out, "--no-explain", "--pruner", "none"]
    process = start(work, *words, log=log)
    wait_until(lambda: any(out.glob("trials/*.json")), process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=100) == 130
    assert run_faults(out, ended=False) == []
    assert 0 < len(RunDirectory(out).records()) < FOLDS * TRIALS
    done = run_here("search", "--resume", "--out", out, "--no-explain", "--json")
    assert done.returncode == 0, done.stderr
    return out, log.read_text(), done


@pytest.mark.ray
def test_a_nested_search_is_stopped_resumed_and_whole(nested):
    out, told, done = nested
    assert (
        "--nested: 3 studies, each trial trains one fold: 2 trials a study, 6 in all, cost about "
        "as much as 2 that train every fold."
    ) in told
    assert "moma of fold 1 started (the paper's configuration, but for " in told + done.stderr
    assert run_faults(out, ended=True) == []
    run = RunDirectory(out)
    records = run.records()
    assert sorted(records) == list(range(FOLDS * TRIALS))
    assert Counter(r["fold"] for r in records.values()) == dict.fromkeys(range(FOLDS), TRIALS)
    for number, record in records.items():
        fold = record["fold"]
        assert {entry["fold"] for entry in record["history"]} == {fold}
        assert [p.name for p in run.models_directory(number).iterdir()] == [f"fold-{fold}"]
        assert set(run.read_posteriors(number)["fold"].to_pylist()) == {fold}
    assert read_parquet(out / "trials.parquet")["fold"].to_pylist() == [0, 1, 2] * TRIALS


@pytest.mark.ray
def test_a_fold_is_made_of_its_own_trials_and_its_best_is_told(nested):
    out, _, done = nested
    records = RunDirectory(out).records()
    own = {f: [r for r in records.values() if r["fold"] == f] for f in range(FOLDS)}
    best = [ranked(own[fold], "uar")[0] for fold in range(FOLDS)]
    told = json.loads(done.stdout)
    assert [t["trial"] for t in told["best_trial"]["by_fold"]] == [r["trial"] for r in best]
    assert told["best_trial"]["dev_uar"] == pytest.approx(np.mean([r["dev"]["uar"] for r in best]))
    made = json.loads((out / "ensemble/ensemble.json").read_text())
    for fold in made["folds"]:
        numbers = {record["trial"] for record in own[fold["fold"]]}
        assert {member["trial"] for member in fold["members"]} <= numbers
        assert len(fold["parameter_order"]) == len(numbers)
        assert fold["best_single"]["trial"] == best[fold["fold"]]["trial"]
    notes = " ".join(made["notes"])
    assert "Nested: a study for each outer fold" in notes
    assert "speakers who test in one fold are dev speakers in another" not in notes
    rows = {row["system"]: row for row in told["answer"]["rows"]}
    assert rows.keys() == {"ensemble", "single", "reference"}
    board = told["answer"]["leaderboard"]
    assert [row["fold"] for row in board] == [0, 1, 2] * TRIALS
    assert [row["trial"] for row in board[:FOLDS]] == [record["trial"] for record in best]
    run, truth, answered = RunDirectory(out), [], []
    classes = run.read_run()["classes"]
    for record in best:
        for row in run.read_posteriors(record["trial"]).to_pylist():
            if row["part"] == "test":
                truth.append(classes.index(row["truth"]))
                answered.append([row[f"p_{name}"] for name in classes])
    uar = classification_metrics(np.array(truth), np.array(answered))["uar"]
    assert rows["single"]["uar"]["value"] == pytest.approx(uar)


@pytest.mark.ray
def test_the_mean_of_a_fold_is_of_its_own_posteriors(nested):
    out, _, _ = nested
    run = RunDirectory(out)
    assert (
        run_command_line(
            ["ensemble", str(out), "--combiner", "mean", "--out", str(out.parent / "mean")]
        )
        == 0
    )
    combined = read_parquet(out.parent / "mean/posteriors.parquet")
    names = [name for name in combined.schema.names if name.startswith("p_")]
    for fold in range(FOLDS):
        numbers = [n for n, record in run.records().items() if record["fold"] == fold]
        tables = [
            {row["part"] + row["utterance_id"]: row for row in run.read_posteriors(n).to_pylist()}
            for n in numbers
        ]
        rows = [row for row in combined.to_pylist() if row["fold"] == fold]
        assert len(rows) == len(tables[0])
        for row in rows:
            parts = [t[row["part"] + row["utterance_id"]] for t in tables]
            expected = [np.mean([part[name] for part in parts]) for name in names]
            assert [row[name] for name in names] == pytest.approx(expected, abs=1e-6)


@pytest.mark.ray
def test_what_is_exported_is_the_ensemble(nested, tmp_path, capsys):
    out, _, _ = nested
    for words in (["export", out, "--out", tmp_path / "bundle"], ["predict", out, "a.wav"]):
        err = refused(words, capsys)
        assert "is nested, so no trial has a model of every fold; give its ensemble" in err
    ensemble = str(out / "ensemble")
    bundles = {name: tmp_path / name for name in ("folds", "refit")}
    assert run_command_line(["export", ensemble, "--out", str(bundles["folds"])]) == 0
    assert run_command_line(["export", ensemble, "--refit", "--out", str(bundles["refit"])]) == 0
    made = json.loads((out / "ensemble/ensemble.json").read_text())
    for source in (out / "ensemble", *bundles.values()):
        system = open_system(source)
        for fold, entry in zip(system.folds, made["folds"], strict=True):
            weights = fold.combiner(len(system.classes)).weights()
            assert fold.num_candidates == len(weights) == TRIALS
            shown = {member.name: weights[member.position] for member in fold.members}
            assert shown == pytest.approx({m["member"]: m["weight"] for m in entry["members"]})


@pytest.mark.ray
def test_a_nested_run_is_listed_reported_and_combined_with_a_usual_one(nested, work, capsys):
    out, _, done = nested
    assert run_command_line(["runs", str(work), "--json"]) == 0
    row = next(r for r in json.loads(capsys.readouterr().out)["runs"] if r["path"] == str(out))
    assert (row["asked"], row["trained"]) == (FOLDS * TRIALS, FOLDS * TRIALS)
    assert row["best_dev"] == pytest.approx(json.loads(done.stdout)["best_trial"]["dev_uar"])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Nested: a study for each outer fold" in page
    usual = work / "usual"
    words = ["moma", "--space", work / "moma.yaml", "--protocol", f"speaker-kfold:{FOLDS}"]
    words += ["--trials", 1, "--out", usual, "--no-explain", "--combiner", "none"]
    assert run_command_line(command(work, *words)[3:]) == 0
    both = work / "both"
    assert run_command_line(["ensemble", str(out), str(usual), "--out", str(both)]) == 0
    made = json.loads((both / "ensemble.json").read_text())
    assert made["counts"]["candidates"] == FOLDS * TRIALS + 1
    assert [len(fold["parameter_order"]) for fold in made["folds"]] == [TRIALS + 1] * FOLDS
    capsys.readouterr()
    again = ["search", "moma", "--space", work / "moma.yaml", "--data", work / "data", "--nested"]
    err = refused([*again, "--warm-start", usual, "--out", work / "warm"], capsys)
    assert "was steered by rows that folds test here" in err
    err = refused(["search", "--resume", "--nested", "--out", usual], capsys)
    assert "a run is nested from its beginning on" in err
