"""Fixtures shared by all tests: one small Ray cluster, and audio files made on the spot."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

# one thread a numerical library, before any is imported: the tests' arrays are small, and on a
# busy machine pools of threads wait for each other
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# a script's background ignores Ctrl-C, and so would every program that a test starts and stops
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import numpy as np  # noqa: E402
import pytest  # noqa: E402

#: seconds that a slow test may take where it names no limit of its own
SLOW_TIMEOUT = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests start many programs, each of which takes minutes on a busy machine."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray cluster of 2 CPUs, started once for the whole session."""
    import ray

    from serplatform.distributed.cluster import connect

    connect(num_cpus=2)
    yield
    ray.shutdown()


@pytest.fixture
def write_audio() -> Callable[..., Path]:
    """A function that writes a tone in noise to a file and returns its path."""

    def write(
        path: Path,
        *,
        seconds: float = 0.5,
        rate: int = 16_000,
        channels: int = 1,
        subtype: str = "PCM_16",
        frequency: float = 220.0,
        seed: int = 0,
    ) -> Path:
        import soundfile

        rng = np.random.default_rng([seed, round(frequency)])
        time = np.arange(round(seconds * rate)) / rate
        tone = 0.3 * np.sin(2 * np.pi * frequency * time)
        samples = tone + 0.01 * rng.standard_normal(len(time))
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.stack([samples] * channels, axis=1), rate, subtype=subtype)
        return path

    return write
