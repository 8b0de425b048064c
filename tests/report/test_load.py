"""Runs and ensembles are read whole, or refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from serplatform.artifacts.files import read_json, read_parquet, write_parquet
from serplatform.ensembles.build import build_ensemble
from serplatform.errors import ArtifactError, BadInputError
from serplatform.report.load import load_source, read_posteriors
from tests.support.synthetic_run import CLASSES, make_run


def test_run_is_read_with_every_trial_and_state(on_disk: Any) -> None:
    source = load_source(on_disk.run)
    (run,) = source.runs
    assert source.ensemble is None
    assert run.classes == CLASSES
    assert [trial.number for trial in run.trials] == list(range(11))
    assert [trial.state for trial in run.trials].count("complete") == 9
    assert {trial.state for trial in run.trials} == {"complete", "pruned", "failed"}
    failed = next(trial for trial in run.trials if trial.state == "failed")
    assert failed.record.get("error") == "loss is not finite at epoch 1 of fold 0"
    assert failed.objective is None


def test_fold_dev_uar_and_history_agree_with_the_record(on_disk: Any) -> None:
    record = read_json(on_disk.run / "trials" / "trial-00000.json")
    trial = load_source(on_disk.run).runs[0].trials[0]
    assert trial.objective == record["dev"]["uar"]
    assert len(trial.history) == len(record["history"])
    assert trial.history[0]["dev"]["uar"] == record["history"][0]["dev"]["uar"]


def test_ensemble_brings_its_run(on_disk: Any) -> None:
    source = load_source(on_disk.ensemble)
    assert source.ensemble is not None
    assert [run.path for run in source.runs] == [on_disk.run.resolve()]
    assert source.missing == ()


def test_ensemble_inside_a_run_moves_with_it(on_disk: Any, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(on_disk.run, moved)
    shutil.copytree(on_disk.ensemble, moved / "ensemble")
    info = read_json(moved / "ensemble" / "ensemble.json")
    for row in [*info["runs"], *(f["best_single"] for f in info["folds"])]:
        row["path" if "path" in row else "run"] = "gone"
    (moved / "ensemble" / "ensemble.json").write_text(json.dumps(info))
    source = load_source(moved)
    assert source.ensemble is not None
    assert source.missing == ()
    assert source.named["gone"].path == moved.resolve()


def test_a_copy_of_a_run_is_not_shown_with_the_original(on_disk: Any, tmp_path: Path) -> None:
    original = tmp_path / "original"
    shutil.copytree(on_disk.run, original)
    build_ensemble([original], original / "ensemble")
    shutil.copytree(original, tmp_path / "copy")
    for asked in (tmp_path / "copy", tmp_path / "copy" / "ensemble"):
        source = load_source(asked)
        assert [run.path.resolve() for run in source.runs] == [(tmp_path / "copy").resolve()]
        assert list(source.named) == [str(original)]


def test_ensemble_without_its_run_names_what_is_missing(on_disk: Any, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(on_disk.ensemble, alone)
    info = read_json(alone / "ensemble.json")
    info["runs"][0]["path"] = "nowhere/run"
    (alone / "ensemble.json").write_text(json.dumps(info))
    source = load_source(alone)
    assert source.runs == ()
    assert source.missing == ("nowhere/run",)


def test_ensemble_of_other_folds_is_refused(on_disk: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(on_disk.ensemble, other)
    info = read_json(other / "ensemble.json")
    info["folds_hash"] = "0" * 64
    (other / "ensemble.json").write_text(json.dumps(info))
    with pytest.raises(ArtifactError, match="was built on other folds or classes"):
        load_source(other)


def test_directory_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="neither a run"):
        load_source(tmp_path)
    with pytest.raises(BadInputError, match="no such directory"):
        load_source(tmp_path / "none")


def test_damaged_record_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_trials=1)
    (run / "trials" / "trial-00000.json").write_text('{"trial": 0, "state": "complete"}')
    with pytest.raises(ArtifactError, match=r"trial-00000\.json: the trial record is damaged"):
        load_source(run)


def _altered(path: Path, tmp_path: Path, name: str, column: pa.Array) -> Path:
    table = read_parquet(path)
    table = table.set_column(table.column_names.index(name), name, column)
    write_parquet(tmp_path / "altered.parquet", table)
    return tmp_path / "altered.parquet"


def test_damaged_posteriors_are_named(on_disk: Any, tmp_path: Path) -> None:
    path = on_disk.run / "posteriors" / "trial-00000.parquet"
    table = read_parquet(path)
    doubled = _altered(path, tmp_path, "p_sad", pc.multiply(table["p_sad"], 2.0))
    with pytest.raises(ArtifactError, match="away from a sum of 1"):
        read_posteriors(doubled, CLASSES)
    holed = _altered(path, tmp_path, "p_sad", pa.array([float("nan")] * len(table)))
    with pytest.raises(ArtifactError, match="must be finite and not negative"):
        read_posteriors(holed, CLASSES)
    below = pc.subtract(table["p_sad"], 1.0)
    negative = _altered(path, tmp_path, "p_sad", below)
    with pytest.raises(ArtifactError, match="must be finite and not negative"):
        read_posteriors(negative, CLASSES)
    text = _altered(path, tmp_path, "fold", pa.array(["first"] * len(table)))
    with pytest.raises(ArtifactError, match=r"altered\.parquet: the posterior table is damaged"):
        read_posteriors(text, CLASSES)
    rounded = _altered(path, tmp_path, "p_sad", pc.add(table["p_sad"], 5e-5))
    assert len(read_posteriors(rounded, CLASSES)) == len(table)  # as the ensemble takes it
    same = _altered(path, tmp_path, "utterance_id", pa.array(["u"] * len(table)))
    with pytest.raises(ArtifactError, match="'u' stands twice in the dev part of fold 0"):
        read_posteriors(same, CLASSES)
    unknown = _altered(path, tmp_path, "truth", pa.array(["bored"] * len(table)))
    with pytest.raises(ArtifactError, match=r"unknown label.* bored"):
        read_posteriors(unknown, CLASSES)
    with pytest.raises(ArtifactError, match="lacks p_bored"):
        read_posteriors(path, (*CLASSES, "bored"))
