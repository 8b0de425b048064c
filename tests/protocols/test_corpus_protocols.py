"""Protocols of RAVDESS, EmoDB, CREMA-D and IEMOCAP on tables with the corpora's own counts."""

from collections import Counter

import pytest

from serplatform.errors import BadInputError
from serplatform.protocols.base import PARTS
from serplatform.protocols.plan import make_plan
from tests.support.utterance_tables import grid, table

RAVDESS_CLASSES = ("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


def ravdess(actors=range(1, 25)):
    rows = []
    for actor in actors:
        for emotion, count in [("neutral", 4), *((name, 8) for name in RAVDESS_CLASSES)]:
            rows += [
                {
                    "utterance_id": f"{actor:02d}-{emotion}-{take}",
                    "speaker_id": f"actor-{actor:02d}",
                    "gender": "male" if actor % 2 else "female",
                    "emotion": emotion,
                }
                for take in range(count)
            ]
    return table(rows)


def actors(ids):
    return {int(name[:2]) for name in ids}


def test_ravdess_speaker_folds_are_emoboxs():
    plan = make_plan(ravdess(), "ravdess-speaker-6fold")
    tests = [actors(fold.test) for fold in plan.folds]
    assert tests == [
        {1, 11, 20, 21},
        {4, 10, 12, 14},
        {8, 9, 19, 23},
        {3, 5, 7, 24},
        {2, 15, 16, 18},
        {6, 13, 17, 22},
    ]
    assert [actors(fold.dev) for fold in plan.folds] == [*tests[1:], tests[0]]
    assert [len(fold.train) for fold in plan.folds] == [960] * 6
    assert plan.speaker_independent
    assert plan.classes == ("neutral", *RAVDESS_CLASSES)


def test_ravdess_folds_do_not_depend_on_the_seed():
    one, two = (make_plan(ravdess(), "ravdess-speaker-6fold", seed) for seed in (0, 1))
    assert one.folds == two.folds


def test_ravdess_in_part_keeps_the_folds_it_can_fill():
    plan = make_plan(ravdess((1, 2, 4, 11)), "ravdess-speaker-6fold")
    assert [actors(fold.test) for fold in plan.folds] == [{1, 11}, {4}, {2}]
    assert any("Only 3 of 6 folds" in note for note in plan.notes)
    with pytest.raises(BadInputError, match=r"speakers are in 2 of its 6 groups"):
        make_plan(ravdess((1, 4)), "ravdess-speaker-6fold")


def test_ravdess_random_80_20():
    plan = make_plan(ravdess(), "ravdess-random-80-20", 2)
    (fold,) = plan.folds
    assert len(fold.test) / 1440 == pytest.approx(0.2, abs=0.005)
    assert len(fold.dev) / 1440 == pytest.approx(0.1, abs=0.005)
    for part, share in (("train", 0.7), ("dev", 0.1), ("test", 0.2)):
        counts = Counter(name.split("-")[1] for name in getattr(fold, part))
        for emotion, count in counts.items():
            assert count == pytest.approx(share * (96 if emotion == "neutral" else 192), abs=1.5)
    assert "SPEAKERS ARE SHARED" in plan.notes[0]


def test_ravdess_random_four_classes_has_672_clips():
    plan = make_plan(ravdess(), "ravdess-random-5fold-4class")
    assert plan.classes == ("neutral", "happy", "sad", "angry")
    assert sum(len(fold.test) for fold in plan.folds) == 672
    assert any("192 calm" in note for note in plan.notes)


def test_another_corpus_under_ravdess_folds_is_refused():
    utterances = table(grid(num_speakers=3, per_class=2, classes=("sad", "happy"), name="x{}y"))
    with pytest.raises(BadInputError, match=r"speaker 'x1y' is none of RAVDESS's actors"):
        make_plan(utterances, "ravdess-speaker-6fold")
    with pytest.raises(BadInputError, match=r"needs utterances labelled neutral, angry"):
        make_plan(utterances, "ravdess-random-5fold-4class")


def test_emodb_leaves_one_of_ten_speakers_out():
    speakers = {"03": "male", "08": "female", "09": "female", "10": "male", "11": "male"}
    speakers |= {"12": "male", "13": "female", "14": "female", "15": "male", "16": "female"}
    rows = [
        {"utterance_id": f"{s}{e}{i}", "speaker_id": s, "gender": g, "emotion": e}
        for s, g in speakers.items()
        for e in ("angry", "bored", "disgust", "fearful", "happy", "sad", "neutral")
        for i in range(3)
    ]
    plan = make_plan(table(rows), "emodb-loso")
    assert plan.protocol == "emodb-loso"
    assert [{u[:2] for u in fold.test} for fold in plan.folds] == [{s} for s in sorted(speakers)]
    for fold in plan.folds:
        dev = {u[:2] for u in fold.dev}
        assert sorted(speakers[s] for s in dev) == ["female", "male"]
        assert len(fold.train) == 7 * 21


def test_cremad_blocks():
    classes = ("neutral", "happy", "sad", "angry", "fearful", "disgust")
    rows = [
        {
            "utterance_id": f"{actor}-{emotion}",
            "speaker_id": str(actor),
            "gender": "male" if actor % 2 else "female",
            "emotion": emotion,
        }
        for actor in range(1001, 1092)
        for emotion in classes
    ]
    plan = make_plan(table(rows), "cremad-speaker-5fold")
    tests = [sorted({int(u[:4]) for u in fold.test}) for fold in plan.folds]
    assert [(t[0], t[-1], len(t)) for t in tests] == [
        (1001, 1018, 18),
        (1019, 1036, 18),
        (1037, 1054, 18),
        (1055, 1072, 18),
        (1073, 1091, 19),
    ]
    for fold in plan.folds:
        dev = {int(u[:4]) for u in fold.dev}
        assert len(dev) in (14, 15)
        assert abs(sum(actor % 2 for actor in dev) - len(dev) / 2) <= 1


#: utterances of session 1 to 5 (data/README of the corpus facts): neutral, happy with excited,
#: angry, sad
FOUR = [
    (384, 278, 229, 194),
    (362, 327, 137, 197),
    (320, 286, 240, 305),
    (258, 303, 327, 143),
    (384, 442, 170, 245),
]
OTHERS = {"frustrated": 1849, "surprised": 107, "fearful": 40, "disgust": 2}
EXCITED = 1041


@pytest.fixture(scope="module")
def iemocap():
    rows = []

    def add(session, emotion, number):
        dialog = f"Ses0{session}F_{'impro' if number % 2 else 'script'}01_{'FM'[number % 3 > 0]}"
        rows.append(
            {
                "utterance_id": f"{dialog}{len(rows):05d}",
                "speaker_id": f"{session}{'FM'[number % 3 > 0]}",
                "gender": ("female", "male")[number % 3 > 0],
                "session": str(session),
                "emotion": emotion,
            }
        )

    excited = 0
    for session, counts in enumerate(FOUR, start=1):
        for emotion, count in zip(("neutral", "happy", "angry", "sad"), counts, strict=True):
            for number in range(count):
                merged = emotion == "happy" and excited < EXCITED and number < 209
                excited += merged
                add(session, "excited" if merged else emotion, number)
    for emotion, count in OTHERS.items():
        for number in range(count):
            add(number % 5 + 1, emotion, number)
    return table(rows)


def test_iemocap_four_classes_leave_one_session_out(iemocap):
    plan = make_plan(iemocap, "iem4-session-5fold")
    assert plan.classes == ("neutral", "happy", "sad", "angry")
    assert plan.label_map["excited"] == "happy"
    assert [len(fold.test) for fold in plan.folds] == [1085, 1023, 1151, 1031, 1241]
    assert [{u[:5] for u in fold.dev} for fold in plan.folds] == [
        {"Ses02"}, {"Ses03"}, {"Ses04"}, {"Ses05"}, {"Ses01"},
    ]  # fmt: skip
    assert any("Labels merged: excited as happy." in note for note in plan.notes)
    assert any("Few dev speakers: 2 per fold" in note for note in plan.notes)


def test_iemocap_session_5_tests_alone(iemocap):
    plan = make_plan(iemocap, "iem4-session5")
    (fold,) = plan.folds
    assert len(fold.test) == 1241
    assert len(fold.train) + len(fold.dev) == 4290
    assert {u[:5] for u in fold.dev} == {"Ses01"}


def test_iemocap_improvised_keeps_improvised_dialogs_without_excited(iemocap):
    plan = make_plan(iemocap, "iemocap-improvised-5fold")
    kept = {u for part in PARTS for u in getattr(plan.folds[0], part)}
    expected = {
        name
        for name, emotion in zip(
            iemocap["utterance_id"].to_pylist(), iemocap["emotion"].to_pylist(), strict=True
        )
        if "impro" in name and emotion in ("neutral", "happy", "sad", "angry")
    }
    assert kept == expected
    assert len(plan.folds) == 5
    assert "excited" not in plan.label_map


def test_iemocap_random_protocols(iemocap):
    four = make_plan(iemocap, "iem4-random-5fold")
    assert sum(len(fold.test) for fold in four.folds) == 5531
    seven = make_plan(iemocap, "iem7-random-10fold")
    assert seven.classes == (
        "neutral", "happy", "sad", "angry", "surprised", "excited", "frustrated",
    )  # fmt: skip
    total = sum(len(fold.test) for fold in seven.folds)
    assert total == 7487
    for fold in seven.folds:
        assert len(fold.test) / total == pytest.approx(0.1, abs=0.001)
        assert len(fold.dev) / total == pytest.approx(0.1, abs=0.001)


def test_iemocap_protocols_refuse_other_sessions():
    rows = grid(num_speakers=6, per_class=2, classes=("neutral", "happy", "sad", "angry"))
    rows += [
        {**row, "utterance_id": row["utterance_id"] + "e", "emotion": "excited"} for row in rows
    ]
    with pytest.raises(BadInputError, match=r"session '' is none of IEMOCAP's sessions"):
        make_plan(table(rows), "iem4-session5")
    for row in rows:
        row["session"] = f"Ses0{int(row['speaker_id'][1:]) % 3 + 1}"
    assert len(make_plan(table(rows), "iem4-session-5fold").folds) == 3
    with pytest.raises(BadInputError, match=r"tests session 5, and the dataset has only sessions"):
        make_plan(table(rows), "iem4-session5")
