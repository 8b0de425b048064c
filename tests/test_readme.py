"""README.md and the pages of docs/ say what exists: files, packages, architectures, spaces.

Their commands and examples are run or parsed by tests/docs/test_pages.py.
"""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, command_lines, read

README = read(ROOT / "README.md")
PROSE = re.sub(r"```.*?```|<!--.*?-->", "", README, flags=re.S)


def page(name: str) -> str:
    return read(ROOT / "docs" / name)


def test_readme_is_short_and_shows_the_two_commands() -> None:
    assert len(README.splitlines()) < 120
    assert {"prepare", "search"} <= {arguments[0] for arguments in command_lines(README)}
    assert re.search(r"<!-- first run -->\n```bash\n.*serplatform search moma\n```", README)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_named_file_exists(path: Path) -> None:
    text = read(path)
    pattern = r"`((?:cluster|search_spaces|tests|benchmarks|\.ci)/[\w./-]+|constraints\.txt)`"
    for name in re.findall(pattern, text):
        assert "NAME" in name or (ROOT / name).exists(), name
    for name in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text):
        assert (path.parent / name).exists(), name


def test_every_page_is_reached_from_the_readme_or_the_index() -> None:
    index = page("index.md")
    named = set(re.findall(r"\((?:docs/)?([\w-]+\.md)", README + index))
    ours = set(re.findall(r"^\s+- (?:\w+: )?([\w-]+\.md)", read(ROOT / "mkdocs.yml"), re.M))
    assert ours - {"index.md"} <= named


def test_the_page_on_how_it_is_built_names_every_package() -> None:
    (table,) = re.findall(r"^\| package \|.*\n\|.*\n((?:\|.*\n)+)", page("architecture.md"), re.M)
    named = {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    for name in named:
        package = ROOT / "serplatform" / name
        assert package.is_dir() or package.with_suffix(".py").is_file(), name
    packages = {path.parent.name for path in (ROOT / "serplatform").glob("*/__init__.py")}
    assert packages <= named


def test_settings_of_the_page_on_extending_are_searched() -> None:
    from serplatform.models import SerModel, architecture
    from serplatform.registry import temporary
    from serplatform.studies.own_space import own_space

    (block,) = blocks(page("extending.md"), "python")
    with temporary():
        shown = {"__name__": __name__}
        exec(compile(block.content, "extending.md", "exec", dont_inherit=True), shown)  # noqa: S102
        architecture("shown", shown["TcnConfig"])(type("Shown", (SerModel,), {}))
        space, _ = own_space("shown")
    assert space["parameters"]["model.hidden_dim"] == {
        "type": "int",
        "low": 16,
        "high": 256,
        "log": True,
    }
    assert {"model.dropout", "training.learning_rate"} <= set(space["parameters"])


def test_shown_search_space_is_sound(tmp_path: Path) -> None:
    from serplatform.studies.space import load_space

    (block,) = blocks(page("spaces.md"), "yaml")
    path = tmp_path / "shown.yaml"
    path.write_text(block.content, encoding="utf-8")
    assert len(load_space(str(path)).parameters) == block.content.count("type:")


def test_listed_architectures_are_registered() -> None:
    from serplatform.models.base import ARCHITECTURES

    (table,) = re.findall(r"^\| architecture \| paper \|\n(?:\|.*\n)+", page("papers.md"), re.M)
    listed = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row)}
    assert listed == set(ARCHITECTURES.names())


def test_continuous_integration_runs_the_line_of_the_readme():
    (line,) = re.findall(r"<!-- tests -->\n```bash\n(.*)\n```", README)
    assert line.count(" && ") == 2
    assert line.endswith("/pytest")
    assert "-c constraints.txt" in line
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    extract = re.search(r"^line=\$\((.*)\)$", script, re.M)[1]
    done = subprocess.run(["bash", "-c", extract], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == line


def test_python_versions_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.13"
    assert "Python 3.11 or 3.12" in README


def test_no_line_of_a_report_is_promised_that_was_not_measured():
    """A number with a unit of time or a ratio belongs to benchmarks/, with its conditions."""
    assert not re.findall(
        r"\b\d+(?:\.\d+)?\s*(?:×|x\b|ms\b|s a trial|seconds?\b|minutes?\b)", PROSE
    )
