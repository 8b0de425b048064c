"""What every combiner must do; a registered combiner gets these tests by existing.

Use: ``tests/ensembles/test_combiners.py`` derives from :class:`CombinerContract` and
parametrises ``combiner_name`` with ``COMBINERS.names()``.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from serplatform.ensembles.base import (
    COMBINERS,
    Combiner,
    PosteriorSet,
    combiner_from_parameters,
)
from serplatform.errors import LeakError


def make_posterior_set(
    *,
    part: str = "dev",
    num_members: int = 5,
    num_speakers: int = 4,
    per_speaker: int = 15,
    num_classes: int = 3,
    skill: float = 1.5,
    seed: int = 0,
) -> PosteriorSet:
    """Random posteriors that lean to the truth by ``skill`` logits; members differ in noise."""
    rng = np.random.default_rng(seed)
    num_rows = num_speakers * per_speaker
    truth = np.arange(num_rows, dtype=np.int64) % num_classes
    logits = rng.normal(0, 1.0, (num_members, num_rows, num_classes))
    logits += rng.normal(0, 0.7, (num_rows, num_classes))
    logits[:, np.arange(num_rows), truth] += np.linspace(0.5, 1.5, num_members)[:, None] * skill
    posteriors = np.exp(logits - logits.max(axis=2, keepdims=True))
    posteriors /= posteriors.sum(axis=2, keepdims=True)
    return PosteriorSet(
        part=part,
        utterance_ids=tuple(f"u{i:03d}" for i in range(num_rows)),
        speaker_ids=tuple(f"s{i // per_speaker}" for i in range(num_rows)),
        truth=truth,
        posteriors=posteriors,
        members=tuple(f"m{i}" for i in range(num_members)),
        classes=tuple(f"c{k}" for k in range(num_classes)),
        architectures=tuple(("blstmatt", "csa")[i % 2] for i in range(num_members)),
    )


class CombinerContract:
    """Contract tests; ``combiner_name`` is a fixture or parameter given by the test module."""

    def make(self, combiner_name: str, **arguments: Any) -> Combiner:
        """A fresh combiner."""
        return COMBINERS.get(combiner_name)(**arguments)

    def fitted(self, combiner_name: str, dev: PosteriorSet) -> Combiner:
        """A combiner fitted on ``dev``."""
        combiner = self.make(combiner_name)
        combiner.fit(dev)
        return combiner

    def test_name_is_the_registered_one(self, combiner_name: str) -> None:
        assert COMBINERS.get(combiner_name).name == combiner_name

    @pytest.mark.parametrize("num_members", [1, 2, 5, 14])
    def test_answers_are_posteriors(self, combiner_name: str, num_members: int) -> None:
        dev = make_posterior_set(num_members=num_members)
        test = make_posterior_set(part="test", num_members=num_members, seed=1)
        combined = self.fitted(combiner_name, dev).combine(test.posteriors)
        assert combined.shape == test.posteriors.shape[1:]
        assert np.isfinite(combined).all()
        assert combined.min() >= 0
        np.testing.assert_allclose(combined.sum(axis=1), 1.0, atol=1e-12)

    def test_weights_are_one_a_member_and_not_negative(self, combiner_name: str) -> None:
        dev = make_posterior_set()
        weights = self.fitted(combiner_name, dev).weights()
        assert weights.shape == (5,)
        assert weights.min() >= 0
        assert weights.sum() > 0

    def test_inputs_are_left_as_they_were(self, combiner_name: str) -> None:
        dev, test = make_posterior_set(), make_posterior_set(part="test", seed=1)
        before = dev.posteriors.copy(), dev.truth.copy(), test.posteriors.copy()
        for array in (dev.posteriors, dev.truth, test.posteriors):
            array.setflags(write=False)
        self.fitted(combiner_name, dev).combine(test.posteriors)
        np.testing.assert_array_equal(dev.posteriors, before[0])
        np.testing.assert_array_equal(dev.truth, before[1])
        np.testing.assert_array_equal(test.posteriors, before[2])

    @pytest.mark.parametrize("num_members", [2, 5, 14])
    def test_order_of_members_changes_nothing(self, combiner_name: str, num_members: int) -> None:
        dev = make_posterior_set(num_members=num_members)
        test = make_posterior_set(part="test", num_members=num_members, seed=1)
        order = np.random.default_rng(3).permutation(num_members)
        one = self.fitted(combiner_name, dev)
        other = self.fitted(combiner_name, dev.take_members(order))
        np.testing.assert_allclose(other.weights(), one.weights()[order], atol=1e-9)
        np.testing.assert_allclose(
            other.combine(test.posteriors[order]), one.combine(test.posteriors), atol=1e-9
        )

    def test_order_of_rows_changes_nothing(self, combiner_name: str) -> None:
        dev, test = make_posterior_set(), make_posterior_set(part="test", seed=1)
        order = np.random.default_rng(3).permutation(len(dev.utterance_ids))
        one = self.fitted(combiner_name, dev)
        other = self.fitted(combiner_name, dev.take_rows(order))
        # sums over rows in another order differ in the last digits, and so where an
        # optimiser stops
        np.testing.assert_allclose(
            other.combine(test.posteriors), one.combine(test.posteriors), atol=1e-3
        )

    def test_an_utterance_is_combined_alone_as_among_others(self, combiner_name: str) -> None:
        dev, test = make_posterior_set(), make_posterior_set(part="test", seed=1)
        combiner = self.fitted(combiner_name, dev)
        whole = combiner.combine(test.posteriors)
        np.testing.assert_allclose(combiner.combine(test.posteriors[:, 7:8]), whole[7:8])

    def test_identical_members_agree_with_the_member(self, combiner_name: str) -> None:
        dev = make_posterior_set(num_members=1, skill=3.0)
        copies = dataclasses.replace(
            dev,
            posteriors=dev.posteriors.repeat(3, axis=0),
            members=("a", "b", "c"),
            architectures=dev.architectures * 3,
        )
        combined = self.fitted(combiner_name, copies).combine(copies.posteriors)
        alone = self.fitted(combiner_name, dev).combine(dev.posteriors)
        agreement = (combined.argmax(axis=1) == alone.argmax(axis=1)).mean()
        assert agreement > 0.95

    def test_test_rows_are_refused(self, combiner_name: str) -> None:
        with pytest.raises(LeakError, match=rf"'{combiner_name}' was offered test rows"):
            self.make(combiner_name).fit(make_posterior_set(part="test"))

    def test_combining_before_fitting_is_an_error(self, combiner_name: str) -> None:
        with pytest.raises(RuntimeError, match="was not fitted"):
            self.make(combiner_name).combine(make_posterior_set().posteriors)

    def test_two_members_of_one_name_are_an_error(self, combiner_name: str) -> None:
        dev = dataclasses.replace(make_posterior_set(num_members=2), members=("a", "a"))
        with pytest.raises(ValueError, match="one name"):
            self.make(combiner_name).fit(dev)

    def test_parameters_survive_json(self, combiner_name: str) -> None:
        dev, test = make_posterior_set(), make_posterior_set(part="test", seed=1)
        combiner = self.fitted(combiner_name, dev)
        text = json.dumps(combiner.parameters(), allow_nan=False)
        again = combiner_from_parameters(json.loads(text))
        assert again.parameters() == combiner.parameters()
        np.testing.assert_array_equal(again.weights(), combiner.weights())
        np.testing.assert_array_equal(
            again.combine(test.posteriors), combiner.combine(test.posteriors)
        )

    def test_same_seed_same_answer(self, combiner_name: str) -> None:
        dev = make_posterior_set(num_members=14)
        one, other = self.fitted(combiner_name, dev), self.fitted(combiner_name, dev)
        np.testing.assert_array_equal(one.weights(), other.weights())

    def test_a_class_missing_from_dev_rows_is_survived(self, combiner_name: str) -> None:
        dev, test = make_posterior_set(), make_posterior_set(part="test", seed=1)
        some = dev.take_rows(np.flatnonzero(dev.truth != 2))
        combined = self.fitted(combiner_name, some).combine(test.posteriors)
        np.testing.assert_allclose(combined.sum(axis=1), 1.0, atol=1e-12)

    def test_one_speaker_is_survived(self, combiner_name: str) -> None:
        dev = make_posterior_set(num_speakers=1)
        combined = self.fitted(combiner_name, dev).combine(dev.posteriors)
        np.testing.assert_allclose(combined.sum(axis=1), 1.0, atol=1e-12)

    @pytest.mark.parametrize("objective", ["accuracy", "nll"])
    def test_other_objectives_work(self, combiner_name: str, objective: str) -> None:
        dev = make_posterior_set()
        combiner = self.make(combiner_name, objective=objective)
        combiner.fit(dev)
        np.testing.assert_allclose(combiner.combine(dev.posteriors).sum(axis=1), 1.0, atol=1e-12)
