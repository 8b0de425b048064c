"""Numbers as a reviewer writes them: percentages, intervals, p-values, durations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from serplatform.metrics import COUNT_METRICS, HIGHER_IS_BETTER
from serplatform.statistics.intervals import Interval


class MetricText(NamedTuple):
    """What the page calls a metric, and how it defines it."""

    title: str
    definition: str


_DEFINITIONS = {
    "uar": (
        "UAR",
        "Unweighted average recall: the mean over classes of the share of the class's "
        "utterances that were recognised. Chance is 1/K.",
    ),
    "accuracy": ("Accuracy", "Share of all utterances whose class was recognised."),
    "macro_f1": (
        "Macro F1",
        "Mean over classes of the harmonic mean of precision and recall.",
    ),
    "ova_accuracy": (
        "One-against-rest accuracy",
        "Mean over classes of (TP + TN) / (P + N), each class against the rest. True negatives "
        "raise it: for K classes it is 1 − 2(1 − accuracy)/K. Some papers print it as “UA”.",
    ),
    "ova_balanced_accuracy": (
        "One-against-rest balanced accuracy",
        "Mean over classes of ½(TP/P + TN/N), each class against the rest. Some papers print "
        "it as “WA”.",
    ),
    "nll": ("Negative log-likelihood", "Mean of −ln p(true class), in nats"),
    "brier": (
        "Brier score",
        "Mean squared distance between the posterior and the true class's unit vector, summed "
        "over classes",
    ),
    "ece": (
        "Calibration error (ECE)",
        "Expected calibration error: mean distance between confidence and accuracy over "
        "confidence bins, weighted by the bins' share of utterances",
    ),
}
METRICS = {
    name: MetricText(title, text if HIGHER_IS_BETTER[name] else f"{text}; lower is better.")
    for name, (title, text) in _DEFINITIONS.items()
}


def in_percent(metric: str) -> bool:
    """Whether a metric is shown in percent; one not known is."""
    return metric in COUNT_METRICS or metric not in METRICS


def metric_title(name: str) -> str:
    """A metric's title with its unit.

    Example:
        >>> metric_title("uar"), metric_title("brier")
        ('UAR (%)', 'Brier score')
    """
    return f"{METRICS[name].title} (%)" if in_percent(name) else METRICS[name].title


def percent(value: float | None, digits: int = 1) -> str:
    """A proportion as a percentage, without the sign.

    Example:
        >>> percent(0.61249), percent(None), percent(float("nan"))
        ('61.2', '–', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.{digits}f}"


def percent_0(value: float | None) -> str:
    """A proportion as a whole percentage, without the sign."""
    return percent(value, 0)


def percent_sign(value: float | None) -> str:
    """A proportion as a percentage with its sign, to one decimal."""
    return f"{percent(value)} %"


def decimal(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits; a dash where there is none.

    Example:
        >>> decimal(1.23456), decimal(None), decimal(-0.5)
        ('1.235', '–', '\u22120.500')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def decimal_2(value: float | None) -> str:
    """A number with two digits behind the point; a dash where there is none."""
    return decimal(value, 2)


def whole(value: float | None) -> str:
    """A number without decimals, its thousands apart; a dash where there is none.

    Example:
        >>> whole(1234567.8), whole(None)
        ('1,234,568', '–')
    """
    return "–" if value is None else f"{value:,.0f}"


def points(value: float) -> str:
    """A difference of proportions in percentage points, with its sign.

    Example:
        >>> points(0.0321), points(-0.004), points(-0.0004)
        ('+3.2', '\u22120.4', '0.0')
    """
    shown = round(100 * value, 1)
    return f"{shown:+.1f}".replace("-", "−") if shown else "0.0"


def metric(name: str, value: float | None) -> str:
    """A metric's value in its usual unit.

    Example:
        >>> metric("uar", 0.5), metric("nll", 0.5)
        ('50.0', '0.500')
    """
    return percent(value) if in_percent(name) else decimal(value)


def interval(name: str, found: Interval) -> str:
    """A metric's interval in its usual unit, or a dash.

    Example:
        >>> interval("uar", Interval(value=0.6, low=0.55, high=0.652))
        '55.0 to 65.2'
    """
    if found.low is None or found.high is None:
        return "–"
    return f"{metric(name, found.low)} to {metric(name, found.high)}"


def short(name: str, limit: int = 28) -> str:
    """A name for an axis, cut where it is too long.

    Example:
        >>> short("surprised"), short("a" * 40, limit=8)
        ('surprised', 'aaaaaaa…')
    """
    return name if len(name) <= limit else name[: limit - 1] + "…"


def p_value(p: float) -> str:
    """``p = .013``, or ``p < .001``.

    Example:
        >>> p_value(0.0131), p_value(0.0002), p_value(1.0)
        ('p = .013', 'p < .001', 'p = 1.000')
    """
    if p < 0.001:
        return "p < .001"
    return f"p = {p:.3f}".replace("= 0.", "= .")


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(0.42), duration(75), duration(7300)
        ('0.4 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def listing(names: Sequence[str], last: str = "and") -> str:
    """Names with commas.

    Example:
        >>> listing(["a"]), listing(["a", "b"]), listing(["a", "b", "c"])
        ('a', 'a and b', 'a, b and c')
    """
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def plural(count: int, noun: str, many: str | None = None) -> str:
    """A count with its noun.

    Example:
        >>> plural(1, "class", "classes"), plural(1500, "trial")
        ('1 class', '1,500 trials')
    """
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def yes_no(value: bool) -> str:
    """``yes`` or ``no``."""
    return "yes" if value else "no"


def state_name(state: str) -> str:
    """What the page calls a trial's state."""
    return "finished" if state == "complete" else state
