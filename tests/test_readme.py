"""README.md says what works: its commands parse, its files exist, its space loads."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    """Contents of every fenced block of that language ("" for none), in order."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [content for name, content in fences if name == language]


def command_lines(text: str = README) -> list[list[str]]:
    """Arguments of every ``serplatform`` command in a text, through ``ray submit`` too."""
    found = []
    for block in blocks("bash", text):
        for line in block.splitlines():
            for part in line.split("&&"):
                words = shlex.split(part, comments=True)
                if words and Path(words[0]).name == "serplatform":
                    found.append(words[1:])
                elif words[:2] == ["ray", "submit"]:
                    found.append(words[words.index("--") + 1 :])
    return found


def parse(arguments: list[str]) -> tuple[str, dict]:
    """Parse a command line as the program would, without running the command."""
    from serplatform.cli.main import app

    group = typer.main.get_command(app)
    context = group.make_context("serplatform", list(arguments), resilient_parsing=False)
    name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    return name, command.make_context(name, rest, parent=context).params


def test_readme_shows_commands():
    assert len(command_lines()) >= 8


@pytest.mark.parametrize("arguments", command_lines() + command_lines(EXTENDING), ids=" ".join)
def test_command_parses(arguments):
    name, params = parse(arguments)
    assert name == arguments[0]
    assert params


def test_a_wrong_option_would_be_noticed():
    with pytest.raises(typer.BadParameter.__mro__[1], match="No such option"):
        parse(["search", "moma", "--trails", "3"])


def test_every_command_is_shown():
    from serplatform.cli.main import app

    commands = set(typer.main.get_command(app).commands) - {"download"}
    assert commands <= {arguments[0] for arguments in command_lines()}


def test_every_named_file_exists():
    named = set(
        re.findall(r"`((?:cluster|search_spaces|tests|\.ci)/[\w./-]+|constraints\.txt)`", README)
    )
    assert len(named) >= 5
    for name in named:
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\(([\w./]+)\)", README):
        assert (ROOT / name).exists(), name


def test_layout_names_only_packages_that_exist():
    (layout,) = [block for block in blocks("") if block.startswith("serplatform/")]
    inside = [line for line in layout.splitlines() if line.startswith("  ")]
    names = [
        name for line in inside for name in re.split(r", ", re.split(r"\s{2,}", line.strip())[0])
    ]
    assert len(names) > 12
    for name in names:
        package = ROOT / "serplatform" / name
        assert package.is_dir() or package.with_suffix(".py").is_file(), name


def test_settings_of_the_page_on_extending_are_searched():
    from serplatform.models import SerModel, architecture
    from serplatform.registry import temporary
    from serplatform.studies.space import own_space

    (text,) = blocks("python", EXTENDING)
    with temporary():
        shown = {"__name__": __name__}
        exec(compile(text, "extending.md", "exec", dont_inherit=True), shown)  # noqa: S102
        architecture("shown", shown["TcnConfig"])(type("Shown", (SerModel,), {}))
        space, _ = own_space("shown")
    assert space["parameters"]["model.hidden_dim"] == {
        "type": "int",
        "low": 16,
        "high": 256,
        "log": True,
    }
    assert {"model.dropout", "training.learning_rate"} <= set(space["parameters"])


def test_shown_search_space_is_sound(tmp_path):
    from serplatform.studies.space import load_space

    (text,) = blocks("yaml")
    path = tmp_path / "readme.yaml"
    path.write_text(text, encoding="utf-8")
    assert len(load_space(str(path)).parameters) == text.count("type:")


def test_listed_architectures_are_registered():
    from serplatform.models.base import ARCHITECTURES

    (table,) = re.findall(r"^\| architecture \| paper \|\n(?:\|.*\n)+", README, re.M)
    listed = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row)}
    assert {"moma", "blstmatt", "csa"} <= listed
    assert listed <= set(ARCHITECTURES.names())


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
    prose = re.sub(r"```.*?```", "", README, flags=re.S)
    assert not re.findall(
        r"\b\d+(?:\.\d+)?\s*(?:×|x\b|ms\b|s a trial|seconds?\b|minutes?\b)", prose
    )
