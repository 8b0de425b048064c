"""Warnings are measured: they come when a cue is absent or suspicious, and only then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from serplatform.datasets.dataset import Dataset
from serplatform.errors import BadInputError
from serplatform.inputs.timed_words import TimedWords
from serplatform.protocols.base import FoldPlan
from serplatform.protocols.plan import make_plan
from serplatform.studies.advice import (
    lacking_text,
    recording_cue,
    text_cue,
    text_warning,
    too_good_warning,
)
from serplatform.testing.synthetic import make_dataset


@pytest.fixture(scope="module")
def table_and_plan(tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, FoldPlan]:
    path = make_dataset(tmp_path_factory.mktemp("advice") / "data", num_speakers=6, per_speaker=12)
    dataset = Dataset.open(path)
    plan = make_plan(dataset.utterances, "speaker-kfold:3", 0, classes=dataset.classes)
    return dataset.utterances, plan


def with_column(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    place = table.column_names.index(name)
    return table.set_column(place, name, pa.array(values, table.schema.field(name).type))


def spoken(texts: list[str]) -> TimedWords:
    return TimedWords.collect((([], np.zeros((0, 2)), text) for text in texts), rules=2)


def make(path: Path, **more: Any) -> tuple[Dataset, FoldPlan]:
    dataset = Dataset.open(make_dataset(path, per_speaker=4, seconds=(0.2, 0.3), **more))
    return dataset, make_plan(dataset.utterances, "speaker-kfold:3", 0, classes=dataset.classes)


def test_words_that_name_the_emotion_are_a_strong_cue(
    table_and_plan: tuple[pa.Table, FoldPlan],
) -> None:
    table, plan = table_and_plan
    cue = text_cue(table, plan, spoken([f"I am {e}" for e in table["emotion"].to_pylist()]))
    assert cue.uar == 1.0
    assert cue.p_value <= 0.01


def test_words_are_judged_as_they_are_read_of_the_alignment_where_there_is_one(
    tmp_path: Path,
) -> None:
    dataset, plan = make(tmp_path / "data")
    assert text_warning(dataset, plan, ["lstm_attn_text"]) is None
    column = dataset.utterances.column_names.index("text")
    nothing = pa.nulls(len(dataset), pa.string())
    dataset.utterances = dataset.utterances.set_column(column, "text", nothing)
    assert text_warning(dataset, plan, ["lstm_attn_text"]) is None


def test_one_sentence_for_all_emotions_is_warned_of(tmp_path: Path) -> None:
    dataset, plan = make(tmp_path / "data")
    dataset.cache["words"] = spoken(["kids are talking by the door"] * len(dataset))
    warning = text_warning(dataset, plan, ["moma", "lstm_attn_text"])
    assert warning is not None
    assert "no measurable label information" in warning
    assert "text branch of lstm_attn_text can" in warning


def test_where_most_words_are_missing_it_is_said_of_how_many(tmp_path: Path) -> None:
    dataset, plan = make(tmp_path / "data", wordless=13)
    assert lacking_text(dataset, ["csa", "mha"]) == {"mha": "13 of 24 utterances have no text"}
    warning = text_warning(dataset, plan, ["mha", "csa"])
    assert warning is not None
    assert warning.startswith("13 of 24 utterances have no text")
    half, _ = make(tmp_path / "half", wordless=12)
    assert lacking_text(half, ["csa", "mha"]) == {}


def test_without_any_word_text_models_are_refused(tmp_path: Path) -> None:
    dataset, plan = make(tmp_path / "data", wordless=24)
    with pytest.raises(
        BadInputError, match="so can, mha cannot be trained on it; prepare it again"
    ):
        text_warning(dataset, plan, ["can", "csa", "mha"])
    assert text_warning(dataset, plan, ["moma", "csa"]) is None


def test_level_that_gives_the_emotion_away_is_measured(
    table_and_plan: tuple[pa.Table, FoldPlan],
) -> None:
    table, plan = table_and_plan
    levels = {name: -20.0 - 10 * k for k, name in enumerate(plan.classes)}
    loud = with_column(table, "level_db", [levels[e] for e in table["emotion"].to_pylist()])
    assert recording_cue(loud, plan).uar > 0.9
    assert recording_cue(loud, plan).p_value <= 0.01


def test_only_results_beyond_belief_are_warned_of(
    table_and_plan: tuple[pa.Table, FoldPlan],
) -> None:
    table, plan = table_and_plan
    good = {"dev": {"uar": 0.99}}
    warning = too_good_warning(table, plan, good, synthetic=False)
    assert warning is not None
    assert "dev UAR 99.0 % is unusually high" in warning
    assert "serplatform data DATA --canary" in warning
    assert too_good_warning(table, plan, {"dev": {"uar": 0.8}}, synthetic=False) is None
    assert too_good_warning(table, plan, good, synthetic=True) is None
    assert too_good_warning(table, plan, None, synthetic=False) is None
