"""`optuna-dashboard` itself, started on a run's journal, says what it shows."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from xml.etree import ElementTree

import optuna
import pytest

from serplatform.studies.space import Parameter, SearchSpace
from serplatform.studies.study import Studies
from serplatform.studies.trial_artifacts import FOLDER, TrialArtifacts
from tests.support.tracked import planned_run

pytest.importorskip("optuna_dashboard")

SPACE = SearchSpace(
    architecture="moma",
    description="one parameter",
    fixed={"training.max_epochs": 5},
    parameters={"training.learning_rate": Parameter(kind="float", low=1e-5, high=1e-2, log=True)},
)


def open_studies(run, records=()):
    return Studies(
        {"moma": SPACE},
        storage=str(run.directory.journal),
        records={record["trial"]: record for record in records},
        max_epochs=5,
        num_folds=3,
        seed=0,
        attach=TrialArtifacts(run.directory, run.description["classes"]).attach,
        about={"protocol": "speaker-kfold:3"},
    )


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A run whose four trials ended; the process was killed once, between artifacts and end."""
    run, records = planned_run(tmp_path_factory.mktemp("dashboard") / "run")
    run.directory.journal.unlink()
    studies = open_studies(run)
    asked = [studies.ask() for _ in records]
    assert [trial.number for trial in asked] == [record["trial"] for record in records]
    records = [record | {"architecture": "moma"} for record in records]
    killed = studies._live[0]
    TrialArtifacts(run.directory, run.description["classes"]).attach(killed, records[0])
    studies = open_studies(run)
    for record in records:
        studies.tell(record)
    return run, records


@pytest.fixture(scope="module")
def ask(searched):
    """Asks the dashboard's HTTP interface."""
    run, _ = searched
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = ["--host", "127.0.0.1", "--port", str(port), "--artifact-dir"]
    words += [str(run.directory.path / FOLDER), str(run.directory.journal)]
    program = "import sys; from optuna_dashboard._cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def get(path: str) -> bytes:
        address = f"http://127.0.0.1:{port}{path}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.read()

    end = time.monotonic() + 120
    while True:
        try:
            get("/api/studies")
            break
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
    yield get
    process.terminate()
    process.wait(30)


def test_the_dashboard_names_the_objective_and_shows_pictures_of_every_trial(ask, searched):
    _, records = searched
    (study,) = json.loads(ask("/api/studies"))["study_summaries"]
    found = json.loads(ask(f"/api/studies/{study['study_id']}"))
    assert found["objective_names"] == ["dev_uar"]
    assert "speaker-kfold:3" in found["note"]["body"]
    assert len(found["trials"]) == len(records)
    for trial, record in zip(found["trials"], records, strict=True):
        shown = {a["filename"]: a for a in trial["artifacts"]}
        assert len(shown) == len(trial["artifacts"])  # once each, although it was killed
        names = {"learning-curves.svg"} if record["history"] else set()
        names |= {"dev-confusions.svg"} if record["state"] == "complete" else set()
        assert shown.keys() == names
        for artifact in shown.values():
            assert artifact["mimetype"] == "image/svg+xml"
            ids = study["study_id"], trial["trial_id"], artifact["artifact_id"]
            picture = ElementTree.fromstring(ask("/artifacts/{}/{}/{}".format(*ids)))  # noqa: S314
            assert picture.tag.endswith("svg")
        errors = [a["value"] for a in trial["user_attrs"] if a["key"] == "error"]
        assert [error.strip('"') for error in errors] == [record["error"]] * bool(record["error"])


def test_the_matrix_counts_dev_rows_and_no_other(searched):
    run, records = searched
    record = next(r for r in records if r["state"] == "complete")
    counts = TrialArtifacts(run.directory, run.description["classes"])._dev_counts(record)
    parts = run.directory.read_posteriors(record["trial"])["part"].to_pylist()
    assert counts.sum() == parts.count("dev") < len(parts)


def test_a_journal_of_an_earlier_version_gets_the_name_too(tmp_path):
    run, _ = planned_run(tmp_path / "run")
    run.directory.journal.unlink()
    file = optuna.storages.journal.JournalFileBackend(str(run.directory.journal))
    storage = optuna.storages.JournalStorage(file)
    optuna.create_study(storage=storage, study_name="moma", directions=["maximize"])
    open_studies(run)
    assert optuna.load_study(study_name="moma", storage=storage).metric_names == ["dev_uar"]


def test_a_disk_that_is_full_costs_a_picture_and_no_trial(tmp_path):
    run, records = planned_run(tmp_path / "run")
    run.directory.journal.unlink()
    (run.directory.path / FOLDER).write_text("a file is in the way")
    studies = open_studies(run)
    assert studies.ask().number == records[0]["trial"]
    studies.tell(records[0])
    file = optuna.storages.journal.JournalFileBackend(str(run.directory.journal))
    study = optuna.load_study(study_name="moma", storage=optuna.storages.JournalStorage(file))
    assert study.trials[0].state == optuna.trial.TrialState.COMPLETE
