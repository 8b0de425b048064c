"""The first screen of a page as a picture, for README.md:

python benchmarks/screenshot.py runs/d8/report.html docs/page.png

It takes Chromium and the package playwright, of the extra `test`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WIDTH, HEIGHT = 1100, 1000
MARGIN = 16  # pixels below what is shown


def picture(page: Path, out: Path) -> None:
    """Write what is seen of a page down to the end of its answer."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise SystemExit("needs Chromium on PATH")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        view = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light", device_scale_factor=1
        )
        view.goto(page.resolve().as_uri())
        answer = view.locator("section.answer .intervals").bounding_box()
        assert answer is not None
        height = answer["y"] + answer["height"] + MARGIN
        view.screenshot(path=out, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path, help="what search, ensemble or report wrote")
    parser.add_argument("out", type=Path, help="the picture, a PNG")
    given = parser.parse_args()
    picture(given.page, given.out)
