"""Several datasets as one: rows, frames, speakers, folds, and who was tested on what."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from serplatform.artifacts.ensemble import read_ensemble
from serplatform.cli.main import run as command
from serplatform.cli.options import RunOptions
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.datasets.join import joined
from serplatform.ensembles.build import build_ensemble
from serplatform.errors import BadInputError, LeakError
from serplatform.inputs.config import DataConfig
from serplatform.protocols.plan import make_plan
from tests.support.audio_run import prepare_tones, train_trials


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Tones of speakers s0 to s5, and of s6 to s9, prepared apart."""
    folder = tmp_path_factory.mktemp("parts")
    one = prepare_tones(folder / "a", num_speakers=6)
    other = prepare_tones(folder / "b", num_speakers=4, first_speaker=6)
    for made, name in ((one, "first"), (other, "second")):
        made.rename(folder / name)
    return folder / "first", folder / "second"


@pytest.fixture(scope="module")
def both(parts: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("joined") / "both"
    return Dataset.open(joined(parts, out, label_map={"sad": ""}))


def test_rows_and_frames_are_those_of_the_parts(both: Dataset, parts: tuple[Path, Path]) -> None:
    assert both.check() == []
    assert both.class_counts() == {"neutral": 20, "angry": 20}
    for path in parts:
        part = Dataset.open(path)
        for row, name in enumerate(part.utterance_ids):
            place = both.row_of.get(f"{path.name}:{name}")
            if part.utterances["emotion"][row].as_py() == "sad":
                assert place is None
                continue
            assert place is not None
            assert np.array_equal(both.frames("log_mel_23", place), part.frames("log_mel_23", row))
    with (both.path / "rejected.csv").open() as stream:
        reasons = [row["reason"] for row in csv.DictReader(stream)]
    assert reasons == ["--map leaves its label out"] * 20


def test_no_feature_is_copied(both: Dataset, parts: tuple[Path, Path]) -> None:
    shard = both.meta["features"]["log_mel_23"]["shards"][0]
    assert os.path.samefile(both.path / shard["file"], parts[0] / "log_mel_23-00000.arrow")


def test_the_same_request_gives_the_same_dataset(
    both: Dataset, parts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert joined(parts, both.path, label_map={"sad": ""}) == both.path
    with pytest.raises(BadInputError, match=r"holds a dataset|not empty"):
        joined(parts, both.path)
    monkeypatch.setenv("SERPLATFORM_CACHE", str(tmp_path))
    assert joined(parts) == joined(parts)
    with pytest.raises(BadInputError, match="named twice"):
        joined([parts[0], parts[0]])


def test_a_search_maps_labels_as_join_does(
    parts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
) -> None:
    monkeypatch.setenv("SERPLATFORM_CACHE", str(tmp_path))
    names = [str(path) for path in parts]
    of_run = RunOptions(data=names, joined_labels=["sad=", "angry=happy"])
    asked = of_run.dataset()
    assert asked is not None
    assert Dataset.open(asked).class_counts() == {"neutral": 20, "happy": 20}
    assert Path(asked) == joined(parts, label_map={"sad": "", "angry": "happy"})
    wrong = ["search", "lda", "--data", names[0], "--data", names[1], "--map", "joy=happy"]
    assert command([*wrong, "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "Unknown label 'joy'; known: angry, neutral, sad." in told
    assert command(["search", "lda", "--data", names[0], "--map", "sad="]) == 2
    assert "give --data twice or more" in capsys.readouterr().err


def test_a_changed_part_of_a_joined_shard_is_seen(both: Dataset, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(both.path, copy)
    text = (copy / "dataset.json").read_text()
    assert '"prefix": "first:"' in text
    shard = copy / both.meta["features"]["log_mel_23"]["shards"][-1]["file"]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert any("checksum" in error for error in Dataset.open(copy).check())


def test_a_recording_in_two_parts_counts_once_and_its_speaker_is_one(
    parts: tuple[Path, Path], tmp_path: Path
) -> None:
    again = prepare_tones(tmp_path, num_speakers=2, first_speaker=5)  # s5 is in the first, too
    found = Dataset.open(joined([parts[0], again], tmp_path / "out"))
    assert found.meta["counts"]["by_reason"] == {"its recording is in first, too": 6}
    assert len(found) == 42
    with pytest.raises(BadInputError, match="at least two speakers"):
        make_plan(found.utterances, "corpus-loso")


def test_speakers_of_one_name_in_one_corpus_may_not_be_on_two_sides(tmp_path: Path) -> None:
    one = prepare_tones(tmp_path / "one", num_speakers=4, per_speaker=3)
    other = prepare_tones(tmp_path / "other", num_speakers=4, per_speaker=6)
    found = Dataset.open(joined([one, other], tmp_path / "same"))
    assert found.meta["counts"]["speakers"] == 4
    with pytest.raises((LeakError, BadInputError)):
        make_plan(found.utterances, "corpus-loso")


def test_corpus_loso_tests_each_corpus_alone_with_dev_of_the_others(both: Dataset) -> None:
    plan = make_plan(both.utterances, "corpus-loso")
    source = dict(
        zip(both.utterance_ids, both.utterances["source_dataset"].to_pylist(), strict=True)
    )
    tested = [{source[name] for name in fold.test} for fold in plan.folds]
    learnt = [{source[n] for part in (f.train, f.dev) for n in part} for f in plan.folds]
    assert tested == [{"first"}, {"second"}]
    assert learnt == [{"second"}, {"first"}]


def test_speaker_folds_hold_every_corpus(both: Dataset) -> None:
    plan = make_plan(both.utterances, "speaker-kfold:2")
    for fold in plan.folds:
        assert {name.partition(":")[0] for name in fold.test} == {"first", "second"}


def test_normalisation_is_fitted_on_training_rows_alone(both: Dataset) -> None:
    plan = make_plan(both.utterances, "corpus-loso")
    data = FoldData(both, plan, 0, DataConfig(feature="log_mel_23", normalization="train"))
    frames = np.concatenate(
        [both.frames("log_mel_23", both.row_of[name]) for name in plan.folds[0].train]
    )
    assert data.preprocessing()["mean"] == pytest.approx(frames.mean(axis=0), rel=1e-4)


def test_the_ensemble_says_who_was_trained_and_tested_on_what(
    both: Dataset, tmp_path: Path
) -> None:
    trials = [("lda", {}), ("logistic", {})]
    run = train_trials(tmp_path / "run", both.path, trials, protocol="corpus-loso")
    build_ensemble([run], tmp_path / "ens", combiner="mean")
    rows = read_ensemble(tmp_path / "ens")["per_source"]
    assert [(row["trained_on"], row["tested_on"]) for row in rows] == [
        (["first"], "second"),
        (["second"], "first"),
    ]
    assert [row["utterances"] for row in rows] == [16, 24]
    assert command(["report", str(tmp_path / "ens"), "--out", str(tmp_path / "page.html")]) == 0
    assert "Trained on first, tested on second" in (tmp_path / "page.html").read_text()


def test_what_has_nothing_in_common_is_refused(parts: tuple[Path, Path], tmp_path: Path) -> None:
    other = prepare_tones(tmp_path, first_speaker=9, features=["mfcc_40"])
    with pytest.raises(BadInputError, match="no feature is in every dataset"):
        joined([parts[0], other], tmp_path / "out")
    with pytest.raises(BadInputError, match="fewer than two labels"):
        joined(parts, tmp_path / "out", label_map={"sad": "", "angry": ""})
    assert not (tmp_path / "out").exists()
