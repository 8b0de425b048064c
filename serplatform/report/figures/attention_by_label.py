"""Attention on each word and each phone across emotions, and whether emotions differ in it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from serplatform.artifacts.explanations import LabelAttention, LabelAttentions, LabelsRecord
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData
from serplatform.report.explanations import find_explanations
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette, Panel, Table
from serplatform.report.wording import decimal, p_value, plural, short
from serplatform.statistics.intervals import Interval

#: p-values below this are evidence
LEVEL = 0.05
#: labels that a plot has rows for, the most frequent first
_MOST_ROWS = 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapLabels:
    """Words or phones (``tier``) of one map of a trial; the page calls both ``name``."""

    name: str
    tier: str
    utterances: int
    labels: Sequence[LabelAttention]

    @property
    def differing(self) -> list[LabelAttention]:
        """Labels whose attention differs between emotions, corrected for all labels of the map."""
        found = [x for x in self.labels if x["corrected"] is not None and x["corrected"] < LEVEL]
        return sorted(found, key=lambda x: (x["corrected"], -_range(x)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionByLabel:
    """All maps of all trials, those of the best trial first."""

    classes: tuple[str, ...]
    maps: tuple[MapLabels, ...]
    least_utterances: int
    num_draws: int


@FIGURES.register("attention_by_label")
class AttentionByLabelFigure(Figure[AttentionByLabel]):
    title = "Attention by word and by phone, across emotions"
    section = "explanations"
    printed = False
    after = "phone_attention"
    needs = (Need.EXPLANATIONS,)

    def compute(self, report: ReportData) -> AttentionByLabel:
        maps: list[MapLabels] = []
        records: list[LabelsRecord] = []
        for explained in find_explanations(report):
            found = explained.labels()
            records.append(found)
            best = explained.info["ranked_by"]
            for one in sorted(found["maps"], key=lambda m: (m["trial"] != best, m["trial"])):
                if one["labels"]:
                    maps.append(map_labels(one, explained.name(one["trial"], one["architecture"])))
        if not maps:
            raise NoDataError(
                "no attention lies on words or phones that one emotion has in "
                f"{records[0]['least_utterances']} test utterances; words are located by "
                "`prepare --align`"
            )
        return AttentionByLabel(
            classes=report.classes,
            maps=tuple(maps),
            least_utterances=records[0]["least_utterances"],
            num_draws=records[0]["num_draws"],
        )

    def draw(self, data: AttentionByLabel, palette: Palette) -> Drawing:
        drawn = [m for m in data.maps if m.name == data.maps[0].name]
        return Drawing(
            summary=" ".join(label_sentence(m) for m in drawn),
            panels=[_panel(m, data.classes) for m in drawn],
            tables=[label_table(m, data.classes) for m in data.maps],
            note=(
                "Relative attention: what a word's (or phone's) frames hold of the attention on "
                "all words of the utterance, over their share of the words' time, so that 1 is "
                "even; silence is cut out. Of an attention over words, a word's weight over that "
                "of an even attention. A cell is the mean over at least "
                f"{data.least_utterances} test utterances, its interval over speakers. p: the "
                "emotions of the utterances of each speaker (and fold) are permuted, "
                f"{data.num_draws:,} times; it says whether emotions differ in the mean attention "
                "on the word, however little: read the size first. Corrected: by the largest "
                "statistic of all words (or phones) of the map, which holds the chance of one "
                "false finding among them; maps are not "
                "corrected for each other. A star marks a corrected p below 0.05. Where speakers "
                "choose their words, the context of a word differs with the emotion too."
            ),
            wide=True,
        )


def map_labels(found: LabelAttentions, trial: str) -> MapLabels:
    return MapLabels(
        name=f"{trial} {found['map']}",
        tier=found["tier"],
        utterances=found["utterances"],
        labels=found["labels"],
    )


def _values(label: LabelAttention) -> list[tuple[float, str]]:
    return sorted((mean["value"], name) for name, mean in label["emotions"].items())


def _range(label: LabelAttention) -> float:
    """Largest mean of an emotion minus the smallest."""
    values = _values(label)
    return values[-1][0] - values[0][0]


def label_sentence(found: MapLabels) -> str:
    tested = [label for label in found.labels if label["corrected"] is not None]
    what = plural(len(tested), found.tier)
    if not found.differing:
        return (
            f"{found.name}: of {what} that were tested, none has an attention that differs "
            "between emotions beyond chance."
        )
    first = found.differing[0]
    (low, least), *_, (high, most) = _values(first)
    return (
        f"{found.name}: of {what} that were tested, {len(found.differing)} "
        f"{'has' if len(found.differing) == 1 else 'have'} an attention that differs between "
        f"emotions beyond chance, first “{short(first['label'])}”: {decimal(high)} times even "
        f"in {most}, {decimal(low)} in {least} (corrected {p_value(first['corrected'] or 0.0)})."
    )


def _panel(found: MapLabels, classes: Sequence[str]) -> Panel:
    shown = found.labels[:_MOST_ROWS]
    means = [[label["emotions"].get(name) for name in classes] for label in shown]
    values = [[None if m is None else m["value"] for m in row] for row in means]
    away = max([0.2, *(abs(v - 1) for row in values for v in row if v is not None)])
    return charts.heat_map(
        values,
        [["" if v is None else decimal(v, 2) for v in row] for row in values],
        rows=[x["label"] + (" *" if x in found.differing else "") for x in shown],
        columns=classes,
        low=max(0.0, 1 - away),
        high=1 + away,
        height=110 + 26 * len(shown),
        title=f"{found.name}, relative attention by {found.tier}",
        angle=-40 if len(classes) > 4 else 0,
    )


def label_table(found: MapLabels, classes: Sequence[str]) -> Table:
    """A row a label; in the download with the ends of each interval."""
    ends = [f"{name} {end}" for name in classes for end in ("", "low", "high")]
    rows, display = [], []
    for label in found.labels:
        means = [label["emotions"].get(name) for name in classes]
        intervals = [
            None if m is None else Interval(value=m["value"], low=m["low"], high=m["high"])
            for m in means
        ]
        counts = [label["utterances"], label["speakers"]]
        tests = [label["p_value"], label["corrected"]]
        numbers = [end for one in intervals for end in charts.ends(one)]
        rows.append([label["label"], *counts, *numbers, *tests])
        display.append(
            [
                short(label["label"]),
                *map(str, counts),
                *map(_text, intervals),
                *("–" if p is None else decimal(p, 4) for p in tests),
            ]
        )
    counted = [found.tier, "utterances", "speakers"]
    return Table(
        caption=f"{found.name}: relative attention by {found.tier}, 95 % intervals over speakers",
        header=[*counted, *classes, "p", "p corrected"],
        csv_header=[*counted, *(name.strip() for name in ends), "p", "p corrected"],
        rows=rows,
        display=display,
    )


def _text(found: Interval | None) -> str:
    if found is None:
        return "–"
    if found.low is None or found.high is None or not math.isfinite(found.low):
        return decimal(found.value, 2)
    return f"{decimal(found.value, 2)} ({decimal(found.low, 2)}–{decimal(found.high, 2)})"
