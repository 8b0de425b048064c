"""Exclusive use of a run on object storage, by one search at a time, on whatever machine.

Each search that wants the run writes an object of its own below ``lease/``, then looks for those
of others. Whoever looks second sees the first, so two never both find themselves alone; when both
see each other, both withdraw for a random moment. The holder renews its object; one that was not
renewed for :data:`STALE` seconds, by the service's clock, no longer counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import threading
import time
from pathlib import Path

from serplatform.errors import BadInputError
from serplatform.storage.remote import Remote, RemoteError

#: seconds between renewals, and after which a lease that was not renewed has lapsed
RENEWAL = 10.0
STALE = 45.0

_ATTEMPTS = 4
_SECOND = 1_000_000_000


class Lease:
    """Use of what lies at one location; taken when made.

    Raises:
        BadInputError: another search has it.
        RemoteError: the storage cannot be used.
    """

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.lost: str | None = None
        self._key = f"lease/{secrets.token_hex(8)}.json"
        self._ended = threading.Event()
        self._take()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def _take(self) -> None:
        for _ in range(_ATTEMPTS):
            self._write(held=False)
            try:
                contenders = self._others()
            except BaseException:
                self._withdraw()
                raise
            if not contenders:
                self._write(held=True)
                return
            self._withdraw()
            time.sleep(random.uniform(0.2, 2.0))  # noqa: S311
        raise self._taken("another search is just beginning there")

    def _others(self) -> list[str]:
        """Objects of other searches that want the run; those of dead searches are removed."""
        waited_for: dict[str, int] = {}
        deadline = time.monotonic() + STALE + 5
        while True:
            found = self.remote.list("lease")
            mine = found.pop(self._key, None)
            now = mine.time if mine is not None else 0
            contenders = []
            for key, entry in found.items():
                holder = self._read(key)
                if holder is None:
                    continue
                if now - entry.time > STALE * _SECOND or _is_dead(holder):
                    self.remote.delete(key)
                    continue
                if not holder.get("held"):
                    contenders.append(key)
                    continue
                if _is_of_this_machine(holder):
                    raise self._taken(_describe(holder))
                if waited_for.setdefault(key, entry.time) != entry.time:
                    raise self._taken(_describe(holder))  # it was renewed: it is alive
                contenders.append(key)
            held = [key for key in contenders if key in waited_for]
            if not held or time.monotonic() > deadline:
                return contenders
            time.sleep(RENEWAL / 4)
            self._write(held=False)  # its time is now, by the service's clock

    def _taken(self, who: str) -> BadInputError:
        return BadInputError(
            f"{self.remote.location}: another search is writing to this run ({who}); wait for it, "
            "or give another --out"
        )

    def _read(self, key: str) -> dict[str, object] | None:
        try:
            content = json.loads(self.remote.read(key))
        except RemoteError as error:
            if error.kind == "missing":
                return None
            raise
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def _write(self, *, held: bool, within: float | None = None) -> None:
        content = {
            "held": held,
            "host": os.uname().nodename,
            "boot": _boot(),
            "process": os.getpid(),
            "started": _start_time(os.getpid()),
        }
        self.remote.put(self._key, json.dumps(content).encode(), within=within)

    def _withdraw(self) -> None:
        with contextlib.suppress(RemoteError):
            self.remote.delete(self._key, within=5.0)

    def _renew(self) -> None:
        """Keep the lease while this process lives; notice when another search takes it over."""
        while not self._ended.wait(RENEWAL):
            with contextlib.suppress(RemoteError):
                found = self.remote.list("lease", within=RENEWAL)
                if self._key not in found:
                    holders = [self._read(key) for key in found]
                    if any(holder and holder.get("held") for holder in holders):
                        self.lost = (
                            f"{self.remote.location}: this search could not reach the storage for "
                            f"more than {STALE:g} s, and another has taken the run over"
                        )
                        return
                self._write(held=True, within=RENEWAL)

    def release(self) -> None:
        """Let other searches take it."""
        self._ended.set()
        self._thread.join(timeout=30)
        if self.lost is None:
            self._withdraw()


def _describe(holder: dict[str, object]) -> str:
    return f"process {holder.get('process')} on {holder.get('host')}"


def _is_dead(holder: dict[str, object]) -> bool:
    """Whether a lease is of a process of this machine that has ended."""
    if not _is_of_this_machine(holder):
        return False
    process = holder.get("process")
    return not isinstance(process, int) or _start_time(process) != holder.get("started")


def _is_of_this_machine(holder: dict[str, object]) -> bool:
    return holder.get("boot") == _boot() and holder.get("host") == os.uname().nodename


def _boot() -> str:
    """Identifies this machine since its start, and this process namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return secrets.token_hex(8)


def _start_time(process: int) -> str | None:
    """When a process started, in clock ticks since the machine did; None when it is gone."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]
