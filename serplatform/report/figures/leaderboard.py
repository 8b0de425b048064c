"""Which trial is best: every complete one by its dev rows, and what each is worth on test rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from serplatform.report import charts
from serplatform.report.data import NoDataError, ReportData
from serplatform.report.figures.base import FIGURES, FIRST, Drawing, Figure, Palette, Table
from serplatform.report.leaderboard import BY_SPEAKER, RankedTrial, first_shown, objective_of
from serplatform.report.speaker_needs import speaker_needs
from serplatform.report.wording import METRICS, decimal, interval, percent, whole

#: ranks that are shown at once, besides the best of each architecture
MOST_RANKS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Board:
    """The complete trials, best first, the title of the metric that ranks them, and what those
    need that normalise by speaker."""

    rows: tuple[RankedTrial, ...]
    metric: str
    needs: str = ""


@FIGURES.register("ranking")
class Leaderboard(Figure[Board]):
    title = "Trials ranked on dev rows"
    section = "leaderboard"
    after = FIRST

    def compute(self, report: ReportData) -> Board:
        if not report.leaderboard:
            raise NoDataError("no trial has finished")
        objective = objective_of(report.source.runs)
        needs, told = speaker_needs(report), any(trial.by_speaker for trial in report.used)
        return Board(
            rows=report.leaderboard,
            metric=METRICS[objective].title,
            needs=needs and ("see the cautions above." if told else needs),
        )

    def draw(self, data: Board, palette: Palette) -> Drawing:
        shown = first_shown(data.rows, MOST_RANKS)
        best = shown[0]
        tables = [_table("The best trials, and the best of each architecture", shown)]
        if len(shown) < len(data.rows):
            tables.append(_table(f"All {len(data.rows)} complete trials", data.rows, folded=True))
        return Drawing(
            summary=(
                f"Ranked by mean dev {data.metric}: {best.architecture} #{best.trial} is first, "
                f"with a dev UAR of {percent(best.dev)} %."
            ),
            tables=tables,
            open_tables=True,
            note=(
                "Given a run, `predict` and `export` use its first, or another with `--trial N`. "
                "Test values are shown for the answer alone; `report --test-values` measures every "
                "trial, which counts as one more look at the test rows."
                + (f" {BY_SPEAKER.format(data.needs)}" if data.needs else "")
            ),
        )


def _table(caption: str, rows: Sequence[RankedTrial], *, folded: bool = False) -> Table:
    return Table(
        caption=caption,
        header=[
            *("trial", "rank", "dev UAR (%)", "test UAR (%)", "95 % interval", "training (s)"),
            "parameters",
        ],
        rows=[
            [
                *(r.run, r.trial, r.architecture, r.rank, r.dev),
                *charts.ends(r.test),
                *(r.seconds, r.num_parameters),
            ]
            for r in rows
        ],
        display=[
            [
                f"{r.name} #{r.trial}",
                str(r.rank),
                percent(r.dev),
                percent(r.test.value if r.test else None),
                interval("uar", r.test) if r.test else "–",
                decimal(r.seconds, 1),
                whole(r.num_parameters),
            ]
            for r in rows
        ],
        csv_header=[
            *("run", "trial", "architecture", "rank", "dev_uar", "test_uar", "test_low"),
            *("test_high", "seconds", "num_parameters"),
        ],
        sortable=folded,
        folded=folded,
    )
