"""Files of ours are checked where they are read: what is wrong is named, and bugs stay bugs."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serplatform.artifacts.files import read_json
from serplatform.artifacts.records import checked, read_record
from serplatform.artifacts.run import RunDescription
from serplatform.artifacts.trial import TrialRecord
from serplatform.cli.main import run as run_command
from serplatform.datasets.dataset import Dataset
from serplatform.ensembles.build import build_ensemble
from serplatform.ensembles.posteriors import read_library
from serplatform.errors import ArtifactError
from serplatform.prediction.open import open_system
from serplatform.report.build import build_report
from serplatform.report.data import build_report_data
from serplatform.report.load import load_source
from serplatform.run_directory import RunDirectory
from serplatform.testing.synthetic import make_dataset
from tests.support.synthetic_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_run(tmp_path_factory.mktemp("records") / "run", num_trials=3, per_speaker=4)
    build_ensemble([path], path / "ensemble")
    return path


@pytest.fixture
def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(run / "trials/trial-00000.json")
    return found


def changed(record: dict[str, Any], keys: str, value: Any) -> dict[str, Any]:
    """A copy in which the value at a dotted place is another."""
    made = copy.deepcopy(record)
    *path, last = [int(key) if key.isdigit() else key for key in keys.split(".")]
    holder: Any = made
    for key in path:
        holder = holder[key]
    holder[last] = value
    return made


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("dev.uar", "high", "dev.uar is text where a number belongs"),
        ("dev.uar", True, "dev.uar is true or false where a number belongs"),
        ("dev.uar", float("nan"), "dev.uar is 'nan': it should be a finite number"),
        ("dev.uar", float("inf"), "dev.uar is 'inf': it should be a finite number"),
        ("dev", [], "dev is a list where an object belongs"),
        ("trial", 1.5, "trial is a number where a whole number belongs"),
        ("trial", True, "trial is true or false where a whole number belongs"),
        ("trial", -1, "trial is '-1': it should be greater than or equal to 0"),
        ("state", "done", "state is 'done': it should be 'complete', 'pruned' or 'failed'"),
        ("history.2.fold", None, "history.2.fold is null where a whole number belongs"),
        ("schema_version", 2, "schema version 2, this program reads 1"),
    ],
)
def test_the_file_the_key_and_the_fault_are_named(
    record: dict[str, Any], place: str, value: Any, said: str
) -> None:
    with pytest.raises(ArtifactError) as caught:
        checked(TrialRecord, changed(record, place, value), "trials/x.json", "trial record", "mend")
    assert str(caught.value).startswith("trials/x.json: ")
    assert said in str(caught.value)
    assert str(caught.value).endswith("; mend")


def test_missing_keys_are_named_together() -> None:
    with pytest.raises(ArtifactError, match="lacks trial; lacks architecture; lacks state"):
        checked(TrialRecord, {"params": {}}, "x.json", "trial record")


def test_what_is_whole_comes_back_as_it_is(record: dict[str, Any]) -> None:
    made = changed(record, "dev.uar", 1)  # a whole number is a number
    made["of a later version"] = {"kept": [1]}
    found = checked(TrialRecord, made, "x.json", "trial record")
    assert found is made
    assert list(found) == list(made)  # a file that is written again keeps its order


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"trial": NaN}', "NaN is no number of JSON"),
        (b'{"state": "\\ud800"}', "surrogates not allowed"),
        (b"[" * 100_000, "recursion"),
        (b"\xff", "can't decode"),
    ],
)
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=said) as caught:
        read_record(TrialRecord, path, "trial record")
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{}")
    with pytest.raises(ArtifactError, match=r"x/run\.json: .* cannot be read"):
        read_json(tmp_path / "x" / "run.json", "run description")


@pytest.mark.parametrize("name", ["../x", "/x", "", "..", "a\0b", "a" * 300])
def test_a_name_that_leads_elsewhere_or_cannot_be_is_refused(run: Path, name: str) -> None:
    description = read_json(run / "run.json")
    with pytest.raises(ArtifactError, match=r"folds_file is no (file's name|path that can be)"):
        checked(RunDescription, {**description, "folds_file": name}, "run.json", "run")


def test_a_record_under_another_trials_name_is_refused(run: Path, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.write_record(read_json(run / "trials/trial-00000.json"))
    directory.record_file(0).rename(directory.record_file(7))
    with pytest.raises(ArtifactError, match=r"trial-00007\.json: holds the record of trial 0"):
        directory.records()


def test_a_complete_trial_without_its_dev_metrics_is_named(run: Path, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    record = read_json(run / "trials/trial-00000.json")
    del record["dev"]["nll"]
    directory.write_record(record)
    with pytest.raises(ArtifactError, match=r"lacks dev\.nll; .*trains the trial again"):
        directory.records()


def bug(*args: Any, **options: Any) -> Any:
    return None + 1  # type: ignore[operator]


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("serplatform.ensembles.posteriors._check_same", ["ensemble", "{run}", "--out", "{out}"]),
        ("serplatform.report.load.load_run", ["report", "{run}", "--out", "{out}.html"]),
        ("serplatform.report.load.ReportTrial", ["report", "{run}", "--out", "{out}.html"]),
        ("serplatform.report.data.read_members", ["report", "{run}", "--out", "{out}.html"]),
        ("serplatform.prediction.open.choose_trial", ["export", "{run}", "--out", "{out}"]),
        (
            "serplatform.prediction.open._find_run",
            ["export", "{run}/ensemble", "--out", "{out}"],
        ),
    ],
)
def test_a_fault_of_our_own_is_not_called_a_damaged_file(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, command: list[str]
) -> None:
    monkeypatch.setattr(target, bug)
    words = [word.format(run=run, out=tmp_path / "out") for word in command]
    with pytest.raises(TypeError, match="NoneType"):
        run_command(words)


def test_a_fault_of_our_own_in_a_dataset_reader_is_not_called_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset(tmp_path / "data", num_speakers=2, per_speaker=2, seconds=(0.1, 0.2))
    monkeypatch.setattr("serplatform.datasets.dataset._check_shards", bug)
    with pytest.raises(TypeError, match="NoneType"):
        Dataset.open(data)


def test_help_does_not_pay_for_the_checks() -> None:
    """Pydantic is imported where the first file is read."""
    code = (
        "import sys, contextlib, io\n"
        "import serplatform.artifacts.records, serplatform.artifacts.run\n"
        "from serplatform.cli.main import run\n"
        "with contextlib.redirect_stdout(io.StringIO()): run(['--help'])\n"
        "print([name for name in ('pydantic', 'torch', 'ray') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


def test_every_reader_takes_what_this_version_writes(run: Path) -> None:
    """The library, the page and prediction read one run and one ensemble."""
    assert len(read_library([run]).candidates) == 3
    assert (
        build_report_data(load_source(run)).members
        == build_report_data(load_source(run / "ensemble")).members
    )
    assert build_report(run).stat().st_size > 100_000
    with pytest.raises(ArtifactError, match="no such model"):  # nothing was trained
        open_system(run / "ensemble")
    json.loads((run / "ensemble/ensemble.json").read_text())
