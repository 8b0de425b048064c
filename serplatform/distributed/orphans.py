"""Ends what a killed command would leave behind of a Ray cluster on its own machine.

When a driver dies by SIGKILL, Ray's raylet and workers follow at once, but its agents try for a
minute to report the death to a head that has died too (``report_raylet_error_logs`` in
``ray/_private/process_watcher.py``, with a fixed timeout of 60 s). A shell that waits for the
driver's end of a pipe to close ends them, and removes the directory that they lived in.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path

import psutil

_SHELL = "/bin/sh"

#: Reads marks ``<session>:<start time of its leader>`` until the pipe closes, then ends every
#: process of these sessions; where a leader's number is another process's by then, none.
_SCRIPT = """
cd /
while read -r mark; do marks="$marks $mark"; done
sleep 1
for mark in $marks; do
  session=${mark%%:*}
  if stat=$(cat "/proc/$session/stat" 2>/dev/null); then
    set -- "$1" ${stat##*) }
    [ "${21}" = "${mark##*:}" ] || continue
  fi
  for file in /proc/[0-9]*/stat; do
    stat=$(cat "$file" 2>/dev/null) || continue
    set -- "$1" ${stat##*) }
    [ "$5" = "$session" ] && kill -9 "${stat%% *}"
  done
done
rm -rf "$1"
"""


class OrphanGuard:
    """Sees to the end of processes, and of a directory, that must not outlive this process.

    Where there is no ``/proc`` or no shell, only :meth:`end` does so.

    Args:
        directory: is removed with all it holds.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._sessions: list[int] = []
        self._pipe: int | None = None
        if not os.access(_SHELL, os.X_OK) or not Path("/proc/self/stat").exists():
            return
        # our end of the pipe is closed by :meth:`end`, or by the end of this process
        theirs, self._pipe = os.pipe()
        nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
        try:
            os.posix_spawn(
                _SHELL,
                [_SHELL, "-c", _SCRIPT, "serplatform-orphans", str(directory)],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs, 0), *nowhere],
                setsid=True,  # no signal of a terminal or a group is meant for it
            )
        finally:
            os.close(theirs)

    def watch(self, session: int) -> None:
        """Take charge of all processes of a session, those that are yet to come too."""
        self._sessions.append(session)
        start = _start_time(session)
        if self._pipe is not None and start is not None:
            os.write(self._pipe, f"{session}:{start}\n".encode("ascii"))

    def end(self) -> None:
        """End these processes now, and remove the directory."""
        left = []
        for number in psutil.pids():
            with contextlib.suppress(OSError, psutil.NoSuchProcess):
                if os.getsid(number) in self._sessions:
                    left.append(psutil.Process(number))
                    os.kill(number, signal.SIGKILL)
        psutil.wait_procs(left, timeout=2)
        if self._pipe is not None:
            os.close(self._pipe)  # the shell finds nothing more to do, or what came since
            self._pipe = None
        for _ in range(3):  # processes may still be writing there while they die
            shutil.rmtree(self.directory, ignore_errors=True)


def _start_time(process: int) -> str | None:
    """When a process started, in clock ticks since the machine did; None when it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return fields.rpartition(")")[2].split()[19]
