"""The page: one file, well formed, nothing from a network, no name ever markup."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from serplatform.artifacts.files import read_json, read_parquet, write_json, write_parquet
from serplatform.cli.report import command
from serplatform.ensembles.build import build_ensemble
from serplatform.errors import BadInputError
from serplatform.report.build import build_report
from serplatform.report.figures.base import FIGURES
from tests.support.synthetic_run import make_run

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Outline(HTMLParser):
    """Elements, their nesting and the text of each kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.faults: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(on_disk: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "page.html"
    assert build_report(on_disk.ensemble, out) == out
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


def test_every_element_is_closed_in_order(outline: Outline) -> None:
    assert outline.faults == []
    assert outline.open == []


def test_nothing_is_asked_of_a_network(page: str, outline: Outline) -> None:
    for tag, attrs in outline.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attrs.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    assert "@import" not in page
    assert not re.search(r"url\(\s*['\"]?https?:", page)


def test_policy_allows_exactly_the_scripts_of_the_page(page: str, outline: Outline) -> None:
    metas = outline.every("meta")
    policy = next(m["content"] for m in metas if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy  # falls back to none
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    assert len(scripts) == 1
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.count("sha256-") == 1


def test_headings_never_skip_a_level_and_there_is_one_first(outline: Outline) -> None:
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_landmarks_language_and_skip_link(page: str, outline: Outline) -> None:
    assert outline.every("html")[0]["lang"] == "en"
    for tag in ("main", "nav", "footer"):
        assert len(outline.every(tag)) == 1
    links = outline.every("a")
    assert links[0] == {"class": "skip", "href": "#main"}
    ids = {attrs["id"] for _, attrs in outline.tags if attrs.get("id")}
    assert {str(link["href"])[1:] for link in links} <= ids


def test_ids_are_unique_and_labels_point_at_them(outline: Outline) -> None:
    ids = [attrs["id"] for _, attrs in outline.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    for _, attrs in outline.tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attrs.get(name) or "").split()) <= set(ids)


def test_tables_have_captions_and_scopes(outline: Outline) -> None:
    assert len(outline.every("table")) == len(outline.every("caption")) > 10
    assert all(th.get("scope") in ("row", "col") for th in outline.every("th"))


def test_plots_have_text_alternatives_and_data(outline: Outline) -> None:
    plots = [a for a in outline.every("div") if a.get("class") == "plot"]
    assert len(plots) > 10
    for plot in plots:
        assert plot["role"] == "img"
        assert plot["aria-labelledby"]
        assert plot["aria-describedby"]
    buttons = outline.every("button")
    drawn = {(p["aria-describedby"] or "").removeprefix("summary-") for p in plots}
    assert drawn <= {b["data-figure"] for b in buttons}
    assert all((b["aria-label"] or "").startswith("Download CSV: ") for b in buttons)


def test_every_figure_is_drawn_or_its_absence_explained(page: str, outline: Outline) -> None:
    ids = {attrs["id"] for _, attrs in outline.tags if attrs.get("id")}
    asked = {n for n in FIGURES.names() if FIGURES.get(n).section == "evaluation"}
    assert set(FIGURES.names()) - asked <= ids
    absent = re.findall(r'<ul class="absent">(.*?)</ul>', page, flags=re.DOTALL)
    assert "Importance of the parameters:</b> an architecture needs at least 20" in "".join(absent)


def test_islands_hold_the_values_that_plots_and_downloads_need(page: str) -> None:
    text = re.search(r'id="data-search_history">(.*?)</script>', page, flags=re.DOTALL)
    assert text is not None
    table = json.loads(text[1])[0]
    assert table["header"][:4] == ["run", "trial", "architecture", "state"]
    assert [row[1] for row in table["rows"]] == list(range(11))
    assert [len(row) for row in table["rows"]] == [len(table["header"])] * 11
    picture = page[page.index('id="search_history"') :].partition("</svg>")[0]
    assert "best so far</text>" in picture


def test_synthetic_data_are_labelled_before_anything_else(page: str) -> None:
    body = page[page.index("<body>") :]
    assert body.index("Synthetic data.") < body.index("<nav") < body.index("<h1")
    assert "<title>Synthetic data: " in page


def test_recorded_speech_is_not_labelled_synthetic(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_trials=2)
    info = read_json(run / "run.json")
    info["dataset"]["synthetic"] = False
    write_json(run / "run.json", info)
    assert "Synthetic data" not in build_report(run).read_text(encoding="utf-8")


def test_no_hostile_name_becomes_markup(tmp_path: Path) -> None:
    classes = (HOSTILE, "</script><img src=x onerror=alert(2)>", "a & b", "`c`")
    run = make_run(tmp_path / "run", num_trials=4, classes=classes)
    info = read_json(run / "run.json")
    info["dataset"] |= {"title": "<b onclick=alert(3)>corpus</b>", "path": "moved"}
    info["dataset"]["counts"].pop("by_speaker", None)  # they are renamed below
    info["notes"] = ["<i>note</i>"]
    info["command"] = ["serplatform", "<u>x</u>"]
    write_json(run / "run.json", info)
    for path in (run / "posteriors").glob("*.parquet"):
        table = read_parquet(path)
        at = table.column_names.index("speaker_id")
        names = [f"<img src=y>{s}" for s in table["speaker_id"].to_pylist()]
        write_parquet(path, table.set_column(at, "speaker_id", pa.array(names)))
    for path in (run / "trials").glob("*.json"):
        record = read_json(path)
        record["architecture"] = f"<s>{record['architecture']}</s>"
        record["params"]["model.<q>x</q>"] = "<em>y</em>"
        write_json(path, record)
    build_ensemble([run], run / "ensemble")
    page = build_report(run).read_text(encoding="utf-8")
    outline = Outline(page)
    assert outline.faults == []
    found = {tag for tag, _ in outline.tags}
    assert not found & {"img", "i", "u", "s", "q", "em"}
    assert not any(name.startswith("on") for _, attrs in outline.tags for name in attrs)
    figure_data = [a for a in outline.every("script") if a.get("type") == "application/json"]
    assert len(outline.every("script")) == len(figure_data) + 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b onclick" not in page
    for figure_data in re.findall(r'type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL):
        assert not set("<>&") & set(figure_data)
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert any("&lt;script&gt;alert(1)" in picture for picture in pictures)
    drawn = {"svg", "g", "path", "text", "tspan", "use", "defs", "clipPath", "rect", "image"}
    for picture in pictures:
        assert set(re.findall(r"</?(\w+)", picture)) <= drawn | {"title", "style"}


def test_run_without_a_finished_trial_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_trials=1)
    for path in (run / "trials").glob("*.json"):
        record = read_json(path)
        write_json(path, record | {"state": "failed", "error": "no memory", "dev": {}})
    page = build_report(run).read_text(encoding="utf-8")
    assert "There is no answer yet: no trial has finished." in page
    assert "no finished trial has test posteriors" in page


def test_interrupted_run_is_marked(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_trials=2)
    info = read_json(run / "run.json")
    write_json(run / "run.json", info | {"status": "interrupted"})
    assert "status is “interrupted”" in build_report(run).read_text(encoding="utf-8")


def test_default_place_is_in_the_source(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_trials=1)
    assert build_report(run) == run / "report.html"
    with pytest.raises(BadInputError, match="is a directory"):
        build_report(run, tmp_path)


def test_page_is_the_same_each_time(on_disk: Any, tmp_path: Path) -> None:
    first = build_report(on_disk.run, tmp_path / "a.html").read_bytes()
    assert build_report(on_disk.run, tmp_path / "b.html").read_bytes() == first


def test_command_prints_one_json_object(on_disk: Any, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    out = tmp_path / "page.html"
    found = CliRunner().invoke(app, [str(on_disk.run), "--out", str(out), "--json"])
    assert found.exit_code == 0
    printed = json.loads(found.stdout.strip().splitlines()[-1])
    assert printed == {"report": str(out), "bytes": out.stat().st_size}


def test_page_is_built_without_torch_ray_or_a_plotting_library(
    on_disk: Any, tmp_path: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from serplatform.report.build import build_report; "
        "build_report(Path(sys.argv[1]), Path(sys.argv[2])); "
        "print(sorted({'torch', 'ray', 'optuna', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    arguments = [sys.executable, "-c", code, str(on_disk.ensemble), str(tmp_path / "page.html")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
