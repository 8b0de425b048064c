"""Probes of the hardware and its limits: GPU, processor, memory, files, disks.

torch is imported only where there is a GPU to be seen.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from serplatform import environment
from serplatform.api.finding import Finding, amount_free, size_text
from serplatform.errors import BadInputError, SerplatformError

_LEAST_MEMORY, _LEAST_DISK, _LEAST_SHARED = 4 << 30, 2 << 30, 80 << 20
_LEAST_FILES = 1024
_SHARED = Path("/dev/shm")  # noqa: S108 - where Linux has its shared memory
_CONTROL_GROUP = Path("/sys/fs/cgroup/memory.max")
_CUDA = re.compile(r"^cuda\b.*=\s*['\"](.+)['\"]", re.MULTILINE)


def torch() -> Iterator[Finding]:
    """The build is read from a file; torch itself is asked only where there is a GPU."""
    found = importlib.util.find_spec("torch")
    if found is None or not found.origin:
        return  # which the packages say
    built = _CUDA.search((Path(found.origin).parent / "version.py").read_text(encoding="utf-8"))
    build = f"built for CUDA {built[1]}" if built else "built for CPUs"
    is_mac = platform.system() == "Darwin" and platform.machine() == "arm64"
    devices = list(Path("/dev").glob("nvidia[0-9]*"))
    if is_mac:
        text = f"{build}; this Mac's GPU (MPS) is not used: training runs on the CPU"
        yield Finding("gpu", "note", text)
    elif not devices:
        yield Finding("gpu", "ok", f"none here; torch is {build}; everything runs on the CPU")
    elif not built:
        yield Finding(
            "gpu", "note", f"{len(devices)} here, and torch is {build}: they are not used",
            "install the CUDA build of the same version of torch",
        )  # fmt: skip
    else:
        from serplatform.distributed.devices import cuda_devices

        names = cuda_devices()
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        remedy = (
            f"CUDA_VISIBLE_DEVICES is '{hidden}'; unset it"
            if hidden is not None
            else f"see that nvidia-smi works and its driver supports CUDA {built[1]}"
        )
        text = f"{len(names)} of {len(devices)} seen by torch, {build}: {', '.join(names)}"
        yield Finding("gpu", "ok", text) if names else Finding("gpu", "note", text, remedy)


def processor() -> Iterator[Finding]:
    cores, load = environment.hardware()["cores"] or 1, os.getloadavg()[0]
    text = f"{cores} cores may be used; load {load:.1f}"
    if load > 2 * cores:
        remedy = "other programs are at work: times are longer, and a start of Ray may take minutes"
        yield Finding("processor", "note", text, remedy)
    else:
        yield Finding("processor", "ok", text)


def memory() -> Iterator[Finding]:
    import psutil

    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
        total = min(total, int(_CONTROL_GROUP.read_text()))
        free = min(free, total)
    yield amount_free(
        "memory", free, _LEAST_MEMORY, f" of {size_text(total)}",
        "end other programs, or search with --concurrent 1",
    )  # fmt: skip


def limits() -> Iterator[Finding]:
    from serplatform.distributed.local_ray import check_threads

    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{files} open files" if files != resource.RLIM_INFINITY else "any number of open files"
    if files != resource.RLIM_INFINITY and files < _LEAST_FILES:
        allowed = 65_536 if most == resource.RLIM_INFINITY else min(most, 65_536)
        yield Finding("limits", "note", text, f"ulimit -n {allowed}, in the same shell before")
    else:
        yield Finding("limits", "ok", text)
    try:
        check_threads()
    except SerplatformError as error:
        yield Finding("limits", "fault", str(error), "raise ulimit -u, or the container's limit")


def shared() -> Iterator[Finding]:
    if _SHARED.is_dir():
        free = shutil.disk_usage(_SHARED).free if os.access(_SHARED, os.W_OK) else 0
        remedy = (
            "in a container: docker run --shm-size=2g; without, Ray uses files, which is slower"
        )
        yield amount_free("shared memory", free, _LEAST_SHARED, "", remedy)


def temporary() -> Iterator[Finding]:
    from serplatform.distributed.local_ray import usable_directories

    try:
        place = usable_directories()[0]
    except SerplatformError as error:
        yield Finding("temporary files", "fault", str(error))
        return
    yield Finding(
        "temporary files", "ok", f"{place}, {size_text(shutil.disk_usage(place).free)} free"
    )


def disk() -> Iterator[Finding]:
    remedy = "change to a directory with room, or give --out elsewhere"
    if not _can_write(Path.cwd()):
        yield Finding("disk", "note", "the current directory cannot be written", remedy)
        return
    yield amount_free("disk", shutil.disk_usage(Path.cwd()).free, _LEAST_DISK, " here", remedy)


def cache() -> Iterator[Finding]:
    from serplatform.storage.cache import cache_folder

    remedy = "set SERPLATFORM_CACHE to a folder that can be written"
    try:
        folder = cache_folder()
    except BadInputError as error:
        yield Finding("cache", "fault", str(error), remedy)
        return
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if _can_write(existing):
        free = size_text(shutil.disk_usage(existing).free)
        yield Finding("cache", "ok", f"{folder}, {free} free")
    else:
        yield Finding("cache", "fault", f"{folder} cannot be written", remedy)


def _can_write(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"probe")
            file.flush()
    except OSError:
        return False
    return True


PROBES = (torch, processor, memory, limits, shared, temporary, disk, cache)
