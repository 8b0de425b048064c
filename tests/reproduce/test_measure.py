"""Means, deviations and intervals of rows; combinations by hand."""

import numpy as np
import pytest

from serplatform.ensembles.base import PosteriorSet
from serplatform.errors import LeakError
from serplatform.reproduce.measure import RunPosteriors, measure
from serplatform.run_directory import RunDirectory
from tests.support.synthetic_run import make_run


def rows(posteriors, truth, speakers, part="test"):
    table = np.asarray(posteriors, dtype=float)
    return PosteriorSet(
        part=part,
        utterance_ids=tuple(f"u{i}" for i in range(len(truth))),
        speaker_ids=tuple(speakers),
        truth=np.asarray(truth),
        posteriors=table[None],
        members=("m",),
        classes=("a", "b"),
    )


RIGHT, WRONG = [0.9, 0.1], [0.2, 0.8]  # of class a


def test_mean_and_deviation_are_over_folds_and_seeds():
    def fold(*posteriors):
        return rows(posteriors, [0] * len(posteriors), ["s", "t"][: len(posteriors)])

    seeds = [
        [fold(RIGHT, RIGHT), fold(RIGHT, WRONG)],  # 1.0, 0.5
        [fold(RIGHT, WRONG), fold(WRONG, WRONG)],  # 0.5, 0.0
    ]
    found = measure(seeds, ["accuracy"])["accuracy"]
    assert found["values"] == [[1.0, 0.5], [0.5, 0.0]]
    assert found["mean"] == 0.5
    assert found["sd"] == pytest.approx(np.std([1.0, 0.5, 0.5, 0.0], ddof=1))
    assert found["seed_sd"] == pytest.approx(np.std([0.75, 0.25], ddof=1))
    assert found["pooled"] == 0.5
    # speaker s: right in 3 of 4 over seeds; t in 1 of 4: the ends of drawing either alone
    assert (found["low"], found["high"]) == pytest.approx((0.0, 1.0), abs=1e-4)


def test_one_value_has_no_deviation_and_one_speaker_no_interval():
    found = measure([[rows([RIGHT], [0], ["s"])]], ["uar"])["uar"]
    assert (found["mean"], found["sd"], found["seed_sd"], found["low"], found["high"]) == (
        1,
        None,
        None,
        None,
        None,
    )


def test_one_against_rest_metrics_are_those_of_their_names():
    # four of five right, two classes: 1 - 2 (1 - accuracy) / K is the accuracy itself
    found = measure(
        [[rows([RIGHT, RIGHT, RIGHT, WRONG, WRONG], [0, 0, 0, 0, 1], "sstuv")]],
        ["accuracy", "uar", "ova_accuracy", "ova_balanced_accuracy"],
    )
    means = {name: round(value["mean"], 4) for name, value in found.items()}
    assert means == {
        "accuracy": 0.8,
        "uar": 0.875,
        "ova_accuracy": 0.8,
        "ova_balanced_accuracy": 0.875,
    }


@pytest.fixture(scope="module")
def test_rows(tmp_path_factory):
    return RunPosteriors(make_run(tmp_path_factory.mktemp("measure") / "run", num_trials=2))


def test_a_fixed_exponent_multiplies_posteriors(test_rows):
    combined, exponents = test_rows.combined(0, 2, 0.4)
    assert exponents == [[1.0, 0.4]] * 3
    for fold, (one, two) in enumerate(zip(test_rows.of(0), test_rows.of(2), strict=True)):
        product = one.posteriors[0] * two.posteriors[0] ** 0.4
        expected = product / product.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(combined[fold].posteriors[0], expected, rtol=1e-9)
        assert combined[fold].utterance_ids == one.utterance_ids


def test_a_searched_exponent_depends_on_dev_rows_alone(test_rows):
    _, exponents = test_rows.combined(0, 2, "dev")
    assert all(1.0 in pair for pair in exponents)
    library = test_rows.library
    test = np.asarray(library.part) == "test"
    before = library.values[:, test].copy()
    library.values[:, test] = np.roll(before, 1, axis=2)  # other test posteriors
    _, again = test_rows.combined(0, 2, "dev")
    library.values[:, test] = before
    assert again == exponents


def test_an_exponent_is_never_fitted_on_test_rows(test_rows, monkeypatch):
    take = test_rows.library.take
    monkeypatch.setattr(
        type(test_rows.library), "take", lambda self, fold, part: take(fold, "test")
    )
    with pytest.raises(LeakError, match="offered test rows"):
        test_rows.combined(0, 2, "dev")


def test_only_complete_trials_count(test_rows):
    states = {
        number: r["state"]
        for number, r in RunDirectory(test_rows.library.candidates[0].run).records().items()
    }
    complete = [number for number, state in states.items() if state == "complete"]
    assert [number for number in states if test_rows.finished(number)] == complete
    assert len(complete) < len(states)
