"""The page in a real browser: no error, no request, every plot there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from serplatform.report.build import build_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def browser() -> str:
    found = os.environ.get("SERPLATFORM_CHROMIUM") or next(
        filter(None, map(shutil.which, BROWSERS)), None
    )
    if found is None:
        pytest.skip("no Chromium on this machine; set SERPLATFORM_CHROMIUM to its path")
    return found


Opened = tuple[str, str, list[tuple[str, str]]]


def open_page(page: Path, folder: Path, *flags: str) -> Opened:
    """Load a page; return its final DOM, the console, and (origin, URL) of every request.

    The origin is the number by which Chromium's log tells what part of it made a request.
    """
    log = folder / "network.json"
    done = subprocess.run(
        [
            browser(),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-default-apps",
            "--no-first-run",
            "--no-default-browser-check",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder / 'profile'}",
            f"--log-net-log={log}",
            "--enable-logging=stderr",
            "--v=0",
            "--virtual-time-budget=20000",
            *flags,
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    text = log.read_text(encoding="utf-8", errors="replace")
    urls = re.findall(r'"traffic_annotation":(\d+),"url":"([^"]*)"', text)
    return done.stdout, console, urls


@pytest.fixture(scope="module")
def opened(on_disk: Any, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = tmp_path_factory.mktemp("browser")
    page = build_report(on_disk.ensemble, folder / "page.html")
    return open_page(page, folder)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A page with every fault that the tests look for: the checks must see them here."""
    folder = tmp_path_factory.mktemp("faulty")
    page = folder / "bad.html"
    page.write_text('<img src="https://example.invalid/x.png"><script>oops()</script>')
    return open_page(page, folder)


def test_every_plot_has_its_picture(opened: Opened) -> None:
    plots = re.findall(r'<div class="plot"[^>]*>(.{4})', opened[0], flags=re.DOTALL)
    assert len(plots) > 10
    assert set(plots) == {"<svg"}


def test_console_is_silent(opened: Opened, faulty: Opened) -> None:
    assert opened[1] == ""
    assert "oops is not defined" in faulty[1]


def test_nothing_is_requested(opened: Opened, faulty: Opened) -> None:
    # The browser itself asks its maker for this and that: only requests of the kind that the
    # faulty page makes are a page's.
    pages = {origin for origin, url in faulty[2] if url == "https://example.invalid/x.png"}
    assert pages
    outside = [url for origin, url in opened[2] if origin in pages and not url.startswith("data:")]
    assert outside == []
