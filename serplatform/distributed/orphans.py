"""Ends what a killed command would leave behind of a Ray cluster on its own machine.

When a driver dies by SIGKILL, Ray's raylet and workers follow at once, but its agents try for a
minute to report the death to a head that has died too (``report_raylet_error_logs`` in
``ray/_private/process_watcher.py``, with a fixed timeout of 60 s). A shell that waits for the
driver's end of a pipe to close ends them.
"""

from __future__ import annotations

import os
from pathlib import Path

_SHELL = "/bin/sh"

#: The arguments are ``<process>:<start time>``: a number may be another process's by then.
_SCRIPT = """
cd /
read -r closed
sleep 1
for mark in "$@"; do
  stat=$(cat "/proc/${mark%%:*}/stat" 2>/dev/null) || continue
  set -- ${stat##*) }
  [ "${20}" = "${mark##*:}" ] && kill -9 "${mark%%:*}"
done
"""


def end_with_me() -> None:
    """Have the present descendants of this process end soon after it, however it ends.

    Does nothing where there is no ``/proc`` or no shell: they then end by themselves, later.
    """
    import psutil

    children = psutil.Process().children(recursive=True)
    marks = [f"{child.pid}:{start}" for child in children if (start := _start_time(child.pid))]
    if not marks or not os.access(_SHELL, os.X_OK):
        return
    # this end of the pipe stays open, and is closed by the end of the process alone
    theirs, _ = os.pipe()
    nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    try:
        os.posix_spawn(
            _SHELL,
            [_SHELL, "-c", _SCRIPT, "serplatform-orphans", *marks],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs, 0), *nowhere],
            setsid=True,  # Ctrl-C is not meant for it
        )
    finally:
        os.close(theirs)


def _start_time(process: int) -> str | None:
    """When a process started, in clock ticks since the machine did; None when it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return fields.rpartition(")")[2].split()[19]
