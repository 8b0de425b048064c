"""What a result was made with: versions, hardware, command."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import serplatform

_PACKAGES = (
    "ray",
    "torch",
    "optuna",
    "numpy",
    "scipy",
    "scikit-learn",
    "librosa",
    "soxr",
    "soundfile",
    "pyarrow",
    "safetensors",
    # optional: features, words and encoders may come from them
    "opensmile",
    "pocketsphinx",
    "transformers",
    "onnxruntime",
)


def versions() -> dict[str, str]:
    """Versions of Python, of this program, with its commit, and of what its numbers depend on."""
    found = {"python": platform.python_version(), "serplatform": serplatform.__version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if (commit := checked_out_commit()) is not None:
        found["commit"] = commit
    return found


@functools.cache
def checked_out_commit() -> str | None:
    """The git commit of the package's files, 40 hex digits; None where no checkout holds them.

    It ends in ``-dirty`` where a file of the package is not the commit's, as in ``git describe``.
    """
    here = Path(serplatform.__file__).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(here), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # not a checkout around an installation
        commit = git("rev-parse", "HEAD")
        return f"{commit}-dirty" if git("status", "--porcelain", "--", ".") else commit
    except (OSError, subprocess.CalledProcessError):
        return None


def hardware() -> dict[str, Any]:
    """Processor, cores that may be used, memory in GiB and system of this machine."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
