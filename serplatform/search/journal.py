"""The journal of the studies on disk, made durable where it has to be.

Optuna's own file backend waits for the disk after every line: once for every parameter of every
trial. Here it waits for the lines that something depends on, which makes every line before them
durable as well: a trial's creation, its attributes (written after its parameters, before it
is handed out) and its end. What may be lost, and only if the machine itself goes down, is what
a trial reported while it trained; its own saved state holds that too.
"""

from __future__ import annotations

import json
import os
from typing import Any

from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import get_lock_file
from optuna.storages.journal._storage import JournalOperation

#: lines that a later one makes durable
_UNHURRIED = frozenset(
    {
        int(JournalOperation.SET_TRIAL_PARAM),
        int(JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE),
        int(JournalOperation.SET_TRIAL_SYSTEM_ATTR),
    }
)


class StudyJournal(JournalFileBackend):
    """Optuna's journal file, flushed to disk once a step of a trial's life."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append whole lines; see the module."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with get_lock_file(self._lock), open(self._file_path, "ab") as stream:
            stream.write(lines.encode("utf-8"))
            stream.flush()
            if not all(log["op_code"] in _UNHURRIED for log in logs):
                os.fsync(stream.fileno())
