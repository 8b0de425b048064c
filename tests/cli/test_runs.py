"""``serplatform runs`` and ``serplatform.runs``: what lies below a directory."""

from __future__ import annotations

import fcntl
import json
import time
from pathlib import Path
from typing import Any

import pytest

import serplatform
from serplatform.artifacts.files import write_json
from serplatform.cli.main import run
from serplatform.ensembles.build import build_ensemble
from serplatform.run_directory import RunDirectory
from tests.support.synthetic_run import make_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two runs, the younger with an ensemble of its own, and an ensemble of both."""
    out = tmp_path / "runs"
    for place, (name, ended) in enumerate({"old": "2026-01-01", "new": "2026-02-01"}.items()):
        path = make_run(
            out / "deeper" / name,
            num_trials=3,
            num_speakers=3,
            per_speaker=4,
            seed=place,
            data_seed=0,
        )
        change(path, ended=f"{ended}T00:00:00+00:00", trials=9)
    runs = [out / "deeper" / name for name in ("old", "new")]
    build_ensemble(runs[1:], runs[1] / "ensemble")
    build_ensemble(runs, out / "both")
    return out


def change(path: Path, **values: Any) -> None:
    """Other values in a run's description."""
    directory = RunDirectory(path)
    directory.write_run({**directory.read_run(), **values})  # type: ignore[typeddict-item]


def listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert run(["runs", str(folder), "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["runs"]
    return rows


def test_every_run_and_ensemble_is_a_row_newest_first(folder: Path, capsys) -> None:
    rows = {Path(row["path"]).name: row for row in listed(folder, capsys)}
    assert list(rows) == ["both", "new", "old"]  # the ensemble was made just now
    new, records = rows["new"], RunDirectory(folder / "deeper" / "new").records().values()
    counts = {"trained": 3, "pruned": 1, "failed": 1, "cut_off": 0, "asked": 9}
    assert {name: new[name] for name in counts} == counts
    best = max(record["dev"]["uar"] for record in records if record["state"] == "complete")
    assert new["best_dev"] == best
    made = json.loads((folder / "deeper/new/ensemble/ensemble.json").read_text())
    uar = made["pooled"]["ensemble"]["uar"]
    assert [new[name] for name in ("test_uar", "low", "high")] == list(uar.values())
    assert new["chance"] == made["chance"]["uar"]
    assert new["next"] == f"serplatform report {folder / 'deeper/new'}"
    assert rows["old"]["test_uar"] is None
    assert rows["both"]["kind"] == "ensemble"
    assert set(rows["both"]["architectures"]) <= {"moma", "blstmatt", "csa"}


def test_people_read_percent_and_the_command(folder: Path, capsys) -> None:
    assert run(["runs", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "9 asked: 3 trained, 1 pruned, 1 failed" in text
    assert "chance 25.0 %" in text
    assert "serplatform report" in text


def test_records_count_where_the_table_is_behind(folder: Path, capsys) -> None:
    path = folder / "deeper" / "new"
    before = next(row for row in listed(folder, capsys) if row["path"] == str(path))
    directory = RunDirectory(path)
    directory.write_trials_table(list(directory.records().values())[:1])
    assert next(row for row in listed(folder, capsys) if row["path"] == str(path)) == before


def test_what_is_damaged_is_named_with_the_reason(folder: Path, capsys) -> None:
    content = (folder / "deeper/old/run.json").read_text()
    (folder / "deeper/old/run.json").write_text(content.replace('"seed": 0', '"seed": 1'))
    rows = {Path(row["path"]).name: row for row in listed(folder, capsys)}
    assert rows["old"]["status"] == "damaged"
    assert "damaged or was edited" in rows["old"]["fault"]
    assert rows["new"]["status"] == "complete"


def test_a_run_whose_process_is_gone_is_told_from_one_that_goes_on(folder: Path, capsys) -> None:
    path = folder / "deeper" / "old"
    change(path, status="running", ended=None, started="2026-01-01T00:00:00+00:00")
    state = RunDirectory(path).state_directory(7)
    state.mkdir(parents=True)
    write_json(state / "progress.json", {})
    lock = path / ".lock"
    lock.touch()
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        row = next(row for row in listed(folder, capsys) if row["path"] == str(path))
        assert (row["status"], row["next"], row["cut_off"]) == ("running", "", 1)
    row = next(row for row in listed(folder, capsys) if row["path"] == str(path))
    assert row["status"] == "stopped"
    assert row["next"] == f"serplatform search --resume --out {path}"


def test_a_run_whose_time_was_too_short_is_given_more(folder: Path, capsys) -> None:
    path = folder / "deeper" / "old"
    change(path, status="complete", time_budget=5.0)
    for file in path.glob("trials*/*.json"):
        file.unlink()
    (path / "trials.parquet").unlink(missing_ok=True)
    row = next(row for row in listed(folder, capsys) if row["path"] == str(path))
    assert (row["trained"], row["status"]) == (0, "out of time")
    assert run(["runs", str(path)]) == 0
    assert f"{path}: search out of time" in capsys.readouterr().out
    assert run(["report", str(path)]) == 0
    assert f"shows no result; go on with\n  {row['next']}" in capsys.readouterr().out
    assert row["next"] == f"serplatform search --resume --out {path} --time-budget 1m"


def test_a_run_whose_trials_all_failed_has_failed(folder: Path, capsys) -> None:
    path = folder / "deeper" / "old"
    change(path, status="complete", nested=False)
    directory = RunDirectory(path)
    (failed,) = (r for r in directory.records().values() if r["state"] == "failed")
    for number in directory.records():
        if number != failed["trial"]:
            directory.record_file(number).unlink()
    directory.write_trials_table()
    row = next(row for row in listed(folder, capsys) if row["path"] == str(path))
    assert (row["failed"], row["status"]) == (1, "failed")


def test_a_nested_run_is_complete_when_every_fold_has_a_trial(folder: Path, capsys) -> None:
    path = folder / "deeper" / "old"
    directory = RunDirectory(path)
    change(path, status="complete", nested=True)
    trained = [r for r in directory.records().values() if r["state"] == "complete"]
    for fold, record in enumerate(trained):
        directory.write_record({**record, "fold": fold})
    directory.write_trials_table()

    def status() -> str:
        return next(r["status"] for r in listed(folder, capsys) if r["path"] == str(path))

    protocol = directory.read_run()["protocol"]
    change(path, protocol={**protocol, "num_folds": len(trained)})
    assert status() == "complete"
    directory.record_file(trained[0]["trial"]).unlink()
    directory.record_file(
        next(n for n, r in directory.records().items() if r["state"] == "failed")
    ).unlink()
    directory.write_trials_table()
    assert status() == "out of time"


def test_in_python_it_is_a_table(folder: Path) -> None:
    table = serplatform.runs(folder)
    assert table["path"].map(lambda path: Path(path).name).tolist() == ["both", "new", "old"]
    assert serplatform.runs(folder / "deeper" / "new")["trained"].tolist() == [3]


def test_a_directory_that_is_not_there_is_said(tmp_path: Path, capsys) -> None:
    assert run(["runs", str(tmp_path / "none")]) == 2
    assert "no such directory" in capsys.readouterr().err
    assert run(["runs", str(tmp_path)]) == 0
    assert "No run and no ensemble lies below" in capsys.readouterr().out


def test_twenty_runs_are_listed_at_once(folder: Path, capsys) -> None:
    content = (folder / "deeper/new/run.json").read_bytes()
    for number in range(18):
        path = folder / f"more-{number}"
        path.mkdir()
        (path / "run.json").write_bytes(content)
    begun = time.process_time()
    assert len(listed(folder, capsys)) == 21
    assert time.process_time() - begun < 1.0


@pytest.mark.parametrize(
    "words", [["export"], ["export", "--out", "new"], ["report"], ["predict"], ["search"]]
)
def test_a_name_that_is_nearly_that_of_a_run_gets_a_suggestion(
    folder: Path, words: list[str], capsys
) -> None:
    wrong = str(folder / "deeper" / "odl")
    command, *more = words
    if command == "search":
        code = run(["search", "--resume", "--out", wrong])
    else:
        code = run([command, wrong, *more, *["a.wav"] * (command == "predict")])
    told = capsys.readouterr().err
    assert code == 2
    assert f"{wrong}: " in told
    assert f"Did you mean {folder / 'deeper' / 'old'}?" in told


def test_a_missing_option_is_explained_with_the_command(folder: Path, capsys) -> None:
    assert run(["prepare", "rec"]) == 2
    told = capsys.readouterr().err
    assert "--out DATA: The dataset: a new or empty directory" in told
    assert "  serplatform prepare rec --out DATA\n" in told
    path = folder / "deeper" / "old"
    assert run(["export", str(path)]) == 2
    assert f"  serplatform export {path} --out bundles/old\n" in capsys.readouterr().err
