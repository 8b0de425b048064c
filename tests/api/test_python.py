"""`import serplatform as sp`: light to import, the same files as the commands, and no traces."""

from __future__ import annotations

import csv
import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

import serplatform as sp
from serplatform.api.open_run import command_line
from serplatform.artifacts.trial import merit
from serplatform.cli.main import run as run_command
from serplatform.errors import BadInputError
from serplatform.run_directory import RunDirectory
from serplatform.studies.request import SearchRequest
from tests.support.search_checks import run_faults

ROOT = Path(__file__).parents[2]
HEAVY = ["torch", "ray", "pandas", "pyarrow", "numpy", "optuna", "typer", "rich"]
SMALL = {"utterances": 48, "speakers": 6}
SETTINGS = {"training.max_epochs": 2}
CSA = {**SETTINGS, "model.channels": 4}


def python(text: str, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=timeout,
        check=False,
    )


def test_the_import_is_light(tmp_path: Path) -> None:
    times = []
    for _ in range(3):
        program = (
            "import sys, time; begun = time.perf_counter(); import serplatform; "
            "print(time.perf_counter() - begun, "
            f"*[name for name in {HEAVY} if name in sys.modules])"
        )
        done = python(program, tmp_path)
        assert done.returncode == 0, done.stderr
        seconds, *heavy = done.stdout.split()
        assert heavy == []
        times.append(float(seconds))
    assert min(times) < 0.3


def test_what_is_offered_is_there_and_nothing_else() -> None:
    for name in sp.__all__:
        assert callable(getattr(sp, name)), name
        assert name in dir(sp)
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = sp.serach  # type: ignore[attr-defined]


def test_packages_of_the_same_name_stay_packages() -> None:
    from serplatform.studies import space

    assert space.SearchSpace.__module__ == "serplatform.studies.space"
    with pytest.raises(BadInputError, match="name at least one architecture"):
        sp.train()


def test_types_are_seen_by_mypy(tmp_path: Path) -> None:
    (tmp_path / "notebook.py").write_text(
        "import serplatform as sp\n"
        "run = sp.search('data', ['moma'], trials=2)\n"
        "reveal_type(run)\n"
        "reveal_type(run.ensemble())\n"
        "sp.search('data', trails=2)\n"
    )
    mypy = pytest.importorskip("mypy.api")
    told, _, _ = mypy.run(
        ["--config-file", str(ROOT / "pyproject.toml"), str(tmp_path / "notebook.py")]
    )
    assert 'Revealed type is "serplatform.api.results.Run"' in told
    assert 'Revealed type is "serplatform.api.results.Ensemble"' in told
    assert 'Unexpected keyword argument "trails"' in told


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> dict[str, Any]:
    """What a notebook does, in one process, from a small demo corpus to a bundle."""
    work = tmp_path_factory.mktemp("story")
    data = sp.prepare("demo", out=work / "data", features=["log_mel_23"], options=SMALL, quiet=True)
    run = sp.search(
        data,
        "csa",
        trials=2,
        out=work / "run",
        settings=CSA,
        small=True,
        concurrent=1,
        combiner="none",
        explain=False,
        quiet=True,
    )
    ensemble = run.ensemble(combiner="product")
    return {"work": work, "data": data, "run": run, "ensemble": ensemble}


@pytest.mark.ray
def test_the_command_makes_the_same_files(story: dict[str, Any]) -> None:
    work = story["work"]
    words = ["search", "csa", "--data", work / "data", "--trials", 2, "--out", work / "same"]
    words += [word for key, value in CSA.items() for word in ("--set", f"{key}={value}")]
    words += ["--small", "--concurrent", 1, "--no-explain"]
    assert run_command(list(map(str, words))) == 0
    names = sorted(p.relative_to(work / "same") for p in (work / "same").rglob("*.parquet"))
    posteriors = [name for name in names if name.name != "trials.parquet"]
    assert len(posteriors) >= 2
    for name in posteriors:
        assert (work / "run" / name).read_bytes() == (work / "same" / name).read_bytes(), name
    assert run_faults(work / "run", ended=True) == []


@pytest.mark.ray
def test_trials_and_leaderboard(story: dict[str, Any]) -> None:
    run = story["run"]
    assert list(run.trials["trial"]) == [0, 1]
    assert run.summary.status == "complete"
    board = run.leaderboard()
    records = RunDirectory(run.path).records()
    expected = sorted(
        (r for r in records.values() if r["state"] == "complete"),
        key=lambda r: (merit(r["dev"], "uar"), -r["trial"]),
        reverse=True,
    )
    assert list(board["trial"]) == [r["trial"] for r in expected]
    assert board.index[0] == 1
    assert board.index.name == "rank"
    assert f"Run({run.path!r}): csa on Demo" in repr(run)
    assert "<table" in run._repr_html_()


@pytest.mark.ray
def test_an_ensemble_has_metrics_members_and_posteriors(story: dict[str, Any]) -> None:
    ensemble = story["ensemble"]
    metrics = ensemble.metrics().set_index(["system", "metric"])
    uar = metrics.loc["ensemble", "uar"]
    assert uar["low"] <= uar["value"] <= uar["high"]
    assert f"{100 * uar['value']:.1f} %" in repr(ensemble)
    rows = ensemble.posteriors()
    shares = rows[[f"p_{c}" for c in story["data"].classes]].sum(axis=1)
    assert ((shares - 1).abs() < 1e-6).all()
    assert set(rows["part"]) == {"dev", "test"}
    members = ensemble.members()
    assert (abs(members.groupby("fold")["share"].sum() - 1) < 1e-9).all()


@pytest.mark.ray
def test_recordings_are_classified_as_by_the_command(
    story: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    work = story["work"]
    audio = sorted((work / "data").rglob("*.flac"))[0]
    table = story["ensemble"].predict(audio, window=1, quiet=True)
    assert capsys.readouterr().err == ""
    words = ["predict", work / "run" / "ensemble", audio, "--window", 1, "--format", "csv"]
    assert run_command(list(map(str, words))) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert list(table.columns) == list(rows[0])
    for got, row in zip(table.to_dict("records"), rows, strict=True):
        assert {k: str(v) for k, v in got.items()} == row
    assert table.attrs["summary"]["recordings"] == 1
    with pytest.raises(BadInputError, match="none of the recordings"):
        story["ensemble"].predict(work / "run" / "run.json")


@pytest.mark.ray
def test_everything_is_found_again(story: dict[str, Any]) -> None:
    work = story["work"]
    bundle = story["ensemble"].export(work / "bundle")
    for name, kind in [
        ("data", sp.Dataset),
        ("run", sp.Run),
        ("run/ensemble", sp.Ensemble),
        ("bundle", sp.Bundle),
    ]:
        found = sp.load(work / name)
        assert type(found) is kind
        assert repr(found).startswith(f"{kind.__name__}('{work / name}'")
    assert repr(bundle) == repr(sp.load(work / "bundle"))
    audio = sorted((work / "data").rglob("*.flac"))[0]
    same = bundle.predict(audio), story["ensemble"].predict(audio)
    assert same[0].equals(same[1])
    assert set(bundle.metrics()["metric"]) == set(story["ensemble"].metrics()["metric"])
    page = story["run"].report()
    assert Path(page).read_text(encoding="utf-8").lstrip().startswith("<!")
    assert str(page) in page._repr_html_()
    with pytest.raises(BadInputError, match="holds neither a dataset, a run, an ensemble"):
        sp.load(work)


@pytest.mark.ray
def test_a_run_is_resumed_and_several_are_combined(story: dict[str, Any], tmp_path: Path) -> None:
    run = sp.load(shutil.copytree(story["work"] / "run", tmp_path / "run"))
    assert isinstance(run, sp.Run)
    more = run.resume(trials="+1", explain=False, quiet=True)
    assert len(more.trials) == 3
    with pytest.raises(BadInputError, match="--trials many"):
        run.resume(trials="many")
    trained = sp.train(
        story["data"], "csa", out=tmp_path / "two", settings=CSA, explain=False, quiet=True
    )
    assert trained.info["command"][:3] == ["serplatform", "train", "csa"]
    both = sp.ensemble([more, trained.path], tmp_path / "both")
    assert set(both.metrics()["system"]) == {"ensemble", "best_single", "mean_of_all"}


def examples() -> list[Any]:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    docstring = doctest.DocTestParser().get_examples(sp.__doc__ or "")
    return [  # the page with the slow tests, as it begins like the docstring
        pytest.param("docs", "\n".join(blocks), marks=pytest.mark.slow),
        ("docstring", "".join(e.source for e in docstring)),
    ]


@pytest.mark.ray
@pytest.mark.parametrize(("where", "source"), examples(), ids=lambda value: value[:9])
def test_documented_examples_run(
    story: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, source: str
) -> None:
    assert source.count("\n") >= 4
    monkeypatch.chdir(tmp_path)
    shutil.copytree(story["data"].path / "audio", "audio")
    lines = ["file,emotion,speaker"]
    for row in story["data"].utterances.to_pylist():
        lines.append(f"{row['path']},{row['emotion']},{row['speaker_id']}")
    Path("labels.csv").write_text("\n".join(lines), encoding="utf-8")
    samples, rate = soundfile.read(sorted(story["data"].path.rglob("*.flac"))[0])
    soundfile.write("a.wav", samples, rate)
    assert "trials=20" in source
    quick = source.replace("trials=20", f"trials=1, settings={SETTINGS}, small=True")
    space: dict[str, Any] = {}
    exec(compile(quick, where, "exec"), space)  # noqa: S102 - our own documentation
    assert isinstance(space["run"], sp.Run)
    assert space["data"].feature_names == ("log_mel_23",)


def test_the_recorded_command_does_what_was_asked() -> None:
    request = SearchRequest(
        architectures=("moma", "csa"),
        dataset="data",
        settings=("a=1", "b=[2, 3]"),
        objectives=("uar", "parameters"),
        small=False,
        trials="5",
    )
    assert " ".join(command_line(request, "runs/a b")) == (
        "serplatform search moma csa --data data --set a=1 --set b=[2, 3] "
        "--objective uar,parameters --trials 5 --full --out runs/a b"
    )
    trained = SearchRequest(architectures=("csa",), dataset="data", repeats=2)
    assert " ".join(command_line(trained.of_one_configuration(), None)) == (
        "serplatform train csa --data data --repeats 2"
    )


STOPPED = """
import os, signal, sys, threading
import serplatform as sp
before = set(os.environ)
def mine(*_): raise KeyboardInterrupt
signal.signal(signal.SIGINT, mine)
def stop():
    while not os.path.exists("run/state"): stopped.wait(0.2)
    stopped.wait(1); os.kill(os.getpid(), signal.SIGINT)
stopped = threading.Event()
threading.Thread(target=stop, daemon=True).start()
try:
    sp.search("data", "csa", trials=500, out="run", explain=False, quiet=False, small=True,
              settings={"training.max_epochs": 2, "model.channels": 4}, pruner="none",
              combiner="none")
except KeyboardInterrupt:
    print("stopped")
import ray
print(signal.getsignal(signal.SIGINT) is mine, ray.is_initialized(),
      sorted({n for n in os.environ if n[:4] in ("RAY_", "TUNE")} - before))
have = sp.load("run")
print(have.info["status"])
found = []
def resume():
    found.append(have.resume(trials=len(have.trials) + 1, explain=False))
thread = threading.Thread(target=resume); thread.start(); thread.join()
print(found[0].summary.status, ray.is_initialized())
"""


@pytest.mark.slow
@pytest.mark.ray
def test_ctrl_c_leaves_a_run_that_another_thread_resumes(story: dict[str, Any]) -> None:
    folder = Path(story["work"], "stopped")
    folder.mkdir()
    (folder / "data").symlink_to(story["data"].path)
    done = python(STOPPED, folder)
    assert done.stdout.splitlines() == [
        "stopped",
        "True False []",
        "interrupted",
        "complete False",
    ], done.stderr
    assert "Resume with:\n  serplatform search --resume --out run\n" in done.stderr


def test_arguments_of_another_kind_are_named(tmp_path: Path) -> None:
    out = tmp_path / "run"
    for call, said in [
        (lambda: sp.search(None, ["csa"], seed="x", out=out), r"seed='x': must be int"),
        (lambda: sp.search(None, None, out=out), r"architectures=None: must be str \| Seq"),
        (lambda: sp.search(None, "csa", worker=2, out=out), "'worker'; .* mean 'workers'"),
        (lambda: sp.search(None, "csa", workers="two", out=out), r"workers='two': must be int"),
        (lambda: sp.search(None, "csa", settings=["a=1"], out=out), r"settings=\['a=1'\]: must be"),
        (lambda: sp.search(None, "csa", settings={"a": {1}}, out=out), r"settings: \{1\} is no "),
        (lambda: sp.load(None), r"path=None: must be str \| Path"),
        (
            lambda: sp.prepare("none.csv"),
            "none.csv: no such file or directory, and no corpus",
        ),
    ]:
        with pytest.raises(BadInputError, match=said) as raised:
            call()
        assert "\n" not in str(raised.value)
    assert not out.exists()


def test_one_run_and_one_plugin_need_no_list(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"runs/none"):
        sp.ensemble("runs/none", tmp_path / "ensemble")
    with pytest.raises(BadInputError, match=r"plugin none\.py: cannot be read"):
        sp.search(None, "csa", plugins="none.py", out=tmp_path / "run")


def test_a_plugin_is_named_where_something_is_opened(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"plugin none\.py: cannot be read"):
        sp.load(tmp_path, plugins="none.py")
