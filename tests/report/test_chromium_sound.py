"""Sound and attention in a real browser: decoded under the page's own policy, drawn, silent log."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from serplatform.report.build import build_report
from tests.support.explained_run import add_explanations


def test_the_sound_of_each_utterance_can_be_played(on_disk: Any, tmp_path: Path) -> None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    browser = os.environ.get("SERPLATFORM_CHROMIUM") or next(
        filter(None, map(shutil.which, names)), None
    )
    if browser is None:
        pytest.skip("no Chromium on this machine; set SERPLATFORM_CHROMIUM to its path")
    run = tmp_path / "run"
    shutil.copytree(on_disk.run, run)
    add_explanations(run, shown=2)
    page = build_report(run, tmp_path / "page.html")
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr",
            "--v=0",
            "--virtual-time-budget=20000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    sounds = re.findall(r"<audio[^>]*>", done.stdout)
    assert len(sounds) == 2
    for sound in sounds:  # its length is only known once it was read and decoded
        assert 'data-seconds="0.70"' in sound
    figure = done.stdout.split('id="attention_on_speech"')[1].split("<article")[0]
    assert figure.count("<svg") == 2
    assert figure.count("<image") >= 1
