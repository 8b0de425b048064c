"""Fold plans: leaks that are named, files that come back the same."""

import dataclasses
import hashlib
import json
import time

import pytest

from serplatform.artifacts.files import read_json
from serplatform.errors import ArtifactError, BadInputError, LeakError
from serplatform.protocols.base import PROTOCOLS, Fold
from serplatform.protocols.plan import (
    check_plan,
    make_plan,
    plan_from_json,
    plan_hash,
    plan_to_json,
    read_plan,
    write_plan,
)
from tests.support.utterance_tables import grid, large_table, table

ROWS = grid(num_speakers=6, per_class=2, classes=("neutral", "happy", "sad"))


@pytest.fixture
def utterances():
    return table(ROWS)


@pytest.fixture
def plan(utterances):
    return make_plan(utterances, "speaker-kfold:3", 1)


def changed(plan, **parts):
    fold = dataclasses.replace(plan.folds[0], **parts)
    return dataclasses.replace(plan, folds=(fold, *plan.folds[1:]))


def test_a_hundred_thousand_utterances_are_planned_in_seconds():
    many = large_table(100_000, num_speakers=500)
    begun = time.process_time()
    folds = make_plan(many, "speaker-kfold:5", 0).folds
    assert time.process_time() - begun < 10.0  # 1.5 s where nothing else runs
    assert sum(len(fold.test) for fold in folds) == 100_000


def test_utterance_in_two_parts_is_named(plan, utterances):
    name = plan.folds[0].test[0]
    with pytest.raises(LeakError, match=rf"fold 0: utterance '{name}' is in train and in test"):
        check_plan(changed(plan, train=(*plan.folds[0].train, name)), utterances)


def test_speaker_in_two_parts_is_named(plan, utterances):
    first, *rest = plan.folds[0].test
    leak = changed(plan, test=tuple(rest), dev=(*plan.folds[0].dev, first))
    with pytest.raises(LeakError, match=rf"speaker '{first[:3]}' is in dev and in test"):
        check_plan(leak, utterances)
    check_plan(dataclasses.replace(leak, speaker_independent=False), utterances)


@pytest.mark.parametrize(
    ("column", "word"), [("audio_hash", "audio hash"), ("parent_id", "parent recording")]
)
def test_recording_in_two_parts_is_named(plan, column, word):
    one, other = plan.folds[0].train[0], plan.folds[0].test[0]
    rows = [
        {**row, column: "shared"} if row["utterance_id"] in (one, other) else row for row in ROWS
    ]
    with pytest.raises(LeakError, match=rf"{word} 'shared' is in .* '{one}' and '{other}'"):
        check_plan(plan, table(rows))


def test_utterance_listed_twice_is_named(plan, utterances):
    name = plan.folds[0].test[0]
    with pytest.raises(LeakError, match=rf"fold 0, test: utterance '{name}' is listed twice"):
        check_plan(changed(plan, test=(*plan.folds[0].test, name)), utterances)


def test_id_or_label_that_does_not_fit_the_dataset_is_named(plan, utterances):
    with pytest.raises(BadInputError, match=r"fold 0, dev: 'ghost' is not in the dataset"):
        check_plan(changed(plan, dev=(*plan.folds[0].dev, "ghost")), utterances)
    less = dataclasses.replace(plan, label_map={"neutral": "neutral", "happy": "happy"})
    with pytest.raises(BadInputError, match=r"labelled 'sad', which is no label of the plan"):
        check_plan(less, utterances)
    with pytest.raises(BadInputError, match=r"fold 0: the dev part is empty"):
        check_plan(changed(plan, dev=()), utterances)


def test_fold_file_round_trip(plan, tmp_path):
    written = write_plan(tmp_path / "folds.json", plan)
    again = read_plan(tmp_path / "folds.json")
    assert again == plan
    assert written == plan_hash(again) == plan_hash(plan)
    assert plan_from_json(plan_to_json(plan)) == plan


def test_hash_covers_what_decides_the_numbers_and_nothing_else(plan):
    same = dataclasses.replace(plan, notes=("another note",), seed=99)
    assert plan_hash(same) == plan_hash(plan)
    moved = changed(plan, dev=plan.folds[0].test, test=plan.folds[0].dev)
    order = dataclasses.replace(plan, classes=plan.classes[::-1])
    assert len({plan_hash(p) for p in (plan, moved, order)}) == 3


def test_hash_is_that_of_the_canonical_json(utterances):
    """Written out: runs store the hash, so a change of its recipe would break every one."""
    plan = dataclasses.replace(
        make_plan(utterances, "loso"),
        folds=(Fold(train=("a", "é"), dev=("c",), test=("d",)),),
    )
    text = (
        '{"classes":["neutral","happy","sad"],'
        '"folds":[{"dev":["c"],"test":["d"],"train":["a","é"]}],'
        '"label_map":{"happy":"happy","neutral":"neutral","sad":"sad"},"protocol":"loso"}'
    )
    assert plan_hash(plan) == hashlib.sha256(text.encode()).hexdigest()


def test_altered_fold_file_is_refused(plan, tmp_path):
    path = tmp_path / "folds.json"
    write_plan(path, plan)
    value = read_json(path)
    value["folds"][0]["train"].pop()
    path.write_text(json.dumps(value))
    with pytest.raises(ArtifactError, match=r"folds.json: .*do not match the hash"):
        read_plan(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema version 2, this program reads 1"),
        (
            {"folds": [{"train": []}]},
            "damaged: lacks folds.0.dev; lacks folds.0.test",
        ),
        ({"seed": "x"}, "the fold file is damaged: seed is text where a whole number belongs"),
    ],
)
def test_fold_file_that_is_none_is_refused(plan, tmp_path, change, message):
    path = tmp_path / "folds.json"
    path.write_text(json.dumps({**plan_to_json(plan), **change}))
    with pytest.raises(ArtifactError, match=message):
        read_plan(path)
    with pytest.raises(ArtifactError, match="no such fold file"):
        read_plan(tmp_path / "none.json")


def test_classes_follow_the_datasets_order(utterances):
    assert make_plan(utterances, "loso").classes == ("neutral", "happy", "sad")
    plan = make_plan(utterances, "loso", classes=("sad", "angry", "neutral", "happy"))
    assert plan.classes == ("sad", "neutral", "happy")


def test_every_protocol_is_described():
    names = PROTOCOLS.names()
    assert len(names) == 16
    for name in names:
        protocol = PROTOCOLS.get(name)
        assert protocol.name == name
        assert protocol.description
