"""The run directory: records, the trials table, exclusive use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from serplatform.artifacts.trial import DEV_METRICS
from serplatform.errors import ArtifactError, BadInputError
from serplatform.run_directory import RunDirectory, RunLock


def record(trial: int, **more: Any) -> dict[str, Any]:
    return {
        "trial": trial,
        "architecture": "moma",
        "state": "complete",
        "paper": trial == 0,
        "params": {"model.hidden_dim": 64},
        "dev": dict.fromkeys(DEV_METRICS, 0.5),
        "fold_dev": [{"uar": 0.4}, {"uar": 0.6}],
        "epochs": 9,
        "seconds": 2.5,
        "num_parameters": 100,
        "peak_memory_mb": 50.0,
        "error": None,
        **more,
    }


def test_trials_table_holds_every_record_in_order(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_record(record(1, params={"model.kernel_sizes": [5, 4, 3]}))
    run.write_record(record(0))
    run.write_record(record(2, state="failed", dev={}, fold_dev=[], error="it diverged"))
    run.write_trials_table()
    rows = pq.read_table(run.trials_table).to_pylist()
    assert [row["trial"] for row in rows] == [0, 1, 2]
    assert rows[0]["params.model.hidden_dim"] == 64
    assert rows[1]["params.model.hidden_dim"] is None
    assert rows[1]["params.model.kernel_sizes"] == "[5, 4, 3]"
    assert rows[0]["fold_dev_uar"] == [0.4, 0.6]
    assert rows[2]["dev_uar"] is None
    assert rows[2]["error"] == "it diverged"
    assert rows[0]["paper"] is True


def test_table_of_no_trials_can_be_written(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_trials_table()
    assert pq.read_table(run.trials_table).num_rows == 0


def test_unknown_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'running' is not one of"):
        RunDirectory(tmp_path).write_record(record(0, state="running"))


def test_truncated_record_is_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_record(record(3))
    content = run.record_file(3).read_bytes()
    run.record_file(3).write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=r"trial-00003\.json: the trial record is damaged"):
        run.records()


def test_directory_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a run directory"):
        RunDirectory(tmp_path).read_run()


@pytest.mark.parametrize("kind", ["bundle", "ensemble"])
def test_another_result_is_called_what_it_is(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"{kind}.json").write_text("{}")
    with pytest.raises(ArtifactError, match=rf"\({kind}\.json\); give the run behind it"):
        RunDirectory(tmp_path).read_run()


def test_other_schema_version_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_run({"schema_version": 99})
    with pytest.raises(ArtifactError, match="schema version 99, this program reads 1"):
        run.read_run()


def test_two_searches_cannot_share_a_run(tmp_path: Path) -> None:
    lock = RunLock(RunDirectory(tmp_path))
    with pytest.raises(BadInputError, match="another search is writing to this run"):
        RunLock(RunDirectory(tmp_path))
    lock.release()
    RunLock(RunDirectory(tmp_path)).release()


def _strew(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def test_leftovers_of_a_trial_go_and_what_others_put_beside_them_stays(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    state, models = run.state_directory(3), run.model_directory(3, 0).parent
    ours = ["progress.json", "owner", "fold-0.parquet", ".progress.json.partial"]
    ours += ["epoch-7/state.json", "epoch-7/state-0123456789abcdef.safetensors"]
    theirs = ["notes.txt", ".notes.partial", "epoch-7/mine.safetensors", "epoch-best/state.json"]
    _strew(state, ours + theirs)
    _strew(models, ["fold-0/model.safetensors", "fold-1/config.json", "fold-1/model.bak"])
    _strew(run.posteriors_file(3).parent, [".trial-00003.parquet.partial", "my.arrow"])
    run.remove_leftovers(3, "complete")
    left = sorted(p.relative_to(state).as_posix() for p in state.rglob("*") if p.is_file())
    assert left == sorted(theirs)
    assert (models / "fold-0" / "model.safetensors").exists()
    assert [p.name for p in run.posteriors_file(3).parent.iterdir()] == ["my.arrow"]
    run.remove_leftovers(3, "failed")
    assert [p.name for p in models.rglob("*") if p.is_file()] == ["model.bak"]


def test_what_others_put_beside_records_and_states_is_no_trial(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_record(record(0))
    _strew(tmp_path, ["trials/trial-00000 (copy).json", "trials/trial-notes.json"])
    _strew(tmp_path, ["state/trial-00004/owner", "state/trial-old/owner"])
    assert list(run.records()) == [0]
    assert list(run.unfinished()) == [4]


def test_what_ray_wrote_goes_and_what_others_put_beside_it_stays(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    trial = "tune/TrialActor_85c55eea_2_task=a_b__2026-11-28_19-44-37"
    driver = "tune/train_driver_06ddf2ee_1_gpus=0,groups=x_2026-11-28_19-58-38"
    group = "ray_train_run-2026-11-28_19-58-47"
    ours = ["tune/tuner.pkl", "tune/.validate_storage_marker", f"{group}/.validate_storage_marker"]
    ours += ["tune/searcher-state-2026-11-28_19-44-37.pkl", f"{trial}/params.json", "groups/0/0af1"]
    ours += ["tune/experiment_state-2026-11-28_19-44-37.json", f"{driver}/error.txt"]
    _strew(run.scratch, ours)
    run.remove_scratch()
    assert not run.scratch.exists()
    theirs = ["notes.txt", "tune/notes.pkl", f"{trial}/notes.txt", "groups/mine", "x/tuner.pkl"]
    _strew(run.scratch, ours + theirs)
    run.remove_scratch()
    left = [p.relative_to(run.scratch).as_posix() for p in run.scratch.rglob("*") if p.is_file()]
    assert sorted(left) == sorted(theirs)
