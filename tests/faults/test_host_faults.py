"""Two faults of hosts; ``host_faults.py`` does them all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.lab import lacking

reason = lacking()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.skipif(reason is not None, reason=f"no lab of hosts here: {reason}")
@pytest.mark.parametrize("fault", ["host", "head-ray"])
def test_nothing_is_lost_when_a_host_is(fault, tmp_path):
    script = Path(__file__).with_name("host_faults.py")
    done = subprocess.run(
        [sys.executable, str(script), fault, "--dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of 1 faults did harm" in done.stdout
