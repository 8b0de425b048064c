"""Prediction errors against trivial predictions, and recalls before the end, worked by hand."""

import numpy as np
import pytest

from serplatform.report.over_time import (
    SHARES,
    errors_by_element,
    errors_by_window,
    generation_error,
    heard_curve,
)


def made(speaker: str, errors: dict[str, list[list[float]]], unit: list[float] | None) -> dict:
    """A row of (windows, elements) errors."""
    tables = {name: np.array(values) for name, values in errors.items()}
    return {
        "speaker_id": speaker,
        "num_windows": 1 + len(tables["error"]),
        "nll": 1.0,
        "unit": unit,
        **{name: values.mean(axis=0).tolist() for name, values in tables.items()},
        **{f"{name}_over_time": values.mean(axis=1).tolist() for name, values in tables.items()},
    }


ROWS = [
    made(
        "a",
        {
            "error": [[1.0, 3.0], [2.0, 2.0]],
            "previous": [[4.0, 4.0], [2.0, 2.0]],
            "mean": [[1.0, 1.0], [1.0, 5.0]],
            "sampled": [[1.0, 0.0], [0.0, 0.0]],
        },
        [10.0, 1.0],
    ),
    made(
        "b",
        {
            "error": [[4.0, 0.0]],
            "previous": [[1.0, 1.0]],
            "mean": [[2.0, 2.0]],
            "sampled": [[1.0, 1.0]],
        },
        [20.0, 1.0],
    ),
]


def test_a_window_counts_as_much_as_another() -> None:
    found = generation_error(ROWS)
    assert (found.utterances, found.windows) == (2, 3)
    assert found.mean_squared_error.value == pytest.approx((2 + 2 + 2) / 3)
    assert found.to_previous.value == pytest.approx((2 + 2 + 2) / (4 + 2 + 1))
    assert found.to_mean.value == pytest.approx((2 + 2 + 2) / (1 + 3 + 2))
    assert found.to_previous.low < found.to_previous.value < found.to_previous.high
    # a normal distribution with mean 0 and deviation 1, and squares of 2 on average
    assert found.nll_of_mean == pytest.approx(0.5 * (2 + np.log(2 * np.pi)))


def test_the_trivial_prediction_itself_has_an_error_of_one() -> None:
    rows = [{**row, "error": row["previous"]} for row in ROWS]
    assert generation_error(rows).to_previous.ends() == pytest.approx((1.0, 1.0, 1.0))


def test_errors_by_window_are_of_those_that_have_it() -> None:
    second, third = errors_by_window(ROWS)
    assert (second.place, second.utterances) == (2, 2)
    assert second.to_previous == pytest.approx((2 + 2) / (4 + 1))
    assert second.sampled == pytest.approx((0.5 + 1) / 2)
    assert (third.place, third.utterances, third.to_mean) == (3, 1, pytest.approx(2 / 3))


def test_errors_by_element_in_the_features_own_units() -> None:
    first, second = errors_by_element(ROWS)
    assert first.to_previous == pytest.approx((1 + 2 + 4) / (4 + 2 + 1))
    assert first.sampled == pytest.approx(2 / 3)
    assert first.rmse == pytest.approx(np.sqrt((100 * 1 + 100 * 2 + 400 * 4) / 3))
    assert second.rmse == pytest.approx(np.sqrt((3 + 2 + 0) / 3))
    assert errors_by_element([{**ROWS[0], "unit": None}])[0].rmse is None


def test_no_class_yet_counts_as_wrong() -> None:
    rows = [
        {"speaker_id": "a", "truth": "sad", "ends": [0.5, 1.0], "classes": [1, 0]},
        {"speaker_id": "b", "truth": "happy", "ends": [1.0], "classes": [1]},
        {"speaker_id": "b", "truth": "happy", "ends": [0.25, 0.6, 1.0], "classes": [1, 0, 0]},
    ]
    curve = {point.share: point for point in heard_curve(rows, ["sad", "happy"])}
    assert tuple(curve) == SHARES
    by_hand = {
        0.2: (0.0, 0.0, 0.0),
        0.25: (1 / 3, 1 / 3, 0.25),
        0.5: (2 / 3, 1 / 3, 0.25),
        0.6: (2 / 3, 0.0, 0.0),
        1.0: (1.0, 2 / 3, 0.75),
    }
    for share, (answered, accuracy, uar) in by_hand.items():
        point = curve[share]
        assert point.answered == pytest.approx(answered)
        assert point.accuracy == pytest.approx(accuracy)
        assert point.uar.value == pytest.approx(uar)
