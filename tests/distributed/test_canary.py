"""Permuted labels give chance through search and ensemble; true labels do not."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from serplatform.artifacts.files import file_sha256, read_parquet, write_json, write_parquet
from serplatform.cli.data import CANARY_LEVEL, canary_errors
from serplatform.cli.main import run
from serplatform.datasets.dataset import Dataset
from serplatform.distributed import canary
from serplatform.distributed.canary import (
    permuted_copy,
    planted_speaker_is_refused,
    quick_architecture,
    small_search,
)
from serplatform.ensembles.base import COMBINERS, Combiner
from serplatform.ensembles.build import build_ensemble
from serplatform.ensembles.canary import chance_of_ensemble, fits_that_take_test_rows
from serplatform.ensembles.posteriors import read_library
from serplatform.errors import BadInputError
from serplatform.protocols.plan import make_plan
from serplatform.registry import temporary
from serplatform.testing.synthetic import make_dataset
from tests.support.synthetic_run import make_run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Easy to learn, so that a leak of the labels would be learned too."""
    return make_dataset(
        tmp_path_factory.mktemp("canary") / "data",
        num_speakers=6,
        per_speaker=24,
        seconds=(0.3, 0.5),
        separation=6.0,
    )


def test_only_the_labels_of_a_permuted_copy_differ(data, tmp_path):
    ours, theirs = Dataset.open(permuted_copy(data, tmp_path / "p", seed=1)), Dataset.open(data)
    one, other = (d.utterances["emotion"].to_pylist() for d in (ours, theirs))
    assert Counter(one) == Counter(other)
    agree = sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
    assert 0.1 < agree < 0.4  # a quarter by chance
    assert ours.utterances.drop_columns("emotion") == theirs.utterances.drop_columns("emotion")
    assert (ours.frames("log_mel_23", 5) == theirs.frames("log_mel_23", 5)).all()
    assert ours.fingerprint != theirs.fingerprint
    assert ours.check() == []
    again = read_parquet(permuted_copy(data, tmp_path / "q", seed=1) / "utterances.parquet")
    assert again == ours.utterances


def test_what_shares_a_recording_keeps_one_label(data, tmp_path):
    """Else a copy in another part would not give its label away."""
    source = shutil.copytree(data, tmp_path / "copies")
    table = read_parquet(source / "utterances.parquet")
    ids = table["utterance_id"].to_pylist()
    place = table.schema.get_field_index("group_id")
    groups = pa.array([ids[row // 2 * 2] for row in range(len(ids))], pa.string())
    write_parquet(source / "utterances.parquet", table.set_column(place, "group_id", groups))
    meta = json.loads((source / "dataset.json").read_text())
    meta["files"]["utterances.parquet"] = file_sha256(source / "utterances.parquet")
    write_json(source / "dataset.json", meta)
    permuted = Dataset.open(permuted_copy(source, tmp_path / "p", seed=1))
    labels = permuted.utterances["emotion"].to_pylist()
    assert labels[::2] == labels[1::2]
    assert len(set(labels)) == 4
    kept = table["emotion"].to_pylist()[::2]
    assert labels[::2] != kept
    assert Counter(labels[::2]) == Counter(kept)


def test_a_dataset_without_usable_features_is_refused(tmp_path):
    path = make_dataset(tmp_path / "d", features={"odd": 3}, num_speakers=4, per_speaker=4)
    with pytest.raises(BadInputError, match=r"\(odd\); prepare it with --features log_mel_23"):
        quick_architecture(Dataset.open(path))


@pytest.mark.ray
def test_permuted_labels_give_chance_from_search_through_ensemble(data, ray_cluster, capsys):
    assert run(["data", str(data), "--canary", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["canary"]
    uar = found["permuted_labels"]["uar"]
    assert uar["low"] <= uar["value"] <= uar["high"]
    assert 0.1 < uar["low"] < 0.25 < uar["high"] < 0.4
    assert found["permuted_labels"]["test_rows"] == 144
    assert found["test_rows_refused"] is True
    assert found["planted_speaker_refused"] is True


@pytest.mark.ray
def test_the_same_steps_on_true_labels_land_far_above_chance(data, ray_cluster, tmp_path):
    """Else the canary would sing whatever happened."""
    searched = small_search(data, tmp_path / "run", trials=2, max_epochs=3)
    build_ensemble([searched.path], tmp_path / "ens")
    chance = chance_of_ensemble(tmp_path / "ens")
    assert chance.value > chance.high + 0.2


def test_a_planted_speaker_is_looked_for(data, monkeypatch):
    table = Dataset.open(data).utterances
    plan = make_plan(table, "speaker-kfold:3")
    assert planted_speaker_is_refused(plan, table)
    monkeypatch.setattr(canary, "check_plan", lambda *_: None)
    assert not planted_speaker_is_refused(plan, table)


def test_a_combiner_that_takes_test_rows_is_named(tmp_path):
    library = read_library([make_run(tmp_path / "run", num_trials=2, num_speakers=6)])
    assert fits_that_take_test_rows(library) == []

    class Careless(COMBINERS.get("mean")):  # type: ignore[misc]
        def fit(self, dev):
            self._fit(dev)

    assert issubclass(Careless, Combiner)
    with temporary():
        COMBINERS.register("careless")(Careless)
        assert fits_that_take_test_rows(library) == ["combiner 'careless'"]


def values(uar: float, planted: bool | None = True) -> dict:
    found = {"value": uar, "low": 0.2, "high": 0.3}
    return {
        "level": 0.99,
        "permuted_labels": {"uar": found},
        "neighbours": None,
        "planted_speaker_refused": planted,
    }


@pytest.mark.parametrize("uar", [0.2, 0.25, 0.3])
def test_inside_the_interval_is_no_fault(uar):
    assert canary_errors(values(uar, None), []) == []


def test_every_silent_canary_is_named():
    faults = canary_errors(values(0.31, planted=False), ["combiner 'mean'"])
    assert len(faults) == 3
    assert "31.0 %, above the 99 % chance interval 20.0 % to 30.0 %" in faults[0]
    assert "below" in canary_errors(values(0.19), [])[0]


def test_a_silent_canary_is_exit_code_1(data, monkeypatch, capsys):
    """A leak that is not refused, without the search that it takes minutes to run."""
    monkeypatch.setattr(canary, "check_plan", lambda *_: None)
    monkeypatch.setattr(
        canary, "small_search", lambda data, out, **_: fake_run(Dataset.open(data), out)
    )
    assert run(["data", str(data), "--canary"]) == 1
    error = capsys.readouterr().err
    assert "1 leak check(s) failed" in error
    assert "a test speaker's utterance in the training part was not refused" in error


def fake_run(dataset: Dataset, out: Path):
    from serplatform.run_directory import RunDirectory

    assert isinstance(dataset.utterances, pa.Table)
    assert CANARY_LEVEL == 0.99
    return RunDirectory(make_run(out, num_trials=2, num_speakers=6, permute_labels=True))
