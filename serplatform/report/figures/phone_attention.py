"""Attention on vowels, consonants and silence, per frame, with intervals and a test."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.artifacts.explanations import PhoneTest
from serplatform.report.clustered_means import clustered_interval, mean_statistic
from serplatform.report.evidence import Evidence
from serplatform.report.explanations import ExplainedFigure, Explanations
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Cell, Drawing, Ink, NoDataError, Panel, Table
from serplatform.report.wording import decimal, listing, p_value, percent, plural, points
from serplatform.statistics.bootstrap import Interval

CLASSES = ("vowel", "consonant", "silence")
#: A class with less of the time than this has no intensity worth drawing.
LEAST_TIME = 0.01
#: Multiples of even attention beyond which a point is drawn at the edge of the plot.
_WIDEST = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassAttention:
    """Attention of one map on one phone class.

    Attributes:
        mass: mean over utterances of the share of attention.
        time: mean over utterances of the share of frames.
        intensity: mass / time, 1 where attention is even; None where there is too little time.
    """

    phone_class: str
    mass: float
    time: float
    intensity: Interval | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapAttention:
    """One attention map of one trial over the phones.

    Attributes:
        trial: as the page calls it.
        architecture: registered name.
        map: name of the map.
        utterances: with vowels and consonants.
        speakers: of them.
        classes: vowel, consonant, silence.
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
    """All maps.

    Attributes:
        maps: of all explained trials.
        smoothing: trials with two layers, and how much more the second is spread.
        sources: of the phones.
        misaligned: utterances left out because their phones lie elsewhere than their sound.
        least_agreement: below which an utterance is left out.
    """

    maps: tuple[MapAttention, ...]
    smoothing: tuple[tuple[str, Interval], ...]
    sources: tuple[str, ...]
    misaligned: int
    least_agreement: float


def map_attention(
    rows: Sequence[Mapping[str, Any]], trial: str, test: PhoneTest | None
) -> MapAttention | None:
    """Measure one map from its rows of ``attention.parquet``; None where no phone is known.

    Args:
        rows: of one trial and map.
        trial: what the page calls the trial.
        test: its entry of ``phone_tests``.
    """
    known = [row for row in rows if row["mass_vowel"] is not None]
    known = [
        row
        for row in known
        if row["frames_vowel"]
        and row["frames_consonant"]
        and row["mass_vowel"] + row["mass_consonant"] > 0
    ]
    if not known:
        return None
    speakers = [row["speaker_id"] for row in known]
    frames = np.array([row["frames"] for row in known], dtype=np.float64)
    mass = {c: np.array([row[f"mass_{c}"] for row in known]) for c in CLASSES}
    time = {c: np.array([row[f"frames_{c}"] for row in known]) / frames for c in CLASSES}
    classes = []
    for name in CLASSES:
        intensity = None
        if time[name].mean() >= LEAST_TIME:
            intensity = clustered_interval(
                np.stack([mass[name], time[name]], axis=1), speakers, mean_statistic
            )
        classes.append(
            ClassAttention(
                phone_class=name,
                mass=float(mass[name].mean()),
                time=float(time[name].mean()),
                intensity=intensity,
            )
        )
    vowel, consonant = mass["vowel"], mass["consonant"]
    long, rest = time["vowel"], time["consonant"]
    excess = vowel / (vowel + consonant) - long / (long + rest)
    ones = np.ones(len(known))
    return MapAttention(
        trial=trial,
        architecture=str(known[0]["architecture"]),
        map=str(known[0]["map"]),
        utterances=len(known),
        speakers=len(set(speakers)),
        classes=tuple(classes),
        ratio=clustered_interval(
            np.stack([vowel, long, consonant, rest], axis=1), speakers, _ratio
        ),
        excess=clustered_interval(np.stack([excess, ones], axis=1), speakers, mean_statistic),
        p_value=None if test is None else test["p_value"],
        num_groups=0 if test is None else test["num_groups"],
        spread=clustered_interval(
            np.stack([np.array([row["spread"] for row in known]), ones], axis=1),
            speakers,
            mean_statistic,
        ),
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
    gaps = np.array([second[key]["spread"] - first[key]["spread"] for key in both])
    return clustered_interval(
        np.stack([gaps, np.ones(len(both))], axis=1),
        [first[key]["speaker_id"] for key in both],
        mean_statistic,
    )


@FIGURES.register("phone_attention")
class PhoneAttentionFigure(ExplainedFigure[PhoneAttention]):
    name = "phone_attention"
    title = "Attention on vowels, consonants and silence"
    section = "explanations"
    order = 20

    def examine(self, found: tuple[Explanations, ...], evidence: Evidence) -> PhoneAttention:
        maps, smoothed = [], []
        sources: list[str] = []
        for explained in found:
            maps += _maps(explained)
            smoothed += _smoothing(explained)
            if (phones := explained.info["phones"]) is not None:
                sources += phones.get("sources", {})
        if not maps:
            if all(explained.info["phones"] is None for explained in found):
                raise NoDataError(
                    "the corpus has no phone alignment; prepare it with --align, e.g. "
                    "`--align pocketsphinx` for English"
                )
            raise NoDataError("no trial with attention over frames was explained")
        aligned = [e.info["phones"] for e in found if e.info["phones"] is not None]
        return PhoneAttention(
            maps=tuple(maps),
            smoothing=tuple(smoothed),
            sources=tuple(dict.fromkeys(sources)),
            misaligned=max(int(phones["misaligned"]) for phones in aligned),
            least_agreement=float(aligned[0]["least_agreement"]),
        )

    def draw(self, data: PhoneAttention, ink: Ink) -> Drawing:
        labels = [item.label for item in data.maps]
        traces: list[dict[str, Any]] = []
        shapes = {"vowel": "circle", "consonant": "square", "silence": "diamond-open"}
        for place, name in enumerate(CLASSES):
            found = [
                (row, c.intensity)
                for row, item in enumerate(data.maps)
                for c in item.classes
                if c.phone_class == name and c.intensity is not None
            ]
            if not found:
                continue
            colour = f"@series-{place + 1}"
            intervals = [i for _, i in found]
            traces.append(
                charts.markers(
                    name,
                    [min(i.value, _WIDEST) for i in intervals],
                    [row + (place - 1) * 0.2 for row, _ in found],
                    error_x=charts.whiskers(intervals, colour, scale=1.0, widest=_WIDEST),
                    marker={"color": colour, "symbol": shapes[name], "size": 10},
                    text=[f"{i.value:.3f}" for i in intervals],
                    hovertemplate=f"{name}: %{{text}} × even<extra></extra>",
                )
            )
        return Drawing(
            summary=_summary(data),
            panels=[
                Panel(
                    data=traces,
                    layout={
                        "xaxis": charts.axis("attention per frame (1 = even)", range=_range(data)),
                        "yaxis": charts.rows_axis(labels),
                        "shapes": [charts.upright(1)],
                    },
                    height=130 + 52 * len(labels),
                )
            ],
            tables=[_test_table(data), _class_table(data)],
            note=_left_out(data)
            + (
                "Attention per frame is the share of attention that lies on a class of phones "
                "over its share of the frames; intervals resample whole speakers. The excess is "
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


def _maps(explained: Explanations) -> list[MapAttention]:
    rows = explained.table("attention").to_pylist()
    tests = {(t["trial"], t["map"]): t for t in explained.info["phone_tests"]}
    groups: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["trial"], row["map"]), []).append(row)
    found = []
    for key, group in groups.items():
        name = explained.name(key[0], group[0]["architecture"])
        made = map_attention(group, name, tests.get(key))
        if made is not None:
            found.append(made)
    return found


def _smoothing(explained: Explanations) -> list[tuple[str, Interval]]:
    by_trial: dict[int, list[Mapping[str, Any]]] = {}
    for row in explained.table("attention").to_pylist():
        by_trial.setdefault(row["trial"], []).append(row)
    found = []
    for trial, rows in by_trial.items():
        gap = smoothing(rows)
        if gap is not None:
            found.append((explained.name(trial, rows[0]["architecture"]), gap))
    return found


def _left_out(data: PhoneAttention) -> str:
    """Where the phones come from, and whose are not used."""
    said = f"Alignment: {listing(data.sources) or 'unknown'}. "
    if not data.misaligned:
        return said
    return (
        f"{said}Left out: {plural(data.misaligned, 'utterance')} whose phones lie elsewhere than "
        f"the sound (they overlap by less than {percent(data.least_agreement, 0)} %). "
    )


def _range(data: PhoneAttention) -> list[float]:
    """Ends of the axis: around 1, never so narrow that a trifle looks large."""
    found = [c.intensity for m in data.maps for c in m.classes if c.intensity is not None]
    low = [i.value if i.low is None else i.low for i in found]
    high = [i.value if i.high is None else i.high for i in found]
    return [
        min([0.8, *(v - 0.03 for v in low)]),
        max([1.2, *(min(v, _WIDEST) + 0.03 for v in high)]),
    ]


def _summary(data: PhoneAttention) -> str:
    above = [m for m in data.maps if m.ratio.low is not None and m.ratio.low > 1]
    below = [m for m in data.maps if m.ratio.high is not None and m.ratio.high < 1]
    strongest = max(data.maps, key=lambda m: abs(math.log(max(m.ratio.value, 1e-9))))
    said = [
        f"Per frame, {strongest.label} gives vowels {decimal(strongest.ratio.value, 2)} times the "
        f"attention of consonants{_bounds(strongest.ratio)}"
        f"{'' if strongest.p_value is None else ', ' + p_value(strongest.p_value)}."
    ]
    if len(data.maps) > 1:
        said.append(
            f"Of {plural(len(data.maps), 'attention map')}, {len(above)} "
            f"{'prefers' if len(above) == 1 else 'prefer'} vowels, {len(below)} "
            f"{'prefers' if len(below) == 1 else 'prefer'} consonants, "
            f"{len(data.maps) - len(above) - len(below)} neither (interval of the ratio)."
        )
    for trial, gap in data.smoothing:
        if abs(gap.value) < 0.0005:
            said.append(f"In {trial} both layers spread their attention alike.")
            continue
        more = "more" if gap.value > 0 else "less"
        bounds = ""
        if gap.low is not None and gap.high is not None:
            bounds = f" ({points(gap.low)} to {points(gap.high)})"
        said.append(
            f"In {trial} the second layer's attention is spread over "
            f"{percent(abs(gap.value))} points {more} of the frames than the first's{bounds}."
        )
    return " ".join(said)


def _bounds(found: Interval) -> str:
    if found.low is None or found.high is None:
        return ""
    return f" ({decimal(found.low, 2)} to {decimal(found.high, 2)})"


def _test_table(data: PhoneAttention) -> Table:
    what: dict[str, Callable[[MapAttention], Cell]] = {
        "attention map": lambda m: m.label,
        "utterances": lambda m: m.utterances,
        "speakers": lambda m: m.speakers,
        "sentences": lambda m: m.num_groups,
    }
    return charts.table(
        "Vowels against consonants",
        data.maps,
        {
            **what,
            "vowel : consonant": (lambda m: m.ratio.value, decimal),
            "95 % interval": lambda m: f"{decimal(m.ratio.low)} to {decimal(m.ratio.high)}",
            "excess on vowels (points)": lambda m: f"{100 * m.excess.value:+.2f}".replace("-", "−"),
            "p": (lambda m: m.p_value, _p),
            "spread": (lambda m: m.spread.value, lambda v: decimal(v, 2)),
        },
        csv={
            **what,
            **charts.ends("ratio", lambda m: m.ratio),
            **charts.ends("excess", lambda m: m.excess),
            "p": lambda m: m.p_value,
            **charts.ends("spread", lambda m: m.spread),
        },
    )


def _p(p: float | None) -> str:
    return "–" if p is None else p_value(p).removeprefix("p ").lstrip("= ")


def _class_table(data: PhoneAttention) -> Table:
    def share(value: float) -> str:
        return f"{percent(value)} %"

    return charts.table(
        "Attention and time by phone class",
        [(m.label, c) for m in data.maps for c in m.classes],
        {
            "attention map": lambda row: row[0],
            "phones": lambda row: row[1].phone_class,
            "attention": (lambda row: row[1].mass, share),
            "time": (lambda row: row[1].time, share),
            "per frame": (lambda row: _of(row[1].intensity, "value"), decimal),
            "low": (lambda row: _of(row[1].intensity, "low"), decimal),
            "high": (lambda row: _of(row[1].intensity, "high"), decimal),
        },
    )


def _of(found: Interval | None, end: str) -> float | None:
    return None if found is None else getattr(found, end)
