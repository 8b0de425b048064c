"""A corpus of one's own has a name, a language and a licence, and gets another name in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from serplatform.corpora.about import About
from serplatform.datasets.dataset import Dataset
from serplatform.distributed import extraction
from serplatform.distributed import prepare as prepare_module
from serplatform.distributed.extraction import run_shard
from serplatform.distributed.prepare import PrepareSummary, prepare


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(prepare_module, "connect", lambda **_: None)
    monkeypatch.setattr(extraction, "_run", lambda tasks, workers: map(run_shard, tasks))
    rows = ["file,emotion,speaker"]
    (tmp_path / "interviews").mkdir()
    for number in range(4):
        samples = 0.1 * np.random.default_rng(number).standard_normal(8_000)
        soundfile.write(tmp_path / "interviews" / f"{number}.wav", samples, 16_000)
        rows.append(f"{number}.wav,{('happy', 'sad')[number % 2]},s{number // 2}")
    table = tmp_path / "interviews" / "labels.csv"
    table.write_text("\n".join(rows), encoding="utf-8")
    return table


def made(source: Path, **described: str) -> PrepareSummary:
    out = source.parents[1] / "d"
    about = About(**described)
    return prepare("csv", source, out, features=["log_mel_23"], described=about)


def test_the_default_name_is_the_source_s(source: Path) -> None:
    meta = made(source).meta
    assert (meta["title"], meta["language"], meta["licence"]) == ("interviews", "", "")


def test_another_name_is_written_into_the_dataset_that_is_there(source: Path) -> None:
    first = made(source, title="Interviews 2026", licence="CC BY 4.0")
    again = made(source, title="Interviews of 2026")
    assert again.reused
    dataset = Dataset.open(again.path)
    assert dataset.meta["title"] == "Interviews of 2026"
    assert dataset.meta["licence"] == "CC BY 4.0"
    assert dataset.fingerprint == first.meta["fingerprint"]
    assert dataset.check() == []
    assert made(source).meta["title"] == "Interviews of 2026"


def test_a_language_is_that_of_every_utterance(source: Path) -> None:
    dataset = Dataset.open(made(source, language="pl").path)
    assert set(dataset.utterances["language"].to_pylist()) == {"pl"}
    assert dataset.meta["language"] == "pl"
