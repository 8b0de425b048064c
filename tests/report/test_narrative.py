"""The first screen's words follow from the report_data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from serplatform.report.data import ReportData
from serplatform.report.load import Posteriors, ReportTrial
from serplatform.report.narrative import _trial_notes, build_narrative
from serplatform.report.systems import EvaluatedSystem
from serplatform.statistics.intervals import Interval

PLAN = {
    "protocol": "speaker-kfold:2",
    "speaker_independent": True,
    "label_map": {"happy": "happy", "excited": "happy", "sad": "sad"},
    "folds": [{"train": [], "dev": [], "test": []}] * 2,
    "notes": ["two folds only"],
}
INFO = {
    "dataset": {
        "title": "Test corpus",
        "synthetic": False,
        "counts": {"utterances": 6, "speakers": 2, "by_emotion": {"happy": 2, "bored": 1}},
    },
    "folds_hash": "ab" * 32,
    "notes": ["mind the gap"],
}


def difference(value: float, p: float) -> Interval:
    return Interval(value=value, low=value - 0.02, high=value + 0.02, p_value=p)


@pytest.fixture
def systems(
    posteriors: Callable[..., Posteriors], system: Callable[..., EvaluatedSystem]
) -> tuple[EvaluatedSystem, EvaluatedSystem]:
    test = posteriors([[0.9, 0.1], [0.2, 0.8]] * 12, [0, 1] * 12, "aabbccddeeffgghhiijjkkll")
    return system(test, "ensemble"), system(test, "single")


@pytest.mark.parametrize(
    ("value", "p", "expected"),
    [
        (0.031, 0.012, "The ensemble is better than the best single trial: +3.1 points"),
        (-0.031, 0.012, "The ensemble is worse than the best single trial: −3.1 points"),
        (0.031, 0.05, "not shown to differ from the best single trial"),
    ],
)
def test_verdict_follows_the_test(
    value: float,
    p: float,
    expected: str,
    systems: tuple[EvaluatedSystem, EvaluatedSystem],
    report_data: Callable[..., ReportData],
) -> None:
    found = build_narrative(
        report_data(
            systems=systems, comparisons={"single": difference(value, p)}, plan=PLAN, info=INFO
        )
    )
    assert found.verdict.headline == "UAR 100.0 % (73.5–100.0), chance 50.0 %"
    assert expected in found.verdict.sentences[0]
    assert "over 12 speakers" in found.verdict.sentences[0]


@pytest.mark.parametrize(
    ("value", "p", "gained"), [(0.02, 0.01, False), (0.02, 0.2, True), (-0.02, 0.01, True)]
)
def test_it_is_said_where_the_plain_mean_is_as_good(
    value: float,
    p: float,
    gained: bool,
    systems: tuple[EvaluatedSystem, EvaluatedSystem],
    report_data: Callable[..., ReportData],
) -> None:
    known = {"mean": difference(value, p)}
    made = report_data(systems=systems[:1], comparisons=known, plan=PLAN, info=INFO)
    said = [s for s in build_narrative(made).verdict.sentences if "the mean of all trials" in s]
    assert len(said) == 1
    assert ("Choosing members and weights shows no gain" in said[0]) == gained


def test_facts_state_protocol_hash_merge_and_metric(
    systems: tuple[EvaluatedSystem, EvaluatedSystem], report_data: Callable[..., ReportData]
) -> None:
    found = build_narrative(report_data(systems=systems[1:], plan=PLAN, info=INFO))
    facts = dict(found.facts)
    assert dict(found.asked)["Protocol"] == "speaker-kfold:2, 2 folds, speaker-independent."
    assert facts["Fold file"] == "SHA-256 " + "ab" * 32
    assert facts["Classes"] == (
        "2: happy and sad. Merged: happy = excited + happy. Left out: bored."
    )
    assert facts["Best single trial"] == "by hand"
    assert "mean over classes" in facts["Metric"]
    assert found.notes == ("mind the gap", "two folds only")
    assert not found.synthetic


def test_limits_follow_protocol_and_data(
    systems: tuple[EvaluatedSystem, EvaluatedSystem], report_data: Callable[..., ReportData]
) -> None:
    def limits(**changes: Any) -> list[str]:
        plan = PLAN | {"speaker_independent": changes.get("independent", True)}
        dataset = INFO["dataset"] | {"synthetic": changes.get("synthetic", False)}  # type: ignore[operator]
        made = report_data(systems=systems[1:], plan=plan, info=INFO | {"dataset": dataset})
        return [what for what, _ in build_narrative(made).limits]

    assert "Results of random splits" in limits()
    assert "Results on unknown speakers" in limits(independent=False)
    assert "Any result on recorded human speech" in limits(synthetic=True)
    assert "Any result on recorded human speech" not in limits()


def test_system_at_chance_is_said_to_be(
    posteriors: Callable[..., Posteriors],
    system: Callable[..., EvaluatedSystem],
    report_data: Callable[..., ReportData],
) -> None:
    test = posteriors([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]], [0, 1, 0, 1], "aabb")
    found = build_narrative(report_data(systems=[system(test)], plan=PLAN, info=INFO))
    assert found.verdict.headline == "UAR 50.0 % (0.0–100.0), chance 50.0 %"
    assert found.verdict.sentences[0] == (
        "Best single trial: not shown to be better than chance; the 95 % interval of its UAR, "
        "0.0 to 100.0 %, includes 50.0 %, what guessing gives."
    )
    (bar,) = found.verdict.bars
    assert bar.at == found.verdict.chance_at


def test_no_finished_trial_is_no_answer(
    trial: Callable[..., ReportTrial], report_data: Callable[..., ReportData]
) -> None:
    made = report_data(trials=[trial(0, state="failed", uar=None)], plan=PLAN, info=INFO)
    found = build_narrative(made)
    assert found.verdict.headline == "There is no answer yet: no trial has finished."
    assert found.verdict.bars == ()
    assert found.verdict.sentences == ()
    assert dict(found.asked)["Trials"] == "1 trial begun: 1 failed."


def test_notes_of_trials_are_told_once_with_the_architectures_they_hold_for(
    trial: Callable[..., ReportTrial],
) -> None:
    notes = ["equal shares"]
    trials = [
        trial(0, architecture="can", notes=notes),
        trial(1, architecture="mha", notes=notes),
        trial(2, architecture="csa"),
    ]
    assert _trial_notes([*trials, trials[0]]) == ["can, mha: equal shares"]


@pytest.mark.parametrize(("corpus", "warned"), [("iemocap", True), ("ravdess", False)])
def test_an_encoder_trained_on_the_corpus_is_a_warning_on_the_first_screen(
    corpus, warned, report_data, trial, systems
):
    params = {"data.feature": "log_mel_40+pretrained:hubert-large-superb-er@5"}
    dataset = INFO["dataset"] | {"corpus": corpus}
    made = report_data(systems=systems[1:], plan=PLAN, info=INFO | {"dataset": dataset})
    found = build_narrative(dataclasses.replace(made, used=(trial(0, params=params),)))
    facts = [text for term, text in found.facts if term.startswith("Training data")]
    assert len(facts) == 1
    assert ("IEMOCAP is among these data" in facts[0]) is warned
    warning = "The training data of the pretrained encoder hubert-large-superb-er name this corpus"
    assert any(told.startswith(warning) for told in found.verdict.cautions[:1]) is warned
    assert found.verdict.grave is warned  # shown without a click
    assert not [text for term, text in build_narrative(made).facts if "encoder" in term]
