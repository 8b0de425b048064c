"""Manifest rules."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from serplatform.corpora.base import Manifest, Utterance, generic_protocol
from serplatform.corpora.validate import class_notes, column_notes, validate
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
        "labels outside the vocabulary, kept as classes of their own: sarcastic (5); "
        "to compare with other corpora, say --map sarcastic=EMOTION",
    )


def test_label_map_renames_and_leaves_out() -> None:
    listed = (utterance("a", emotion="angy"), utterance("b", emotion="calm"), utterance("c"))
    manifest = validate(Manifest(utterances=listed), {"angy": "anger", "calm": ""})
    assert {u.utterance_id: u.emotion for u in manifest.utterances} == {"a": "angry", "c": "sad"}
    assert manifest.rejections[0].reason == "label 'calm' is left out (--map)"


def test_label_map_of_a_label_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"no utterance is labelled 'joyous'; .* are: sad"):
        validate(Manifest(utterances=(utterance("a"),)), {"joyous": "happy"})


def labelled(*labels: str) -> Manifest:
    return Manifest(
        utterances=tuple(
            utterance(f"{label}{number}", emotion=label) for number, label in enumerate(labels)
        )
    )


def emotions(manifest: Manifest) -> dict[str, int]:
    return dict(Counter(u.emotion for u in manifest.utterances))


def test_labels_that_many_rows_use_are_classes_whatever_their_spelling() -> None:
    manifest = validate(labelled(*["unhappy", "gladness", "hapy", "sad"] * 5))
    assert emotions(manifest) == {"unhappy": 5, "gladness": 5, "hapy": 5, "sad": 5}
    assert [note for note in manifest.notes if "slip" in note] == [
        "class 'hapy' may be a slip of 'happy'; if it is, say --map hapy=happy"
    ]


@pytest.mark.parametrize(
    ("label_map", "found"),
    [
        ({"anger": "sad"}, {"sad": 2, "happy": 2}),
        ({"ANGER ": "sad"}, {"sad": 2, "happy": 2}),
        ({"angry": "sad"}, {"sad": 2, "happy": 2}),  # no row is labelled so: the canonical name
        ({"happy": "calm"}, {"angry": 1, "sad": 1, "happy": 1, "calm": 1}),
        ({"happy": "calm", "joy": "happy"}, {"angry": 1, "sad": 1, "happy": 1, "calm": 1}),
        ({"joy": "joy"}, {"angry": 1, "sad": 1, "happy": 1, "joy": 1}),
        ({"joy": "joy", "anger": "joy"}, {"sad": 1, "happy": 1, "joy": 2}),
        ({"joy": "elation"}, {"angry": 1, "sad": 1, "happy": 1, "elation": 1}),
        ({"joy": "", "sad": "unknown"}, {"angry": 1, "happy": 1}),
    ],
)
def test_map_speaks_of_labels_as_they_stand(
    label_map: dict[str, str], found: dict[str, int]
) -> None:
    assert emotions(validate(labelled("Anger", "happy", "joy", "sad"), label_map)) == found


def test_what_was_mapped_to_what_is_said() -> None:
    notes = validate(labelled("Anger", "anger", "calm", "fear"), {"fear": "sad", "calm": ""}).notes
    assert notes == (
        "labels mapped: Anger → angry (1), anger → angry (1), calm left out (1, --map), "
        "fear → sad (1, --map)",
    )


def test_words_that_aliases_merge_are_said_with_the_way_out() -> None:
    notes = validate(labelled("happy", "joy", "joy", "Anger", "angry", "hap")).notes
    assert notes[1:] == (
        "'hap' (2) and 'joy' (2) are one class here, 'happy'; to keep 'joy' apart, say "
        "--map joy=joy",
    )
    assert len(validate(labelled("happy", "joy"), {"joy": "joy"}).notes) == 1


def test_labels_are_compared_composed() -> None:
    parts = [unicodedata.normalize(form, "vidámság") for form in ("NFC", "NFD")]
    manifest = validate(labelled(*(parts * 3)), {parts[1]: "happy"})
    assert emotions(manifest) == {"happy": 6}


def test_speakers_are_compared_composed() -> None:
    manifest = validate(
        Manifest(
            utterances=tuple(
                utterance(form, speaker_id=unicodedata.normalize(form, "José"))
                for form in ("NFC", "NFD")
            )
        )
    )
    assert {u.speaker_id for u in manifest.utterances} == {"José"}


@pytest.mark.parametrize(
    "names",
    [
        ("01", "1"),
        ("1", "1.0"),
        ("Anna", "anna"),
        ("S01", "s1"),
        ("spk 1", "SPK_01"),
        ("Ａ1", "A1"),
        ("İpek", "ipek"),
        ("s-14", "s14"),
        ("s_15", "S015"),
    ],
)
def test_speakers_whose_names_fall_together_are_asked_about(names: tuple[str, str]) -> None:
    listed = Manifest(
        utterances=tuple(
            utterance(str(i), speaker_id=name) for i, name in enumerate((*names, names[0], "x"))
        )
    )
    first, second = sorted(names)
    counts = Counter((*names, names[0]))
    message = f"'{first}' ({counts[first]}) = '{second}' ({counts[second]})"
    with pytest.raises(BadInputError, match="say --speakers-differ") as caught:
        validate(listed)
    assert caught.value.faults == (message,)
    kept = validate(listed, speakers_differ=True).utterances
    assert {u.speaker_id for u in kept} == {*names, "x"}


@pytest.mark.parametrize(
    "names", [("1", "10"), ("1.1", "1.10"), ("s1", "t1"), ("Ann", "Anna"), ("1-12", "11-2")]
)
def test_speakers_whose_names_differ_are_let_be(names: tuple[str, str]) -> None:
    listed = tuple(utterance(name, speaker_id=name) for name in names)
    assert len(validate(Manifest(utterances=listed)).utterances) == 2


@pytest.mark.parametrize("missing", ["", "nan", "N/A", "None", "<NA>", "?", "unknown"])
def test_a_speaker_that_is_missing_is_missing_however_it_is_spelled(missing: str) -> None:
    listed = (utterance("a"), utterance("b", speaker_id=missing))
    assert list(reasons(*listed)) == ["b"]
    alone = validate(Manifest(utterances=listed[1:]))
    assert [u.speaker_id for u in alone.utterances] == ["unknown"]
    assert "no speaker is named" in alone.notes[0]


def test_as_many_speakers_as_clips_are_remarked() -> None:
    listed = [utterance(str(i), speaker_id=str(i), emotion="sad") for i in range(4)]
    assert (
        "4 speakers for 4 utterances: the speakers seem to be names of clips"
        in class_notes(listed)[0]
    )


def test_one_class_a_speaker_is_remarked() -> None:
    pairs = [("s1", "sad"), ("s2", "angry")] * 2
    listed = [utterance(str(i), speaker_id=s, emotion=e) for i, (s, e) in enumerate(pairs)]
    assert len(class_notes(listed)) == 1
    assert "every speaker has one class only" in class_notes(listed)[0]
    listed.append(utterance("x", speaker_id="s2", emotion="sad"))
    assert "every speaker" not in " ".join(class_notes(listed))


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


def test_a_word_for_no_label_is_a_class_where_the_user_says_so() -> None:
    rows = tuple(utterance(f"u{i}", emotion=("none", "Sad.")[i % 2]) for i in range(6))
    told = reasons(*rows)
    assert told.keys() == {"u0", "u2", "u4"}
    assert "if that is a class, say --map none=neutral, or =none" in told["u0"]
    for name in ("neutral", "none"):
        kept = validate(Manifest(utterances=rows), {"none": name}).utterances
        assert Counter(u.emotion for u in kept) == {name: 3, "sad": 3}
