"""Datasets and results open in the data tools that people use, with the values that we read."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serplatform.artifacts.trial import new_record
from serplatform.datasets.dataset import Dataset
from serplatform.run_directory import RunDirectory
from serplatform.testing.synthetic import make_dataset
from tests.support.synthetic_run import make_run


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> list[Path]:
    """The tables of a dataset and of a run whose last trial was pruned in its second fold."""
    root = tmp_path_factory.mktemp("tables")
    data = make_dataset(root / "data", num_speakers=3, per_speaker=8)
    run = RunDirectory(make_run(root / "run", num_trials=2))  # and one pruned, one failed
    epochs = [(0, 1, 0.5), (0, 2, 0.25), (1, 1, 0.75)]
    history = [
        {"fold": fold, "epoch": epoch, "train_loss": 1.0, "dev": {"uar": uar}}
        for fold, epoch, uar in epochs
    ]
    pruned = new_record(
        trial=9, architecture="moma", values={}, paper=False, seed=0, state="pruned",
        fold_dev=[{"uar": 0.5}], history=history,
    )  # fmt: skip
    run.write_record(pruned)
    run.write_trials_table()
    posteriors = sorted(run.path.glob("posteriors/*.parquet"))
    assert len(posteriors) == 2
    return [data / "utterances.parquet", data / "alignment.parquet", run.trials_table, *posteriors]


@pytest.fixture(scope="module")
def shards(tables) -> list[Path]:
    found = sorted(tables[0].parent.glob("*.arrow"))
    assert len(found) == 2
    return found


def assert_same(table: pa.Table, file: Path) -> None:
    expected = pq.read_table(file)
    assert table.column_names == expected.column_names
    assert table.to_pylist() == expected.to_pylist()


def frames_of(shards: list[Path]) -> list[np.ndarray]:
    dataset = Dataset.open(shards[0].parent)
    return [np.array(dataset.frames("log_mel_23", row)).ravel() for row in range(len(dataset))]


def assert_same_frames(rows: list[list[float]], shards: list[Path]) -> None:
    expected = frames_of(shards)
    assert len(rows) == len(expected)
    for row, frames in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(row, np.float32), frames)


def test_a_pruned_trial_has_what_it_reached_apart_from_complete_ones(tables) -> None:
    trials = pd.read_parquet(tables[2]).set_index("trial")
    complete = trials["state"] == "complete"
    assert complete.sum() == 2
    assert (trials["dev_uar"].notna() == complete).all()
    assert trials.loc[complete, "reached_dev_uar"].isna().all()
    assert trials.loc[9, "reached_dev_uar"] == 0.625  # best epochs 0.5 and 0.75
    assert trials.loc[9, "reached_folds"] == 2
    assert list(trials.loc[9, "fold_dev_uar"]) == [0.5]


def test_pandas_reads_the_tables(tables) -> None:
    for file in tables:
        frame = pd.read_parquet(file)
        assert list(frame.columns) == pq.read_schema(file).names
        assert len(frame) == pq.read_metadata(file).num_rows > 0


def test_polars_reads_tables_and_shards(tables, shards) -> None:
    polars = pytest.importorskip("polars")
    for file in tables:
        assert_same(polars.read_parquet(file).to_arrow(), file)
    table = polars.concat([polars.read_ipc_stream(shard) for shard in shards])
    assert_same_frames(table["frames"].to_list(), shards)


def test_duckdb_reads_tables_and_shards(tables, shards) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as database:
        for file in tables:
            found = database.read_parquet(str(file))
            assert found.columns == pq.read_schema(file).names
            assert len(found.fetchall()) == pq.read_metadata(file).num_rows
        uar = "select dev_uar, reached_dev_uar from read_parquet(?) where trial = 9"
        assert database.execute(uar, [str(tables[2])]).fetchall() == [(None, 0.625)]
        frames = pa.concat_tables(
            pa.ipc.open_stream(pa.memory_map(str(shard))).read_all() for shard in shards
        )
        database.register("frames", frames)
        assert_same_frames(
            [row[0] for row in database.execute("select frames from frames").fetchall()], shards
        )


def test_hugging_face_datasets_reads_tables_and_maps_shards(tables, shards, tmp_path) -> None:
    datasets = pytest.importorskip("datasets")
    for file in tables:
        found = datasets.load_dataset(
            "parquet", data_files=str(file), split="train", cache_dir=str(tmp_path)
        )
        assert_same(found.data.table, file)
    parts = [datasets.Dataset.from_file(str(shard)) for shard in shards]
    whole = datasets.concatenate_datasets(parts).with_format("numpy")
    assert_same_frames([row["frames"] for row in whole], shards)
    maps = Path("/proc/self/maps")
    if sys.platform == "linux":
        assert shards[0].name in maps.read_text(encoding="utf-8")  # mapped, not read
    found = datasets.load_dataset(
        "arrow", data_files=[str(s) for s in shards], split="train", cache_dir=str(tmp_path)
    )
    assert_same_frames(found["frames"], shards)
