"""IEMOCAP: the true speaker, labels and counts, and everything that occurs in real copies."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from serplatform.artifacts.dataset import UTTERANCE_SCHEMA
from serplatform.corpora.base import CORPORA, Manifest
from serplatform.corpora.iemocap import Iemocap
from serplatform.corpora.validate import validate
from serplatform.errors import BadInputError
from serplatform.protocols.plan import make_plan
from tests.support import iemocap_tree as tree


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return Iemocap().scan(tree.full_tree(tmp_path_factory.mktemp("iemocap")))


def table(manifest: Manifest) -> pa.Table:
    rows = [
        {
            "utterance_id": u.utterance_id,
            "path": u.path.name,
            "start": 0.0,
            "end": 1.0,
            "duration": 1.0,
            "speaker_id": u.speaker_id,
            "gender": u.gender,
            "session": u.session,
            "emotion": u.emotion,
            "parent_id": u.utterance_id,
            "audio_hash": u.utterance_id,
            "sampling_rate": 16_000,
            "speech_start": 0.0,
            "speech_end": 1.0,
            "forced_alignment": u.extra["forced_alignment"],
        }
        for u in validate(manifest).utterances
    ]
    return pa.Table.from_pylist(
        rows, schema=UTTERANCE_SCHEMA.append(pa.field("forced_alignment", pa.string()))
    )


def test_speaker_is_the_letter_of_the_last_field_not_the_prefix(tmp_path: Path) -> None:
    manifest = Iemocap().scan(tree.small_tree(tmp_path))
    speaker = {u.utterance_id: (u.speaker_id, u.gender) for u in manifest.utterances}
    assert speaker == {
        "Ses01F_impro01_F000": ("Ses01F", "female"),
        "Ses01F_impro01_M003": ("Ses01M", "male"),
    }


def test_a_small_tree_gives_labels_texts_and_attributes(tmp_path: Path) -> None:
    one, other = Iemocap().scan(tree.small_tree(tmp_path)).utterances
    assert (one.emotion, other.emotion) == ("neutral", "excited")
    assert (one.session, one.language) == ("1", "en")
    assert one.text == "Excuse me."
    assert other.text == "At 5:30, déjà vu."  # latin-1, and split at the first colon only
    assert one.extra == {
        "dialog": "Ses01F_impro01",
        "scenario": "improvised",
        "dialog_start": "6.2901",
        "dialog_end": "8.2357",
        "forced_alignment": "yes",
        "valence": "2.5000",
        "arousal": "2.5000",
        "dominance": "0.5000",
    }
    assert other.extra["forced_alignment"] == "no"


def test_everything_left_out_has_its_reason(tmp_path: Path) -> None:
    manifest = Iemocap().scan(tree.small_tree(tmp_path))
    reasons = {(r.utterance_id, r.reason) for r in manifest.rejections}
    assert reasons == {
        ("Ses01F_impro01_F001", "the raters had no majority label (xxx)"),
        ("Ses01F_impro01_M004", "no audio file"),
        ("Ses01F_impro01_F002", "unknown label 'foo'"),
        ("Ses01F_impro01_MXX0", "not an utterance id of IEMOCAP"),
        ("Ses01F_impro01_F000", "labelled twice; the first label is kept"),
        ("Ses01F_impro01:45", "line 45 is not a label line"),
        ("Ses01F_impro01_F009", "audio without a label in EmoEvaluation"),
    }


def test_notes_count_what_a_user_should_know(tmp_path: Path) -> None:
    notes = Iemocap().scan(tree.small_tree(tmp_path)).notes
    assert "1 utterances without majority label (xxx) are left out" in notes
    assert "1 file(s) are not UTF-8 and were read as Windows-1252" in notes
    assert "2 '._' files of macOS are not audio and were ignored" in notes
    assert any(n.startswith("4 labelled utterances have no forced alignment") for n in notes)
    assert any("complete release has 10039" in n and "1 session(s) are here" in n for n in notes)


def test_full_index_has_the_published_counts(full: Manifest) -> None:
    labels = Counter(u.emotion for u in full.utterances)
    without = [r for r in full.rejections if "(xxx)" in r.reason]
    assert len(full.utterances) + len(without) == 10_039
    assert len(without) == len(full.rejections) == 2_507
    assert labels == {
        "frustrated": 1849,
        "neutral": 1708,
        "angry": 1103,
        "sad": 1084,
        "excited": 1041,
        "happy": 595,
        "surprised": 107,
        "fearful": 40,
        "other": 3,
        "disgust": 2,
    }
    assert len({u.extra["dialog"] for u in full.utterances}) == 151
    assert len({u.speaker_id for u in full.utterances}) == 10


def test_four_classes_have_the_published_counts_by_session(full: Manifest) -> None:
    four = {"neutral": 0, "happy": 1, "excited": 1, "angry": 2, "sad": 3}
    counts = Counter((u.session, four[u.emotion]) for u in full.utterances if u.emotion in four)
    by_session = [[counts[str(s), k] for k in range(4)] for s in range(1, 6)]
    assert by_session == [
        [384, 278, 229, 194],
        [362, 327, 137, 197],
        [320, 286, 240, 305],
        [258, 303, 327, 143],
        [384, 442, 170, 245],
    ]
    assert [sum(row) for row in by_session] == [1085, 1023, 1151, 1031, 1241]
    kept = [u for u in full.utterances if u.emotion in four]
    assert Counter(u.extra["scenario"] for u in kept) == {"improvised": 2943, "scripted": 2588}


@pytest.mark.parametrize(
    ("protocol", "total", "folds", "tests"),
    [
        ("iem4-session-5fold", 5531, 5, [1085, 1023, 1151, 1031, 1241]),
        ("iem4-session5", 5531, 1, [1241]),
        ("iemocap-improvised-5fold", 2280, 5, None),
        ("iem4-random-5fold", 5531, 5, None),
        ("iem7-random-10fold", 7486, 10, None),
    ],
)
def test_protocols_select_the_published_numbers(
    full: Manifest, protocol: str, total: int, folds: int, tests: list[int] | None
) -> None:
    plan = make_plan(table(full), protocol, seed=0)
    assert len(plan.folds) == folds
    for fold in plan.folds:
        assert len(fold.train) + len(fold.dev) + len(fold.test) == total
    if tests is not None:
        assert [len(fold.test) for fold in plan.folds] == tests


def test_seven_classes_with_forced_alignment_are_the_7486_of_can(full: Manifest) -> None:
    seven = {"angry", "excited", "happy", "sad", "frustrated", "surprised", "neutral"}
    kept = [u for u in full.utterances if u.emotion in seven]
    aligned = [u for u in kept if u.extra["forced_alignment"] == "yes"]
    assert (len(kept), len(aligned)) == (7487, 7486)
    assert Counter(u.emotion for u in aligned)["excited"] == 1040
    assert any(
        "2 labelled utterances have no forced alignment (.wdseg): Ses03F_impro07_M030, "
        "Ses03M_impro03_M001" in note
        for note in full.notes
    )


def test_enclosing_folder_is_accepted(tmp_path: Path) -> None:
    tree.small_tree(tmp_path / "IEMOCAP_full_release")
    assert len(Iemocap().scan(tmp_path).utterances) == 2


def test_other_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such directory"):
        Iemocap().scan(tmp_path / "absent")
    with pytest.raises(BadInputError, match="holds no folder Session1 to Session5"):
        Iemocap().scan(tmp_path)


def test_incomplete_sessions_are_named_all_at_once(tmp_path: Path) -> None:
    (tmp_path / "Session1" / "dialog" / "EmoEvaluation").mkdir(parents=True)
    (tmp_path / "Session2" / "sentences" / "wav").mkdir(parents=True)
    with pytest.raises(BadInputError, match="is not complete") as caught:
        Iemocap().scan(tmp_path)
    assert [
        Path(f.split(":")[0]).relative_to(tmp_path).as_posix() for f in caught.value.faults
    ] == [
        "Session1/sentences/wav",
        "Session2/dialog/EmoEvaluation",
    ]


def test_sessions_without_any_label_line_are_refused(tmp_path: Path) -> None:
    (tmp_path / "Session1" / "sentences" / "wav").mkdir(parents=True)
    tree.put(tmp_path / "Session1" / "dialog" / "EmoEvaluation" / "a.txt", tree.TITLE)
    with pytest.raises(BadInputError, match="hold no line such as"):
        Iemocap().scan(tmp_path)


def test_default_protocol_needs_three_sessions(full: Manifest) -> None:
    corpus = CORPORA.get("iemocap")()
    assert corpus.choose_protocol(full.utterances) == "iem4-session-5fold"
    two = [u for u in full.utterances if u.session in ("1", "2")]
    assert corpus.choose_protocol(two) == "loso"


@pytest.mark.skipif("SERPLATFORM_IEMOCAP" not in os.environ, reason="SERPLATFORM_IEMOCAP not set")
def test_the_real_release_has_the_published_counts() -> None:
    manifest = Iemocap().scan(Path(os.environ["SERPLATFORM_IEMOCAP"]))
    assert Counter(u.emotion for u in manifest.utterances)["neutral"] == 1708
