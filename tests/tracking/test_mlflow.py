"""MLflow holds every trial once, with its state, whatever was killed or away meanwhile."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from serplatform.errors import BadInputError
from serplatform.tracking.choice import as_recorded, check_log
from tests.support.tracked import planned_run, play, save_state, watch

pytest.importorskip("mlflow")
pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of the packages below it

STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return str(tmp_path_factory.mktemp("mlflow") / "store")


@pytest.fixture
def planned(tmp_path):
    return planned_run(tmp_path / tmp_path.name)  # one store holds runs of many names


def runs_of(uri, run):
    """The search's own run in MLflow, and those of its trials by number."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri if "://" in uri else f"sqlite:///{uri}/mlflow.db")
    experiment = client.get_experiment_by_name("serplatform")
    found = client.search_runs(
        [experiment.experiment_id], f"tags.`serplatform.run` = '{run.identity}'"
    )
    trials = {
        int(r.data.tags["serplatform.trial"]): r
        for r in found
        if "serplatform.trial" in r.data.tags
    }
    (parent,) = [r for r in found if "serplatform.trial" not in r.data.tags]
    assert len(found) == len(trials) + 1
    return client, parent, trials


def curve(client, trial, name):
    return [
        (metric.step, metric.value) for metric in client.get_metric_history(trial.info.run_id, name)
    ]


def assert_whole(uri, run, records):
    client, parent, trials = runs_of(uri, run)
    assert trials.keys() == {record["trial"] for record in records}
    for record in records:
        trial = trials[record["trial"]]
        assert trial.info.status == STATUS[record["state"]]
        tags = trial.data.tags
        assert tags["serplatform.state"] == record["state"]
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert (record["error"] or "") in tags["serplatform.ended"]
        assert trial.data.params["architecture"] == record["architecture"]
        assert trial.data.params.keys() >= record["params"].keys()
        for fold in {entry["fold"] for entry in record["history"]}:
            expected = [
                (e["epoch"], e["dev"]["uar"]) for e in record["history"] if e["fold"] == fold
            ]
            assert curve(client, trial, f"dev_uar/fold-{fold}") == expected
        steps = [step for step, _ in curve(client, trial, "reached_dev_uar")]
        assert steps == list(range(1, len(record["history"]) + 1))
        complete = record["state"] == "complete"
        assert ("dev_uar" in trial.data.metrics) == complete
        if complete:
            assert trial.data.metrics["dev_uar"] == record["dev"]["uar"]
        assert not any("test" in name for name in trial.data.metrics)
    return client, parent


def test_a_search_has_its_trials_below_it_with_states_and_results(planned, store):
    run, records = planned
    run.directory.write_trials_table(records)
    run.directory.report_file.write_text("<!doctype html>", encoding="utf-8")
    with watch(run, mlflow=check_log([f"mlflow={store}"])["mlflow"]) as told:
        for record in records:
            play(told, record, run=run)
        told.results = [run.directory.trials_table, run.directory.report_file]
    client, parent = assert_whole(store, run, records)
    assert parent.info.status == "FINISHED"
    assert parent.data.params["protocol"] == run.description["protocol"]["name"]
    files = {Path(file.path).name for file in client.list_artifacts(parent.info.run_id)}
    assert files == {"trials.parquet", "report.html"}


@pytest.mark.parametrize("saved", [1, 3])
def test_a_search_that_was_killed_goes_on_in_the_same_runs(planned, store, saved):
    run, records = planned
    record = next(r for r in records if r["state"] == "complete")
    killed = watch(run, mlflow=store)
    play(killed, record, last=2)
    until(lambda: len(curve_so_far(store, run, record)) == 2)
    save_state(run, record, saved)
    with watch(run, mlflow=store) as told:
        play(told, record, first=saved, run=run, resumed=True)
        for other in records:
            if other is not record:
                play(told, other, run=run)
    assert_whole(store, run, records)


def test_trials_that_ended_while_nobody_listened_are_sent_at_resume(planned, store):
    run, records = planned
    for record in records:
        run.directory.write_record(record)
    with watch(run, mlflow=store):
        pass
    assert_whole(store, run, records)


def until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def curve_so_far(uri, run, record):
    from mlflow.exceptions import MlflowException

    try:
        client, _, trials = runs_of(uri, run)
    except (MlflowException, ValueError, AttributeError):
        return []
    found = trials.get(record["trial"])
    return [] if found is None else curve(client, found, "reached_dev_uar")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_server_that_does_not_answer_is_refused_before_the_search():
    uri = f"http://me:secret@127.0.0.1:{free_port()}"
    with pytest.raises(BadInputError, match="cannot be reached") as caught:
        check_log([f"mlflow={uri}"])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["mlflow"], "say where"),
        (["mlflow=a", "mlflow=b"], "name each tracker once"),
        (["tensorboard"], "is always written"),
        (["mlfow=a"], "mlflow"),
        (["mlflow=http://***@host"], "never recorded"),
    ],
)
def test_what_cannot_be_meant_is_refused(asked, message, monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match=message):
        check_log(asked)
    assert not list(tmp_path.iterdir())


def test_a_missing_client_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(BadInputError, match=r"pip install 'serplatform\[mlflow\]'"):
        check_log(["mlflow=somewhere"])


def test_passwords_are_not_recorded():
    assert as_recorded({"mlflow": "https://me:secret@host/"}) == ["mlflow=https://***@host/"]


# -- a real server, of a full MLflow that this environment cannot hold


class MlflowServer:
    """``mlflow server`` on loopback, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        words += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        words += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [os.environ["SERPLATFORM_MLFLOW"], *words],
                stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip
        until(self._answers, 300.0)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:  # noqa: S310
                return answer.status == 200
        except OSError:
            return False

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None


@pytest.fixture
def server(tmp_path):
    if "SERPLATFORM_MLFLOW" not in os.environ:
        pytest.skip("SERPLATFORM_MLFLOW does not name the command of a full MLflow")
    folder = tmp_path / "server"
    folder.mkdir()
    made = MlflowServer(folder)
    made.start()
    yield made
    made.stop()


@pytest.mark.slow
def test_a_real_server_that_goes_away_and_comes_back_has_everything_once(
    planned, server, monkeypatch, capsys
):
    monkeypatch.setattr("serplatform.tracking.delivery.PAUSE", 0.5)
    run, records = planned
    first, second, *rest = records
    run.directory.write_trials_table(records)
    target = check_log([f"mlflow={server.uri}"])["mlflow"]
    with watch(run, mlflow=target) as told:
        play(told, first, run=run)
        until(lambda: len(curve_so_far(server.uri, run, first)) == len(first["history"]))
        server.stop()
        begun = time.monotonic()
        play(told, second, run=run)
        assert time.monotonic() - begun < 5  # the search does not wait for it
        until(lambda: "does not take what is sent" in capsys.readouterr().err)
        server.start()
        for record in rest:
            play(told, record, run=run)
        told.results = [run.directory.trials_table]
    client, parent = assert_whole(server.uri, run, records)
    (file,) = client.list_artifacts(parent.info.run_id)
    assert file.path == "trials.parquet"
    assert parent.info.status == "FINISHED"
