"""Share of the observation that a model samples, by emotion (Baruah and Banerjee 2022, Table 2)."""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData
from serplatform.report.explanations import Explanations, sampling_explanations
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette
from serplatform.report.speaker_intervals import clustered_interval, mean_statistic
from serplatform.report.wording import decimal, percent, plural, short
from serplatform.statistics.bootstrap import Interval

AVERAGE = "all"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampledShare:
    """One class of one trial.

    Attributes:
        trial: as the page calls it.
        architecture: registered name.
        emotion: the class, or :data:`AVERAGE`.
        utterances: with more than one window.
        single_windows: utterances of one window.
        share: mean over ``utterances`` of the share sampled after the first window.
        with_first: mean over all utterances, the first window counted as sampled whole.
    """

    trial: str
    architecture: str
    emotion: str
    utterances: int
    single_windows: int
    share: Interval
    with_first: float


def sampled_shares(explained: Explanations, classes: tuple[str, ...]) -> list[SampledShare]:
    """Mean share of each class and of all utterances, by trial.

    An utterance of a single window is observed whole by definition: nothing was chosen there,
    so it is counted and left out.
    """
    table = explained.table("statistics").to_pydict()
    trials = np.array(table["trial"], dtype=np.int64)
    windows = np.array(table["num_windows"], dtype=np.int64)
    shares = np.array(table["sampled_share"], dtype=np.float64)
    truth = np.array(table["truth"], dtype=object)
    whole = (1 + (windows - 1) * shares) / windows
    found = []
    for trial in np.unique(trials).tolist():
        architecture = table["architecture"][int(np.flatnonzero(trials == trial)[0])]
        for name in (*classes, AVERAGE):
            own = (trials == trial) & ((truth == name) | (name == AVERAGE))
            rows = np.flatnonzero(own & (windows > 1))
            if not len(rows):
                continue
            found.append(
                SampledShare(
                    trial=explained.name(trial, architecture),
                    architecture=architecture,
                    emotion=name,
                    utterances=len(rows),
                    single_windows=int((own & (windows == 1)).sum()),
                    share=clustered_interval(
                        np.stack([shares[rows], np.ones(len(rows))], axis=1),
                        [table["speaker_id"][row] for row in rows],
                        mean_statistic,
                    ),
                    with_first=float(whole[own].mean()),
                )
            )
    return found


@FIGURES.register("sampled_share")
class SampledShareFigure(Figure[tuple[SampledShare, ...]]):
    title = "Share of the observation that is sampled, by emotion"
    section = "explanations"
    after = "phone_attention"
    needs = (Need.EXPLANATIONS,)

    def compute(self, report: ReportData) -> tuple[SampledShare, ...]:
        found = sampling_explanations(report)
        rows = [row for e in found for row in sampled_shares(e, report.classes)]
        if not rows:
            raise NoDataError(
                "every utterance is a single window, which is observed whole: nothing is chosen"
            )
        return tuple(rows)

    def draw(self, data: tuple[SampledShare, ...], palette: Palette) -> Drawing:
        trials = list(dict.fromkeys(row.trial for row in data))
        names = list(dict.fromkeys(row.emotion for row in data))
        traces = []
        for place, trial in enumerate(trials):
            rows = [row for row in data if row.trial == trial]
            shift = charts.row_offset(place, len(trials))
            traces.append(
                charts.interval_points(
                    trial,
                    [row.share for row in rows],
                    [names.index(row.emotion) + shift for row in rows],
                    charts.marker(
                        palette.colour(rows[0].architecture),
                        ["diamond" if r.emotion == AVERAGE else "circle" for r in rows],
                        10,
                    ),
                    texts=[short(row.emotion) for row in rows],
                    hover="%{text}: %{x:.1f} %<extra></extra>",
                )
            )
        first = [r for r in data if r.trial == trials[0] and r.emotion != AVERAGE]
        most = max(first, key=lambda row: row.share.value)
        least = min(first, key=lambda row: row.share.value)
        whole = next(r for r in data if r.trial == trials[0] and r.emotion == AVERAGE)
        left = f"; {plural(whole.single_windows, 'utterance')} of one window left out"
        return Drawing(
            summary=(
                f"{trials[0]} samples {percent(whole.share.value)} % of what it could observe, "
                f"most in {most.emotion} ({percent(most.share.value)} %), least in "
                f"{least.emotion} ({percent(least.share.value)} %). With the first window, which "
                f"is sampled whole, it is {percent(whole.with_first)} %."
            ),
            panels=[
                charts.panel(
                    traces,
                    "elements sampled (%), 95 % interval",
                    charts.rows_axis(names),
                    legend=len(trials) > 1,
                    height=130 + 40 * len(names),
                )
            ],
            tables=[
                charts.table(
                    "Elements sampled, by emotion",
                    {
                        **dict.fromkeys(("trial", "emotion", "utterances")),
                        **dict.fromkeys(("share", "low", "high", "with the first window"), decimal),
                    },
                    [
                        [r.trial, r.emotion, r.utterances, *r.share.ends(), r.with_first]
                        for r in data
                    ],
                )
            ],
            note=(
                "As Table 2 of Baruah and Banerjee, Interspeech 2022: the mean over test "
                "utterances of the share of a window's elements that the model did not expect and "
                "therefore sampled, over windows after the first (which is observed whole)"
                f"{left if whole.single_windows else ''}. The paper does not say whether it counts "
                "the first window. Intervals resample whole speakers."
            ),
        )
