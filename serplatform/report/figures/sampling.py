"""What models that choose their observations sample of each emotion, and how alike that is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData
from serplatform.report.explanations import Explanations, find_explanations
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette
from serplatform.report.sampling import Sampling
from serplatform.report.wording import decimal, percent, plural, short
from serplatform.statistics.intervals import Interval

AVERAGE = "all"


def read_samplings(report: ReportData) -> list[tuple[str, str, Sampling]]:
    """Each explained trial that samples: what the page calls it, its architecture, its numbers.

    Raises:
        NoDataError: no such model was explained.
    """
    found = [one for e in find_explanations(report) for one in _samplings(e)]
    if not found:
        raise NoDataError("no trial that chooses its observations (vrnn) was explained")
    return found


def _samplings(explained: Explanations) -> Iterator[tuple[str, str, Sampling]]:
    table = explained.table("statistics").to_pydict()
    size = max((len(values) for values in table["elements"] if values is not None), default=0)
    empty = np.zeros(size)  # of an utterance of one window
    whole = Sampling(
        trial=np.array(table["trial"], dtype=np.int64),
        fold=np.array(table["fold"], dtype=np.int64),
        truth=np.array(table["truth"], dtype=object),
        speaker_ids=np.array(table["speaker_id"], dtype=object),
        windows=np.array(table["num_windows"], dtype=np.int64),
        share=np.array(table["sampled_share"], dtype=np.float64),
        elements=np.array([empty if v is None else v for v in table["elements"]]),
    )
    architectures = dict(zip(table["trial"], table["architecture"], strict=True))
    for trial in sorted(architectures):
        name = explained.name(trial, architectures[trial])
        yield name, architectures[trial], whole.where(whole.trial == trial)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampledShare:
    """One class, or :data:`AVERAGE`, of one trial, which the page calls ``trial``.

    ``share`` is the mean over the ``utterances`` of more than one window of what is sampled after
    the first, ``with_first`` that over all utterances, the first window sampled whole.
    """

    trial: str
    architecture: str
    emotion: str
    utterances: int
    single_windows: int
    share: Interval
    with_first: float


def sampled_shares(
    trial: str, architecture: str, sampling: Sampling, classes: Sequence[str]
) -> list[SampledShare]:
    """Mean share of each class and of all utterances of one trial."""
    groups = [(name, sampling.where(sampling.truth == name)) for name in classes]
    return [
        SampledShare(
            trial=trial,
            architecture=architecture,
            emotion=name,
            utterances=int(own.chosen.sum()),
            single_windows=int((own.windows == 1).sum()),
            share=own.mean_share(),
            with_first=float(own.with_first.mean()),
        )
        for name, own in [*groups, (AVERAGE, sampling)]
        if own.chosen.any()
    ]


@FIGURES.register("sampled_share")
class SampledShareFigure(Figure[tuple[SampledShare, ...]]):
    title = "Share of the observation that is sampled, by emotion"
    section = "explanations"
    after = "phone_attention"
    needs = (Need.EXPLANATIONS,)

    def compute(self, report: ReportData) -> tuple[SampledShare, ...]:
        found = read_samplings(report)
        rows = [row for one in found for row in sampled_shares(*one, report.classes)]
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
                    hover="%{text}: %{x:.1f} %",
                )
            )
        first = [r for r in data if r.trial == trials[0] and r.emotion != AVERAGE]
        most = max(first, key=lambda row: row.share.value)
        least = min(first, key=lambda row: row.share.value)
        whole = next(r for r in data if r.trial == trials[0] and r.emotion == AVERAGE)
        left = f"; {plural(whole.single_windows, 'utterance')} of one window left out"
        plot = charts.panel(
            traces,
            "elements sampled (%), 95 % interval",
            charts.rows_axis(names),
            legend=len(trials) > 1,
            height=130 + 40 * len(names),
        )
        table = charts.table(
            "Elements sampled, by emotion",
            {
                **dict.fromkeys(("trial", "emotion", "utterances")),
                **dict.fromkeys(("share", "low", "high", "with the first window"), decimal),
            },
            [[r.trial, r.emotion, r.utterances, *r.share.ends(), r.with_first] for r in data],
        )
        return Drawing(
            summary=(
                f"{trials[0]} samples {percent(whole.share.value)} % of what it could observe, "
                f"most in {most.emotion} ({percent(most.share.value)} %), least in "
                f"{least.emotion} ({percent(least.share.value)} %). With the first window, which "
                f"is sampled whole, it is {percent(whole.with_first)} %."
            ),
            panels=[plot],
            tables=[table],
            note=(
                "As Table 2 of Baruah and Banerjee, Interspeech 2022: the mean over test "
                "utterances of the share of a window's elements that the model did not expect and "
                "therefore sampled, over windows after the first (which is observed whole)"
                f"{left if whole.single_windows else ''}. The paper does not say whether it counts "
                "the first window. Intervals are over speakers."
            ),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionSimilarity:
    """One trial: ``similarity`` is (C, C) over the classes that occur."""

    trial: str
    classes: tuple[str, ...]
    utterances: tuple[int, ...]
    similarity: DoubleArray

    def pairs(self) -> list[tuple[float, str, str]]:
        """Every pair of classes, the least similar first."""
        size = len(self.classes)
        return sorted(
            (float(self.similarity[a, b]), self.classes[a], self.classes[b])
            for a in range(size)
            for b in range(a + 1, size)
        )


@FIGURES.register("attention_similarity")
class AttentionSimilarityFigure(Figure[tuple[AttentionSimilarity, ...]]):
    title = "Similarity of what is sampled, between emotions"
    section = "explanations"
    printed = False
    after = "sampled_share"
    needs = (Need.EXPLANATIONS,)

    def compute(self, report: ReportData) -> tuple[AttentionSimilarity, ...]:
        compared = []
        for trial, _, sampling in read_samplings(report):
            chosen = sampling.truth[sampling.chosen].tolist()
            names = tuple(name for name in report.classes if name in chosen)
            if len(names) > 1:
                compared.append(
                    AttentionSimilarity(
                        trial=trial,
                        classes=names,
                        utterances=tuple(chosen.count(name) for name in names),
                        similarity=sampling.similarity(names),
                    )
                )
        if not compared:
            raise NoDataError(
                "fewer than two emotions have utterances of more than one window, where elements "
                "are chosen"
            )
        return tuple(compared)

    def draw(self, data: tuple[AttentionSimilarity, ...], palette: Palette) -> Drawing:
        panels, tables, sentences = [], [], []
        for item in data:
            values = item.similarity.tolist()
            pairs = item.pairs()
            (low, a, b), (high, c, d) = pairs[0], pairs[-1]
            panels.append(
                charts.heat_map(
                    values,
                    [[decimal(value) for value in row] for row in values],
                    low=min(0.99, low),
                    high=1.0,
                    height=140 + 44 * len(item.classes),
                    title=item.trial if len(data) > 1 else "",
                    square=True,
                    **charts.class_cells(item.classes),
                )
            )
            tables.append(
                charts.table(
                    f"{item.trial}: absolute cosine of the mean samplings",
                    {
                        "emotion": None,
                        "utterances": None,
                        **dict.fromkeys(item.classes, decimal),
                    },
                    [
                        [name, count, *row]
                        for name, count, row in zip(
                            item.classes, item.utterances, values, strict=True
                        )
                    ],
                )
            )
            sentences.append(
                f"{item.trial} samples {c} and {d} most alike ({decimal(high)}), {a} and {b} least "
                f"({decimal(low)})."
            )
        return Drawing(
            summary=" ".join(sentences),
            panels=panels,
            tables=tables,
            note=(
                "As Fig. 2 of Baruah and Banerjee, Interspeech 2022: for each emotion the mean, "
                "over windows after the first of its test utterances, of which elements were "
                "sampled; then the absolute cosine of two means. Means of what is never negative "
                "are always alike, so the colours begin at the smallest value."
            ),
        )
