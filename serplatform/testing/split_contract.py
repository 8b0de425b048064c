"""What every protocol must keep; a registered protocol gets these tests by existing.

Use it in a test module::

    @pytest.mark.parametrize("name", PROTOCOLS.names())
    class TestProtocols(SplitContract):
        pass
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from serplatform.artifacts.dataset import UTTERANCE_SCHEMA
from serplatform.errors import BadInputError
from serplatform.labels import EMOTIONS
from serplatform.protocols.base import PARTS, PROTOCOLS, FoldPlan
from serplatform.protocols.plan import (
    check_plan,
    make_plan,
    plan_from_json,
    plan_hash,
    plan_to_json,
    read_plan,
    write_plan,
)

_TAKES = 4


def example_table(name: str) -> pa.Table:
    """The dataset that a protocol declares it can divide.

    Each speaker says every emotion of the vocabulary four times. Speakers alternate in gender;
    pairs of them are sessions 1 to 5. Takes 0 and 1 of a speaker's first emotion are copies, and
    takes 0 and 1 of the second are segments of one recording.
    """
    rows: list[dict[str, object]] = []
    for number, speaker in enumerate(PROTOCOLS.get(name).example_speakers):
        for emotion in EMOTIONS:
            for take in range(_TAKES):
                utterance = f"{speaker}-impro-{emotion}-{take}"
                first = utterance[:-1] + "0" if take < 2 else utterance
                rows.append(
                    {
                        **dict.fromkeys(UTTERANCE_SCHEMA.names),
                        "utterance_id": utterance,
                        "path": f"{utterance}.wav",
                        "start": 0.0,
                        "end": 1.0,
                        "duration": 1.0,
                        "speaker_id": speaker,
                        "gender": ("male", "female")[number % 2],
                        "session": str(number // 2 % 5 + 1),
                        "emotion": emotion,
                        "fold": str(number % 5),
                        "parent_id": first if emotion == EMOTIONS[1] else utterance,
                        "audio_hash": first if emotion == EMOTIONS[0] else utterance,
                        "sampling_rate": 16_000,
                        "level_db": -20.0,
                        "speech_start": 0.0,
                        "speech_end": 1.0,
                    }
                )
    return pa.Table.from_pylist(rows, UTTERANCE_SCHEMA)


class SplitContract:
    """Tests of one protocol, whose registered ``name`` each test is given."""

    def full_name(self, name: str) -> str:
        """The name with its example argument, as ``--protocol`` takes it."""
        argument = PROTOCOLS.get(name).example_argument
        return name if argument is None else f"{name}:{argument}"

    def plan(self, name: str, seed: int = 0) -> FoldPlan:
        """The folds of the example dataset."""
        return make_plan(example_table(name), self.full_name(name), seed=seed)

    def test_it_says_what_it_is(self, name: str) -> None:
        scheme = PROTOCOLS.get(name)
        assert scheme.name == name
        assert ":" not in name
        assert scheme.description
        plan = self.plan(name)
        assert plan.protocol == self.full_name(name)
        assert plan.speaker_independent or not scheme.speaker_independent

    def test_parts_are_apart_and_each_row_tests_once(self, name: str) -> None:
        plan = self.plan(name)
        everything = set(plan.folds[0].train + plan.folds[0].dev + plan.folds[0].test)
        for fold in plan.folds:
            parts = [getattr(fold, part) for part in PARTS]
            assert all(parts), "a part is empty"
            assert all(list(part) == sorted(set(part)) for part in parts)
            assert sum(map(len, parts)) == len(set().union(*parts)), "a row is in two parts"
            assert set().union(*parts) == everything, "folds divide different rows"
        tested = Counter(row for fold in plan.folds for row in fold.test)
        assert set(tested.values()) == {1}, "a row tests twice"
        if len(plan.folds) > 1:
            assert set(tested) == everything, "a row never tests"

    def test_rows_are_those_whose_label_it_maps(self, name: str) -> None:
        plan = self.plan(name)
        table = example_table(name)
        labels = dict(
            zip(
                table.column("utterance_id").to_pylist(),
                table.column("emotion").to_pylist(),
                strict=True,
            )
        )
        assert len(plan.classes) >= 2
        assert set(plan.label_map.values()) == set(plan.classes)
        for fold in plan.folds:
            for part in PARTS:
                found = {plan.label_map[labels[row]] for row in getattr(fold, part)}
                assert found == set(plan.classes), f"the {part} part lacks a class"

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_speakers_copies_and_segments_stay_on_one_side(self, name: str, seed: int) -> None:
        plan = self.plan(name, seed)
        table = example_table(name)
        kinds = ["audio_hash", "parent_id"]
        kinds += ["speaker_id"] if plan.speaker_independent else []
        for kind in kinds:
            values = table.column(kind).to_pylist()
            value = dict(zip(table.column("utterance_id").to_pylist(), values, strict=True))
            for fold in plan.folds:
                sides = [{value[row] for row in getattr(fold, part)} for part in PARTS]
                assert sum(map(len, sides)) == len(set().union(*sides)), f"{kind} on two sides"
        check_plan(plan, table)

    def test_shared_speakers_are_said(self, name: str) -> None:
        plan = self.plan(name)
        shared = any("SPEAKERS ARE SHARED" in note for note in plan.notes)
        assert shared != plan.speaker_independent

    def test_the_seed_alone_decides(self, name: str) -> None:
        plan = self.plan(name, 3)
        assert plan.seed == 3
        assert plan_hash(plan) == plan_hash(self.plan(name, 3)), "one seed gives two plans"
        table = example_table(name)
        named = table.column_names.index("level_db")
        other = table.set_column(named, "level_db", pa.array([-3.0] * table.num_rows))
        assert plan_hash(plan) == plan_hash(make_plan(other, self.full_name(name), seed=3))

    def test_hash_survives_json_and_the_fold_file(self, name: str, tmp_path: Path) -> None:
        plan = self.plan(name)
        assert plan_hash(plan_from_json(plan_to_json(plan))) == plan_hash(plan)
        assert write_plan(tmp_path / "folds.json", plan) == plan_hash(plan)
        assert plan_hash(read_plan(tmp_path / "folds.json")) == plan_hash(plan)

    def test_an_argument_that_it_does_not_take_is_refused(self, name: str) -> None:
        with pytest.raises(BadInputError, match=name):
            make_plan(example_table(name), f"{name}:no such argument")

    def test_one_speaker_of_one_class_is_refused(self, name: str) -> None:
        one = example_table(name).slice(0, _TAKES)
        with pytest.raises(BadInputError, match=name):
            make_plan(one, self.full_name(name))
