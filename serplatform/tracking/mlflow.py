"""MLflow: a parent run for the search, a child for each trial.

The server is asked what it has already got, so nothing is kept beside the run. Ray's own callback
waits for the server in the driver of the search, ends a stopped trial as finished, and makes new
runs when a search is resumed.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from serplatform.errors import BadInputError
from serplatform.storage.location import redact
from serplatform.tracking.base import TRACKERS, TrackedRun, TrackedTrial, Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: experiment, unless the environment names one as for MLflow itself
_EXPERIMENT = "serplatform"
#: tags by which a resumed search finds what is there; values of MLflow's status
_RUN, _TRIAL, _STATE = "serplatform.run", "serplatform.trial", "serplatform.state"
_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "interrupted": "KILLED"}
#: what the client does by itself for minutes, we do ourselves; and it reports nothing home
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
#: most that MLflow takes at once: metrics, parameters, characters of a value
_METRICS, _PARAMS, _TEXT = 1000, 100, 500
_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")


@TRACKERS.register("mlflow")
class Mlflow(Tracker):
    """A tracking server, its database, or a directory that gets a database of its own."""

    extra: ClassVar[str] = "mlflow"

    def __init__(self, target: str, run: TrackedRun) -> None:
        super().__init__(target, run)
        self._client: MlflowClient | None = None
        self._experiment = self._parent = ""
        self._runs: dict[int, str] = {}  # trial to MLflow's id
        self._sent: dict[int, int] = {}  # epochs
        self._ended: set[int] = set()

    @classmethod
    def check(cls, target: str) -> str:
        """See that there is a client, and that a server answers."""
        target = target or os.environ.get("MLFLOW_TRACKING_URI", "")
        if not target:
            raise BadInputError(
                "--log mlflow: say where, as mlflow=http://HOST:5000 or mlflow=DIRECTORY, or set "
                "MLFLOW_TRACKING_URI"
            )
        if "://" not in target:
            folder = Path(target).expanduser().absolute()
            if folder.exists() and not folder.is_dir():
                raise BadInputError(f"--log mlflow={target}: is a file; give a directory or a URI")
            target = str(folder)
        if "://" in target:
            try:
                _connect(target).search_experiments(max_results=1)
            except BadInputError:
                raise
            except Exception as error:  # noqa: BLE001 - each kind of server has errors of its own
                reason = str(error).strip().partition("\n")[0][:160]
                raise BadInputError(
                    f"--log mlflow={redact(target)}: cannot be reached ({redact(reason)}); start "
                    "the server, or leave --log out"
                ) from None
        else:
            _import()
        return target

    def update(self, trial: TrackedTrial) -> None:
        """Send the epochs that MLflow has not got, and how the trial ended."""
        points = trial.points()
        client = self._open()
        if trial.number in self._ended or not (points or trial.record):
            return
        run = self._run_of(client, trial)
        sent = self._sent[trial.number]
        metrics = [
            self._metric(name, value, step if name == "reached_dev_uar" else epoch)
            for step, epoch, numbers in points[sent:]
            for name, value in numbers.items()
        ]
        for start in range(0, len(metrics), _METRICS):
            client.log_batch(run, metrics=metrics[start : start + _METRICS])
        self._sent[trial.number] = max(sent, len(points))  # a resumed trial repeats some
        if trial.record is not None:
            last = [self._metric(n, value, len(points)) for n, value in trial.outcome().items()]
            told = {_STATE: trial.state, "serplatform.ended": trial.why()}
            client.log_batch(run, metrics=last, tags=_tags(told))
            ended = int(1000 * (trial.record.get("ended") or time.time()))
            client.set_terminated(run, _STATUS[trial.state], end_time=ended)
            self._ended.add(trial.number)

    def finish(self, status: str, files: Sequence[Path]) -> None:
        """End the run of the search, with its page and its table of trials."""
        client = self._open()
        for file in files:
            if file.is_file():
                client.log_artifact(self._parent, str(file))
        client.set_tag(self._parent, _STATE, status)
        client.set_terminated(self._parent, _STATUS[status])

    @staticmethod
    def _metric(name: str, value: float, step: int) -> Any:
        from mlflow.entities import Metric

        return Metric(name, float(value), int(1000 * time.time()), step)

    def _open(self) -> MlflowClient:
        """Connect, and find or make the experiment and the runs that are there."""
        if self._client is not None:
            return self._client
        client = _connect(self.target)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
        experiment = client.get_experiment_by_name(name)
        folder = None if "://" in self.target else (Path(self.target) / "artifacts").as_uri()
        self._experiment = (
            client.create_experiment(name, artifact_location=folder)
            if experiment is None
            else experiment.experiment_id
        )
        self._find(client)
        if not self._parent:
            self._parent = self._create(client, self.run.name, self.run.settings(), {})
        else:
            client.update_run(self._parent, status="RUNNING")
        self._client = client
        return client

    def _find(self, client: MlflowClient) -> None:
        """Runs that an earlier process made for this search."""
        token = None
        while True:
            page = client.search_runs(
                [self._experiment], f"tags.`{_RUN}` = '{self.run.identity}'", page_token=token
            )
            for run in page:
                number = run.data.tags.get(_TRIAL)
                if number is None:
                    self._parent = run.info.run_id
                    continue
                self._runs[int(number)] = run.info.run_id
                if run.info.status != "RUNNING":
                    self._ended.add(int(number))
            token = page.token
            if not token:
                return

    def _run_of(self, client: MlflowClient, trial: TrackedTrial) -> str:
        if trial.number not in self._runs:
            tags = {
                _TRIAL: str(trial.number),
                _STATE: "running",
                "mlflow.parentRunId": self._parent,
            }
            name = f"{trial.name}-{trial.architecture}"
            self._runs[trial.number] = self._create(client, name, trial.settings(), tags)
            self._sent[trial.number] = 0
        run = self._runs[trial.number]
        if trial.number not in self._sent:
            self._sent[trial.number] = len(client.get_metric_history(run, "reached_dev_uar"))
        return run

    def _create(
        self, client: MlflowClient, name: str, params: Mapping[str, object], tags: dict[str, str]
    ) -> str:
        from mlflow.entities import Param

        known = {_RUN: self.run.identity, **tags}
        run = client.create_run(self._experiment, run_name=name, tags=known).info.run_id
        given = [Param(_NOT_IN_NAMES.sub("_", k), str(v)[:_TEXT]) for k, v in params.items()]
        for start in range(0, len(given), _PARAMS):
            client.log_batch(run, params=given[start : start + _PARAMS])
        return run


def _import() -> type[MlflowClient]:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise BadInputError(
            f"--log mlflow: its client is not installed: pip install 'serplatform[{Mlflow.extra}]'"
        ) from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient


def _connect(target: str) -> MlflowClient:
    client = _import()
    if "://" not in target:
        Path(target).mkdir(parents=True, exist_ok=True)
        target = f"sqlite:///{target}/mlflow.db"
    return client(tracking_uri=target)


def _tags(texts: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(name, text[:_TEXT]) for name, text in texts.items()]
