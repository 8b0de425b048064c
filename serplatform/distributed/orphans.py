"""Ends what a killed command would leave behind of a Ray cluster on its own machine.

When a driver dies by SIGKILL, Ray's raylet and workers follow at once, but its agents try for a
minute to report the death to a head that has died too (``report_raylet_error_logs`` in
``ray/_private/process_watcher.py``, with a fixed timeout of 60 s). A shell that waits for the
driver's end of a pipe to close ends them.
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Any

#: The arguments are ``<process>:<start time>``: a number may be another process's by then.
_SCRIPT = """
read -r closed
sleep 1
for mark in "$@"; do
  stat=$(cat "/proc/${mark%%:*}/stat" 2>/dev/null) || continue
  set -- ${stat##*) }
  [ "${20}" = "${mark##*:}" ] && kill -9 "${mark%%:*}"
done
"""

_watchers: list[subprocess.Popen[bytes]] = []  # closing one's input would end its cluster


def end_with_me() -> None:
    """Have the present descendants of this process end soon after it, however it ends.

    Does nothing where there is no ``/proc``.
    """
    import psutil

    children = psutil.Process().children(recursive=True)
    marks = [f"{child.pid}:{start}" for child in children if (start := _start_time(child.pid))]
    if marks:
        options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with contextlib.suppress(FileNotFoundError):  # no shell: they end by themselves, later
            _watchers.append(
                subprocess.Popen(
                    ["sh", "-c", _SCRIPT, "serplatform-orphans", *marks],
                    stdin=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C is not meant for it
                    cwd="/",
                    **options,
                )
            )


def _start_time(process: int) -> str | None:
    """When a process started, in clock ticks since the machine did; None when it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return fields.rpartition(")")[2].split()[19]
