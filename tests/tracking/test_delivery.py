"""A tracker that is away does not hold a search up, and gets everything when it is back."""

from __future__ import annotations

import threading

import pytest

from serplatform.tracking.base import TrackedRun, TrackedTrial
from serplatform.tracking.delivery import Delivery
from tests.support.tracked import planned_run


class Server:
    """A tracker whose server can be away."""

    def __init__(self, run: TrackedRun) -> None:
        self.run = run
        self.away = threading.Event()
        self.tried = threading.Event()
        self.got: dict[int, int] = {}
        self.finished: list[str] = []

    def _reach(self) -> None:
        self.tried.set()
        if self.away.is_set():
            raise ConnectionError("http://me:secret@host:5000 refuses")

    def update(self, trial: TrackedTrial) -> None:
        self._reach()
        self.got[trial.number] = len(trial.points())

    def finish(self, status, files) -> None:
        self._reach()
        self.finished.append(status)


@pytest.fixture
def server(tmp_path):
    run, records = planned_run(tmp_path / "run")
    found = Server(run)
    found.trials = [TrackedTrial.of(record) for record in records]
    return found


def test_what_was_missed_is_sent_when_the_server_is_back(server, capsys):
    server.away.set()
    delivery = Delivery("mlflow", server, pause=0.02)
    for trial in server.trials:
        delivery.put(trial)
    assert server.tried.wait(10)
    server.tried.clear()
    assert server.tried.wait(10)  # it is tried again
    assert not server.got
    server.away.clear()
    delivery.close("complete", [], within=10)
    assert server.got == {trial.number: len(trial.epochs) for trial in server.trials}
    assert server.finished == ["complete"]
    told = capsys.readouterr().err
    assert told.count("mlflow does not take what is sent") == 1
    assert "secret" not in told
    assert "could not be sent" not in told


def test_a_server_that_stays_away_is_named_with_the_command_that_sends_the_rest(server, capsys):
    server.away.set()
    delivery = Delivery("mlflow", server, pause=0.02)
    delivery.put(server.trials[0])
    delivery.close("complete", [], within=0.3)
    told = capsys.readouterr().err
    assert "1 trial(s) and the results could not be sent to mlflow" in told
    assert "serplatform search --resume --out" in told
    assert not server.finished
