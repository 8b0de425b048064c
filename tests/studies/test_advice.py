"""Warnings are measured: they come when a cue is absent or suspicious, and only then."""

from __future__ import annotations

import pyarrow as pa
import pytest

from serplatform.datasets.dataset import Dataset
from serplatform.protocols.base import FoldPlan
from serplatform.protocols.plan import make_plan
from serplatform.studies.advice import recording_cue, text_cue, text_warning, too_good_warning
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


def test_words_that_name_the_emotion_are_a_strong_cue(
    table_and_plan: tuple[pa.Table, FoldPlan],
) -> None:
    table, plan = table_and_plan
    told = with_column(table, "text", [f"I am {e}" for e in table["emotion"].to_pylist()])
    cue = text_cue(told, plan)
    assert cue is not None
    assert cue.uar == 1.0
    assert cue.p_value <= 0.01
    assert text_warning(told, plan, ["lstm_attn_text"]) is None


def test_one_sentence_for_all_emotions_is_warned_of(
    table_and_plan: tuple[pa.Table, FoldPlan],
) -> None:
    table, plan = table_and_plan
    same = with_column(table, "text", ["kids are talking by the door"] * len(table))
    warning = text_warning(same, plan, ["moma", "lstm_attn_text"])
    assert warning is not None
    assert "no measurable label information" in warning
    assert "text branch of lstm_attn_text can" in warning


def test_missing_transcripts_are_warned_of(table_and_plan: tuple[pa.Table, FoldPlan]) -> None:
    table, plan = table_and_plan
    none = with_column(table, "text", [None] * len(table))
    warning = text_warning(none, plan, ["lstm_attn_text"])
    assert warning is not None
    assert "most utterances have none" in warning


def test_audio_models_need_no_text(table_and_plan: tuple[pa.Table, FoldPlan]) -> None:
    table, plan = table_and_plan
    assert text_warning(table, plan, ["moma", "csa"]) is None


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
    assert "dev UAR 0.990 is unusually high" in warning
    assert too_good_warning(table, plan, {"dev": {"uar": 0.8}}, synthetic=False) is None
    assert too_good_warning(table, plan, good, synthetic=True) is None
    assert too_good_warning(table, plan, None, synthetic=False) is None
