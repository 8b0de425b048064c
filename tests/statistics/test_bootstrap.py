"""Bootstrap intervals equal metrics of rows drawn speaker by speaker."""

from __future__ import annotations

import numpy as np
import pytest

from serplatform.metrics import METRICS, classification_metrics
from serplatform.statistics.bootstrap import (
    bootstrap_difference,
    bootstrap_intervals,
    draw_speakers,
    speaker_sums,
)
from serplatform.statistics.chance import chance_interval
from serplatform.testing.combiner_contract import make_posterior_set


def rows() -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    made = make_posterior_set(
        num_members=1, num_speakers=6, per_speaker=11, num_classes=4, skill=3.0
    )
    made = made.take_rows(np.arange(5, 66))  # speakers of 6 and of 11 utterances
    return made.truth, made.posteriors[0], made.speaker_ids


def test_each_resample_is_the_metric_of_the_drawn_speakers_rows() -> None:
    truth, posteriors, speakers = rows()
    times = draw_speakers(6, 15, seed=3)
    found = speaker_sums(truth, posteriors, speakers).metrics(times)
    index = np.array([sorted(set(speakers)).index(s) for s in speakers])
    for resample, drawn in enumerate(times):
        repeated = np.concatenate(
            [np.flatnonzero(index == s) for s in range(6) for _ in range(drawn[s])]
        )
        plain = classification_metrics(truth[repeated], posteriors[repeated])
        for name in METRICS:
            assert found[name][resample] == pytest.approx(plain[name], abs=1e-12), name


def test_value_is_the_metric_of_all_rows_and_lies_inside() -> None:
    truth, posteriors, speakers = rows()
    found = bootstrap_intervals(truth, posteriors, speakers, num_resamples=300)
    plain = classification_metrics(truth, posteriors)
    for name in METRICS:
        assert found[name].value == pytest.approx(plain[name], abs=1e-12)
    for name in ("uar", "accuracy", "nll"):
        low, high = found[name].low, found[name].high
        assert low is not None
        assert high is not None
        assert low <= found[name].value <= high


def test_interval_is_the_quantile_of_the_resamples() -> None:
    truth, posteriors, speakers = rows()
    found = bootstrap_intervals(truth, posteriors, speakers, num_resamples=200, level=0.9, seed=7)
    drawn = speaker_sums(truth, posteriors, speakers).metrics(draw_speakers(6, 200, 7))["uar"]
    assert found["uar"].low == pytest.approx(np.quantile(drawn, 0.05))
    assert found["uar"].high == pytest.approx(np.quantile(drawn, 0.95))


def test_speakers_that_differ_widen_the_interval() -> None:
    truth = np.zeros(200, dtype=int)
    mixed = np.where(np.arange(200) % 2 == 0, 0.9, 0.1)  # half right within each speaker
    split = np.where(np.arange(200) < 100, 0.9, 0.1)  # some speakers right, others wrong
    speakers = [f"s{i // 10:02d}" for i in range(200)]

    def width(values: np.ndarray) -> float:
        table = np.stack([values, 1 - values], axis=1)
        found = bootstrap_intervals(truth, table, speakers, num_resamples=500)["accuracy"]
        return (found.high or 0) - (found.low or 0)

    assert width(mixed) == 0.0
    assert width(split) > 0.3


def test_one_speaker_has_no_interval() -> None:
    truth, posteriors, _ = rows()
    found = bootstrap_intervals(truth, posteriors, ["s"] * len(truth))["uar"]
    assert (found.low, found.high) == (None, None)


def test_difference_with_itself_is_zero_everywhere() -> None:
    truth, posteriors, speakers = rows()
    found = bootstrap_difference(truth, posteriors, posteriors, speakers, num_resamples=50)
    assert found["uar"].as_dict() == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_difference_is_paired() -> None:
    made = make_posterior_set(num_members=2, num_speakers=8)
    a, b = made.posteriors
    found = bootstrap_difference(made.truth, b, a, made.speaker_ids, num_resamples=100, seed=1)
    times = draw_speakers(8, 100, 1)
    drawn = (
        speaker_sums(made.truth, b, made.speaker_ids).metrics(times)["uar"]
        - speaker_sums(made.truth, a, made.speaker_ids).metrics(times)["uar"]
    )
    assert found["uar"].low == pytest.approx(np.quantile(drawn, 0.025))


def test_level_outside_its_range_is_refused() -> None:
    truth, posteriors, speakers = rows()
    with pytest.raises(ValueError, match=r"level = 95: must be between 0 and 1"):
        bootstrap_intervals(truth, posteriors, speakers, level=95)


def test_speaker_ids_must_fit_the_rows() -> None:
    truth, posteriors, speakers = rows()
    with pytest.raises(ValueError, match="60 speaker ids for 61 utterances"):
        bootstrap_intervals(truth, posteriors, speakers[:-1])


def test_chance_interval_holds_chance_and_not_skill() -> None:
    truth, posteriors, _ = rows()
    found = chance_interval(truth, posteriors, num_permutations=300)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.25 < found.high < found.value
