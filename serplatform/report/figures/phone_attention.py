"""Attention on vowels, consonants and silence, per frame, with intervals and a test."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.artifacts.explanations import PhoneTest
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData, grouped
from serplatform.report.explanations import find_explanations
from serplatform.report.figures.base import (
    FIGURES,
    SERIES,
    Cell,
    Drawing,
    Figure,
    Palette,
    Panel,
    Table,
)
from serplatform.report.speaker_intervals import clustered_interval, mean_interval, mean_statistic
from serplatform.report.wording import (
    decimal,
    decimal_2,
    listing,
    p_value,
    percent,
    percent_sign,
    plural,
    points,
)
from serplatform.statistics.intervals import Interval

#: Classes of phones and their markers.
CLASSES = {"vowel": "circle", "consonant": "square", "silence": "diamond-open"}
#: A class with less of the time than this has no intensity worth drawing.
LEAST_TIME = 0.01
#: Multiples of even attention beyond which a point is drawn at the edge of the plot.
_WIDEST = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassAttention:
    """Attention of one map on one phone class: mean shares of attention and of frames.

    ``intensity`` is their ratio, 1 where attention is even; None where there is too little time.
    """

    phone_class: str
    mass: float
    time: float
    intensity: Interval | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapAttention:
    """One attention map of one trial over utterances with vowels and consonants.

    Attributes:
        ratio: intensity on vowels over intensity on consonants.
        excess: within speech, the mean share of attention on vowels minus their share of time.
        p_value: of the excess, by circular shifts; None where it was not tested.
        num_groups: sentences (or utterances) turned independently in that test.
        spread: effective share of frames that attention is spread over.
    """

    trial: str
    architecture: str
    map: str
    utterances: int
    speakers: int
    classes: tuple[ClassAttention, ...]
    ratio: Interval
    excess: Interval
    p_value: float | None
    num_groups: int
    spread: Interval

    @property
    def label(self) -> str:
        return f"{self.trial} {self.map}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhoneAttention:
    """All maps; trials with two layers, and how much more the second is spread.

    ``misaligned`` utterances, whose phones agree with their sound by less than
    ``least_agreement``, are left out.
    """

    maps: tuple[MapAttention, ...]
    smoothing: tuple[tuple[str, Interval], ...]
    sources: tuple[str, ...]
    misaligned: int
    least_agreement: float


def map_attention(
    rows: Sequence[Mapping[str, Any]], trial: str, test: PhoneTest | None
) -> MapAttention | None:
    """Measure one map from its rows of ``attention.parquet``; None where no phone is known."""
    known = [
        row
        for row in rows
        if row["mass_vowel"] is not None
        and row["frames_vowel"]
        and row["frames_consonant"]
        and row["mass_vowel"] + row["mass_consonant"] > 0
    ]
    if not known:
        return None
    speakers = [row["speaker_id"] for row in known]
    frames = np.array([row["frames"] for row in known], dtype=np.float64)
    mass = {c: np.array([row[f"mass_{c}"] for row in known]) for c in CLASSES}
    time = {c: np.array([row[f"frames_{c}"] for row in known]) / frames for c in CLASSES}

    def mean_ratio(above: DoubleArray, below: DoubleArray) -> Interval:
        return clustered_interval(np.stack([above, below], axis=1), speakers, mean_statistic)

    vowel, consonant = mass["vowel"], mass["consonant"]
    long, rest = time["vowel"], time["consonant"]
    return MapAttention(
        trial=trial,
        architecture=str(known[0]["architecture"]),
        map=str(known[0]["map"]),
        utterances=len(known),
        speakers=len(set(speakers)),
        classes=tuple(
            ClassAttention(
                phone_class=name,
                mass=float(mass[name].mean()),
                time=float(time[name].mean()),
                intensity=(
                    mean_ratio(mass[name], time[name]) if time[name].mean() >= LEAST_TIME else None
                ),
            )
            for name in CLASSES
        ),
        ratio=clustered_interval(
            np.stack([vowel, long, consonant, rest], axis=1), speakers, _ratio
        ),
        excess=mean_interval(vowel / (vowel + consonant) - long / (long + rest), speakers),
        p_value=None if test is None else test["p_value"],
        num_groups=0 if test is None else test["num_groups"],
        spread=mean_interval([row["spread"] for row in known], speakers),
    )


def _ratio(sums: DoubleArray) -> DoubleArray:
    """(..., 4) vowel mass and time, consonant mass and time, to the ratio of intensities."""
    above = sums[..., 0] / sums[..., 1]
    return np.asarray(above / (sums[..., 2] / sums[..., 3]), dtype=np.float64)


def smoothing(rows: Sequence[Mapping[str, Any]]) -> Interval | None:
    """Spread of ``layer2`` minus spread of ``layer1`` over the same utterances of one trial."""
    first = {(r["fold"], r["utterance_id"]): r for r in rows if r["map"] == "layer1"}
    second = {(r["fold"], r["utterance_id"]): r for r in rows if r["map"] == "layer2"}
    both = sorted(first.keys() & second.keys())
    if not both:
        return None
    gaps = [second[key]["spread"] - first[key]["spread"] for key in both]
    return mean_interval(gaps, [first[key]["speaker_id"] for key in both])


@FIGURES.register("phone_attention")
class PhoneAttentionFigure(Figure[PhoneAttention]):
    title = "Attention on vowels, consonants and silence"
    section = "explanations"
    printed = False
    after = "attention_on_speech"
    needs = (Need.EXPLANATIONS,)

    def compute(self, report: ReportData) -> PhoneAttention:
        maps, smoothed = [], []
        found = find_explanations(report)
        for explained in found:
            rows = explained.table("attention").to_pylist()
            tests = {(t["trial"], t["map"]): t for t in explained.info["phone_tests"]}
            for key, group in grouped(rows, lambda row: (row["trial"], row["map"])).items():
                name = explained.name(key[0], group[0]["architecture"])
                if (one := map_attention(group, name, tests.get(key))) is not None:
                    maps.append(one)
            for trial, group in grouped(rows, lambda row: row["trial"]).items():
                if (gap := smoothing(group)) is not None:
                    smoothed.append((explained.name(trial, group[0]["architecture"]), gap))
        aligned = [e.info["phones"] for e in found if e.info["phones"] is not None]
        if not maps and not aligned:
            raise NoDataError(
                "the corpus has no phone alignment; prepare it with --align, e.g. "
                "`--align pocketsphinx` for English"
            )
        if not maps:
            raise NoDataError("no trial with attention over frames was explained")
        sources = [name for phones in aligned for name in phones.get("sources", {})]
        return PhoneAttention(
            maps=tuple(maps),
            smoothing=tuple(smoothed),
            sources=tuple(dict.fromkeys(sources)),
            misaligned=max(phones["misaligned"] for phones in aligned),
            least_agreement=aligned[0]["least_agreement"],
        )

    def draw(self, data: PhoneAttention, palette: Palette) -> Drawing:
        return Drawing(
            summary=_summary(data),
            panels=[_panel(data)],
            tables=[_test_table(data), _class_table(data)],
            note=_left_out(data)
            + (
                "Attention per frame is the share of attention that lies on a class of phones "
                "over its share of the frames; intervals are over speakers. The excess is "
                "taken within speech (silence and noises cut out): attention on vowels minus "
                "their share of the time, in points. Its p-value is two-sided, from 2,000 draws "
                "in which the attention of each utterance is turned round in a circle: its shape "
                "stays, its place against the phones is random. Utterances of one sentence are "
                "turned alike, because a model that listens to one part of the sentence would "
                "otherwise seem to listen to its vowels. It is not corrected for the number of "
                "maps. Small effects can be beyond chance: read the size first. Vowels are also "
                "louder and longer, so attention to them says nothing of its cause. "
                "Spread is the effective share of frames (1 = all alike)."
            ),
            open_tables=True,
        )


def _panel(data: PhoneAttention) -> Panel:
    """A row per map, a point per class; the axis is around 1 and never narrower than 0.8 to 1.2."""
    traces = []
    low, high = 0.8, 1.2
    for place, (name, symbol) in enumerate(CLASSES.items()):
        found = [
            (row + (place - 1) * 0.2, c.intensity)
            for row, item in enumerate(data.maps)
            for c in item.classes
            if c.phone_class == name and c.intensity is not None
        ]
        intervals = [interval for _, interval in found]
        if not found:
            continue
        traces.append(
            charts.interval_points(
                name,
                intervals,
                [row for row, _ in found],
                charts.marker(SERIES[place], symbol, 10),
                texts=[f"{i.value:.3f}" for i in intervals],
                hover=f"{name}: %{{text}} × even",
                scale=1.0,
                widest=_WIDEST,
            )
        )
        low = min([low, *((i.value if i.low is None else i.low) - 0.03 for i in intervals)])
        ends = (i.value if i.high is None else i.high for i in intervals)
        high = max([high, *(min(end, _WIDEST) + 0.03 for end in ends)])
    return charts.panel(
        traces,
        charts.axis("attention per frame (1 = even)", range=[low, high]),
        charts.rows_axis([item.label for item in data.maps], limit=200),
        shapes=[charts.vertical(1)],
        height=130 + 52 * len(data.maps),
    )


def _left_out(data: PhoneAttention) -> str:
    """Where the phones come from, and whose are not used."""
    said = f"Alignment: {listing(data.sources) or 'unknown'}. "
    if not data.misaligned:
        return said
    return (
        f"{said}Left out: {plural(data.misaligned, 'utterance')} whose phones lie elsewhere than "
        f"the sound (they overlap by less than {percent(data.least_agreement, 0)} %). "
    )


def _summary(data: PhoneAttention) -> str:
    above = sum(m.ratio.low is not None and m.ratio.low > 1 for m in data.maps)
    below = sum(m.ratio.high is not None and m.ratio.high < 1 for m in data.maps)
    strongest = max(data.maps, key=lambda m: abs(math.log(max(m.ratio.value, 1e-9))))
    ratio, p = strongest.ratio, strongest.p_value
    bounds = ratio.bounds(decimal_2, " to ")
    said = [
        f"Per frame, {strongest.label} gives vowels {decimal(ratio.value, 2)} times the "
        f"attention of consonants{bounds}{'' if p is None else ', ' + p_value(p)}."
    ]
    if len(data.maps) > 1:
        said.append(
            f"Of {plural(len(data.maps), 'attention map')}, {above} "
            f"{'prefers' if above == 1 else 'prefer'} vowels, {below} "
            f"{'prefers' if below == 1 else 'prefer'} consonants, "
            f"{len(data.maps) - above - below} neither (interval of the ratio)."
        )
    for trial, gap in data.smoothing:
        if abs(gap.value) < 0.0005:
            said.append(f"In {trial} both layers spread their attention alike.")
            continue
        said.append(
            f"In {trial} the second layer's attention is spread over "
            f"{percent(abs(gap.value))} points {'more' if gap.value > 0 else 'less'} of the frames "
            f"than the first's{gap.bounds(points, ' to ')}."
        )
    return " ".join(said)


def _test_table(data: PhoneAttention) -> Table:
    counts = ["attention map", "utterances", "speakers", "sentences"]
    ends = [[name, f"{name} low", f"{name} high"] for name in ("ratio", "excess", "spread")]
    rows: list[list[Cell]] = []
    display: list[list[str]] = []
    for m in data.maps:
        what: list[Cell] = [m.label, m.utterances, m.speakers, m.num_groups]
        rows.append([*what, *m.ratio.ends(), *m.excess.ends(), m.p_value, *m.spread.ends()])
        display.append(
            [
                *map(str, what),
                decimal(m.ratio.value),
                f"{decimal(m.ratio.low)} to {decimal(m.ratio.high)}",
                f"{100 * m.excess.value:+.2f}".replace("-", "−"),
                "–" if m.p_value is None else p_value(m.p_value).removeprefix("p ").lstrip("= "),
                decimal(m.spread.value, 2),
            ]
        )
    shown = ["vowel : consonant", "95 % interval", "excess on vowels (points)", "p", "spread"]
    return Table(
        caption="Vowels against consonants",
        header=[*counts, *shown],
        csv_header=[*counts, *ends[0], *ends[1], "p", *ends[2]],
        rows=rows,
        display=display,
    )


def _class_table(data: PhoneAttention) -> Table:
    return charts.table(
        "Attention and time by phone class",
        {
            **dict.fromkeys(("attention map", "phones")),
            **dict.fromkeys(("attention", "time"), percent_sign),
            **dict.fromkeys(("per frame", "low", "high"), decimal),
        },
        [
            [m.label, c.phone_class, c.mass, c.time, *charts.ends(c.intensity)]
            for m in data.maps
            for c in m.classes
        ],
    )
