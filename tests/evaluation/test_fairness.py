"""Gaps between groups: found where they are, and not where they are chance."""

from __future__ import annotations

import numpy as np
import pytest

from serplatform.evaluation.measures import Measured, measure
from serplatform.report.fairness import fairness


def measured(right: np.ndarray, speakers: list[str]) -> Measured:
    truth = np.arange(len(right)) % 2
    answer = np.where(right, truth, 1 - truth)
    return measure("all", ["a", "b"], truth, np.eye(2)[answer] * 0.8 + 0.1, speakers)


def test_a_gap_between_genders_is_found_over_whole_speakers() -> None:
    speakers = [f"s{n // 20}" for n in range(240)]  # 12 speakers of 20
    women = np.array([int(name[1:]) % 2 == 0 for name in speakers])
    rng = np.random.default_rng(0)
    found = fairness(
        measured(rng.random(240) < np.where(women, 0.9, 0.4), speakers),
        "gender",
        ["female" if is_woman else "male" for is_woman in women],
    )
    assert found["gap"] is not None
    assert (found["gap"]["best"], found["gap"]["worst"]) == ("female", "male")
    assert found["gap"]["p_value"] < 0.01
    best, worst = (
        next(
            r["recall"]["value"]
            for r in found["recalls"]
            if (r["group"], r["emotion"]) == (group, found["gap"]["emotion"])
        )
        for group in ("female", "male")
    )
    assert found["gap"]["value"] == pytest.approx(best - worst)


@pytest.mark.parametrize("kind", ["gender", "speaker"])
def test_without_a_difference_p_is_uniform(kind: str) -> None:
    speakers = [f"s{n // 20}" for n in range(160)]
    names = speakers
    if kind == "gender":
        names = ["fm"[int(name[1:]) % 2] for name in speakers]
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        gap = fairness(measured(rng.random(160) < 0.6, speakers), kind, names, draws=60)["gap"]
        assert gap is not None
        found.append(gap["p_value"])
    assert 0.35 < np.mean(found) < 0.65
    assert np.mean(np.array(found) < 0.1) < 0.25


def test_groups_of_few_utterances_are_not_compared() -> None:
    found = fairness(measured(np.ones(8, bool), list("aaaabbbb")), "speaker", list("aaaabbbb"))
    assert found["gap"] is None
    assert len(found["recalls"]) == 4
