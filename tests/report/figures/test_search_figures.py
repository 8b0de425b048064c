"""Figures of the search: their numbers against cases worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from serplatform.artifacts.trial import HistoryEntry
from serplatform.report.data import NoDataError, ReportData
from serplatform.report.figures.base import Palette
from serplatform.report.figures.costs import Cost, SizeTradeoff, TrialOutcomes
from serplatform.report.figures.depth_and_width import DepthAndWidth
from serplatform.report.figures.parallel_coordinates import ParallelCoordinates
from serplatform.report.figures.parameter_effects import (
    ContextLength,
    ParameterEffects,
    omega_squared,
)
from serplatform.report.figures.parameter_importance import (
    ParameterImportance,
    permutation_importance,
)
from serplatform.report.figures.progress import (
    LearningCurvesFigure,
    SearchHistory,
    TrialCurvesFigure,
    reached_curve,
)
from serplatform.report.load import ReportTrial

MakeTrial = Callable[..., ReportTrial]
MakeReportData = Callable[..., ReportData]


def test_best_so_far_counts_finished_trials_only(
    trial: MakeTrial, report_data: MakeReportData, palette: Palette
) -> None:
    trials = [
        trial(0, uar=0.4),
        trial(1, uar=0.9, state="pruned"),
        trial(2, uar=None, state="failed"),
        trial(3, uar=0.6),
        trial(4, uar=0.5),
    ]
    found = SearchHistory().compute(report_data(trials))
    assert [p.best for p in found] == [0.4, 0.4, 0.4, 0.6, 0.6]
    assert [p.objective for p in found] == [0.4, 0.9, None, 0.6, 0.5]
    drawing = SearchHistory().draw(found, palette)
    assert "5 trials: 3 finished, 1 pruned, 1 failed." in drawing.summary
    assert "60.0 %, was found by moma #3." in drawing.summary
    assert [p.position for p in found] == [0, 1, 2, 3, 4]
    names = [trace["name"] for trace in drawing.panels[0].data]
    assert names == ["best so far", "moma", "moma, pruned", "failed (no value)"]


def test_best_so_far_starts_empty_before_the_first_finished_trial(
    trial: MakeTrial, report_data: MakeReportData, palette: Palette
) -> None:
    found = SearchHistory().compute(report_data([trial(0, uar=0.3, state="pruned"), trial(1)]))
    assert [p.best for p in found] == [None, 0.5]
    with pytest.raises(NoDataError, match="no trial was recorded"):
        SearchHistory().make(report_data([]), palette)


def test_pruned_trial_shows_the_best_epochs_of_the_folds_it_began(
    trial: MakeTrial, report_data: MakeReportData
) -> None:
    history = (
        HistoryEntry(fold=0, epoch=1, train_loss=1.0, dev={"uar": 0.3}),
        HistoryEntry(fold=0, epoch=2, train_loss=1.0, dev={"uar": 0.5}),
        HistoryEntry(fold=0, epoch=3, train_loss=1.0, dev={"uar": 0.4}),
        HistoryEntry(fold=1, epoch=1, train_loss=1.0, dev={"uar": 0.1}),
        HistoryEntry(fold=2, epoch=1, train_loss=1.0, dev={}),
    )
    pruned = trial(0, uar=None, state="pruned", history=history)
    assert SearchHistory().compute(report_data([pruned]))[0].objective == pytest.approx(0.3)
    finished = trial(0, uar=0.45, history=history)
    assert SearchHistory().compute(report_data([finished]))[0].objective == 0.45


def test_learning_curves_are_of_the_best_trial_of_each_architecture(
    trial: MakeTrial, report_data: MakeReportData, palette: Palette
) -> None:
    history = (
        HistoryEntry(fold=0, epoch=1, train_loss=1.0, dev={"uar": 0.3}),
        HistoryEntry(fold=0, epoch=2, train_loss=0.9, dev={"uar": 0.5}),
        HistoryEntry(fold=1, epoch=1, train_loss=0.8, dev={}),
    )
    trials = [
        trial(0, uar=0.4, history=history),
        trial(1, uar=0.6, history=history),
        trial(2, uar=0.7),  # better, but it recorded nothing
        trial(3, uar=0.1, architecture="csa", history=history[:1]),
    ]
    found = LearningCurvesFigure().compute(report_data(trials))
    assert [(c.trial.name, c.fold) for c in found] == [
        ("moma #1", 0),
        ("moma #1", 1),
        ("csa #3", 0),
    ]
    assert found[0].train_loss == [1.0, 0.9]
    assert found[0].dev_uar == [0.3, 0.5]
    assert found[1].dev_uar == [None]
    assert "moma #1 50.0–50.0 %" in LearningCurvesFigure().draw(found, palette).summary
    with pytest.raises(NoDataError, match="recorded its epochs"):
        LearningCurvesFigure().compute(report_data([trial(0)]))


def test_a_trial_is_worth_the_mean_of_the_best_epochs_of_the_folds_it_began(
    trial: MakeTrial,
) -> None:
    values = [(0, 0.3), (0, 0.2), (0, 0.5), (1, 0.1), (1, 0.4)]
    history = tuple(
        HistoryEntry(fold=f, epoch=i, train_loss=1.0, dev={"uar": v})
        for i, (f, v) in enumerate(values)
    )
    curve = reached_curve(trial(3, history=history))
    assert curve is not None
    assert curve.steps == (1, 2, 3, 4, 5)
    assert curve.reached == pytest.approx([0.3, 0.3, 0.5, (0.5 + 0.1) / 2, (0.5 + 0.4) / 2])
    assert trial(3, state="pruned", history=history).reached == pytest.approx(curve.reached[-1])
    assert reached_curve(trial(3)) is None


def test_curves_are_thinned_and_keep_their_ends(
    trial: MakeTrial, report_data: MakeReportData, palette: Palette
) -> None:
    def history(count: int, top: float) -> tuple[HistoryEntry, ...]:
        return tuple(
            HistoryEntry(fold=0, epoch=i, train_loss=1.0, dev={"uar": top * (i + 1) / count})
            for i in range(count)
        )

    trials = [trial(i, uar=0.5, history=history(100, 0.4 + i / 1000)) for i in range(70)]
    trials += [
        trial(70 + i, uar=None, state="pruned", history=history(10 + i, 0.2)) for i in range(3)
    ]
    trials.append(trial(80, uar=None, state="failed", history=history(5, 0.9)))
    found = TrialCurvesFigure().compute(report_data(trials))
    assert (found.finished, found.pruned) == (70, 3)
    finished = [c for c in found.curves if c.trial.state == "complete"]
    assert len(finished) == 30
    assert (finished[0].trial.name, finished[-1].trial.name) == ("moma #69", "moma #0")
    assert all(len(c.steps) == 40 and (c.steps[0], c.steps[-1]) == (1, 100) for c in finished)
    assert found.median_stop == pytest.approx(0.11)
    drawing = TrialCurvesFigure().draw(found, palette)
    assert "within 11 % of the epochs" in drawing.summary
    assert "40 trials of similar values are left out" in drawing.note
    solid, dotted = drawing.panels[0].data
    assert [trace["x"].count(None) for trace in (solid, dotted)] == [30, 3]
    assert sum(size > 0 for size in dotted["marker"]["size"]) == 3
    with pytest.raises(NoDataError, match="no trial was pruned"):
        TrialCurvesFigure().compute(report_data(trials[:3]))


def test_weights_that_papers_name_are_shown_of_few_trials(
    trial: MakeTrial, report_data: MakeReportData, palette: Palette
) -> None:
    trials = [
        trial(i, uar=0.3 + 0.1 * i, params={"model.gamma_scale": 0.1 * i, "model.dropout": 0.1 * i})
        for i in range(4)
    ]
    (effect,) = ParameterEffects().compute(report_data(trials))
    assert effect.parameter == "model.gamma_scale"
    drawing = ParameterEffects().draw((effect,), palette)
    assert drawing.panels[0].data[0]["type"] == "scatter"  # four values of four trials: no boxes
    assert drawing.summary.startswith("No parameter is seen")


def test_outcomes_count_and_sum_by_architecture(
    trial: MakeTrial, report_data: MakeReportData, palette: Palette
) -> None:
    trials = [
        trial(0, uar=0.4, seconds=10.0, epochs=5),
        trial(1, uar=0.6, seconds=20.0, epochs=7),
        trial(2, uar=0.2, seconds=10.0, epochs=1, state="pruned"),
        trial(3, uar=None, seconds=0.0, epochs=0, state="failed", error="Trace\nout of memory"),
        trial(4, uar=None, seconds=0.0, epochs=0, state="failed", error="out of memory"),
    ]
    found = TrialOutcomes().compute(report_data(trials))
    complete, pruned, failed = found.rows
    assert (complete.count, complete.epochs, complete.seconds) == (2, 12, 30.0)
    assert (complete.best, complete.median) == (0.6, 0.5)
    assert (pruned.count, pruned.seconds) == (1, 10.0)
    assert (failed.count, failed.best, failed.median) == (2, None, None)
    assert found.errors == (("out of memory", 2),)
    assert "1 pruned trial used 25.0 % of that time" in TrialOutcomes().draw(found, palette).summary


def test_totals_are_of_each_architecture_and_of_the_whole_search(
    trial: MakeTrial, report_data: MakeReportData, palette: Palette
) -> None:
    trials = [
        trial(0, seconds=3600.0, epochs=10),
        trial(1, seconds=1800.0, epochs=4, state="pruned"),
        trial(2, seconds=600.0, epochs=1, state="failed", uar=None),
        trial(3, seconds=1200.0, epochs=5, architecture="csa"),
    ]
    found = TrialOutcomes().compute(report_data(trials))
    moma, csa, whole = found.totals
    assert (moma.architecture, moma.count, moma.seconds, moma.epochs) == ("moma", 3, 6000.0, 15)
    assert (moma.pruned, moma.failed) == (0.3, 0.1)
    assert (csa.seconds, csa.pruned) == (1200.0, 0.0)
    assert (whole.architecture, whole.count, whole.seconds) == ("all", 4, 7200.0)
    assert (whole.epochs, whole.pruned) == (20, 0.25)
    table = TrialOutcomes().draw(found, palette).tables[1]
    assert table.shown()[-1] == ["all", "4", "2.00", "20", "25.0", "8.3"]
    alone = TrialOutcomes().compute(report_data(trials[:3]))
    assert [total.architecture for total in alone.totals] == ["moma"]


def test_cost_leaves_out_trials_that_never_trained(
    trial: MakeTrial, report_data: MakeReportData, palette: Palette
) -> None:
    trials = [trial(0, seconds=90.0), trial(1, seconds=0.0), trial(2, seconds=30.0)]
    found = Cost().compute(report_data(trials))
    assert [c.seconds for c in found] == [90.0, 30.0]
    summary = Cost().draw(found, palette).summary
    assert "moma 1 min" in summary
    assert "moma #0 with 1 min 30 s" in summary


def test_every_trial_has_a_line_with_all_that_it_cost(
    trial: MakeTrial, report_data: MakeReportData, palette: Palette
) -> None:
    trials = [
        trial(0, seconds=90.0, epochs=4, num_parameters=12345, peak_memory_mb=1500.4),
        trial(1, seconds=1.0, epochs=0, uar=None, state="failed", num_parameters=None),
    ]
    (table,) = Cost().draw(Cost().compute(report_data(trials)), palette).tables
    assert table.sortable
    assert table.rows[0] == ["moma #0", "complete", 0.5, 90.0, 4, 22.5, 12345, 1500.4]
    assert table.shown() == [
        ["moma #0", "finished", "50.0", "90.0", "4", "22.50", "12,345", "1,500"],
        ["moma #1", "failed", "–", "1.0", "0", "–", "–", "–"],
    ]
    assert len(table.csv_header) == len(table.header) == len(table.rows[0])


def test_size_front_keeps_what_no_smaller_trial_beats(
    trial: MakeTrial, report_data: MakeReportData
) -> None:
    trials = [
        trial(0, uar=0.5, num_parameters=100),
        trial(1, uar=0.5, num_parameters=200),  # larger and no better
        trial(2, uar=0.7, num_parameters=300),
        trial(3, uar=0.6, num_parameters=300),
        trial(4, uar=0.9, num_parameters=None),
    ]
    found = SizeTradeoff().compute(report_data(trials))
    assert [p.trial for p in found if p.undominated] == ["moma #0", "moma #2"]
    assert len(found) == 4
    with pytest.raises(NoDataError, match="fewer than two"):
        SizeTradeoff().compute(report_data(trials[:1]))


def test_context_length_takes_best_and_mean_by_length(
    trial: MakeTrial, report_data: MakeReportData
) -> None:
    trials = [
        trial(0, uar=0.5, architecture="csa", paper=True),  # the paper's 30 frames
        trial(1, uar=0.3, architecture="csa", params={"model.context_frames": 30}),
        trial(2, uar=0.2, architecture="csa", params={"model.context_frames": 60}),
        trial(3, uar=0.9, architecture="csa"),  # does not say
        trial(4, uar=0.9, params={"model.context_frames": 60}),  # not csa
    ]
    short, long = ContextLength().compute(report_data(trials))
    assert (short.frames, short.trials, short.best, short.mean) == (30, 2, 0.5, 0.4)
    assert (long.frames, long.trials, long.best, long.mean) == (60, 1, 0.2, 0.2)
    with pytest.raises(NoDataError, match="do not vary the context length"):
        ContextLength().compute(report_data(trials[:2]))
    with pytest.raises(NoDataError, match="no finished trial of csa"):
        ContextLength().compute(report_data([trial(0)]))


def test_depth_and_width_average_the_trials_of_a_cell(
    trial: MakeTrial, report_data: MakeReportData, palette: Palette
) -> None:
    def at(blocks: int, layers: int) -> dict[str, Any]:
        return {"model.num_blocks": blocks, "model.mixture_layers": layers}

    def epoch(fold: int, train_loss: float, uar: float, nll: float) -> HistoryEntry:
        dev = {"uar": uar, "nll": nll}
        return {"fold": fold, "epoch": 1, "train_loss": train_loss, "dev": dev}

    kept = [epoch(0, 0.5, 0.6, 1.0), epoch(0, 0.1, 0.5, 2.0), epoch(1, 0.75, 0.5, 1.0)]
    trials = [
        trial(0, uar=0.5, params=at(3, 1), history=kept),
        trial(1, uar=0.3, params=at(3, 1), history=[epoch(0, 1.0, 0.3, 1.125)]),
        trial(2, uar=0.6, params=at(1, 2), history=[]),
        trial(3, uar=0.9, params={"model.num_blocks": 3}),  # of an earlier version
        trial(4, uar=0.9, params=at(5, 5), architecture="csa"),
    ]
    deep, wide = DepthAndWidth().compute(report_data(trials))
    assert (deep.blocks, deep.layers, deep.trials, deep.uar, deep.gap) == (1, 2, 1, 0.6, None)
    assert (wide.blocks, wide.layers, wide.trials, wide.uar, wide.gap) == (3, 1, 2, 0.4, 0.25)
    drawing = DepthAndWidth().draw((deep, wide), palette)
    assert drawing.panels[0].data[0]["z"] == [[None, pytest.approx(40)], [pytest.approx(60), None]]
    assert drawing.panels[0].data[0]["text"] == [["", "40.0 (2)"], ["60.0 (1)", ""]]
    assert "highest at 1 block and 2 mixtures: 60.0 % over 1 trial." in drawing.summary
    with pytest.raises(NoDataError, match="do not vary both"):
        DepthAndWidth().compute(report_data(trials[:2]))


def test_parallel_coordinates_place_values_on_their_axes(
    trial: MakeTrial, report_data: MakeReportData
) -> None:
    params: list[dict[str, Any]] = [
        {"training.learning_rate": 1e-4, "model.hidden_dim": 32, "training.optimizer": "adam"},
        {"training.learning_rate": 1e-3, "model.hidden_dim": 64, "training.optimizer": "sgd"},
        {"training.learning_rate": 1e-2, "model.hidden_dim": 64},
    ]
    trials = [
        trial(i, uar=u, params=p)
        for i, (u, p) in enumerate(zip((0.2, 0.3, 0.4), params, strict=True))
    ]
    (bundle,) = ParallelCoordinates().compute(report_data(trials))
    names = [axis.name for axis in bundle.axes]
    assert names[-1] == "dev UAR (%)"
    rate, hidden = names.index("training.learning_rate"), names.index("model.hidden_dim")
    optimizer = names.index("training.optimizer")
    assert [line.heights[rate] for line in bundle.lines] == pytest.approx([0.0, 0.5, 1.0])  # log
    assert [line.heights[hidden] for line in bundle.lines] == [0.0, 1.0, 1.0]
    assert [line.heights[optimizer] for line in bundle.lines] == [0.0, 1.0, None]
    assert bundle.axes[hidden].ticks == ((0.0, "32"), (1.0, "64"))
    assert [line.heights[-1] for line in bundle.lines] == pytest.approx([0.0, 0.5, 1.0])
    assert [line.group for line in bundle.lines] == [0, 1, 3]


def test_parallel_coordinates_need_something_varied(
    trial: MakeTrial, report_data: MakeReportData
) -> None:
    trials = [trial(i, params={"model.hidden_dim": 32}) for i in range(5)]
    with pytest.raises(NoDataError, match="two varied parameters"):
        ParallelCoordinates().compute(report_data(trials))


def test_importance_finds_the_parameter_that_decides() -> None:
    rng = np.random.default_rng(0)
    codes = rng.uniform(size=(60, 3))
    target = 0.3 + 0.4 * codes[:, 1] + rng.normal(0, 0.01, 60)
    r2, losses = permutation_importance(codes, target)
    assert r2 > 0.8
    means = losses.mean(axis=1)
    assert means.argmax() == 1
    assert means[1] > 1.0  # shuffling it costs more than all there is to explain
    assert max(abs(means[0]), abs(means[2])) < 0.1


def test_importance_is_not_shown_for_noise(
    trial: MakeTrial, report_data: MakeReportData, palette: Palette
) -> None:
    rng = np.random.default_rng(1)
    trials = [
        trial(i, uar=float(rng.uniform()), params={"model.hidden_dim": int(rng.integers(9))})
        for i in range(40)
    ]
    found = ParameterImportance().compute(report_data(trials))
    assert found.architectures[0].r2 < 0.1
    assert found.architectures[0].importances == ()
    drawing = ParameterImportance().draw(found, palette)
    assert "does not predict dev UAR" in drawing.summary
    assert list(drawing.panels) == []
    with pytest.raises(NoDataError, match=r"at least 20 finished trials .* moma \(19\)"):
        ParameterImportance().compute(report_data(trials[:19]))


def test_omega_squared_by_hand() -> None:
    # groups (1, 2, 3) and (3, 4, 5): between 6, within 4, error 4/4 = 1
    groups = [np.array([1.0, 2.0, 3.0]), np.array([3.0, 4.0, 5.0])]
    assert omega_squared(groups) == pytest.approx((6 - 1) / (6 + 4 + 1))
    assert omega_squared([np.array([1.0, 3.0]), np.array([1.0, 3.0])]) == 0.0
    assert omega_squared([np.array([1.0]), np.array([2.0])]) == 0.0


def test_effects_are_ordered_by_what_they_explain_within_architectures(
    trial: MakeTrial, report_data: MakeReportData, palette: Palette
) -> None:
    trials = []
    for i in range(16):
        architecture = ("moma", "csa")[i % 2]
        useful, useless = (i // 2) % 2, (i // 4) % 2
        trials.append(
            trial(
                i,
                uar=0.2 + 0.5 * (i % 2) + 0.1 * useful,  # csa is far better: taken off
                architecture=architecture,
                params={"model.useful": useful, "model.useless": useless},
            )
        )
    first, second = ParameterEffects().compute(report_data(trials))
    assert (first.parameter, second.parameter) == ("model.useful", "model.useless")
    assert first.explained == pytest.approx(1.0)
    assert second.explained == 0.0
    assert (
        "model.useful is most associated"
        in ParameterEffects().draw((first, second), palette).summary
    )
    with pytest.raises(NoDataError, match="at least 8 are needed"):
        ParameterEffects().compute(report_data(trials[:7]))


def test_models_fitted_at_once_have_no_learning_curve(
    trial: MakeTrial, report_data: MakeReportData
) -> None:
    once = tuple(HistoryEntry(fold=f, epoch=1, train_loss=1.0, dev={"uar": 0.3}) for f in (0, 1))
    with pytest.raises(NoDataError, match="closed form, has no learning curve"):
        LearningCurvesFigure().compute(report_data([trial(0, uar=0.4, history=once)]))
