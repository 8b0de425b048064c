"""Dev UAR over the parameters most associated with it, and of CSA over its context length."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.report import charts
from serplatform.report.data import NoDataError, ReportData
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette, Panel
from serplatform.report.parameters import value_text, varied_parameters
from serplatform.report.wording import percent, percent_0, plural, short

MIN_TRIALS = 8
MAX_PANELS = 8
#: Parameters with at most this many values get a box for each.
FEW_VALUES = 8
#: Named in the papers, so shown whenever they were varied: a part of the name is enough.
ALWAYS = ("gamma", "alpha", "lambda", "num_blocks", "mixture_layers", "weight")
#: Trials that are enough for these.
MIN_NAMED = 3
CONTEXT_PARAMETER = "model.context_frames"
#: Paper's setting, for trials that do not say: Jalal et al., Interspeech 2020, Table 1 (best C).
PAPER_CONTEXT = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effect:
    """One parameter: trials (name, architecture, value, dev UAR), and how much it tells.

    ``explained``: share of dev UAR's variance between groups of its values (levels, or five groups
    of equal size), less each architecture's mean, corrected for the number of groups (ω²).
    """

    parameter: str
    kind: str
    points: tuple[tuple[str, str, Any, float], ...]
    explained: float


def omega_squared(groups: list[DoubleArray]) -> float:
    """Hays' ω² for a one-way layout: variance between groups less what chance alone would give."""
    values = np.concatenate(groups)
    between = sum(len(g) * (g.mean() - values.mean()) ** 2 for g in groups)
    within = sum(float(np.square(g - g.mean()).sum()) for g in groups)
    free = len(values) - len(groups)
    if free < 1 or between + within == 0:
        return 0.0
    error = within / free
    return max(0.0, float((between - (len(groups) - 1) * error) / (between + within + error)))


@FIGURES.register("parameter_effects")
class ParameterEffects(Figure[tuple[Effect, ...]]):
    title = "Dev UAR by parameter"
    section = "search"
    after = "parameter_importance"

    def compute(self, report: ReportData) -> tuple[Effect, ...]:
        trials = list(report.finished)
        too_few = f"{plural(len(trials), 'trial')} finished; at least {MIN_TRIALS} are needed"
        if len(trials) < MIN_NAMED:
            raise NoDataError(too_few)
        values = np.array([t.objective for t in trials], dtype=np.float64)
        names = [t.architecture for t in trials]
        centred = values - np.array(
            [values[[n == name for n in names]].mean() for name in names], dtype=np.float64
        )
        effects = []
        for parameter in varied_parameters(trials):
            has = np.isfinite(parameter.codes)
            codes, target = parameter.codes[has], centred[has]
            if len(codes) < (MIN_NAMED if _named(parameter.name) else MIN_TRIALS):
                continue
            if parameter.kind != "category" and len(np.unique(codes)) > 5:
                cuts = np.quantile(codes, [0.2, 0.4, 0.6, 0.8])
                codes = np.searchsorted(cuts, codes, side="left").astype(np.float64)
            groups = [target[codes == c] for c in np.unique(codes)]
            effects.append(
                Effect(
                    parameter=parameter.name,
                    kind=parameter.kind,
                    points=tuple(
                        (trials[i].name, names[i], parameter.values[i], float(values[i]))
                        for i in np.flatnonzero(has)
                    ),
                    explained=omega_squared(groups) if len(groups) > 1 else 0.0,
                )
            )
        if not effects:
            if len(trials) < MIN_TRIALS:
                raise NoDataError(too_few)
            raise NoDataError(f"no parameter was varied over at least {MIN_TRIALS} finished trials")
        effects.sort(key=lambda e: (not _named(e.parameter), -e.explained))
        return tuple(sorted(effects[:MAX_PANELS], key=lambda e: -e.explained))

    def draw(self, data: tuple[Effect, ...], palette: Palette) -> Drawing:
        top = next((e for e in data if len(e.points) >= MIN_TRIALS and e.explained > 0), None)
        return Drawing(
            summary=(
                f"{top.parameter} is most associated with dev UAR: groups of its values explain "
                f"{percent(top.explained, 0)} % of the variance left after each architecture's "
                "mean."
                if top is not None
                else "No parameter is seen to go with dev UAR more than chance would have it."
            ),
            panels=[_panel(effect, palette) for effect in data],
            tables=[
                charts.table(
                    "Share of variance by parameter (ω²)",
                    {"parameter": None, "variance explained (%)": percent_0, "trials": None},
                    [[e.parameter, e.explained, len(e.points)] for e in data],
                ),
                charts.table(
                    "Trials by parameter",
                    ["parameter", "trial", "value", "dev UAR"],
                    [
                        [e.parameter, name, value_text(value), uar]
                        for e in data
                        for name, _, value, uar in e.points
                    ],
                ),
            ],
            note=(
                "One parameter at a time over trials in which the others vary too: not a cause. "
                f"Of {MIN_TRIALS} trials or more, but for weights that the papers name (γ, α, λ), "
                f"which are shown from {MIN_NAMED} on."
            ),
        )


def _named(parameter: str) -> bool:
    return any(part in parameter for part in ALWAYS)


def _panel(effect: Effect, palette: Palette) -> Panel:
    """Boxes by value where the parameter repeats few values, a cloud of points otherwise."""
    values = [point[2] for point in effect.points]
    distinct = {value_text(v): v for v in values}
    repeated = len(distinct) <= FEW_VALUES and len(values) >= 2 * len(distinct)
    as_boxes = effect.kind == "category" or repeated
    traces = []
    for name in palette.architectures:
        group = [point for point in effect.points if point[1] == name]
        if not group:
            continue
        hover = "%{text}<br>%{x}: %{y:.1f} %"
        y, texts = [100 * p[3] for p in group], [p[0] for p in group]
        marker = palette.marker(name, 4 if as_boxes else 5, opacity=0.75)
        if as_boxes:
            x = [value_text(p[2]) for p in group]
            traces.append(charts.boxes(name, x, y, marker, texts, hover))
        else:
            x = [p[2] for p in group]
            traces.append(charts.points(name, x, y, marker, texts=texts, hover=hover))
    if as_boxes:
        order = sorted(distinct, key=lambda t: t if effect.kind == "category" else distinct[t])
        axis = charts.axis(
            type="category",
            categoryarray=order,
            tickvals=order,
            ticktext=[short(text) for text in order],
        )
    elif effect.kind == "log":
        axis = charts.axis(type="log")
    else:
        axis = charts.axis()
    return charts.panel(
        traces,
        axis,
        "dev UAR (%)",
        title=effect.parameter,
        boxmode="group",
        legend=len(traces) > 1,
        height=280,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContextPoint:
    """All finished CSA trials of one chunk length: their count, best and mean dev UAR."""

    frames: int
    trials: int
    best: float
    mean: float


@FIGURES.register("context_length")
class ContextLength(Figure[tuple[ContextPoint, ...]]):
    title = "CSA by context length"
    section = "search"
    after = "parameter_effects"

    def compute(self, report: ReportData) -> tuple[ContextPoint, ...]:
        trials = report.finished_by_architecture().get("csa", [])
        if not trials:
            raise NoDataError("no finished trial of csa")
        values: dict[int, list[float]] = {}
        for trial in trials:
            given = trial.params.get(CONTEXT_PARAMETER, PAPER_CONTEXT if trial.paper else None)
            if given is not None:
                values.setdefault(int(given), []).append(trial.objective or 0.0)
        if len(values) < 2:
            raise NoDataError("finished csa trials do not vary the context length")
        return tuple(
            ContextPoint(frames=f, trials=len(v), best=max(v), mean=sum(v) / len(v))
            for f, v in sorted(values.items())
        )

    def draw(self, data: tuple[ContextPoint, ...], palette: Palette) -> Drawing:
        best = max(data, key=lambda p: p.best)
        frames = [p.frames for p in data]
        plot = charts.panel(
            [
                charts.line(
                    "best trial",
                    frames,
                    [100 * p.best for p in data],
                    {"color": "@series-1"},
                    marker=charts.marker(None, "circle", 8),
                ),
                charts.line(
                    "mean of trials",
                    frames,
                    [100 * p.mean for p in data],
                    {"color": "@series-2", "dash": "dot"},
                    marker=charts.marker(None, "square-open", 8),
                ),
            ],
            charts.axis("context length (frames)", tickvals=frames),
            "dev UAR (%)",
        )
        table = charts.table(
            "Finished CSA trials by context length",
            ["context (frames)", "trials", "best dev UAR", "mean dev UAR"],
            [[p.frames, p.trials, p.best, p.mean] for p in data],
        )
        return Drawing(
            summary=(
                f"Best dev UAR by context length, {frames[0]} to {frames[-1]} frames: highest at "
                f"{best.frames} frames with {percent(best.best)} %."
            ),
            panels=[plot],
            tables=[table],
            note=(
                "The best of more trials is higher by chance alone: compare lengths by the mean "
                "where the counts differ."
            ),
        )
