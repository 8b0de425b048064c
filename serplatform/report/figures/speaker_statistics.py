"""What a system that normalises by speaker is worth when little of a test speaker is known."""

from __future__ import annotations

import dataclasses

from serplatform.artifacts.speaker_statistics import (
    SpeakerStatistics,
    SpeakerStatisticsPoint,
    curve_words,
)
from serplatform.report import charts
from serplatform.report.data import NoDataError, ReportData
from serplatform.report.figures.base import FIGURES, Cell, Drawing, Figure, Palette
from serplatform.report.leaderboard import RankedTrial
from serplatform.report.speaker_needs import speaker_curves
from serplatform.report.wording import percent


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpeakerCurves:
    """Curves of the page's runs, and the best trial that reads no other clip of a speaker."""

    curves: tuple[SpeakerStatistics, ...]
    alone: RankedTrial | None


@FIGURES.register("speaker_statistics")
class SpeakerStatisticsFigure(Figure[SpeakerCurves]):
    title = "What normalisation by speaker needs"
    section = "results"
    after = "metrics_table"

    def compute(self, report: ReportData) -> SpeakerCurves:
        if not any(trial.by_speaker for trial in report.finished):
            raise NoDataError("no finished trial normalises by speaker")
        found = speaker_curves(report)
        if skipped := [why for curve in found if (why := curve.get("skipped"))]:
            raise NoDataError(f"not measured: {skipped[0]}")
        if not found:
            raise NoDataError("not measured yet; run `serplatform explain RUN`")
        board = (r for r in report.leaderboard if not r.by_speaker and r.test is not None)
        return SpeakerCurves(curves=tuple(found), alone=next(board, None))

    def draw(self, data: SpeakerCurves, palette: Palette) -> Drawing:
        names = list(dict.fromkeys(_name(p) for curve in data.curves for p in curve["points"]))
        traces = [
            {
                **charts.points(
                    f"{curve['architecture']} #{curve['trial']}",
                    [_name(p) for p in curve["points"]],
                    charts.percents(p["uar"] for p in curve["points"]),
                    palette.marker(curve["architecture"], 9),
                ),
                "error_y": {"array": charts.percents(p["sd"] for p in curve["points"])},
            }
            for curve in data.curves
        ]
        beside = ""
        if data.alone is not None and data.alone.test is not None:
            uar = 100 * data.alone.test.value
            label = f"{data.alone.architecture} #{data.alone.trial}, not normalised by speaker"
            stroke = {"color": "@ink", "dash": "dash"}
            traces.append(charts.line(label, names, [uar] * len(names), stroke))
            beside = f" {label}: {uar:.1f} %."
        return Drawing(
            summary=" ".join(map(curve_words, data.curves)) + beside,
            panels=[
                charts.panel(
                    traces,
                    charts.axis("clips that a test speaker's statistics are of", type="category"),
                    charts.axis("test UAR (%)", rangemode="tozero"),
                )
            ],
            tables=[
                charts.table(
                    "Test UAR (%) by the clips that a speaker's statistics are computed from",
                    ["trial", "normalisation", "clips", "UAR", "sd over draws"],
                    [row for curve in data.curves for row in _rows(curve)],
                )
            ],
            note=(
                " ".join(f"Its test used {curve['needs']}." for curve in data.curves)
                + f" The same {data.curves[0]['test_utterances']:,} test clips are answered each "
                f"time; means and deviations of {data.curves[0]['draws']} draws of clips. Skewed: "
                "two thirds of the clips are of one emotion, drawn for each speaker. These are "
                "test rows of a system that had been measured: they tell what it needs, and chose "
                "nothing."
            ),
        )


def _name(point: SpeakerStatisticsPoint) -> str:
    """Example:
    >>> _name({"kind": "random", "clips": None, "uar": 0.5, "sd": 0.0})
    'all'
    """
    count = "all" if point["clips"] is None else str(point["clips"])
    return count if point["kind"] == "random" else f"{count} {point['kind']}"


def _rows(curve: SpeakerStatistics) -> list[list[Cell]]:
    trial = f"{curve['architecture']} #{curve['trial']}"
    return [
        [trial, curve["normalization"], _name(p), percent(p["uar"]), percent(p["sd"])]
        for p in curve["points"]
    ]
