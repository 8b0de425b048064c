"""A few kills of a search's driver; ``kill_driver.py`` does many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.ray
def test_nothing_is_lost_when_the_driver_is_killed(tmp_path):
    script = Path(__file__).with_name("kill_driver.py")
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "3", "--trials", "6", "--dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"kills": 3' in done.stdout
