"""``serplatform runs`` of a URI: the same rows as of the directory."""

from __future__ import annotations

from pathlib import Path

from serplatform.api.runs import list_runs
from serplatform.ensembles.build import build_ensemble
from tests.support.object_storage import put_folder
from tests.support.synthetic_run import make_run


def test_runs_on_object_storage_are_listed(lab: str, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    run = make_run(folder / "a", num_trials=2, num_speakers=3, per_speaker=4)
    build_ensemble([run], run / "ensemble")
    put_folder(folder, f"{lab}/runs")
    (row,) = list_runs(f"{lab}/runs")
    (here,) = list_runs(folder)
    assert row["path"] == f"{lab}/runs/a"
    assert row | {"path": "", "next": ""} == here | {"path": "", "next": ""}
    (alone,) = list_runs(f"{lab}/runs/a")
    assert alone == row
