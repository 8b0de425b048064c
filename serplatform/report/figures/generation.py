"""What models that predict their input expected, and the classes that they give before the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from serplatform.artifacts.explanations import GeneratedRecord
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData, grouped
from serplatform.report.explanations import Explanations, find_explanations
from serplatform.report.figures.base import (
    FIGURES,
    SERIES,
    SYMBOLS,
    Drawing,
    Figure,
    Palette,
    Panel,
    Spec,
)
from serplatform.report.over_time import (
    ErrorAt,
    GenerationError,
    Heard,
    Row,
    errors_by_element,
    errors_by_window,
    generation_error,
    heard_curve,
)
from serplatform.report.wording import decimal, decimal_2, percent, plural, short

ALL = "all"
#: standard deviations at which the colours of frames end
_WIDEST = 2.5
#: windows after which errors by window are not drawn
_MOST_WINDOWS = 60
_RATIOS = ("the window before", "the training mean")


def _rows(report: ReportData, name: str) -> Iterator[tuple[str, str, list[Row]]]:
    """Each explained trial with rows in a table: what the page calls it, architecture, rows."""
    for explained in find_explanations(report):
        if f"{name}.parquet" in explained.info["files"]:  # else of an earlier version
            rows = explained.table(name).to_pylist()
            for trial, own in grouped(rows, lambda row: row["trial"]).items():
                architecture = own[0]["architecture"]
                yield explained.name(trial, architecture), architecture, own


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialErrors:
    """Prediction errors of one trial, which the page calls ``trial``.

    ``sampled`` has a row for each emotion: shares of the windows in which an element is sampled.
    """

    trial: str
    emotions: dict[str, GenerationError]
    windows: tuple[ErrorAt, ...]
    elements: tuple[ErrorAt, ...]
    sampled: dict[str, tuple[float, ...]]


@FIGURES.register("generation_error")
class GenerationErrorFigure(Figure[tuple[TrialErrors, ...]]):
    title = "How well the next window is predicted"
    section = "explanations"
    printed = False
    after = "attention_similarity"
    needs = (Need.EXPLANATIONS,)

    def compute(self, report: ReportData) -> tuple[TrialErrors, ...]:
        found = []
        for trial, _, rows in _rows(report, "generation"):
            groups = grouped(rows, lambda row: row["truth"])
            spoken = {name: groups[name] for name in report.classes if name in groups}
            found.append(
                TrialErrors(
                    trial=trial,
                    emotions={n: generation_error(g) for n, g in {**spoken, ALL: rows}.items()},
                    windows=tuple(errors_by_window(rows)[:_MOST_WINDOWS]),
                    elements=tuple(errors_by_element(rows)),
                    sampled={
                        name: tuple(place.sampled for place in errors_by_element(group))
                        for name, group in spoken.items()
                    },
                )
            )
        if not found:
            raise NoDataError("no trial that predicts its input (vrnn) was explained")
        return tuple(found)

    def draw(self, data: tuple[TrialErrors, ...], palette: Palette) -> Drawing:
        ratios = ("over the window before", "over the training mean")
        columns = [f"{name}{end}" for name in ratios for end in ("", ": low", ": high")]
        return Drawing(
            summary=" ".join(map(_errors_in_words, data)),
            panels=[panel for item in data for panel in _error_panels(item, len(data) > 1)],
            tables=[
                charts.table(
                    "Squared prediction error by emotion, over that of trivial predictions",
                    {
                        **dict.fromkeys(("trial", "emotion", "utterances", "windows")),
                        "squared error": decimal,
                        **dict.fromkeys(columns, decimal),
                        **dict.fromkeys(("nats an element", "of the training mean"), decimal),
                    },
                    [
                        [
                            *(item.trial, n, e.utterances, e.windows, e.mean_squared_error.value),
                            *(*e.to_previous.ends(), *e.to_mean.ends(), e.nll.value, e.nll_of_mean),
                        ]
                        for item in data
                        for n, e in item.emotions.items()
                    ],
                ),
                *(
                    charts.table(
                        f"The same by {what}",
                        {
                            **dict.fromkeys(("trial", what, "utterances")),
                            **dict.fromkeys(ratios, decimal),
                            "sampled (%)": percent,
                            "root mean squared error, own units": decimal,
                        },
                        [
                            [
                                *(item.trial, e.place, e.utterances, e.to_previous),
                                *(e.to_mean, e.sampled, e.rmse),
                            ]
                            for item in data
                            for e in (item.windows if what == "window" else item.elements)
                        ],
                    )
                    for what in ("window", "element")
                ),
            ],
            note=(
                "The mean squared error of the predicted window, over windows after the first of "
                "the test utterances, divided by that of a prediction that takes no model: the "
                "window before, or the mean of the training rows. 1 is no better than that "
                "prediction. Errors are in standard deviations of the model's input, all elements "
                "alike; intervals are over speakers. Windows of two seconds with half of them in "
                "common, as the paper's, are already much alike. Nats: minus the log-likelihood "
                "of an element, under the model's normal distribution and under that of the "
                "training rows; lower is better. Which elements are sampled when: the share of "
                "windows in which the error reached the window's mean (or was among the k "
                "largest), by element and emotion. Baruah and Banerjee, Interspeech 2022, "
                "Eqs. (2)–(3)."
            ),
        )


def _errors_in_words(item: TrialErrors) -> str:
    found = item.emotions[ALL]
    ratios = (found.to_previous, found.to_mean)
    parts = [
        f"{decimal(r.value, 2)} times that of {name}{r.bounds(decimal_2)}"
        for r, name in zip(ratios, _RATIOS, strict=True)
    ]
    hardest, name = max(zip(ratios, _RATIOS, strict=True), key=lambda pair: pair[0].value)
    if hardest.high is not None and hardest.high < 1:
        verdict = "it predicts better than both"
    elif hardest.low is not None and hardest.low > 1:
        verdict = f"{name} is the better prediction"
    else:
        verdict = "whether it predicts better than both is not certain"
    emotions = {n: e.mean_squared_error.value for n, e in item.emotions.items() if n != ALL}
    worst = max(emotions, key=lambda name: emotions[name])
    return (
        f"{item.trial}: the squared error of a predicted window is {' and '.join(parts)}: "
        f"{verdict}. It is largest in {worst}."
    )


def _error_panels(item: TrialErrors, named: bool) -> Iterator[Panel]:
    title = f"{item.trial}: " if named else ""
    names = list(item.emotions)
    yield charts.panel(
        [
            charts.interval_points(
                f"over that of {label}",
                [getattr(error, field) for error in item.emotions.values()],
                [row + charts.row_offset(place, 2) for row in range(len(names))],
                charts.nth_marker(place, 10),
                texts=names,
                hover="%{text}: %{x:.2f}",
                scale=1.0,
            )
            for place, (label, field) in enumerate(
                zip(_RATIOS, ("to_previous", "to_mean"), strict=True)
            )
        ],
        charts.axis("squared error over a trivial one, 95 % interval", rangemode="tozero"),
        charts.rows_axis(names),
        shapes=[charts.vertical(1)],
        title=f"{title}by emotion",
        height=150 + 34 * len(names),
    )
    for what, places in (("window", item.windows), ("element", item.elements)):
        yield charts.panel(
            [
                charts.line(
                    label,
                    [e.place for e in places],
                    [getattr(e, field) for e in places],
                    {"color": SERIES[place], "dash": dash},
                    marker=charts.marker(None, SYMBOLS[place], 6),
                    hover="%{x}: %{y:.2f}",
                )
                for place, (label, field, dash) in enumerate(
                    (
                        (f"over that of {_RATIOS[0]}", "to_previous", "solid"),
                        (f"over that of {_RATIOS[1]}", "to_mean", "solid"),
                        ("share sampled", "sampled", "dot"),
                    )
                )
            ],
            charts.axis(what, dtick=max(1, len(places) // 10)),
            charts.axis("error over a trivial one; share", rangemode="tozero"),
            shapes=[charts.horizontal(1)],
            title=f"{title}by {what}",
        )
    values = [list(row) for row in item.sampled.values()]
    yield charts.heat_map(
        values,
        [["" for _ in row] for row in values],
        rows=list(item.sampled),
        columns=[str(e.place) if e.place % 5 == 0 else "" for e in item.elements],
        low=min(map(min, values)),
        high=max(map(max, values)),
        height=120 + 26 * len(values),
        title=f"{title}share of windows in which an element is sampled (dark: often)",
        x="element",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShownInput:
    """An utterance as one trial expected it."""

    utterance: str
    truth: str
    trial: str
    record: GeneratedRecord


@FIGURES.register("generated_input")
class GeneratedInputFigure(Figure[tuple[ShownInput, ...]]):
    title = "The input and its prediction"
    section = "explanations"
    printed = False
    after = "generation_error"
    needs = (Need.EXPLANATIONS,)

    def compute(self, report: ReportData) -> tuple[ShownInput, ...]:
        found = tuple(item for e in find_explanations(report) for item in _shown_inputs(e))
        if not found:
            raise NoDataError("no utterance is shown of a trial that predicts its input (vrnn)")
        return found

    def draw(self, data: tuple[ShownInput, ...], palette: Palette) -> Drawing:
        return Drawing(
            summary=(
                f"{plural(len({item.utterance for item in data}), 'test utterance')}: the windows "
                "as they were, as they were expected one window ahead, and which of their "
                "elements the model then observed."
            ),
            panels=[panel for item in data for panel in (_maps(item), _last_window(item))],
            tables=[
                charts.table(
                    "True and predicted windows, in standard deviations of the model's input",
                    {
                        **dict.fromkeys(("utterance", "trial", "window", "element")),
                        **dict.fromkeys(("true", "predicted", "deviation"), decimal),
                        "sampled": None,
                    },
                    [
                        [item.utterance, item.trial, t + 2, d + 1, *values]
                        for item in data
                        for t, columns in enumerate(
                            zip(
                                item.record["frames"][1:],
                                *(item.record[n] for n in ("predicted", "deviation", "sampled")),
                                strict=True,
                            )
                        )
                        for d, values in enumerate(zip(*columns, strict=True))
                    ],
                )
            ],
            note=(
                "Left, from above: the true windows, the predicted ones (none of the first, which "
                "nothing precedes), and what the model observed: a dark cell is an element that "
                "was sampled, the others were filled in with the prediction. Right: the last "
                "window shown, with one standard deviation of the prediction as the model states "
                f"it. In standard deviations of the model's input, colours from −{_WIDEST} to "
                f"{_WIDEST}. The first 64 windows at most."
            ),
        )


def _shown_inputs(explained: Explanations) -> Iterator[ShownInput]:
    for entry in explained.utterances():
        for record in entry.get("generated", []):
            yield ShownInput(
                utterance=entry["utterance_id"],
                truth=entry["truth"],
                trial=explained.name(record["trial"], record["architecture"]),
                record=record,
            )


def _maps(item: ShownInput) -> Panel:
    record = item.record
    centres, dim = record["centres"], len(record["frames"][0])
    empty: list[float | None] = [None] * dim
    tracks: tuple[tuple[str, str, list[Sequence[float | None]], float, float], ...] = (
        ("y3", "true", list(record["frames"]), -_WIDEST, _WIDEST),
        ("y2", "predicted", [empty, *record["predicted"]], -_WIDEST, _WIDEST),
        ("y", "observed", [[1.0] * dim, *record["sampled"]], 0.0, 1.0),
    )
    traces: list[Spec] = [
        {
            "type": "heatmap",
            "z": [list(row) for row in zip(*columns, strict=True)],
            "x": centres,
            "y": list(range(1, dim + 1)),
            "yaxis": axis,
            "zmin": low,
            "zmax": high,
        }
        for axis, _, columns, low, high in tracks
    ]
    domains = {"y": [0, 0.31], "y2": [0.345, 0.655], "y3": [0.69, 1]}
    below, middle, above = (
        charts.axis(name, domain=domains[axis], nticks=4, **charts.BARE)
        for axis, name, *_ in reversed(tracks)
    )
    return charts.panel(
        traces,
        charts.axis("seconds, middle of the window", **charts.BARE),
        below,
        title=f"{short(item.utterance)}, {item.truth}, {item.trial}",
        height=430,
        yaxis2=middle,
        yaxis3=above,
    )


def _last_window(item: ShownInput) -> Panel:
    record = item.record
    true, predicted = record["frames"][-1], record["predicted"][-1]
    deviation, sampled = record["deviation"][-1], record["sampled"][-1]
    places = list(range(1, len(true) + 1))
    # around the prediction and back, as one outline
    edge = [p + d for p, d in zip(predicted, deviation, strict=True)]
    edge += [p - d for p, d in zip(predicted[::-1], deviation[::-1], strict=True)]
    chosen = [n for n, s in zip(places, sampled, strict=True) if s]
    return charts.panel(
        [
            charts.line(
                "± one standard deviation",
                places + places[::-1],
                edge,
                {"width": 0, "color": SERIES[1]},
                fill="toself",
                opacity=0.25,
            ),
            charts.line("predicted", places, predicted, {"color": SERIES[1], "dash": "dash"}),
            charts.line("true", places, true, {"color": "@ink"}),
            charts.points(
                "sampled",
                chosen,
                [true[n - 1] for n in chosen],
                charts.marker(SERIES[0], "circle", 7),
            ),
        ],
        charts.axis("element", **charts.BARE),
        charts.axis("standard deviations"),
        title=f"{short(item.utterance)}: window {len(record['frames'])}",
        height=430,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeardCurve:
    """One trial, which the page calls ``trial``."""

    trial: str
    architecture: str
    utterances: int
    points: tuple[Heard, ...]


@FIGURES.register("class_over_time")
class ClassOverTime(Figure[tuple[HeardCurve, ...]]):
    title = "Recognition before the end of an utterance"
    section = "explanations"
    after = "generated_input"
    needs = (Need.EXPLANATIONS,)

    def compute(self, report: ReportData) -> tuple[HeardCurve, ...]:
        found = tuple(
            HeardCurve(
                trial=trial,
                architecture=architecture,
                utterances=len(rows),
                points=tuple(heard_curve(rows, report.classes)),
            )
            for trial, architecture, rows in _rows(report, "framewise")
        )
        if not found:
            raise NoDataError(
                "no trial with a class at every instant (vrnn) was explained; `serplatform explain "
                "RUN` asks one, which is a look at the test rows"
            )
        return found

    def draw(self, data: tuple[HeardCurve, ...], palette: Palette) -> Drawing:
        traces, sentences = [], []
        for item in data:
            shares = [100 * p.share for p in item.points]
            colour, uars = palette.colour(item.architecture), [p.uar for p in item.points]
            reach = {
                side: [100 * abs(u.value - (u.value if end is None else end)) for u, end in ends]
                for side, ends in (
                    ("array", [(u, u.high) for u in uars]),
                    ("arrayminus", [(u, u.low) for u in uars]),
                )
            }
            traces += [
                charts.line(
                    f"{item.trial}: UAR",
                    shares,
                    charts.percents(u.value for u in uars),
                    {"color": colour},
                    marker=charts.marker(None, palette.symbol(item.architecture), 7),
                    hover="%{x:.0f} % heard: %{y:.1f} %",
                    error_y={"color": colour, **reach},
                ),
                charts.line(
                    f"{item.trial}: have a class",
                    shares,
                    charts.percents(p.answered for p in item.points),
                    {"color": colour, "dash": "dot", "shape": "hv"},
                    hover="%{x:.0f} % heard: %{y:.1f} %",
                ),
            ]
            last = item.points[-1].uar
            enough = next(p for p in item.points if p.uar.value >= 0.9 * last.value)
            sentences.append(
                f"{item.trial} reaches a UAR of {last.in_percent()} at the end of "
                f"{plural(item.utterances, 'test utterance')}, and nine tenths of that when "
                f"{percent(enough.share, 0)} % of each is heard."
            )
        return Drawing(
            summary=" ".join(sentences),
            panels=[
                charts.panel(
                    traces,
                    charts.axis("share of the utterance heard (%)", range=[0, 103]),
                    charts.axis("%", rangemode="tozero"),
                )
            ],
            tables=[
                charts.table(
                    "UAR and accuracy by the share heard (%)",
                    dict.fromkeys(
                        ("heard", "have a class", "accuracy", "UAR", "low", "high"), percent
                    )
                    | {"trial": None},
                    [
                        [p.share, p.answered, p.accuracy, *p.uar.ends(), item.trial]
                        for item in data
                        for p in item.points
                    ],
                )
            ],
            note=(
                "The class at each instant rests on what was heard so far: at every share of an "
                "utterance's time, that of the last window that is over by then. Before the first "
                "window is over there is no class, which counts as wrong. On the test rows of the "
                "explained trials, whose posteriors at the end are those on record: counted as "
                "a look, and nothing is chosen by it. Normalisation may have seen whole "
                "utterances. Intervals are over speakers. Baruah and Banerjee, Interspeech 2022, "
                "Algorithm 1, line 6."
            ),
        )
