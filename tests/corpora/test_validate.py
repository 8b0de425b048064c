"""Manifest rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from serplatform.corpora.base import Manifest, Utterance
from serplatform.corpora.validate import class_notes, column_notes, generic_protocol, validate
from serplatform.errors import BadInputError


def utterance(name: str, **values: Any) -> Utterance:
    given = {"path": Path(f"{name}.wav"), "speaker_id": "s1", "emotion": "sad", **values}
    return Utterance(utterance_id=name, **given)


def reasons(*utterances: Utterance, **arguments: Any) -> dict[str, str]:
    manifest = validate(Manifest(utterances=utterances), **arguments)
    return {r.utterance_id: r.reason for r in manifest.rejections}


def test_good_utterances_are_kept_in_order() -> None:
    manifest = validate(Manifest(utterances=(utterance("b"), utterance("a"))))
    assert [u.utterance_id for u in manifest.utterances] == ["b", "a"]
    assert manifest.rejections == ()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"speaker_id": ""}, "has no speaker"),
        ({"emotion": ""}, "has no label"),
        ({"emotion": "xxx"}, r"has no label \('xxx'\)"),
        ({"start": 2.0, "end": 1.0}, "empty or negative"),
        ({"start": -1.0}, "empty or negative"),
        ({"start": float("nan")}, "start is not a finite number"),
        ({"end": float("inf")}, "end is not a finite number"),
        ({"emotion": "angy"}, "if it means 'angry', say --map angy=angry"),
        ({"emotion": "sarcastic"}, r"used 1 time\(s\)"),
    ],
)
def test_broken_rule_is_the_reason(values: dict[str, Any], reason: str) -> None:
    found = reasons(utterance("good"), utterance("bad", **values))
    assert list(found) == ["bad"]
    assert re.search(reason, found["bad"])


def test_second_of_two_equal_ids_is_rejected() -> None:
    manifest = validate(
        Manifest(utterances=(utterance("a", speaker_id="first"), utterance("a", speaker_id="x")))
    )
    assert [u.speaker_id for u in manifest.utterances] == ["first"]
    assert manifest.rejections[0].reason.startswith("duplicate utterance id")


def test_a_duplicate_that_says_otherwise_says_what() -> None:
    found = validate(
        Manifest(
            utterances=(
                utterance("a"),
                utterance("a"),
                utterance("a", emotion="angry", speaker_id="s9"),
                utterance("a", path=Path("a.flac")),
            )
        )
    ).rejections
    assert [rejection.reason.removeprefix("duplicate utterance id; ") for rejection in found] == [
        "the first one is kept",
        "the first one is kept (it is 'sad', where this is 'angry'; its speaker is s1, where "
        "this has s9)",
        "the first one is kept (that is another file, a.wav)",
    ]


def test_id_of_a_rejected_utterance_is_free() -> None:
    manifest = validate(Manifest(utterances=(utterance("a", emotion=""), utterance("a"))))
    assert len(manifest.utterances) == 1


def test_foreign_label_used_often_is_a_class_and_said_so() -> None:
    manifest = validate(
        Manifest(utterances=tuple(utterance(str(i), emotion="sarcastic") for i in range(5)))
    )
    assert len(manifest.utterances) == 5
    assert manifest.notes == (
        "labels outside the vocabulary, kept as classes of their own: sarcastic (5)",
    )


def test_label_map_renames_and_leaves_out() -> None:
    listed = (utterance("a", emotion="angy"), utterance("b", emotion="calm"), utterance("c"))
    manifest = validate(Manifest(utterances=listed), {"angy": "anger", "calm": ""})
    assert {u.utterance_id: u.emotion for u in manifest.utterances} == {"a": "angry", "c": "sad"}
    assert manifest.rejections[0].reason == "label 'calm' is left out (--map)"


def test_label_map_of_a_label_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"no utterance is labelled 'joyous'; .* are: sad"):
        validate(Manifest(utterances=(utterance("a"),)), {"joyous": "happy"})


def test_class_with_one_speaker_is_said() -> None:
    listed = [
        utterance("a"),
        utterance("b", speaker_id="s2"),
        utterance("c", emotion="angry", speaker_id="s2"),
    ]
    assert class_notes(listed) == [
        "class 'angry' has one speaker only (s2): it cannot be in the training and test parts of "
        "a speaker-independent fold"
    ]
    assert "one speaker only" in class_notes(listed[:1])[0]


@pytest.mark.parametrize(
    ("count", "name"), [(2, "random-kfold:5"), (9, "loso"), (10, "speaker-kfold:5")]
)
def test_protocol_follows_the_number_of_speakers(count: int, name: str) -> None:
    assert generic_protocol([utterance(str(i), speaker_id=str(i)) for i in range(count)]) == name


def test_protocol_is_the_column_where_every_row_has_one() -> None:
    assert (
        generic_protocol([utterance("a", split="train"), utterance("b", split="test")]) == "column"
    )
    assert generic_protocol([utterance("a", fold="1"), utterance("b")]) != "column"


def test_a_column_with_gaps_is_said_not_to_be_used() -> None:
    listed = [utterance("a", split="train"), utterance("b", split="test"), utterance("c")]
    assert column_notes(listed) == [
        "1 of 3 utterances have no 'split', so the column does not make the default protocol; "
        "fill it, or leave those rows out, to have it used"
    ]
    assert column_notes(listed[:2]) == column_notes(listed[2:]) == []


def test_gaps_in_a_column_do_not_matter_where_the_other_is_whole() -> None:
    listed = [utterance("a", split="train", fold="1"), utterance("b", fold="2")]
    assert column_notes(listed) == []
