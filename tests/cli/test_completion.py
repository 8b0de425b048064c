"""The shell completes names and directories, without importing anything that takes long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from serplatform.cli.completion import COMPLETIONS
from serplatform.cli.main import app
from serplatform.cli.panels import MANY, PANELS

PROGRAM = """
import atexit, json, sys
slow = {"torch", "ray", "optuna", "pandas", "sklearn", "librosa", "matplotlib"}
atexit.register(lambda: print(json.dumps(sorted(slow & sys.modules.keys())), file=sys.stderr))
from serplatform.cli.main import run
run([])
"""


def completed(words: str, place: Path) -> list[str]:
    """What bash is offered for a line, of which the last word is being typed."""
    line = words.split(" ")
    environment = {
        **os.environ,
        "_SERPLATFORM_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(line) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment, cwd=place, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert json.loads(done.stderr.splitlines()[-1]) == []
    return done.stdout.split()


def test_names_are_completed_without_a_long_import(tmp_path):
    assert completed("serplatform search mo", tmp_path) == ["moma"]


@pytest.mark.parametrize(
    ("parameter", "typed", "found"),
    [
        ("architectures", "mo", ["moma"]),
        ("architectures", "al", ["all"]),
        ("protocol", "iem7", ["iem7-random-10fold"]),
        ("combiner", "st", ["stacking"]),
        ("corpus", "ra", ["ravdess"]),
        ("features", "log_mel_23,egemaps_v02_", ["log_mel_23,egemaps_v02_lld"]),
        ("objective", "uar,para", ["uar,parameters"]),
        ("sampler", "t", ["tpe"]),
        ("pruner", "h", ["hyperband"]),
        ("align", "wd", ["wdseg"]),
        ("table", "can-table2", ["can-table2"]),
    ],
)
def test_names_of_each_family(parameter, typed, found):
    assert COMPLETIONS[parameter](typed) == found


def test_directories_are_those_that_a_command_takes(tmp_path, monkeypatch):
    for name in ("runs/a/run.json", "runs/a/ensemble/ensemble.json", "runs/.b/run.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "data/d").mkdir(parents=True)
    (tmp_path / "data/d/dataset.json").touch()
    monkeypatch.chdir(tmp_path)
    assert COMPLETIONS["system"]("") == ["runs/a"]
    assert COMPLETIONS["system"]("ru") == ["runs/a"]
    assert COMPLETIONS["system"]("runs/a/") == ["runs/a/ensemble"]
    assert COMPLETIONS["system"](f"{tmp_path}/runs/") == [f"{tmp_path}/runs/a"]
    assert COMPLETIONS["run"]("runs/a/") == []
    assert COMPLETIONS["data"]("") == ["data/d"]
    assert COMPLETIONS["data"]("nothere/") == []


def commands() -> dict[str, typer.core.TyperCommand]:
    return typer.main.get_command(app).commands


def test_completed_and_grouped_names_are_parameters_of_commands():
    known = {parameter.name for command in commands().values() for parameter in command.params}
    assert known >= COMPLETIONS.keys()
    assert known >= PANELS.keys()


def test_help_of_commands_with_many_options_is_in_groups():
    grouped = {
        name
        for name, command in commands().items()
        if any(getattr(parameter, "rich_help_panel", None) for parameter in command.params)
    }
    assert {"search", "prepare", "predict", "train", "reproduce"} <= grouped
    for name in grouped:
        assert len(commands()[name].params) >= MANY
    alone = [p.name for p in commands()["search"].params if not p.rich_help_panel]
    assert set(alone) <= {"architectures", "help"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell_is_shown(shell, capsys, monkeypatch):
    from serplatform.cli.main import run

    monkeypatch.setattr("typer.completion._get_shell_name", lambda: shell)
    with pytest.raises(SystemExit, match="0"):
        run(["--show-completion"])
    assert f"complete_{shell}" in capsys.readouterr().out


def test_citation_is_one_with_the_version(capsys):
    import serplatform
    from serplatform.cli.main import run
    from serplatform.strict_yaml import read_yaml

    assert run(["--cite"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("@software{serplatform,\n")
    assert f"version = {{{serplatform.__version__}}}" in said
    file = read_yaml(Path(__file__).parents[2] / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= file.keys()
    again = file["preferred-citation"]
    assert all(again[key] == file[key] for key in ("title", "authors", "version", "type"))
