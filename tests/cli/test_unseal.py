"""A sealed run has no test posteriors until `unseal`, which closes the choice."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from serplatform.artifacts.files import read_json
from serplatform.artifacts.looks import SEALED
from serplatform.cli.main import run as command
from serplatform.run_directory import RunDirectory
from serplatform.testing.synthetic import make_dataset
from tests.support.audio_run import AudioRun, make_audio_run

#: of the models: trained by steps, in closed form, and fitted again on dev rows
TRIALS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("blstmatt", {"model.hidden_dim": 4, "training.max_epochs": 2}),
    ("svm", {"training.refit": False}),
    ("lda", {"training.refit": True}),
)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[AudioRun, AudioRun]:
    """A sealed run, and the same one whose test rows were predicted from the beginning on."""
    folder = tmp_path_factory.mktemp("sealed")
    made = [
        make_audio_run(folder / name, trials=TRIALS, sealed=name == "sealed")
        for name in ("sealed", "open")
    ]
    return made[0], made[1]


@pytest.fixture
def run(twins: tuple[AudioRun, AudioRun], tmp_path: Path) -> Path:
    return shutil.copytree(twins[0].run, tmp_path / "run")


def told(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> str:
    assert command([str(word) for word in words]) == code
    found = capsys.readouterr()
    return found.err if code else found.out


def parts(run: Path) -> set[str]:
    files = sorted((run / "posteriors").glob("*.parquet"))
    assert len(files) == len(TRIALS)
    return {part for file in files for part in pq.read_table(file)["part"].to_pylist()}


def test_a_sealed_run_shows_dev_numbers_alone_and_nothing_fails(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert parts(run) == {"dev"}
    text = told(capsys, "ensemble", run, "--out", tmp_path / "ens", "--combiner", "greedy")
    assert text.startswith(f"S{SEALED[1:]}. greedy of 3 finished trials")
    assert "dev UAR" in text
    assert not (tmp_path / "ens").exists()
    told(capsys, "report", run)
    page = (run / "report.html").read_text()
    assert f"S{SEALED[1:]}. Best mean dev UAR" in page
    assert "test UAR of" not in page
    assert SEALED in told(capsys, "runs", run.parent)
    assert "dev UAR" in (text := told(capsys, "export", run, "--out", tmp_path / "bundle"))
    assert SEALED in text
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "## Dev metrics" in card
    assert "pooled test" not in card
    audio = next(run.parent.rglob("*.wav"), None)
    assert audio is None
    for words in (["explain", run], ["export", run, "--refit", "--out", tmp_path / "again"]):
        assert SEALED in told(capsys, *words, code=2)
    assert parts(run) == {"dev"}
    assert RunDirectory(run).looks() == []


def test_unseal_gives_the_posteriors_that_training_would_have_left(
    run: Path, twins: tuple[AudioRun, AudioRun], capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(capsys, "unseal", run, "--combiner", "mean")
    assert "First look at these test rows (other runs on them are not counted)." in text
    for number in range(len(TRIALS)):
        found, expected = (
            pq.read_table(RunDirectory(place).posteriors_file(number))
            for place in (run, twins[1].run)
        )
        assert found.equals(expected)
    assert read_json(run / "ensemble" / "ensemble.json")["combiner"] == "mean"
    assert [look["combiner"] for look in RunDirectory(run).looks()] == ["mean"]
    assert SEALED not in told(capsys, "runs", run.parent)
    told(capsys, "ensemble", run, "--out", run.parent / "more", "--combiner", "product")
    assert read_json(run.parent / "more" / "ensemble.json")["look"] == 2


def test_unseal_closes_the_choice(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "unseal", run)
    error = told(capsys, "search", "--resume", "--out", run, "--trials", "+1", code=2)
    assert "closed the choice, so no trial can be added; start another run" in error
    assert "is not sealed" in told(capsys, "unseal", run, code=2)


def test_an_opening_that_was_killed_is_finished_and_the_choice_stays_closed(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = RunDirectory.write_record

    def killed(self: RunDirectory, record: Any) -> None:
        if record["trial"] == 1:
            raise KeyboardInterrupt
        write(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "write_record", killed)
        assert command(["unseal", str(run)]) == 130
    capsys.readouterr()
    assert RunDirectory(run).read_run()["sealed"] is True
    assert "closed the choice" in told(
        capsys, "search", "--resume", "--out", run, "--trials", "+1", code=2
    )
    assert "First look" in told(capsys, "unseal", run)
    assert parts(run) == {"dev", "test"}


def test_a_run_stays_sealed_where_a_model_is_lacking(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run / "models" / "trial-00001")
    assert "trial-00001/fold-0: no model" in told(capsys, "unseal", run, code=2)
    assert "unsealed" not in RunDirectory(run).read_run()


@pytest.mark.ray
def test_a_search_with_seal_ends_with_dev_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = make_dataset(tmp_path / "data"), tmp_path / "run"
    words = ["search", "svm", "--data", data, "--out", run, "--trials", "2", "--seal"]
    text = told(capsys, *words)
    assert text.startswith(f"S{SEALED[1:]}. Best mean dev UAR")
    assert "Ensemble, product of 2 finished trials" in text
    assert "test UAR" not in text
    tables = [*run.rglob("posteriors/*.parquet")]
    assert len(tables) == 3  # that of the reference among them
    assert {p for t in tables for p in pq.read_table(t)["part"].to_pylist()} == {"dev"}
    text = told(capsys, "unseal", run)
    assert "Reference" in text
    assert "First look" in text


def test_an_exported_card_says_which_look_its_numbers_come_from(
    twins: tuple[AudioRun, AudioRun], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = shutil.copytree(twins[1].run, tmp_path / "run")
    for combiner in ("product", "mean"):
        told(capsys, "ensemble", run, "--out", tmp_path / combiner, "--combiner", combiner)
    text = told(capsys, "export", tmp_path / "mean", "--out", tmp_path / "bundle")
    assert ", look 2; next" in text
    assert "Look 2 at these test rows" in (tmp_path / "bundle" / "README.md").read_text()
    # the exported trial stood beside the first ensemble
    assert ", look 1 of 2; next" in told(capsys, "export", run, "--out", tmp_path / "one")
    assert len(RunDirectory(run).looks()) == 2
