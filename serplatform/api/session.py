"""What surrounds a call from Python: Ctrl-C, the Ray that it starts, what it tells, plugins."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from serplatform import console, stopping
from serplatform.plugins import load

#: variables that Ray and we set for a search; a caller's own Ray gets its own back
_OF_RAY = ("RAY_", "TUNE_")


@contextlib.contextmanager
def session(
    quiet: bool | None = None, plugins: str | Path | Sequence[str | Path] = ()
) -> Iterator[None]:
    """Surround a call from Python.

    Ctrl-C leaves what is whole and raises ``KeyboardInterrupt``; no handler of signals stays. A
    Ray that was not there before is not there afterwards.

    Args:
        quiet: tell nothing; None: unless stderr is a terminal or this is a notebook.
        plugins: files or modules that register architectures, features and the like.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    before = {name: value for name, value in os.environ.items() if name.startswith(_OF_RAY)}
    had_ray = _has_ray()
    with console.telling(quiet), stopping.interruptible(console.say):
        load(map(str, [plugins] if isinstance(plugins, (str, Path)) else plugins))
        try:
            yield
        finally:
            if not had_ray and _has_ray():
                from serplatform.distributed.cluster import disconnect

                disconnect()
            if not had_ray:
                for name in [name for name in os.environ if name.startswith(_OF_RAY)]:
                    del os.environ[name]
                os.environ.update(before)


def _has_ray() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
