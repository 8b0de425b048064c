"""Every example of README.md and docs/ works: run here, or, where a page says why not, parsed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import (
    PAGES,
    ROOT,
    blocks,
    command_lines,
    given,
    is_quick,
    parse,
    read,
    unknown_calls,
)
from tests.docs.stage import GIVEN, Stage

NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
#: pages whose blocks are run: with the default tests where they say so, else with the slow ones
RUN = [
    pytest.param(page, id=name, marks=[] if is_quick(read(page)) else [pytest.mark.slow])
    for page, name in zip(PAGES, NAMES, strict=True)
    if any(not block.unrun for block in blocks(read(page), "bash", "python"))
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("stage"))


@pytest.mark.timeout(5400)
@pytest.mark.parametrize("page", RUN)
def test_examples_run_in_order(page: Path, stage: Stage, tmp_path: Path) -> None:
    text = read(page)
    place = tmp_path / "here"
    place.mkdir()
    stage.page(place, given(text))
    for block in blocks(text, "bash", "python"):
        if not block.unrun:
            stage.run(block, place)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_and_calls_are_right(page: Path) -> None:
    text = read(page)
    assert set(given(text)) <= set(GIVEN)
    for arguments in command_lines(text):
        name, params = parse(arguments)
        assert name == arguments[0]
        assert params
    for block in blocks(text, "bash", "python"):
        assert len((block.unrun or "a reason is given").split()) > 2, "say why it is not run"
        assert block.as_run
        if block.language == "python":
            assert not unknown_calls(block.content)


def test_every_command_is_shown() -> None:
    import typer

    from serplatform.cli.main import app

    shown = {arguments[0] for page in PAGES for arguments in command_lines(read(page))}
    assert set(typer.main.get_command(app).commands) <= shown


def test_no_fence_is_of_a_language_that_nothing_looks_at() -> None:
    for page in PAGES:
        found = set(re.findall(r"^```(\w+)", read(page), re.M))
        assert found <= {"bash", "python", "yaml", "json", "bibtex", "text"}, page


def test_what_is_wrong_in_a_page_is_found(tmp_path: Path) -> None:
    from typer.exceptions import TyperException

    with pytest.raises(TyperException, match="No such option"):
        parse(["search", "moma", "--trails", "3"])
    assert unknown_calls("sp.serch('a')\nsp.search(trails=3)") == ["sp.search(trails=)", "sp.serch"]
    with pytest.raises(ValueError, match="no block"):
        blocks("<!-- example: only checked, why -->\n\ntext\n", "bash")
    with pytest.raises(ValueError, match="says not how"):
        blocks("<!-- example: skipped -->\n```bash\nls\n```\n", "bash")
    (block,) = blocks('<!-- example: with "9h" as "9s" -->\n```bash\nsleep 9m\n```\n', "bash")
    with pytest.raises(ValueError, match="9h"):
        assert block.as_run
    stage = Stage(tmp_path)
    (block,) = blocks("```bash\nserplatform data nothere\n```\n", "bash")
    with pytest.raises(AssertionError, match="nothere"):
        stage.run(block, tmp_path)


def test_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir"]
    done = subprocess.run([*words, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert {f"{path.stem}.html" for path in PAGES[1:]} <= {page.name for page in pages}
    fetched = re.compile(r"""<(?:script|link|img)[^>]*?(?:src|href)=["']?(https?:)?//[^"'>\s]+""")
    for page in pages:
        html = page.read_text(encoding="utf-8")
        assert not fetched.search(html), f"{page.name} fetches {fetched.search(html)}"
    reference = (tmp_path / "reference.html").read_text(encoding="utf-8")
    assert "time_budget" in reference
    assert ":class:" not in reference
