"""A command line in this process, so that it uses the Ray that the tests share."""

from __future__ import annotations

import contextlib
import io
import subprocess
from pathlib import Path

from serplatform.cli.main import run


def run_here(*words: str | int | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in this process; what it said, and its exit code."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(word) for word in words])
    said = [stream.detach().getvalue().decode() for stream in (out, err)]
    return subprocess.CompletedProcess([str(word) for word in words], code, *said)
