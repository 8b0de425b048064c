from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

import serplatform
from serplatform.models.kernels import memory

COUNT_FAULTS = """
import resource, sys
from serplatform.models.kernels.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
    assert keep_freed_memory()
import torch
for step in range(30):
    if step == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(12_000_000).add_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode):
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS, mode],
        env={"PYTHONPATH": str(Path(serplatform.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_tensors_are_used_again_without_page_faults():
    assert faults("keep") < 100
    # 20 steps of 48 MB: in pages of 4 kB, or of 2 MB where the system gives those
    assert faults("default") > 100


def test_other_allocators_are_left_alone(monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "libjemalloc.so")
    assert memory.keep_freed_memory() is False


@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"])
def test_settings_of_the_user_win(monkeypatch, name):
    monkeypatch.setenv(name, "1000000")
    assert memory.keep_freed_memory() is False


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert memory.keep_freed_memory() is False


def test_the_reference_kernels_leave_the_allocator_alone(monkeypatch):
    monkeypatch.setenv("SERPLATFORM_KERNELS", "reference")
    assert memory.keep_freed_memory() is False
