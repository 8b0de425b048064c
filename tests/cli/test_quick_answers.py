"""What a wrong command, a help or a list may import: nothing that takes long."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from serplatform.models.architectures import ARCHITECTURES
from serplatform.testing.synthetic import make_dataset

#: each takes half a second or more of a processor
SLOW = ["torch", "ray", "optuna", "pandas", "sklearn", "scipy.stats", "scipy.signal", "matplotlib"]

#: runs commands one after the other, each in a folder of its own: exit code, what slow it was the
#: first to import, and messages
PROGRAM = f"""
import contextlib, io, json, os, sys
seen, told = set(), []
from serplatform.cli.main import run
for number, words in enumerate(json.load(sys.stdin)):
    os.mkdir(str(number))
    os.chdir(str(number))
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(words)
    os.chdir("..")
    new = set({SLOW!r}) & sys.modules.keys() - seen
    seen |= new
    told.append([code, sorted(new), err.detach().getvalue().decode()])
json.dump(told, sys.stdout)
"""

LISTS = [
    ["--version"],
    ["--help"],
    ["search", "--help"],
    ["search", "moma", "--set", "help"],
    ["train", "--set", "help"],
    ["corpora"],
    ["reproduce"],
    ["runs", "."],
    ["doctor", "--json"],
]
WRONG = [
    ["search", "moma", "--data", "nothere"],
    ["search", "momma", "--data", "DATA"],
    ["search", "moma", "--data", "DATA", "--protocol", "speaker-kfol:3"],
    ["search", "moma", "--data", "DATA", "--space", "nothere"],
    ["search", "moma", "--data", "DATA", "--set", "model.hiden_dim=3"],
    ["search", "moma", "--data", "DATA", "--set", "model.hidden_dim=abc"],
    ["search", "moma", "--data", "DATA", "--sampler", "tpp"],
    ["search", "moma", "--data", "DATA", "--pruner", "ashes"],
    ["search", "moma", "--data", "DATA", "--combiner", "nothere"],
    ["search", "moma", "--data", "DATA", "--workers", "20000"],
    ["search", "moma", "--data", "DATA", "--log", "mlfow=runs"],
    ["search", "moma", "--data", "DATA", "--out", "RUN"],
    ["search", "--resume", "--out", "nothere"],
    ["train", "momma", "--data", "DATA"],
    ["report", "nothere"],
    ["predict", "nothere", "a.wav"],
    ["evaluate", "nothere", "--data", "nothere"],
    ["ensemble", "nothere", "--out", "e"],
    ["export", "nothere", "--out", "e"],
    ["export", "nothere", "--onnx"],
    ["serve", "nothere"],
    ["serve", "nothere", "--timeout", "0"],
    ["predict", "nothere", "a.wav", "--format", "emoboxes"],
    ["explain", "nothere"],
    ["prepare", "ravdess", "nothere", "--out", "d"],
    ["prepare", "ravdes", "nothere", "--out", "d"],
    ["prepare", "my/nothere", "--out", "d"],
    ["prepare", "DATA", "--out", "d"],
    ["prepare", "demo", "--features", "log_mell", "--out", "d"],
    ["reproduce", "notable"],
]


Answer = tuple[int, list[str], str]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """Exit code, what slow was imported and what was said, of every command."""
    folder = tmp_path_factory.mktemp("quick")
    make_dataset(folder / "data", per_speaker=4, seconds=(0.2, 0.4))
    occupied = folder / "run"
    (occupied / "trials").mkdir(parents=True)
    (occupied / "trials" / "trial-00000.json").write_text("{}")
    (occupied / "run.json").write_text("{}")
    places = {"DATA": str(folder / "data"), "RUN": str(occupied)}
    commands = [[places.get(word, word) for word in words] for words in LISTS + WRONG]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(commands),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = map(tuple, json.loads(done.stdout))
    return dict(zip(map(" ".join, LISTS + WRONG), told, strict=True))


@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_lists_and_help_import_nothing_slow(words: list[str], answers: dict[str, Answer]) -> None:
    assert answers[" ".join(words)][:2] == (0, [])


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_a_wrong_command_is_answered_before_anything_slow_is_imported(
    words: list[str], answers: dict[str, Answer]
) -> None:
    code, imported, told = answers[" ".join(words)]
    assert (code, imported) == (2, []), told
    assert "Error: " in told


def test_what_files_declare_is_what_they_register() -> None:
    program = """
import dataclasses
from serplatform.config import fields_of
from serplatform.models.architectures import ARCHITECTURES as known

def told(architecture):
    values = {f.name: getattr(architecture, f.name) for f in dataclasses.fields(architecture)}
    return values | {"config": fields_of(values["config"]), "build": None}

declared = {name: told(known.get(name)) for name in known.names()}
import torch
assert declared == {name: told(known.get(name)) for name in known.names()}
print(*declared)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == [
        name for name in ARCHITECTURES.names() if name in done.stdout.split()
    ]
    assert {"moma", "svm", "encoder_lora"} <= set(done.stdout.split())


def test_a_declared_architecture_builds_its_network() -> None:
    program = """
import sys
from serplatform.models.architectures import ARCHITECTURES, InputSpec
declared = ARCHITECTURES.get("moma")
assert "torch" not in sys.modules
print(type(declared.build(declared.config(), InputSpec(feature_dim=4, num_classes=3))).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "Moma"
