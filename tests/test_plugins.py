"""Plugins: what a stranger's file may do, and what is said when it cannot be used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serplatform import plugins
from serplatform.artifacts.files import read_json
from serplatform.cli.main import run as command_line
from serplatform.cli.new import KINDS
from serplatform.cli.new import command as new
from serplatform.ensembles.base import COMBINERS
from serplatform.errors import ArtifactError, BadInputError
from serplatform.models.base import ARCHITECTURES
from serplatform.registry import PLUGINS, temporary
from serplatform.studies.own_space import own_space
from serplatform.studies.space import make_space
from tests.support.audio_run import make_audio_run
from tests.support.synthetic_run import make_run

ROOT = Path(__file__).parents[1]

COMBINER = """
from serplatform.ensembles.base import COMBINERS
from serplatform.ensembles.mean import Mean

@COMBINERS.register("{name}")
class Ours(Mean):
    name = "{name}"
"""


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(plugins._State, "trusting", False)
    with temporary():
        yield


def written(folder: Path, content: str, name: str = "mine.py") -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content, encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("x = 1\ndef f(:\n", r"mine\.py, line 2: SyntaxError: invalid syntax; correct the file"),
        ("\nimport no_such_module\n", r"mine\.py, line 2: ModuleNotFoundError: .*; install it on"),
        ("1 / 0\n", r"mine\.py, line 1: ZeroDivisionError: division by zero; correct the file"),
        ("import sys\nsys.exit(3)\n", r"mine\.py, line 2: SystemExit: 3; correct the file"),
        ("x = 1\n", r"mine\.py: registers nothing; write @COMBINERS\.register"),
        (
            COMBINER.format(name="mean"),
            r"mine\.py, line 5: combiner 'mean' is registered already, by serplatform itself; give",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, content: str, said: str
) -> None:
    before = COMBINERS.names(), COMBINERS.get("mean")
    with pytest.raises(BadInputError, match=said) as found:
        plugins.load([written(tmp_path, content)])
    assert len(str(found.value).splitlines()) == 1
    assert (COMBINERS.names(), COMBINERS.get("mean")) == before
    assert not [name for name in sys.modules if name.startswith("serplatform_plugin_mine")]
    plugins.load([written(tmp_path, COMBINER.format(name="ours"))])  # mended, it is taken
    assert "ours" in COMBINERS.names()


def test_a_file_that_fails_halfway_registers_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="line 8: NameError"):
        plugins.load([written(tmp_path, COMBINER.format(name="ours") + "nonsense\n")])
    assert "ours" not in COMBINERS.names()


def test_two_files_of_one_name_are_both_named(tmp_path: Path) -> None:
    first = written(tmp_path, COMBINER.format(name="ours"))
    second = written(tmp_path, COMBINER.format(name="ours") + "\n", "other.py")
    plugins.load([first, first])
    assert len(PLUGINS) == 1
    with pytest.raises(BadInputError, match=r"other\.py, line 5: combiner 'ours' .*mine\.py; give"):
        plugins.load([second])
    copy = written(tmp_path / "copy", COMBINER.format(name="others"))
    with pytest.raises(BadInputError, match=r"copy/mine\.py: another plugin of this name is .*/mi"):
        plugins.load([copy])


def test_a_plugin_comes_by_option_by_variable_and_as_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        written(tmp_path, COMBINER.format(name=n), f"of_{n}.py") for n in ("one", "two", "six")
    ]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(plugins.VARIABLE, os.pathsep.join(["", files[0]]))
    words = ["--plugin", files[1], "corpora", "--plugin", "of_six", "--json"]
    assert command_line(words) == 0
    assert {"one", "two", "six"} < set(COMBINERS.names())
    (record,) = plugins.made_with(combiner=["six"])["plugins"]
    assert record["name"] == "of_six"
    assert "file" not in record
    assert command_line(["corpora", "--plugin", str(tmp_path / "none.py")]) == 2
    assert "none.py: cannot be read (No such file or directory)" in capsys.readouterr().err
    broken = written(tmp_path, "1 / 0\n", "broken.py")
    monkeypatch.setenv(plugins.VARIABLE, broken)
    assert command_line(["corpora"]) == 2
    assert "or take it out of SERPLATFORM_PLUGINS" in capsys.readouterr().err


def test_what_was_recorded_is_taken_up_and_refused_when_it_changed(tmp_path: Path) -> None:
    plugins.load([written(tmp_path, COMBINER.format(name="ours"))])
    recorded = plugins.made_with(combiner=["ours"])
    assert plugins.write(tmp_path / "run", recorded).keys() == {"plugins/mine.py"}
    plugins.forget(next(iter(PLUGINS.values())))
    plugins.restore(tmp_path / "run", recorded)
    assert "ours" in COMBINERS.names()
    plugins.forget(next(iter(PLUGINS.values())))
    plugins.load([written(tmp_path, COMBINER.format(name="ours") + "# changed\n")])
    with pytest.raises(BadInputError, match=r"made with another plugin 'mine' .*start anew"):
        plugins.restore(tmp_path / "run", recorded)
    plugins.forget(next(iter(PLUGINS.values())))
    written(tmp_path / "run" / "plugins", "import shutil\n")
    with pytest.raises(ArtifactError, match=r"plugins/mine\.py: is missing or was altered"):
        plugins.restore(tmp_path / "run", recorded)


def test_code_of_others_runs_only_when_the_user_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, COMBINER.format(name="ours"))
    plugins.load([file])
    recorded = plugins.made_with(combiner=["ours"])
    plugins.write(tmp_path / "run", recorded)
    plugins.forget(next(iter(PLUGINS.values())))
    with pytest.raises(BadInputError, match=r"brings code of its own.*give --trust-plugins, or"):
        plugins.restore(tmp_path / "run", recorded, foreign=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: 12345)  # the run is another user's
        with pytest.raises(BadInputError, match="brings code of its own"):
            plugins.restore(tmp_path / "run", recorded)
    assert "ours" not in COMBINERS.names()
    plugins.load([file])
    plugins.restore(tmp_path / "run", recorded, foreign=True)
    plugins.forget(next(iter(PLUGINS.values())))
    plugins.load([], trust=True)
    plugins.restore(tmp_path / "run", recorded, foreign=True)
    assert "ours" in COMBINERS.names()


def test_an_ensemble_carries_its_combiner(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_trials=2, num_speakers=6)
    file = written(tmp_path, COMBINER.format(name="ours"))
    out = str(tmp_path / "ens")
    words = ["ensemble", str(run), "--out", out, "--combiner"]
    assert command_line([*words, "ours"]) == 2
    assert command_line([*words, "ours", "--plugin", file]) == 0
    (record,) = read_json(tmp_path / "ens" / "ensemble.json")["plugins"]
    assert (record["name"], record["registers"]) == ("mine", {"combiner": ["ours"]})
    assert (tmp_path / "ens" / "plugins" / "mine.py").read_bytes() == Path(file).read_bytes()
    assert command_line([*words, "mean"]) == 0
    assert "plugins" not in read_json(tmp_path / "ens" / "ensemble.json")


def test_files_made_without_plugins_do_not_mention_them(tmp_path: Path) -> None:
    made = make_audio_run(
        tmp_path, trials=[("csa", {"training.max_epochs": 1, "model.channels": 4})], per_speaker=4
    )
    assert command_line(["export", str(made.run), "--out", str(tmp_path / "bundle")]) == 0
    models = [*made.run.rglob("config.json"), *(tmp_path / "bundle").rglob("config.json")]
    files = [
        made.run / "run.json",
        made.dataset / "dataset.json",
        tmp_path / "bundle" / "bundle.json",
    ]
    assert len(models) == 4
    for file in (*files, *models):
        assert "plugins" not in read_json(file), file


def test_a_space_lies_beside_its_file_or_is_made_of_the_ranges(tmp_path: Path) -> None:
    new("architecture", "tcn", tmp_path / "deep.py")
    plugins.load([str(tmp_path / "deep.py")])
    space = make_space(*own_space("tcn"))
    assert {name: (p.kind, p.low, p.high, p.values) for name, p in space.parameters.items()} == {
        "model.hidden_dim": ("int", 16, 256, ()),
        "model.num_layers": ("int", 1, 6, ()),
        "model.kernel_size": ("choice", 0, 0, (3, 5)),
        "model.dropout": ("float", 0.0, 0.5, ()),
        "training.learning_rate": ("float", 1e-4, 1e-2, ()),
        "training.batch_size": ("choice", 0, 0, (16, 32)),
        "data.normalization": ("choice", 0, 0, ("train", "speaker", "utterance")),
    }
    (tmp_path / "tcn.yaml").write_text(
        "architecture: tcn\ndescription: Depth.\n"
        "parameters: {model.num_layers: {type: int, low: 2, high: 4}}\n",
        encoding="utf-8",
    )
    assert list(make_space(*own_space("tcn")).parameters) == ["model.num_layers"]
    assert plugins.named_architectures() == {"tcn"}


def test_what_new_writes_keeps_its_contract(tmp_path: Path) -> None:
    files = []
    for kind in KINDS:
        new(kind, f"my_{kind}", tmp_path / f"my_{kind}.py")
        files += ["--serplatform-contract", str(tmp_path / f"my_{kind}.py")]
    with pytest.raises(BadInputError, match=r"my_corpus\.py: is there already"):
        new("corpus", "my_corpus", tmp_path / "my_corpus.py")
    quiet = ["-q", "-p", "no:cacheprovider", "-c", os.devnull]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "serplatform.testing.pytest_plugin", *quiet, *files],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout
    assert int(passed[1]) > 80, done.stdout


def serplatform(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serplatform", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )


def test_check_says_what_was_found_and_what_failed(tmp_path: Path) -> None:
    new("combiner", "median", tmp_path / "median.py")
    good = serplatform("check", "median.py", cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert good.stdout == "combiner median: 22 of 22 tests passed\n"
    text = (tmp_path / "median.py").read_text(encoding="utf-8")
    written(tmp_path, text.replace("/ median.sum(axis=1, keepdims=True)", ""), "bad.py")
    bad = serplatform("check", "bad.py", cwd=tmp_path)
    assert bad.returncode == 1
    first, second, *failures = bad.stderr.splitlines()
    assert first.startswith("Error: bad.py does not keep its contracts (")
    assert second.startswith("combiner median: ")
    assert any(line.startswith("  answers are posteriors[5-median]: Asser") for line in failures)


def test_entry_points_are_imported_for_their_family_alone(tmp_path: Path) -> None:
    """An installed package: one of its entry points works, one breaks."""
    site = tmp_path / "site"
    written(site, COMBINER.format(name="ours"), "strangers.py")
    written(site, "raise RuntimeError('of a stranger')\n", "broken.py")
    info = site / "strangers-1.5.dist-info"
    written(info, "Metadata-Version: 2.1\nName: strangers\nVersion: 1.5\n", "METADATA")
    written(
        info,
        "[serplatform.combiners]\nours = strangers:Ours\n[serplatform.figures]\nbad = broken\n",
        "entry_points.txt",
    )
    code = """
import sys
from serplatform import plugins
from serplatform.models.base import ARCHITECTURES
ARCHITECTURES.names()
assert "strangers" not in sys.modules
from serplatform.ensembles.base import COMBINERS
assert "ours" in COMBINERS.names()
assert plugins.made_with() == plugins.made_with(named=True) == {}
(record,) = plugins.made_with(combiner=["ours"])["plugins"]
assert record["name"] == "strangers", record
assert plugins.named_architectures() == set()
from serplatform.report.figures.base import FIGURES
try:
    FIGURES.names()
except Exception as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{site}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "entry point 'bad = broken' of package strangers in serplatform.figures cannot be loaded "
        "(RuntimeError: of a stranger); repair or remove the package, or leave out all entry "
        "points with SERPLATFORM_NO_ENTRY_POINTS=1\n"
    )
    code = "from serplatform.report.figures.base import FIGURES; print(len(FIGURES.names()))"
    left_out = {plugins.NO_ENTRY_POINTS: "1", "PYTHONPATH": f"{ROOT}:{site}"}
    quiet = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **left_out}, check=True, timeout=120
    )
    assert quiet.returncode == 0


@pytest.mark.slow
@pytest.mark.ray
def test_from_a_file_to_a_bundle_that_predicts_elsewhere(tmp_path: Path) -> None:
    """A TCN, a median combiner and a feature in one file, which is then removed."""
    parts = []
    for kind, name in (("architecture", "tcn"), ("combiner", "median"), ("feature", "bands")):
        new(kind, name, tmp_path / f"{name}.py")
        parts.append((tmp_path / f"{name}.py").read_text(encoding="utf-8"))
        (tmp_path / f"{name}.py").unlink()
    text = "\n".join(parts).replace('"log_mel_23"', '"bands"')
    work, fresh = tmp_path / "work", tmp_path / "fresh"
    fresh.mkdir()
    written(work, text, "f.py")

    def said(*words: str, cwd: Path = work, code: int = 0) -> str:
        done = serplatform(*words, cwd=cwd, XDG_CACHE_HOME=str(tmp_path / "cache"))
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    prepare = ["prepare", "demo", "--out", "data", "--utterances", "96", "--features", "bands"]
    said(*prepare, "--plugin", "f.py")
    assert [p["name"] for p in read_json(work / "data" / "dataset.json")["plugins"]] == ["f"]
    assert "was there already" in said(*prepare, "--plugin", "f.py")
    small = ["--set", "training.max_epochs=2", "--set", "hidden_dim=16", "--no-explain"]
    search = ["search", "tcn", "--data", "data", "--out", "run", "--trials", "2", *small]
    assert "Unknown architecture 'tcn'" in said(*search, code=2)
    said(*search, "--combiner", "median", "--plugin", "f.py")
    (work / "f.py").unlink()
    (record,) = read_json(work / "run" / "run.json")["plugins"]
    assert record["registers"] == {
        "architecture": ["tcn"],
        "combiner": ["median"],
        "feature": ["bands"],
    }
    assert (work / "run" / "plugins" / "f.py").read_text(encoding="utf-8") == text
    assert "Combining 3 trials" in said("search", "--resume", "--out", "run", "--trials", "+1")
    written(work, text + "# changed\n", "f.py")
    resumed = ["search", "--resume", "--out", "run", "--trials", "+1", "--plugin", "f.py"]
    assert "made with another plugin 'f'" in said(*resumed, code=2)
    (work / "f.py").unlink()
    said("ensemble", "run", "--out", "ens", "--combiner", "median")
    said("report", "ens")
    said("export", "ens", "--out", "bundle")
    (work / "bundle").rename(fresh / "bundle")
    (work / "run").rename(work / "elsewhere")
    audio = str(next((work / "data" / "audio").rglob("*.flac")))
    refused = said("predict", "bundle", audio, cwd=fresh, code=2)
    assert "brings code of its own" in refused
    words = ["predict", "bundle", audio, "--trust-plugins", "--json"]
    answer = json.loads(said(*words, cwd=fresh).splitlines()[0])
    (row,) = answer["predictions"]
    np.testing.assert_allclose(sum(row["posteriors"].values()), 1.0, atol=1e-6)
    by_hand = ["predict", "bundle", audio, "--plugin", str(work / "elsewhere/plugins/f.py")]
    said(*by_hand, cwd=fresh)
    assert "tcn" not in ARCHITECTURES.names()  # all of it was in other processes


def test_what_a_plugin_prints_leaves_stdout_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, COMBINER.format(name="ours") + "print('hello')\n")
    plugins.load([file])
    assert capsys.readouterr() == ("", "hello\n")
