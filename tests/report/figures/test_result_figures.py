"""Figures of the results and the ensemble: their numbers against cases worked by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from serplatform.errors import BadInputError
from serplatform.metrics import reliability_bins
from serplatform.report.build import draw_figures
from serplatform.report.data import Need, NoDataError, ReportData, build_report_data
from serplatform.report.figures.base import (
    FIGURES,
    FIRST,
    SECTIONS,
    Drawing,
    Figure,
    Palette,
    in_order,
)
from serplatform.report.figures.by_group import (
    ClassRecallFigure,
    ConfusionMatrix,
    GenderFigure,
    SpeakerAccuracyFigure,
    worst_pairs,
)
from serplatform.report.figures.confidence import RejectionFigure, ReliabilityFigure, answered_curve
from serplatform.report.figures.ensemble import DisagreementFigure, MembersFigure
from serplatform.report.figures.metrics_table import MetricsTable
from serplatform.report.load import Posteriors, load_source
from serplatform.report.systems import EvaluatedSystem

MakePosteriors = Callable[..., Posteriors]
MakeSystem = Callable[..., EvaluatedSystem]
MakeReportData = Callable[..., ReportData]

#: Six rows of two speakers in two folds: happy right, right, wrong; sad right, wrong, right.
ROWS = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.6, 0.4], [0.1, 0.9]]
TRUTH = [0, 0, 0, 1, 1, 1]
SPEAKERS = ["a", "a", "b", "a", "b", "b"]
FOLDS = [0, 0, 1, 0, 1, 1]


@pytest.fixture
def single(posteriors: MakePosteriors, system: MakeSystem) -> EvaluatedSystem:
    return system(posteriors(ROWS, TRUTH, SPEAKERS, FOLDS))


def test_confusion_counts_and_rates(
    single: EvaluatedSystem, report_data: MakeReportData, palette: Palette
) -> None:
    (found,) = ConfusionMatrix().compute(report_data(systems=[single]))
    assert found.counts.tolist() == [[2, 1], [1, 2]]
    np.testing.assert_allclose(found.rates, [[2 / 3, 1 / 3], [1 / 3, 2 / 3]])
    assert worst_pairs(found, limit=1) == [("happy", "sad", pytest.approx(1 / 3))]
    drawing = ConfusionMatrix().draw((found,), palette)
    assert drawing.panels[0].data[0]["text"][0] == ["67 %<br>2", "33 %<br>1"]
    assert drawing.tables[0].rows[0] == ["happy", 2, 1]


def test_rates_are_shares_of_the_spoken_class(
    posteriors: MakePosteriors, system: MakeSystem, report_data: MakeReportData
) -> None:
    test = posteriors([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]], [0, 0, 0, 1], "abab")
    (found,) = ConfusionMatrix().compute(report_data(systems=[system(test)]))
    np.testing.assert_allclose(found.rates, [[2 / 3, 1 / 3], [0.0, 1.0]])


def test_class_that_never_occurs_has_rates_of_zero_and_no_recall(
    posteriors: MakePosteriors, system: MakeSystem, report_data: MakeReportData, palette: Palette
) -> None:
    test = posteriors([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]], [0, 1], ["a", "b"])
    found = report_data(systems=[system(test)], classes=("happy", "sad", "calm"))
    (confusion,) = ConfusionMatrix().compute(found)
    assert confusion.rates[2].tolist() == [0.0, 0.0, 0.0]
    rows = ClassRecallFigure().compute(found)
    assert [row.utterances for row in rows] == [1, 1, 0]
    table = ClassRecallFigure().draw(rows, palette).tables[0]
    assert table.rows[2][3] is None


def test_recall_by_class(
    single: EvaluatedSystem, report_data: MakeReportData, palette: Palette
) -> None:
    happy, sad = ClassRecallFigure().compute(report_data(systems=[single]))
    assert happy.recall.value == pytest.approx(2 / 3)
    assert sad.recall.value == pytest.approx(2 / 3)
    # happy: speaker a 2 of 2, b 0 of 1; draws aa, ab, bb give 1, 2/3, 0
    assert (happy.recall.low, happy.recall.high) == pytest.approx((0.0, 1.0), abs=1e-9)
    bars = ClassRecallFigure().draw((happy, sad), palette).panels[0].data[0]["error_x"]
    assert bars["array"][0] == pytest.approx(100 / 3)
    assert bars["arrayminus"][0] == pytest.approx(200 / 3)


def test_accuracy_by_speaker_in_order(
    single: EvaluatedSystem, report_data: MakeReportData, palette: Palette
) -> None:
    low, high = SpeakerAccuracyFigure().compute(report_data(systems=[single]))
    assert (low.speaker_id, low.utterances, low.accuracy) == ("b", 3, pytest.approx(1 / 3))
    assert (high.speaker_id, high.utterances, high.accuracy) == ("a", 3, 1.0)
    assert (
        "33.3 % (speaker b) to 100.0 % (speaker a)"
        in SpeakerAccuracyFigure().draw((low, high), palette).summary
    )


def test_reliability_bins_by_hand(posteriors: MakePosteriors) -> None:
    test = posteriors(ROWS, TRUTH, SPEAKERS, FOLDS)
    bins = {round(15 * b.high): b for b in reliability_bins(test.truth, test.values)}
    # confidences 0.9 0.8 0.7 0.6 0.6 0.9 in fifteenths; a bin holds its upper edge
    assert sorted(bins) == [9, 11, 12, 14]
    assert (bins[9].count, bins[9].confidence, bins[9].accuracy) == (2, 0.6, 0.5)
    assert (bins[11].count, bins[11].accuracy) == (1, 0.0)
    assert (bins[14].count, bins[14].accuracy) == (2, 1.0)


def test_the_bins_that_are_drawn_give_the_ece_that_is_printed(
    single: EvaluatedSystem, report_data: MakeReportData
) -> None:
    (found,) = ReliabilityFigure().compute(report_data(systems=[single]))
    total = sum(b.count for b in found.bins)
    gaps = sum(b.count * abs(b.confidence - b.accuracy) for b in found.bins)
    assert gaps / total == pytest.approx(found.ece)


def test_reliability_says_which_way_it_errs(
    single: EvaluatedSystem, report_data: MakeReportData, palette: Palette
) -> None:
    found = ReliabilityFigure().compute(report_data(systems=[single]))
    # mean confidence 4.5/6 = 0.75, accuracy 4/6
    assert "overconfident by 8.3 points" in ReliabilityFigure().draw(found, palette).summary


def test_metrics_pooled_and_over_folds(
    single: EvaluatedSystem, report_data: MakeReportData, palette: Palette
) -> None:
    found = MetricsTable().compute(report_data(systems=[single]))
    accuracy = next(row for row in found.rows if row.metric == "accuracy")
    assert accuracy.pooled.value == pytest.approx(4 / 6)
    assert accuracy.mean == pytest.approx((1 + 1 / 3) / 2)  # folds 3/3 and 1/3
    assert accuracy.std == pytest.approx(np.std([1, 1 / 3], ddof=1))
    pooled, over_folds, by_fold = MetricsTable().draw(found, palette).tables
    assert list(pooled.shown()[0]) == ["Accuracy (%)", "66.7 (0.0 to 100.0)"]
    assert over_folds.shown()[0] == ["Accuracy (%)", "66.7 ± 47.1"]
    assert [row[0] for row in by_fold.shown()] == ["0", "1"]
    assert len(pooled.csv_header) == len(pooled.rows[0])


@pytest.mark.parametrize("name", FIGURES.names())
def test_a_figure_without_what_it_needs_says_so(
    name: str, report_data: MakeReportData, palette: Palette
) -> None:
    figure = FIGURES.get(name)()
    with pytest.raises(NoDataError) as caught:
        figure.make(report_data(), palette)
    assert not figure.needs or str(caught.value) in {need.value for need in figure.needs}


def test_ensemble_figures_show_what_the_ensemble_recorded(on_disk: Any, palette: Palette) -> None:
    found = build_report_data(load_source(on_disk.ensemble))
    assert found.source.ensemble is not None
    info = found.source.ensemble.info
    members = MembersFigure().compute(found)
    for f in range(len(members.folds)):
        assert sum(m.shares[f] for m in members.members) == pytest.approx(1.0)
        squares = sum(m.shares[f] ** 2 for m in members.members)
        assert members.effective[f] == pytest.approx(1 / squares)
    assert members.candidates == 9
    names = {str(row["member"]) for fold in info["folds"] for row in fold["members"]}
    assert len(members.members) == len(names)
    rejection = RejectionFigure().compute(found)
    coverages = [coverage for _, coverage, _ in answered_curve(rejection)]
    assert coverages == sorted(coverages)
    assert rejection["test"]["accuracy_without_rejection"] == pytest.approx(
        info["pooled"]["ensemble"]["accuracy"]["value"]
    )
    asked = RejectionFigure().draw(rejection, palette).tables[0].rows
    assert [row[0] for row in asked][:2] == ["coverage 90 %", "coverage 75 %"]
    (table,) = GenderFigure().make(found, palette).tables
    assert {(row[0], row[1]) for row in table.rows} == {
        (gender, name)
        for gender in ("female", "male")
        for name in ("Ensemble", "Best single trial")
    }
    assert sum(row[2] for row in table.rows if row[1] == "Ensemble") == len(found.systems[0].test)
    disagreement = DisagreementFigure().compute(found)
    shares = np.array(disagreement["disagreement"])
    np.testing.assert_array_equal(shares, shares.T)
    assert np.diag(shares).tolist() == [0.0] * len(shares)


@pytest.mark.parametrize("name", FIGURES.names())
def test_every_figure_is_drawn_of_some_report(name: str, reports: list[ReportData]) -> None:
    figure = FIGURES.get(name)()
    assert figure.section in SECTIONS
    drawings = []
    for report in reports:
        palette = Palette(architectures=report.architectures)
        with contextlib.suppress(NoDataError):
            drawings.append(figure.make(report, palette))
    assert drawings, f"no report has what {name} needs"
    for drawing in drawings:
        assert drawing.summary.endswith(".")
        assert drawing.tables
        for table in drawing.tables:
            header = table.csv_header or table.header
            assert {len(row) for row in table.rows} == {len(header)}
            assert {len(row) for row in table.shown()} == {len(table.header)}


def test_figures_stand_behind_the_one_that_they_follow() -> None:
    figures = {name: FIGURES.get(name) for name in FIGURES.names()}
    placed = [name for section in SECTIONS for name in in_order(figures, section)]
    assert sorted(placed) == FIGURES.names()
    assert placed[:4] == ["ranking", "confusion_matrix", "metrics_table", "other_results"]
    for name, figure in figures.items():
        assert figure.after == FIRST or placed.index(figure.after) < placed.index(name), name


def test_a_figure_of_a_plugin_finds_its_place() -> None:
    def figure(place: str) -> Any:
        return type("Plugged", (Figure,), {"section": "models", "after": place, "title": "t"})

    figures = {
        "b": figure(FIRST),
        "c": figure("b"),
        "a": figure("b"),
        "lost": figure("nowhere"),
        "behind": figure("lost"),
        "last": figure(""),
    }
    assert in_order(figures, "models") == ["b", "a", "c", "last", "lost", "behind"]
    turning = {"x": figure("y"), "y": figure("x")}
    assert in_order(turning, "models") == ["x", "y"]


def test_a_figure_from_outside_is_drawn_after_the_one_it_follows(
    single: EvaluatedSystem, report_data: MakeReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TestedRows(Figure[int]):
        title = "Number of test rows"
        section = "results"
        after = "class_recall"
        needs = (Need.TESTED_SYSTEM,)

        def compute(self, report: ReportData) -> int:
            return len(report.systems[0].test)

        def draw(self, data: int, palette: Palette) -> Drawing:
            return Drawing(summary=f"There are {data} test rows.")

    FIGURES.names()
    monkeypatch.setitem(FIGURES._members, "tested_rows", TestedRows)
    drawn = draw_figures(report_data(systems=[single]))["results"]
    names = [figure.name for figure in drawn]
    found = drawn[names.index("tested_rows")]
    assert found.drawing is not None
    assert (found.title, found.drawing.summary) == (
        "Number of test rows",
        "There are 6 test rows.",
    )
    assert names.index("tested_rows") > names.index("class_recall")
    (alone,) = [f for f in draw_figures(report_data())["results"] if f.name == "tested_rows"]
    assert (alone.drawing, alone.reason) == (None, "no finished trial has test posteriors")


def test_a_figure_of_no_section_is_named(
    report_data: MakeReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClassRecallFigure, "section", "elsewhere")
    with pytest.raises(BadInputError, match=r"'class_recall': its section 'elsewhere' is none of"):
        draw_figures(report_data())


def test_architectures_keep_their_colour_and_marker(palette: Palette) -> None:
    assert palette.colour("csa") == "@series-3"
    assert palette.symbol("csa") == "square"
    assert palette.colour("Best single trial") == "@series-2"
    assert palette.colour("unknown") == "@series-1"
