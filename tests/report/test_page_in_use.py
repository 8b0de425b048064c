"""The page as people use it: on a phone, by keyboard, in the dark, in print, by screen reader."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serplatform.ensembles.build import build_ensemble
from serplatform.report.build import build_report
from tests.report.test_chromium import browser
from tests.support.explained_run import add_explanations
from tests.support.synthetic_run import make_run

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}

UNFOLD = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"

#: what makes a page harder to use, by the axe-core people's own grades
FAULTS = ("serious", "critical")


@pytest.fixture(scope="module")
def page_file(on_disk: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every section: results, members, explanations with sound, search."""
    run = tmp_path_factory.mktemp("in_use") / "run"
    shutil.copytree(on_disk.run, run)
    build_ensemble([run], run / "ensemble")
    add_explanations(run, shown=1)
    return build_report(run)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = browser()
    with api.sync_playwright() as driver:
        found = driver.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def visit(chromium: Any, page_file: Path) -> Iterator[Callable[..., Any]]:
    """Open the page in a window of some size; at the end its console and requests are looked at."""
    contexts, told = [], []

    def open_page(viewport: dict[str, int], *, file: Path = page_file, **options: Any) -> Any:
        context = chromium.new_context(
            viewport=viewport, accept_downloads=True, reduced_motion="reduce", **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if re.match("file|data|blob", request.url) else told.append(request.url)
            ),
        )
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert told == []


@pytest.fixture(scope="module")
def phone(visit: Callable[..., Any]) -> Any:
    """The page on a phone, unfolded, opened once for the tests that leave it as it is."""
    page = visit(PHONE)
    page.evaluate(UNFOLD)
    return page


def serious_faults(page: Any) -> dict[str, Any]:
    """What axe-core holds against a page, everything unfolded."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core")
    page.evaluate(UNFOLD)
    return {
        f"{fault['id']}: {fault['help']}": [node["target"] for node in fault["nodes"]][:3]
        for fault in axe.Axe().run(page).response["violations"]
        if fault["impact"] in FAULTS
    }


@pytest.mark.slow
def test_axe_core_finds_no_serious_fault(phone) -> None:
    assert serious_faults(phone) == {}


@pytest.mark.slow
def test_axe_core_finds_no_serious_fault_in_the_dark(visit) -> None:
    assert serious_faults(visit(DESK, color_scheme="dark")) == {}


def test_axe_core_would_find_a_fault(visit, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<html><img src="data:,x"><p style="color:#ddd;background:#fff">pale words</p></html>'
    )
    found = " ".join(serious_faults(visit(DESK, file=bad)))
    assert "image-alt" in found
    assert "color-contrast" in found


def test_nothing_sticks_out_sideways(phone) -> None:
    assert phone.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 768, 1280])
def test_nothing_sticks_out_sideways_at_any_width(visit, width) -> None:
    page = visit({"width": width, "height": 800})
    page.evaluate(UNFOLD)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_every_download_holds_what_the_page_says_it_holds(phone, page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    for figure in ("metrics_table", "members", "trial_curves", "attention_on_speech"):
        figure_data = re.search(rf'id="data-{figure}">(.*?)</script>', text, flags=re.DOTALL)
        assert figure_data is not None
        for number, table in enumerate(json.loads(figure_data[1])):
            button = phone.locator(f'button[data-figure="{figure}"][data-table="{number}"]')
            with phone.expect_download() as waiting:
                button.click()
            suffix = f"-{number}" if number else ""
            assert waiting.value.suggested_filename == f"{figure}{suffix}.csv"
            content = Path(waiting.value.path()).read_text(encoding="utf-8-sig")
            rows = list(csv.reader(io.StringIO(content, newline="")))
            assert rows[0] == table["header"]
            assert len(rows) == 1 + len(table["rows"])
            for cells, values in zip(rows[1:], table["rows"], strict=True):
                for cell, value in zip(cells, values, strict=True):
                    if isinstance(value, float):
                        assert float(cell) == pytest.approx(value)
                    else:
                        assert cell == ("" if value is None else str(value))


def test_a_click_on_a_columns_name_sorts_every_trial(phone) -> None:
    """Numbers largest first, then smallest first; by keyboard as well."""
    table = phone.locator("#cost table[data-sortable]")

    def column(name: str) -> list[str]:
        heads = table.locator("thead th").all_inner_texts()
        at = [head.rstrip("↓↑\u00a0 ") for head in heads].index(name)
        return [
            row.locator("th, td").nth(at).inner_text() for row in table.locator("tbody tr").all()
        ]

    def numbers(name: str) -> list[float]:
        texts = column(name)
        known = [text for text in texts if text != "–"]
        assert texts[: len(known)] == known  # what is unknown comes last
        return [float(text.replace(",", "")) for text in known]

    trials = column("trial")
    for name in ("training (s)", "parameters", "dev UAR (%)"):
        button = table.get_by_role("button", name=name, exact=True)
        button.click()
        assert numbers(name) == sorted(numbers(name), reverse=True)
        assert table.locator("th[aria-sort=descending]").count() == 1
        button.press("Enter")
        assert numbers(name) == sorted(numbers(name))
        assert table.locator("th[aria-sort]").count() == 1
    assert sorted(column("trial")) == sorted(trials)
    assert len(set(numbers("training (s)"))) > 1
    table.get_by_role("button", name="trial", exact=True).click()
    assert column("trial") == sorted(
        trials, key=lambda t: (t.partition(" ")[0], int(t.split("#")[1]))
    )


def test_the_sound_plays_and_the_line_follows_it(phone) -> None:
    sound = phone.locator("audio").first
    sound.scroll_into_view_if_needed()
    sound.evaluate("(audio) => audio.play()")
    phone.wait_for_timeout(400)
    assert sound.evaluate("(audio) => audio.currentTime") > 0.05
    line = phone.locator(".playhead").first
    first = line.evaluate("(line) => parseFloat(line.style.left)")
    sound.evaluate("(audio) => { audio.pause(); audio.currentTime = 0.6; }")
    phone.wait_for_timeout(300)
    assert line.evaluate("(line) => parseFloat(line.style.left)") > first
    assert line.is_visible()


@pytest.mark.slow
def test_the_keyboard_reaches_the_answer_and_every_section(visit) -> None:
    page = visit(DESK)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for link in page.locator("nav a").all():
        link.focus()
        page.keyboard.press("Enter")
        page.wait_for_timeout(100)
        target = link.get_attribute("href").removeprefix("#")
        top = page.evaluate(
            "(id) => document.getElementById(id).getBoundingClientRect().top", target
        )
        assert -5 <= top < 900, target
        assert page.evaluate("(id) => document.getElementById(id).open ?? true", target), target
    page.locator(".cautions summary").focus()
    page.keyboard.press("Enter")
    assert page.locator(".cautions").evaluate("(d) => d.open")


def test_a_closed_page_is_short_and_its_first_figures_are_seen(visit) -> None:
    page = visit(DESK)
    assert page.locator("details.chapter[open]").count() == 0
    assert page.locator("#confusion_matrix svg").first.is_visible()
    assert not page.locator("#search_history svg").first.is_visible()
    assert page.evaluate("document.documentElement.scrollHeight") < 5 * DESK["height"]


def test_print_opens_the_sections_and_keeps_colours(visit) -> None:
    page = visit(DESK)
    pdf = page.pdf(format="A4")
    assert 3 < len(re.findall(rb"/Type\s*/Page[^s]", pdf)) <= 16
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("#search_history svg").first.is_visible()
    assert not page.locator("#attention_on_speech").first.is_visible()  # for the screen
    mark = "getComputedStyle(document.querySelector('.intervals .mark')).printColorAdjust"
    assert page.evaluate(mark) == "exact"


@pytest.mark.slow
def test_colours_follow_the_reader_and_print_is_light(visit) -> None:
    page = visit(DESK, color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    text = "getComputedStyle(document.querySelector('#search_history svg text')).fill"
    dark = page.evaluate(paper), page.evaluate(text)
    page.emulate_media(color_scheme="light")
    page.wait_for_timeout(500)
    light = page.evaluate(paper), page.evaluate(text)
    assert dark[0] != light[0]
    assert dark[1] != light[1]
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(500)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print", color_scheme="dark")
    page.wait_for_timeout(500)
    assert page.evaluate(text) == light[1]
    assert page.evaluate("getComputedStyle(document.querySelector('.bar')).display") == "none"


@pytest.mark.slow
def test_a_page_of_500_trials_opens_in_three_seconds(chromium, tmp_path: Path) -> None:
    """In seconds of the processor until the page can be read; plots out of sight come later."""
    run = make_run(tmp_path / "run", num_trials=500, num_folds=6, num_speakers=24, per_speaker=40)
    build_ensemble([run], run / "ensemble")
    page_file = build_report(run)
    assert page_file.stat().st_size <= 15e6
    page = chromium.new_page(viewport=DESK)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def seconds() -> float:
        found = session.send("Performance.getMetrics")["metrics"]
        return next(float(entry["value"]) for entry in found if entry["name"] == "ProcessTime")

    before = seconds()
    page.goto(page_file.as_uri(), wait_until="load")
    opened = seconds() - before
    assert page.locator("#verdict").is_visible()
    page.close()
    assert 0 < opened <= 3.0
