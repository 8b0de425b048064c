"""Every run and ensemble below a directory, at a glance: read from few and small files."""

from __future__ import annotations

import datetime
import fcntl
import io
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from serplatform.artifacts.ensemble import EnsembleRecord
from serplatform.artifacts.files import parse_json
from serplatform.artifacts.records import Record, checked
from serplatform.artifacts.run import RunDescription
from serplatform.artifacts.trial import DEV_METRICS, TRIAL_STATES, TrialRecord, merit
from serplatform.errors import ArtifactError, BadInputError
from serplatform.storage.location import Location, parse
from serplatform.storage.remote import remote

if TYPE_CHECKING:
    import pandas as pd

R = TypeVar("R", bound=Record)

_RUN, _ENSEMBLE = "run.json", "ensemble.json"
_OTHERS = ("dataset.json", "bundle.json")  # nothing of ours lies below what holds one
_RECORD = re.compile(r"trials/(trial-\d{5,})\.json")
_STATE = re.compile(r"state/(trial-\d{5,})/.+")
_COLUMNS = ("trial", "state", "fold", *(f"dev_{name}" for name in DEV_METRICS))


class RunRow(TypedDict):
    """One run or ensemble.

    Keys:
        path: directory or URI.
        kind: ``search``, ``train``, ``table`` (of a paper) or ``ensemble``.
        data: title of the dataset.
        asked: trials; None where a time was given, and for an ensemble.
        cut_off: trials begun, and not ended.
        metric: that ``best_dev`` is of.
        best_dev: of the best complete trial (nested: of each fold), mean over folds.
        sealed: test rows are not opened.
        test_uar: pooled, of the ensemble; its 95 % interval by speaker is ``low`` to ``high``.
        look: which look at the test rows it comes from.
        chance: UAR of guessing.
        status: ``running``, ``complete``, ``out of time`` (no trial has ended in it), ``failed``
            (that, or all its trials), ``interrupted``, ``stopped`` (its process is gone),
            ``damaged``.
        time: when it ended, or began where it has not ended; UTC, ISO 8601.
        next: the command that shows it or goes on with it.
        fault: why it cannot be read.
    """

    path: str
    kind: str
    data: str
    protocol: str
    architectures: list[str]
    asked: int | None
    trained: int
    pruned: int
    failed: int
    cut_off: int
    metric: str
    best_dev: float | None
    sealed: bool
    test_uar: float | None
    look: int | None
    looks: int | None
    low: float | None
    high: float | None
    chance: float | None
    status: str
    time: str | None
    next: str
    fault: str | None


def runs(directory: str | Path = "runs") -> pd.DataFrame:
    """Every run and ensemble below a directory or URI, newest first.

    Returns:
        one row each, see :class:`~serplatform.api.runs.RunRow`.

    Raises:
        BadInputError: there is no such directory.
    """
    import pandas as pd

    return pd.DataFrame(list_runs(directory), columns=list(RunRow.__annotations__))


def list_runs(directory: str | Path) -> list[RunRow]:
    """The rows of :func:`runs`; what is damaged is among them, with its fault."""
    place = parse(directory)
    if isinstance(place, Location):
        read = remote(place).read
        entries = remote(place).list()
        found = [
            _Files(remote(place).uri(root).rstrip("/"), root, keys, read)
            for root, keys in _roots(entries)
        ]
    else:
        if not place.is_dir():
            raise BadInputError(
                f"{directory}: no such directory; name one that holds runs, or begin one with "
                "`serplatform search`"
            )
        found = [_local(Path(folder)) for folder in _walk(Path(directory))]
    return sorted(map(_row, found), key=lambda row: row["time"] or "", reverse=True)


class _Files:
    """The files of one run or ensemble, wherever they lie.

    Args:
        path: what it is called.
        root: comes before each key.
        keys: of all files that may be read here, below ``root``.
        read: (root and key) to content.
    """

    def __init__(
        self, path: str, root: str, keys: Collection[str], read: Callable[[str], bytes]
    ) -> None:
        self.path, self.keys = path, keys
        self._read, self._root = read, root

    def read(self, key: str) -> bytes:
        return self._read(f"{self._root}/{key}" if self._root else key)

    def record(self, kind: type[R], key: str, what: str) -> R:
        where = f"{self.path}/{key}"
        return checked(kind, parse_json(self.read(key), where, what), where, what)


def _walk(top: Path) -> Iterator[str]:
    """Directories that hold a run or an ensemble; of a run, not those within."""
    for folder, below, names in os.walk(top):
        if _RUN in names or _ENSEMBLE in names:
            yield folder
        if {_RUN, _ENSEMBLE, *_OTHERS} & set(names):
            below.clear()
        below[:] = [name for name in below if not name.startswith(".")]


def _local(folder: Path) -> _Files:
    names = [
        *folder.glob("*.*"),
        *folder.glob(f"ensemble/{_ENSEMBLE}"),
        *folder.glob("trials/*.json"),
        *folder.glob("state/*/*"),
    ]
    keys = {path.relative_to(folder).as_posix() for path in names}
    return _Files(str(folder), "", keys, lambda key: (folder / key).read_bytes())


def _roots(keys: Collection[str]) -> Iterator[tuple[str, set[str]]]:
    """The same of object storage: what lies outermost."""
    markers = {key.rpartition("/") for key in keys}
    tops = {folder for folder, _, name in markers if name in (_RUN, _ENSEMBLE, *_OTHERS)}
    for top in tops:
        parts = top.split("/")
        if top and any("/".join(parts[:depth]) in tops for depth in range(len(parts))):
            continue
        start = f"{top}/" if top else ""
        below = {key.removeprefix(start) for key in keys if key.startswith(start)}
        if below & {_RUN, _ENSEMBLE}:
            yield top, below


def _row(files: _Files) -> RunRow:
    row: RunRow = {
        "path": files.path,
        "kind": "",
        "data": "",
        "protocol": "",
        "architectures": [],
        "asked": None,
        "trained": 0,
        "pruned": 0,
        "failed": 0,
        "cut_off": 0,
        "metric": "uar",
        "best_dev": None,
        "sealed": False,
        "test_uar": None,
        "look": None,
        "looks": None,
        "low": None,
        "high": None,
        "chance": None,
        "status": "damaged",
        "time": None,
        "next": "",
        "fault": None,
    }
    try:
        if _RUN in files.keys:
            _fill_run(row, files)
        else:
            row["kind"] = "ensemble"
            _fill_ensemble(row, files, _ENSEMBLE)
    except (ArtifactError, OSError) as error:
        row |= {"status": "damaged", "fault": str(error), "next": ""}
    return row


def _fill_run(row: RunRow, files: _Files) -> None:
    run = files.record(RunDescription, _RUN, "run description")
    command = run.get("command", [])
    row["kind"] = "table" if "roster" in run else "train" if "train" in command[:2] else "search"
    row["data"] = run["dataset"].get("title", run["dataset"]["path"])
    row["protocol"] = run["protocol"]["name"]
    row["sealed"] = run.get("sealed", False)
    row["architectures"] = list(run.get("architectures", run["spaces"]))
    row["chance"] = 1 / len(run["classes"])
    row["time"] = run.get("ended") or run.get("started")
    row["asked"] = None if run.get("time_budget") else run.get("trials")
    if run["objective"][0] in DEV_METRICS:
        row["metric"] = run["objective"][0]
    row["status"] = run["status"]
    if run["status"] == "running" and not _in_use(Path(files.path)):
        row["status"] = "stopped"
    trials = _trials(files)
    counts = Counter(trial["state"] for trial in trials)
    row["trained"], row["pruned"], row["failed"] = (counts[state] for state in TRIAL_STATES)
    ended = {found[1] for key in files.keys if (found := _RECORD.fullmatch(key))}
    begun = {found[1] for key in files.keys if (found := _STATE.fullmatch(key))}
    row["cut_off"] = len(begun - ended)
    complete = [trial for trial in trials if trial["state"] == "complete"]
    best = {
        t.get("fold"): t["dev"]
        for t in sorted(complete, key=lambda t: merit(t["dev"], row["metric"]))
    }
    values = [dev[row["metric"]] for dev in best.values() if row["metric"] in dev]
    if values:
        row["best_dev"] = sum(values) / len(values)
    studies = run["protocol"].get("num_folds", 1) if run.get("nested") else 1
    if row["status"] == "complete" and len(best) < studies:
        row["status"] = "failed" if row["failed"] and not row["cut_off"] else "out of time"
    if row["kind"] == "table":
        row["next"] = shlex.join(command)
    elif row["status"] == "complete":
        row["next"] = shlex.join(["serplatform", "report", files.path])
    elif row["status"] != "running":
        more = ["--time-budget", "1m"] if run["status"] == "complete" else []  # it has ended
        again = ["serplatform", "search", "--resume", "--out", files.path, *more]
        row["next"] = shlex.join(again)
    if f"ensemble/{_ENSEMBLE}" in files.keys:
        _fill_ensemble(row, files, f"ensemble/{_ENSEMBLE}")


def _fill_ensemble(row: RunRow, files: _Files, key: str) -> None:
    """The test numbers; of an ensemble that is not a run's own, all that is known of it."""
    made = files.record(EnsembleRecord, key, "ensemble description")
    uar = made["pooled"]["ensemble"]["uar"]
    row |= {"test_uar": uar["value"], "low": uar["low"], "high": uar["high"]}
    row["look"] = made.get("look")
    row["looks"] = sum(name.startswith("looks/look-") for name in files.keys) or row["look"]
    if key != _ENSEMBLE:
        return
    members = [member for fold in made["folds"] for member in fold["members"]]
    row["architectures"] = sorted({member["architecture"] for member in members})
    dataset, protocol = made.get("dataset"), made.get("protocol")
    row["data"] = dataset.get("title", dataset["path"]) if dataset else ""
    row["protocol"] = protocol["name"] if protocol else ""
    row["trained"] = made.get("counts", {}).get("candidates", 0)
    row["chance"] = 1 / len(made["classes"])
    row["status"] = "complete"
    row["next"] = shlex.join(["serplatform", "report", files.path])
    if os.path.exists(files.path):
        written = os.stat(Path(files.path, key)).st_mtime
        moment = datetime.datetime.fromtimestamp(written, datetime.UTC)
        row["time"] = moment.isoformat(timespec="seconds")


def _trials(files: _Files) -> list[dict[str, Any]]:
    """State and dev metrics of every trial that has ended: of the table, where that is whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = sorted(key for key in files.keys if _RECORD.fullmatch(key))
    if "trials.parquet" in files.keys:
        try:
            table = pq.ParquetFile(io.BytesIO(files.read("trials.parquet")))
            columns = [name for name in _COLUMNS if name in table.schema_arrow.names]
            rows = table.read(columns, use_threads=False).to_pylist()
        except pa.ArrowInvalid as error:
            raise ArtifactError(
                f"{files.path}/trials.parquet: is damaged ({error}); resume the run"
            ) from None
        if len(rows) == len(records):
            for row in rows:
                dev = {name: row.get(f"dev_{name}") for name in DEV_METRICS}
                row["dev"] = {name: value for name, value in dev.items() if value is not None}
            return rows
    found = [files.record(TrialRecord, key, "trial record") for key in records]
    return [{"state": r["state"], "fold": r.get("fold"), "dev": r.get("dev", {})} for r in found]


def _in_use(folder: Path) -> bool:
    """Whether a process holds a run's lock; of a run on object storage that is not known here."""
    try:
        handle = os.open(folder / ".lock", os.O_RDONLY)
    except OSError:
        return not folder.is_dir()
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
