"""Attention over the words and phones of some utterances, on the spectrogram, with the sound."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from serplatform.artifacts.explanations import (
    CurveRecord,
    RankedUtterance,
    ShownRecord,
    TrackRecord,
)
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData
from serplatform.report.explanations import Explanations, find_explanations
from serplatform.report.figures.base import (
    DASHES,
    FIGURES,
    FIRST,
    SERIES,
    Drawing,
    Figure,
    Palette,
    Panel,
    Spec,
    Table,
)
from serplatform.report.wording import listing, percent, plural, short

#: Most trials whose curves are drawn; the table has the others, too.
SHOWN_TRIALS = 4
#: Attention within this of 1 times even is called even.
EVEN = 0.05
_TRACK = (
    "the posterior of each emotion over time as {trials} has it, dark where it is high (of csa by "
    "its chunks, of others by their frames, which know what lies around them; nobody labelled the "
    "time inside utterances, so this is what a model says and no more), "
)
_GAP = 18  # pixels between tracks
#: The papers that show attention so come first: Jalal et al. 2020, both.
PREFERRED = ("moma", "blstmatt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShownCurve:
    """Attention of one map of a trial, which the page calls ``trial``."""

    trial: str
    record: CurveRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShownTrack:
    """Emotion over time as a trial has it, which the page calls ``trial``."""

    trial: str
    record: TrackRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShownUtterance:
    """One utterance; ``classes`` are K names, ``predictions`` trial, prediction and confidence.

    The first of the tracks is drawn, that of the trial which is ranked first if it has one.
    """

    record: ShownRecord
    classes: tuple[str, ...]
    tracks: tuple[ShownTrack, ...]
    curves: tuple[ShownCurve, ...]
    predictions: tuple[tuple[str, str, float], ...]

    @property
    def spectrogram(self) -> npt.NDArray[np.uint8] | None:
        """(M, T) bytes, the lowest band first; None where there is no audio."""
        stored = self.record["spectrogram"]
        if stored is None:
            return None
        cells = np.frombuffer(base64.b64decode(stored["values"]), dtype=np.uint8)
        return cells.reshape(stored["bands"], stored["frames"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionOnSpeech:
    """The utterances, how they were chosen, and the licence of their sound."""

    utterances: tuple[ShownUtterance, ...]
    by_confidence: bool
    licence: str
    errors: tuple[RankedUtterance, ...]
    ranked_by: str


def read_utterance(explained: Explanations, found: ShownRecord) -> ShownUtterance:
    """An entry of ``utterances.json`` with its trials as the page calls them."""
    ranked = explained.info["ranked_by"]
    tracks = sorted(found.get("tracks", []), key=lambda track: track["trial"] != ranked)
    return ShownUtterance(
        record=found,
        classes=tuple(explained.info["classes"]),
        tracks=tuple(
            ShownTrack(trial=explained.name(t["trial"], t["architecture"]), record=t)
            for t in tracks
        ),
        curves=tuple(
            ShownCurve(trial=explained.name(c["trial"], c["architecture"]), record=c)
            for c in found["curves"]
        ),
        predictions=tuple(
            (explained.name(p["trial"], p["architecture"]), p["prediction"], p["confidence"])
            for p in found["predictions"]
        ),
    )


@FIGURES.register("attention_on_speech")
class AttentionOnSpeechFigure(Figure[AttentionOnSpeech]):
    title = "Attention over words and phones"
    section = "explanations"
    printed = False
    after = FIRST
    needs = (Need.EXPLANATIONS,)

    def compute(self, report: ReportData) -> AttentionOnSpeech:
        found = find_explanations(report)
        utterances = [read_utterance(e, entry) for e in found for entry in e.utterances()]
        if not utterances:
            raise NoDataError("no utterance was chosen; name some: `serplatform explain RUN ID`")
        first = found[0]
        names = {t["trial"]: t["architecture"] for t in first.info["trials"]}
        ranked = first.info["ranked_by"]
        if ranked not in names:
            raise NoDataError(f"the explanations do not say what trial {ranked} is; explain again")
        return AttentionOnSpeech(
            utterances=tuple(utterances),
            by_confidence=first.info["chosen_by"] == "confidence",
            licence=first.info.get("licence") or "",
            errors=tuple(first.info["confident_errors"]),
            ranked_by=first.name(ranked, names[ranked]),
        )

    def draw(self, data: AttentionOnSpeech, palette: Palette) -> Drawing:
        chosen = (
            f"the most confident errors and right answers of {data.ranked_by} on test rows"
            if data.by_confidence
            else "as asked for"
        )
        curves = [curve for item in data.utterances for curve in item.curves]
        visible, colours = visible_trials(curves), trial_colours(curves, palette)
        sound = (
            ", with the sound to play"
            if any(item.record["audio"] for item in data.utterances)
            else ""
        )
        tables = [
            charts.table(
                "What the models say of these utterances",
                {
                    **dict.fromkeys(("utterance", "spoken", "trial", "recognised")),
                    "confidence (%)": percent,
                },
                [
                    [item.record["utterance_id"], item.record["truth"], *prediction]
                    for item in data.utterances
                    for prediction in item.predictions
                ],
            )
        ]
        if data.errors:
            tables.insert(0, _errors_table(data))
        if any(item.tracks for item in data.utterances):
            tables.append(_tracks_table(data))
        if curves:
            tables.append(_curves_table(data))
        return Drawing(
            summary=(
                f"{plural(len(data.utterances), 'test utterance')}, {chosen}"
                + (
                    f": what the models attend to{sound}.{_even(curves)}"
                    if curves
                    else ". No model that was explained has attention over frames or words."
                )
            ),
            panels=[_panel(item, visible, colours) for item in data.utterances],
            tables=tables,
            note=_note(data),
            wide=True,
        )


def _note(data: AttentionOnSpeech) -> str:
    tracked = list(dict.fromkeys(item.tracks[0].trial for item in data.utterances if item.tracks))
    note = (
        "Each plot, from above: "
        + (_TRACK.format(trials=listing(tracked)) if tracked else "")
        + "attention in multiples of even attention (solid is the "
        "first map of a model, dashed the second; the table has every model), "
        "the mel spectrogram, and words over phones, vowels filled. The models are those of "
        "the fold that tests the utterance. After Jalal et al., Interspeech 2020, Fig. 1 "
        "(BLSTMATT) and Figs. 2–5 (MOMA, layer 1 against layer 2)."
    )
    records = [item.record for item in data.utterances]
    if sounds := sum(record["audio"] is not None for record in records):
        licence = f" (licence: {data.licence.replace('`', '')})" if data.licence else ""
        note += (
            f" The page holds the sound of {plural(sounds, 'utterance')}{licence}: mind it before "
            "you pass the page on; serplatform explain --no-audio leaves it out."
        )
    if faults := sorted({record["audio_fault"] for record in records if record["audio_fault"]}):
        note += f" Without sound: {'; '.join(faults[:3])}."
    if lost := [record["utterance_id"] for record in records if record["misaligned"]]:
        note += (
            f" The alignment of {listing(lost)} is not to be trusted: its phones lie "
            "elsewhere than the sound."
        )
    if cut := [record["shown"] for record in records if record["shown"] < record["duration"]]:
        note += f" Shown up to {cut[0]:g} s."
    return note


def _even(curves: Sequence[ShownCurve]) -> str:
    """Name the models whose attention is even throughout: their flat curves are no fault."""
    flat = [trial for trial, largest in most_uneven(curves).items() if largest <= EVEN]
    if not flat:
        return ""
    return (
        f" {listing(flat)} {'attends' if len(flat) == 1 else 'attend'} evenly to all of it "
        f"(within {100 * EVEN:.0f} %): little was learnt there to look at."
    )


def _errors_table(data: AttentionOnSpeech) -> Table:
    return charts.table(
        f"Most confident errors of {data.ranked_by}; explain others by their id",
        {
            **dict.fromkeys(("utterance", "speaker", "spoken", "recognised")),
            "confidence (%)": percent,
        },
        [
            [e["utterance_id"], e["speaker_id"], e["truth"], e["prediction"], e["confidence"]]
            for e in data.errors
        ],
    )


def _tracks_table(data: AttentionOnSpeech) -> Table:
    return charts.table(
        "Emotion over time: where the decision changes",
        {
            **dict.fromkeys(("utterance", "spoken", "trial", "recognised", "from (s)", "to (s)")),
            "posterior (%)": percent,
        },
        [
            [item.record["utterance_id"], item.record["truth"], track.trial, *segment]
            for item in data.utterances
            for track in item.tracks
            for segment in track.record["segments"]
        ],
    )


def _curves_table(data: AttentionOnSpeech) -> Table:
    return charts.table(
        "Attention curves",
        ["utterance", "trial", "map", "over", "seconds", "times even"],
        [
            [item.record["utterance_id"], curve.trial, found["map"], found["kind"], at, value]
            for item in data.utterances
            for curve in item.curves
            for found in [curve.record]
            for at, value in zip(found["starts"], found["times_even"], strict=True)
        ],
    )


def most_uneven(curves: Sequence[ShownCurve]) -> dict[str, float]:
    """Trial to the largest difference of its curves from even attention, in multiples of it."""
    found: dict[str, float] = {}
    for curve in curves:
        values = curve.record["times_even"]
        largest = max((abs(value - 1.0) for value in values), default=0.0)
        found[curve.trial] = max(found.get(curve.trial, 0.0), largest)
    return found


def visible_trials(curves: Sequence[ShownCurve]) -> list[str]:
    """Trials whose curves are drawn at first, in order.

    Those of the papers' own figures; where their attention is even within 5 %, also those whose
    attention is the least even, up to :data:`SHOWN_TRIALS` in all.
    """
    trials, uneven = (
        {curve.trial: curve.record["architecture"] for curve in curves},
        most_uneven(curves),
    )
    preferred = sorted(
        (trial for trial in trials if trials[trial] in PREFERRED),
        key=lambda trial: PREFERRED.index(trials[trial]),
    )
    if any(uneven[trial] > EVEN for trial in preferred):
        return preferred
    others = sorted(trials.keys() - set(preferred), key=lambda trial: (-uneven[trial], trial))
    return [*preferred, *others[: max(0, SHOWN_TRIALS - len(preferred))]]


def trial_colours(curves: Sequence[ShownCurve], palette: Palette) -> dict[str, str]:
    """The page's colour of each trial's architecture; another where that one is taken."""
    order = [*visible_trials(curves), *(curve.trial for curve in curves)]
    architecture = {curve.trial: curve.record["architecture"] for curve in curves}
    colours: dict[str, str] = {}
    for trial in dict.fromkeys(order):
        own = palette.colour(architecture[trial])
        free = [colour for colour in SERIES if colour not in colours.values()]
        colours[trial] = own if own in free or not free else free[0]
    return colours


def tracks(item: ShownUtterance) -> tuple[dict[str, list[float]], int]:
    """Where the tracks lie that an utterance has: axis to its part of the height, and pixels."""
    wanted = [
        ("yaxis3", 92 if item.record["words"] or item.record["phones"] else 0),
        ("yaxis", 190 if item.record["spectrogram"] is not None else 0),
        ("yaxis2", 175 if item.curves else 0),
        ("yaxis4", 18 * len(item.classes) if item.tracks else 0),
    ]
    present = [(axis, pixels) for axis, pixels in wanted if pixels] or [("yaxis", 40)]
    whole = sum(pixels for _, pixels in present) + _GAP * (len(present) - 1)
    domains, low = {}, 0.0
    for axis, pixels in present:
        domains[axis] = [round(low / whole, 4), round((low + pixels) / whole, 4)]
        low += pixels + _GAP
    return domains, whole


def _panel(item: ShownUtterance, visible: Sequence[str], colours: Mapping[str, str]) -> Panel:
    record, (domains, pixels) = item.record, tracks(item)
    words, phones, sound = record["words"], record["phones"], record["audio"]
    shapes = [
        charts.rectangle((start, end), (1.05, 1.95), "y3", filled=False) for _, start, end in words
    ]
    shapes += [
        charts.rectangle((start, end), (0.05, 0.95), "y3", filled=kind == "vowel")
        for _, start, end, kind in phones
    ]
    traces = [_curve(item, curve, colours) for curve in item.curves if curve.trial in visible]
    stored, cells, ticks = record["spectrogram"], item.spectrogram, []
    if stored is not None and cells is not None:
        traces.insert(0, charts.picture(cells.tolist(), stored["start"], stored["shift"]))
        ticks = stored["ticks"]
    for height, size, spans in ((1.5, 12, words), (0.5, 10, phones)):
        if spans:
            middles = [(start + end) / 2 for _, start, end, *_ in spans]
            traces.append(charts.words(middles, height, [span[0] for span in spans], "y3", size))
    more: Spec = {}
    if "yaxis2" in domains:
        top = max([2.0, *(value for c in item.curves for value in c.record["times_even"])])
        more["yaxis2"] = charts.axis(
            "× even",
            domain=domains["yaxis2"],
            range=[0, 1.05 * top],
            nticks=5,
        )
        shapes.append(charts.horizontal(1, "y2"))
    if "yaxis4" in domains:
        traces.append(_posteriors(item.tracks[0].record))
        more["yaxis4"] = charts.axis(
            "", [short(name, 9) for name in item.classes], domain=domains["yaxis4"], **charts.BARE
        )
    if "yaxis3" in domains:
        names: Spec = {"tickvals": [0.5, 1.5], "ticktext": ["phones", "words"]}
        more["yaxis3"] = charts.axis(domain=domains["yaxis3"], range=[0, 2], **names, **charts.BARE)
    return charts.panel(
        traces,
        charts.axis("seconds", range=[0, record["shown"]], **charts.BARE),
        charts.axis(
            domain=domains.get("yaxis", [0, 0.001]),
            tickvals=[band for _, band in ticks],
            ticktext=[f"{hertz / 1000:g} kHz" for hertz, _ in ticks],
            **charts.BARE,
        ),
        title=_title(item),
        shapes=shapes,
        min_width=min(1600, round(max(620.0, 210 * record["shown"]))),
        height=pixels + 20 * -(-len(item.curves) // 3) + 60,
        audio="" if sound is None else f"data:{sound['mime']};base64,{sound['base64']}",
        **more,
    )


def _posteriors(found: TrackRecord) -> Spec:
    """A row an emotion, darker the higher its posterior."""
    cells = charts.picture(found["posteriors"], found["start"], found["shift"])
    return {**cells, "yaxis": "y4", "zmin": 0, "zmax": 1}


def _title(item: ShownUtterance) -> str:
    """What was said, how, and what it was taken for."""
    record, truth = item.record, item.record["truth"]
    said = f"“{short(record['text'], 60)}”, " if record["text"] else ""
    title = f"{record['utterance_id']}: {said}spoken {truth}"
    if not item.predictions:
        return title
    if len(item.predictions) == 1:
        _, found, confidence = item.predictions[0]
        return f"{title}, recognised as {found} ({percent(confidence, 0)} %)"
    right = sum(found == truth for _, found, _ in item.predictions)
    wrong = sorted({found for _, found, _ in item.predictions} - {truth})
    took = f"; other answers: {listing(wrong)}" if wrong else ""
    return f"{title}, recognised by {right} of {len(item.predictions)} models{took}"


def _curve(item: ShownUtterance, curve: ShownCurve, colours: Mapping[str, str]) -> Spec:
    record, words = curve.record, item.record["words"]
    place = [c for c in item.curves if c.trial == curve.trial].index(curve)
    starts, values = list(record["starts"]), list(record["times_even"])
    if record["kind"] == "words" and starts:  # the last word lasts to the end of the words
        starts.append(max([words[-1][2] if words else item.record["shown"], starts[-1]]))
        values.append(values[-1])
    return charts.line(
        f"{curve.trial} {record['map']}",
        starts,
        values,
        {
            "color": colours[curve.trial],
            "dash": DASHES[place % len(DASHES)],
            "width": 1.8,
            "shape": "hv" if record["kind"] == "words" else "linear",
        },
        hover="%{x:.2f} s: %{y:.2f} × even",
        yaxis="y2",
    )
