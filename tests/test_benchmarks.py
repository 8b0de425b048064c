"""Published numbers follow from published posteriors, and tables in documents from both."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from serplatform import environment
from serplatform.artifacts.posteriors import posterior_table
from serplatform.reproduce.plan import load_table
from serplatform.statistics.intervals import Interval
from serplatform.studies.space import load_space

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PUBLISHED = sorted(
    path.with_suffix(".json")
    for path in BENCHMARKS.glob("results/*/*.parquet")
    if path.stat().st_size < 300_000
)


def run(script: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, BENCHMARKS / script, *words], capture_output=True, text=True, check=False
    )


def test_every_published_number_is_computed_again() -> None:
    assert len(PUBLISHED) > 5
    done = run("recompute.py", *PUBLISHED)
    assert done.returncode == 0, done.stdout + done.stderr


def test_reproduced_tables_are_computed_again_from_their_posteriors(tmp_path: Path) -> None:
    folder = BENCHMARKS / "results/reproduce"
    names = {path.name.partition(".")[0] for path in folder.glob("posteriors/*.parquet")}
    files = [folder / f"{name}.json" for name in sorted(names)]
    assert files
    done = run("publish_table.py", "--check", *files)
    assert done.returncode == 0, done.stdout + done.stderr
    copy = shutil.copytree(folder, tmp_path / "reproduce") / "moma-table1-quick.json"
    table = json.loads(copy.read_text(encoding="utf-8"))
    column = next(c["name"] for c in table["columns"] if c.get("posteriors_sha256"))
    table["rows"][0]["cells"][column]["measured"]["uar"]["low"] = 0.25
    copy.write_text(json.dumps(table), encoding="utf-8")
    done = run("publish_table.py", "--check", copy)
    assert done.returncode == 1
    assert "uar, low: 0.25 in the file" in done.stdout
    figure = copy.with_name("moma-figures-small.json")
    next(figure.parent.glob("posteriors/moma-figures-small.*")).unlink()
    assert "not there" in run("publish_table.py", "--check", figure).stdout


def test_commands_of_reproduced_tables_name_no_place_of_a_machine() -> None:
    for path in sorted((BENCHMARKS / "results/reproduce").glob("*.json")):
        words = json.loads(path.read_text(encoding="utf-8"))["command"]
        assert not [word for word in words if Path(word).is_absolute()], path.name


def test_an_altered_number_is_named(tmp_path: Path) -> None:
    source = BENCHMARKS / "results/first_minute/actors_1_8_1min.json"
    files = {key: tmp_path / key / source.name for key in ("low", "value")}
    for key, altered in files.items():
        altered.parent.mkdir()
        shutil.copy(source.with_suffix(".parquet"), altered.parent)
        result = json.loads(source.read_text(encoding="utf-8"))
        result["pooled"]["ensemble"]["uar"][key] = 0.25
        altered.write_text(json.dumps(result), encoding="utf-8")
    done = run("recompute.py", *files.values())
    assert done.returncode == 1
    assert "pooled.ensemble.uar.low: 0.25 in the file" in done.stdout
    assert "scikit-learn" in done.stdout


def test_results_say_with_what_they_were_made() -> None:
    for path in PUBLISHED:
        result = json.loads(path.read_text(encoding="utf-8"))
        assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in result["commits"]), path
        assert result["versions"]["scikit-learn"]


def test_versions_name_the_commit_of_a_checkout_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "serplatform"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    monkeypatch.setattr(environment.serplatform, "__file__", str(package / "__init__.py"))

    def found() -> str | None:
        environment.checked_out_commit.cache_clear()
        return environment.checked_out_commit()

    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    try:
        assert found() is None
        git("init")
        assert found() is None  # an installation within somebody's checkout
        git("add", ".")
        git("commit", "-m", "A package.")
        commit = found()
        assert commit is not None
        assert re.fullmatch("[0-9a-f]{40}", commit)
        (package / "new.py").write_text("", encoding="utf-8")
        assert found() == f"{commit}-dirty"
        assert environment.versions()["commit"] == f"{commit}-dirty"
    finally:
        environment.checked_out_commit.cache_clear()


def test_documents_are_what_their_files_give() -> None:
    done = run("beyond.py", "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("spaces/*.yaml")), ids=lambda p: p.stem)
def test_spaces_of_published_commands_are_still_read(path: Path) -> None:
    space = load_space(str(path))
    assert space.architecture == path.stem.partition("-")[0]


@pytest.mark.parametrize("name", ["headline/ravdess_200", "representations/ravdess_train"])
def test_the_readme_says_what_a_file_says(name: str) -> None:
    result = json.loads((BENCHMARKS / f"results/{name}.json").read_text(encoding="utf-8"))
    readme = (BENCHMARKS.parent / "README.md").read_text(encoding="utf-8")
    assert f"benchmarks/results/{name}.json" in readme
    assert Interval(**result["pooled"]["ensemble"]["uar"]).in_percent() in readme


#: words of the choices of vrnn-table1 before a figure, and the configuration that it is of
READINGS = {
    "with attention": "ours",
    "without": "ours_without",
    "RMSProp with momentum": "letter_rmsprop",
    "by Adam": "letter_adam",
    "by Adam without attention": "letter_adam_without",
    "by Adam with the terms averaged": "letter_adam_averaged",
    "the same without attention": "letter_adam_averaged_without",
    "librosa's MFCCs": "librosa",
    "no normalisation": "raw",
    "momentum .9 and ε = 1e-10": "momentum",
    "Adam": "adam",
    "terms of Eq. (5) averaged over elements": "averaged",
    "22.6 million parameters": "large",
    "by Adam at 22.6 million parameters": "letter_adam_large",
    "four": "salient_4",
    "eight": "salient_8",
    "sixteen": "salient_16",
    "twenty-four": "salient_24",
    "thirty-two": "salient_32",
    "all forty": "salient_40",
    "by the threshold": "ours",
}


def test_a_table_says_what_the_readings_of_its_paper_are_worth() -> None:
    file = BENCHMARKS / "results/vrnn_table1.json"
    assert run("recompute.py", file).returncode == 0
    result = json.loads(file.read_text(encoding="utf-8"))
    found = result["configurations"]
    told = " ".join(" ".join(load_table("vrnn-table1").choices).split())
    for words, name in READINGS.items():
        mean = statistics.fmean(found[name]["test"].values())
        assert f"{words} {100 * mean:.1f} %" in told, (words, mean)
    page = (BENCHMARKS.parent / "docs/papers.md").read_text(encoding="utf-8")
    for name, one in found.items():
        values = [100 * value for value in one["test"].values()]
        if len(values) == 5:
            assert f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}" in page, name
    by_dev = {name: one["dev"][0] for name, one in found.items() if one["chosen_by_dev"]}
    chosen = max(by_dev, key=lambda name: by_dev[name])  # by the first seed, which all have
    tested = [name for name in found if found[name]["chosen_by_dev"] and found[name]["test"]]
    assert tested == [chosen]
    mean = statistics.fmean(found[chosen]["test"].values())
    assert f"reaches {100 * mean:.1f} %" in told, mean
    for system, accuracy in [pair for one in found.values() for pair in one["test"].items()]:
        assert result["pooled"][system]["accuracy"]["value"] == pytest.approx(accuracy)


def test_published_costs_of_recognition_are_computed_again() -> None:
    files = sorted((BENCHMARKS / "results/recognised_words").glob("*.json"))
    assert files
    done = run("recognised_words.py", "--check", *files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_costs_of_recognition_follow_from_posteriors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script, publish = map(importlib.import_module, ("recognised_words", "publish"))
    classes, rng = ["calm", "angry"], np.random.default_rng(0)
    truth = np.arange(40) % 2
    ids, speakers = [f"u{n:02}" for n in range(40)], [f"s{n // 10}" for n in range(40)]
    tables = {}
    for system, strength in (("aligned.0", 2.0), ("aligned.1", 1.5), ("equal.0", 0.0)):
        logits = rng.normal(size=(40, 2)) + strength * np.eye(2)[truth]
        values = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        given = ids, speakers, truth, values
        tables[system] = posterior_table(*given, fold=0, part="test", classes=classes)
    file = tmp_path / "words.json"
    found = publish.write(file, tables, {"classes": classes}, pairs=[], hidden={})
    answers = script.read_answers(file.with_suffix(".parquet"), classes)
    sources = script.compared(answers)
    pooled = {name: one["uar"]["value"] for name, one in found["pooled"].items()}
    assert sources["aligned"]["uar_by_seed"] == pytest.approx(
        [pooled["aligned.0"], pooled["aligned.1"]]
    )
    mean = (pooled["aligned.0"] + pooled["aligned.1"]) / 2
    assert sources["equal"]["difference_from_aligned"]["value"] == pytest.approx(
        pooled["equal.0"] - mean
    )
    file.write_text(json.dumps(found | {"sources": sources}), encoding="utf-8")
    assert run("recognised_words.py", "--check", file).returncode == 0
    sources["equal"]["difference_from_aligned"]["low"] = 0.25
    file.write_text(json.dumps(found | {"sources": sources}), encoding="utf-8")
    done = run("recognised_words.py", "--check", file)
    assert done.returncode == 1
    assert "sources.equal.difference_from_aligned.low: 0.25 in the file" in done.stdout


def test_dev_rows_alone_are_published_where_they_are_what_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    publish = importlib.import_module("publish")
    classes, values = ["calm", "angry"], np.array([[0.9, 0.1], [0.2, 0.8]])
    parts = [
        posterior_table(["a", "b"], ["s", "t"], truth, values, fold=0, part=part, classes=classes)
        for part, truth in (("dev", np.array([0, 1])), ("test", np.array([1, 0])))
    ]
    tables = {"one": pa.concat_tables(parts)}
    for part, accuracy in (("dev", 1.0), ("test", 0.0)):
        content = {"classes": classes}
        found = publish.write(tmp_path / part, tables, content, pairs=[], hidden={}, part=part)
        assert found["pooled"]["one"]["accuracy"]["value"] == accuracy
