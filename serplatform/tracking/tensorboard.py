"""TensorBoard: one event file a trial, below ``RUN/tensorboard``; no server, no network.

Event files are written by tensorboardX, which Ray brings. Its ``SummaryWriter`` has a thread and a
queue for each file; here every epoch is one event, written and flushed at once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from serplatform.artifacts.files import remove_own
from serplatform.tracking.base import TRACKERS, TrackedRun, TrackedTrial, Tracker

FOLDER = "tensorboard"
#: what is written of an epoch; the other dev metrics are in the records
_OF_EPOCHS = re.compile(r"(dev_uar|dev_nll|train_loss|learning_rate)/.*|reached_dev_uar")
_EVENT_FILE = re.compile(r"events\.out\.tfevents\..*")


@TRACKERS.register("tensorboard")
class TensorBoard(Tracker):
    """Learning curves by fold, hyperparameters and how each trial ended."""

    default: ClassVar[str | None] = FOLDER
    remote: ClassVar[bool] = False

    def __init__(self, target: str, run: TrackedRun) -> None:
        super().__init__(target, run)
        self._open: dict[int, Any] = {}
        self._written: dict[int, int] = {}  # epochs of each trial

    @classmethod
    def check(cls, target: str) -> str:
        """Always there."""
        return target

    def update(self, trial: TrackedTrial) -> None:
        """Write the epochs that are new; at first all that are known."""
        points = trial.points()
        if self._is_whole(trial) or not (points or trial.record):
            return
        if trial.number not in self._open:
            self._begin(trial)
        writer = self._open[trial.number]
        for step, epoch, numbers in points[self._written[trial.number] :]:
            shown = {name: value for name, value in numbers.items() if _OF_EPOCHS.fullmatch(name)}
            overall = {"reached_dev_uar": shown.pop("reached_dev_uar")}
            writer.write_event(_event(epoch, shown))
            writer.write_event(_event(step, overall))
        self._written[trial.number] = len(points)
        if trial.record is not None:
            writer.write_event(_event(len(points), trial.outcome()))
            for summary in (_text("state", trial.why()), _ended(trial.state)):
                writer.write_event(_event(len(points), summary))
            self._open.pop(trial.number).close()
            return
        writer.flush()

    def finish(self, status: str, files: Sequence[Path]) -> None:
        """Close the files of trials that did not end."""
        for writer in self._open.values():
            writer.close()
        self._open.clear()

    def _folder(self, trial: TrackedTrial) -> Path:
        return self.run.directory.path / FOLDER / f"{trial.name}-{trial.architecture}"

    def _is_whole(self, trial: TrackedTrial) -> bool:
        """Whether the file of a trial holds its end: then it was written after the record."""
        if trial.record is None or trial.number in self._open:
            return False
        ended = trial.record.get("ended") or 0.0
        return any(file.stat().st_mtime >= ended for file in self._folder(trial).glob("events.*"))

    def _begin(self, trial: TrackedTrial) -> None:
        """Open the file of a trial, in the place of one that an earlier process left: its last
        epochs may be lost, or trained again."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import hparams

        folder = self._folder(trial)
        if folder.is_dir():
            remove_own(folder, _EVENT_FILE)
        folder.mkdir(parents=True, exist_ok=True)
        writer = EventsWriter(str(folder / "events"))
        # a reader that holds what was removed forgets it
        start = SessionLog(status=SessionLog.START)
        writer.write_event(Event(wall_time=time.time(), step=0, session_log=start))
        metrics = ["dev_uar", "reached_dev_uar"]
        for summary in hparams(trial.settings(), dict.fromkeys(metrics, 0.0))[:2]:
            writer.write_event(_event(0, summary))
        self._open[trial.number] = writer
        self._written[trial.number] = 0


def _event(step: int, content: Any) -> Any:
    """An event of a summary, or of one that holds these numbers."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    if isinstance(content, Mapping):
        values = [Summary.Value(tag=name, simple_value=n) for name, n in content.items()]
        content = Summary(value=values)
    return Event(wall_time=time.time(), step=step, summary=content)


def _text(tag: str, content: str) -> Any:
    from tensorboardX.summary import text

    return text(tag, content)


def _ended(state: str) -> Any:
    """The end of a trial in the table of hyperparameters: a success, or a failure."""
    from tensorboardX.proto.api_pb2 import Status
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
    from tensorboardX.summary import hparams

    end = hparams({}, {})[2]
    plugin = end.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(plugin.content)
    good = state != "failed"
    content.session_end_info.status = Status.Value(f"STATUS_{'SUCCESS' if good else 'FAILURE'}")
    content.session_end_info.end_time_secs = time.time()
    plugin.content = content.SerializeToString()
    return end
