"""Protocols for any corpus: what every plan must satisfy, and what is refused."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from serplatform.artifacts.dataset import NO_SPEAKER
from serplatform.errors import BadInputError, LeakError
from serplatform.protocols.base import PARTS, PROTOCOLS, SplitScheme
from serplatform.protocols.plan import build_plan, check_plan, make_plan, plan_hash
from serplatform.protocols.selection import Parts, select
from serplatform.registry import temporary
from tests.support.utterance_tables import grid, table

CLASSES = ("neutral", "happy", "sad")
PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def corpora(draw):
    """3 to 9 speakers of uneven numbers of utterances; some share recordings or parents."""
    num_speakers = draw(st.integers(3, 9))
    rows = []
    for speaker in range(num_speakers):
        for _ in range(draw(st.integers(1, 8))):
            row = {
                "speaker_id": f"s{speaker}",
                "gender": draw(st.sampled_from(["female", "male", None])),
                "emotion": draw(st.sampled_from(CLASSES)),
            }
            if draw(st.booleans()):
                row["audio_hash"] = f"same-{draw(st.integers(0, 40))}"
            if draw(st.integers(0, 3)) == 0:
                row["parent_id"] = f"parent-{speaker}-{draw(st.integers(0, 2))}"
            rows.append(row)
    return table(rows)


def plan_or_none(utterances, name, seed=0):
    """The plan, or None where the corpus is too small for it (always with a clear error)."""
    try:
        return make_plan(utterances, name, seed)
    except LeakError:
        raise
    except BadInputError:
        return None


def parts_of(plan, number):
    return {part: set(getattr(plan.folds[number], part)) for part in PARTS}


@PROPERTY
@given(
    corpora(),
    st.sampled_from(
        ["speaker-kfold:2", "speaker-kfold:3", "loso", "random-kfold:2", "random-kfold:5"]
    ),
    st.integers(0, 50),
)
def test_parts_are_disjoint_whole_and_test_everything_once(utterances, name, seed):
    plan = plan_or_none(utterances, name, seed)
    assume(plan is not None)
    ids = set(utterances["utterance_id"].to_pylist())
    tested = Counter()
    for number, fold in enumerate(plan.folds):
        parts = parts_of(plan, number)
        assert all(parts.values())
        assert sum(len(part) for part in parts.values()) == len(ids)
        assert set.union(*parts.values()) == ids
        assert list(fold.train) == sorted(fold.train)
        tested.update(fold.test)
    assert tested == Counter(dict.fromkeys(ids, 1))


@PROPERTY
@given(
    corpora(),
    st.sampled_from(["speaker-kfold:3", "loso", "random-kfold:2", "random-kfold:4"]),
    st.integers(0, 50),
)
def test_speakers_recordings_and_parents_are_never_split(utterances, name, seed):
    plan = plan_or_none(utterances, name, seed)
    assume(plan is not None)
    kinds = ["audio_hash", "parent_id"] + (["speaker_id"] if plan.speaker_independent else [])
    assert plan.speaker_independent == (not name.startswith("random"))
    for number in range(len(plan.folds)):
        part_of = {u: part for part, ids in parts_of(plan, number).items() for u in ids}
        for kind in kinds:
            seen = {}
            for utterance, value in zip(
                utterances["utterance_id"].to_pylist(), utterances[kind].to_pylist(), strict=True
            ):
                assert seen.setdefault(value, part_of[utterance]) == part_of[utterance]


@PROPERTY
@given(corpora(), st.sampled_from(["speaker-kfold:3", "loso", "random-kfold:3"]), st.randoms())
def test_seed_alone_decides(utterances, name, random):
    plan = plan_or_none(utterances, name, 5)
    assume(plan is not None)
    again = make_plan(utterances, name, 5)
    assert again == plan
    assert plan_hash(again) == plan_hash(plan)


def test_another_seed_gives_other_folds_and_another_hash():
    utterances = table(grid(num_speakers=12, per_class=3, classes=CLASSES))
    for name in ("speaker-kfold:4", "random-kfold:4"):
        hashes = {plan_hash(make_plan(utterances, name, seed)) for seed in range(4)}
        assert len(hashes) == 4


def test_speaker_folds_are_balanced_over_speakers_genders_and_classes():
    utterances = table(grid(num_speakers=24, per_class=2, classes=CLASSES))
    plan = make_plan(utterances, "speaker-kfold:6", 0)
    gender = dict(
        zip(utterances["speaker_id"].to_pylist(), utterances["gender"].to_pylist(), strict=True)
    )
    for fold in plan.folds:
        for part, women in (("test", 2), ("dev", 2), ("train", 8)):
            speakers = {u[:3] for u in getattr(fold, part)}
            assert len(speakers) == 2 * women
            assert sum(gender[s] == "female" for s in speakers) == women


def test_random_folds_are_stratified_to_within_one_utterance():
    rows = [
        {"speaker_id": f"s{i % 7}", "emotion": emotion}
        for emotion, count in (("happy", 53), ("sad", 20), ("neutral", 101))
        for i in range(count)
    ]
    utterances = table(rows)
    emotion = dict(
        zip(utterances["utterance_id"].to_pylist(), utterances["emotion"].to_pylist(), strict=True)
    )
    plan = make_plan(utterances, "random-kfold:5", 3)
    for fold in plan.folds:
        counts = Counter(emotion[u] for u in fold.test)
        assert counts["sad"] == 4
        assert counts["happy"] in (10, 11)
        assert counts["neutral"] in (20, 21)
        assert len(fold.dev) in range(16, 20)  # a tenth of 174
        assert set(Counter(emotion[u] for u in fold.dev)) == {"happy", "sad", "neutral"}


def test_random_protocol_says_that_speakers_are_shared():
    utterances = table(grid(num_speakers=4, per_class=5, classes=CLASSES))
    plan = make_plan(utterances, "random-kfold:5")
    assert plan.notes[0].startswith("SPEAKERS ARE SHARED: 100% of the test speakers")
    assert not any("SHARED" in note for note in make_plan(utterances, "loso").notes)
    nobody = utterances.set_column(
        utterances.column_names.index("speaker_id"), "speaker_id", [[NO_SPEAKER] * len(utterances)]
    )
    assert (
        make_plan(nobody, "random-kfold:5")
        .notes[0]
        .startswith("SPEAKERS ARE SHARED: no speaker is named")
    )


def test_grouped_recordings_are_counted_in_the_notes():
    rows = grid(num_speakers=6, per_class=4, classes=CLASSES)
    for row in rows[:3]:
        row["audio_hash"] = "same"
    for row in rows[4:8]:
        row["parent_id"] = f"long-{row['utterance_id'][:3]}"
    notes = "\n".join(make_plan(table(rows), "random-kfold:3").notes)
    assert "3 utterances in 1 group(s) are identical recordings" in notes
    assert "4 utterances in 1 group(s) are segments of a common recording" in notes


def test_speakers_of_one_recording_stay_together():
    rows = grid(num_speakers=8, per_class=2, classes=CLASSES)
    rows[0]["audio_hash"] = rows[-1]["audio_hash"] = "same"  # speakers s01 and s08
    plan = make_plan(table(rows), "loso")
    assert len(plan.folds) == 7
    (both,) = [f for f in plan.folds if any(u.startswith("s01") for u in f.test)]
    assert {u[:3] for u in both.test} == {"s01", "s08"}


def test_few_dev_speakers_are_noted():
    utterances = table(grid(num_speakers=6, per_class=2, classes=CLASSES))
    notes = "\n".join(make_plan(utterances, "loso").notes)
    assert "Few dev speakers: 1 per fold (fewer than 3 in folds 0, 1, 2, 3, 4, 5)" in notes
    utterances = table(grid(num_speakers=24, per_class=1, classes=CLASSES))
    assert "dev speakers" not in "\n".join(make_plan(utterances, "speaker-kfold:4").notes)


def test_class_missing_from_a_part_is_noted():
    rows = grid(num_speakers=12, per_class=2, classes=("neutral", "sad"))
    for row in rows:
        if row["speaker_id"] in ("s02", "s05", "s09") and row["emotion"] == "sad":
            row["emotion"] = "bored"
    plan = make_plan(table(rows), "loso")
    (note,) = [n for n in plan.notes if "'bored' is missing from the test part" in n]
    assert note.endswith("folds 0, 2, 3, 5, 6, 7, 9, 10, 11.")
    assert not any("bored' is missing from the train" in n for n in plan.notes)


def test_dev_leaves_the_last_speaker_of_a_class_in_train():
    """'bored' has two speakers: where one tests, dev must not take the other."""
    rows = grid(num_speakers=5, per_class=2, classes=("neutral", "sad"))
    rows += [
        {"utterance_id": f"{s}-bored", "speaker_id": s, "emotion": "bored"} for s in ("s01", "s02")
    ]
    for seed in range(8):
        plan = make_plan(table(rows), "loso", seed)
        for fold in plan.folds:
            assert any(u.endswith("bored") for u in fold.train)


@pytest.mark.parametrize("name", ["loso", "speaker-kfold:3", "speaker-kfold:5"])
def test_class_with_one_speaker_is_refused_by_name(name):
    rows = grid(num_speakers=5, per_class=2, classes=("neutral", "sad"))
    rows.append({"speaker_id": "s03", "emotion": "disgust"})
    with pytest.raises(BadInputError, match=r"class 'disgust' has a single speaker, 's03'"):
        make_plan(table(rows), name)
    assert "disgust" in make_plan(table(rows), "random-kfold:2").classes


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("speaker-kfold:9", "9 folds of different speakers need at least 9 speakers.* has 4"),
        ("speaker-kfold", "needs a number of folds .*'speaker-kfold:5'; got nothing"),
        ("speaker-kfold:1", "at least 2 .* got '1'"),
        ("speaker-kfold:x", "got 'x'"),
        ("random-kfold:0", "got '0'"),
        ("random-kfold:999", "need at least 999 different recordings.*; use fewer folds"),
        ("loso:3", "protocol 'loso' takes no argument"),
        ("speaker-kfald:3", "Unknown protocol 'speaker-kfald'.*Did you mean 'speaker-kfold'"),
        ("column", "needs a column 'split'"),
        ("column:mood", "has no column 'mood'; it has utterance_id"),
        ("column:fold", "the column 'fold' is empty"),
    ],
)
def test_what_cannot_be_done_is_refused(name, message):
    utterances = table(grid(num_speakers=4, per_class=2, classes=CLASSES))
    with pytest.raises(BadInputError, match=message):
        make_plan(utterances, name)


def test_two_speakers_are_too_few_to_be_independent():
    utterances = table(grid(num_speakers=2, per_class=4, classes=CLASSES))
    with pytest.raises(BadInputError, match=r"at least two speakers besides the test speakers"):
        make_plan(utterances, "loso")


def test_one_class_is_too_few():
    utterances = table(grid(num_speakers=4, per_class=2, classes=("sad",)))
    with pytest.raises(BadInputError, match=r"at least two classes; the dataset's labels are sad"):
        make_plan(utterances, "loso")


def test_utterance_ids_must_be_unique():
    rows = grid(num_speakers=4, per_class=2, classes=CLASSES)
    rows[3]["utterance_id"] = rows[0]["utterance_id"]
    with pytest.raises(BadInputError, match=r"occur more than once:\n  - s01-neutral-0"):
        make_plan(table(rows), "loso")


# -- columns


def with_column(values, column="split", **kind):
    rows = grid(num_speakers=9, per_class=3, classes=CLASSES)
    return table([{**row, column: values(row, number)} for number, row in enumerate(rows)])


def test_split_column_is_taken_as_it_is():
    part = {"s01": "Test", "s02": "test", "s03": "validation", "s04": "val"}
    utterances = with_column(lambda row, _: part.get(row["speaker_id"], "train"))
    plan = make_plan(utterances, "column")
    assert plan.protocol == "column:split"
    assert plan.speaker_independent
    (fold,) = plan.folds
    assert {u[:3] for u in fold.test} == {"s01", "s02"}
    assert {u[:3] for u in fold.dev} == {"s03", "s04"}
    assert len(fold.train) == 45


def test_dev_is_carved_by_speaker_where_the_split_column_gives_none():
    utterances = with_column(lambda row, _: "test" if row["speaker_id"] == "s01" else "train")
    plan = make_plan(utterances, "column")
    (fold,) = plan.folds
    speakers = {part: {u[:3] for u in getattr(fold, part)} for part in PARTS}
    assert len(speakers["dev"]) == 2
    assert not speakers["dev"] & speakers["train"]
    assert any("carved from train by speaker" in note for note in plan.notes)


def test_split_column_that_shares_speakers_says_so():
    utterances = with_column(lambda _, number: "test" if number % 3 == 0 else "train")
    plan = make_plan(utterances, "column")
    assert not plan.speaker_independent
    assert plan.notes[0].startswith("SPEAKERS ARE SHARED: 100%")
    assert any("carved from train at random" in note for note in plan.notes)


def test_fold_column_makes_one_fold_a_value_in_numeric_order():
    utterances = with_column(lambda row, _: str(int(row["speaker_id"][1:]) + 3), column="fold")
    plan = make_plan(utterances, "column")
    assert plan.protocol == "column:fold"
    assert plan.speaker_independent
    assert [f.test[0][:3] for f in plan.folds] == [f"s{n:02d}" for n in range(1, 10)]


def test_rows_without_a_value_are_left_out_and_counted():
    utterances = with_column(
        lambda row, _: {"s01": "test", "s02": None, "s03": "dev"}.get(row["speaker_id"], "train")
    )
    plan = make_plan(utterances, "column")
    assert sum(len(getattr(plan.folds[0], part)) for part in PARTS) == 72
    assert "9 utterances are not part of the protocol." in plan.notes


def test_recording_on_both_sides_of_a_given_split_is_named():
    rows = grid(num_speakers=9, per_class=3, classes=CLASSES)
    for row in rows:
        row["split"] = "test" if row["speaker_id"] == "s01" else "train"
    rows[0]["audio_hash"] = rows[20]["audio_hash"] = "cafe"
    rows[20]["split"], rows[20]["speaker_id"] = "dev", "s10"
    with pytest.raises(LeakError, match=r"audio hash 'cafe' is in dev and in test"):
        make_plan(table(rows), "column")


def test_split_without_test_is_refused():
    utterances = with_column(lambda row, _: "train")
    with pytest.raises(BadInputError, match=r"the dataset's 'split' holds train"):
        make_plan(utterances, "column")
    with pytest.raises(BadInputError, match=r"no utterance is in 'test'"):
        make_plan(utterances, "column:split")


def test_single_fold_value_is_refused():
    utterances = with_column(lambda row, _: "1", column="fold")
    with pytest.raises(BadInputError, match=r"single value '1'"):
        make_plan(utterances, "column")


def test_plans_of_all_generic_protocols_pass_the_check():
    utterances = table(grid(num_speakers=9, per_class=3, classes=CLASSES))
    for name in ("speaker-kfold:3", "loso", "random-kfold:3"):
        check_plan(make_plan(utterances, name), utterances)


def dialogues():
    """Eight speakers; two talk to each other in each of four sessions."""
    rows = grid(num_speakers=8, per_class=2, classes=CLASSES)
    return table([{**row, "session": f"d{int(row['speaker_id'][1:]) // 2 % 4}"} for row in rows])


def sides(utterances, plan, fold, column):
    names, values = (utterances[key].to_pylist() for key in ("utterance_id", column))
    value = dict(zip(names, values, strict=True))
    return [{value[name] for name in getattr(plan.folds[fold], part)} for part in PARTS]


@pytest.mark.parametrize("name", ["speaker-kfold:3", "loso", "random-kfold:4"])
def test_sessions_in_train_and_test_are_counted_in_one_sentence(name):
    plan = make_plan(dialogues(), name, 0)
    (note,) = [note for note in plan.notes if "sessions are in train and in test" in note]
    fold_sides = [sides(dialogues(), plan, k, "session") for k in range(len(plan.folds))]
    shared = set().union(*(train & test for train, _, test in fold_sides))
    assert note.startswith(f"{len(shared)} of 4 sessions")
    assert "'session-kfold:K' keeps each in one part" in note


def test_session_folds_keep_sessions_and_speakers_in_one_part():
    utterances = dialogues()
    plan = make_plan(utterances, "session-kfold:4", 0)
    assert plan.speaker_independent
    for fold in range(4):
        for column in ("session", "speaker_id"):
            train, dev, test = sides(utterances, plan, fold, column)
            assert len(train | dev | test) == len(train) + len(dev) + len(test)
    assert "Each of the 4 sessions is in one part." in plan.notes
    assert not any("are in train and in test" in note for note in plan.notes)


def test_session_folds_need_sessions():
    utterances = table(grid(num_speakers=8, per_class=2, classes=CLASSES))
    with pytest.raises(BadInputError, match="needs the column 'session'"):
        make_plan(utterances, "session-kfold:3", 0)
    assert not any("sessions" in note for note in make_plan(utterances, "loso", 0).notes)


class AsItPleases(SplitScheme):
    """Of a plugin: even rows train, odd ones test, whatever they share."""

    name = "as-it-pleases"
    description = "by number"
    speaker_independent = False

    def plan(self, utterances, *, argument, seed):
        chosen = select(utterances, protocol=self.name, seed=seed)
        rows = np.arange(len(chosen))
        return build_plan(
            chosen,
            [Parts(rows[rows % 4 == 0], rows[rows % 4 == 2], rows[rows % 2 == 1])],
            speaker_independent=False,
        )


@pytest.mark.parametrize(
    "shared",
    [
        {"group_id": "twin"},
        {"audio_hash": "twin"},
        {"parent_id": "twin"},
        {"path": "one.wav"},
    ],
)
def test_a_plugins_protocol_may_not_part_what_shares_a_recording(shared):
    rows = grid(num_speakers=4, per_class=2, classes=("happy", "sad"))
    for number in (0, 1):
        rows[number] = {**rows[number], **shared}
    with temporary():
        PROTOCOLS.register("as-it-pleases")(AsItPleases)
        with pytest.raises(LeakError, match=r"(?s)leave one of the two out.*speaker-kfold:K.*s01-"):
            make_plan(table(rows), "as-it-pleases", 0)


def test_a_twin_in_another_fixed_fold_is_refused_by_name():
    """RAVDESS's folds are fixed by actor: what two of them share cannot be kept together."""
    rows = grid(num_speakers=24, per_class=1, classes=CLASSES, name="actor_{:02d}")
    copy = {"utterance_id": "copy", "speaker_id": "actor_04", "emotion": "sad"}
    rows[0] = {**rows[0], "group_id": "twin"}
    with pytest.raises(LeakError, match=r"(?s)use 'speaker-kfold:K'.*'actor_01-neutral-0'.*'copy'"):
        make_plan(table([*rows, {**copy, "group_id": "twin"}]), "ravdess-speaker-6fold", 0)
