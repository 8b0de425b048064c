"""An evaluation as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from serplatform.artifacts.evaluation import LEFT_OUT, READ_AS, SHOWN, FairnessRecord
from serplatform.console import percent
from serplatform.evaluation.evaluate import EvaluationResult
from serplatform.evaluation.measures import Measured
from serplatform.evaluation.record import differences, found_fairness
from serplatform.report.systems import read_interval
from serplatform.report.wording import p_value
from serplatform.statistics.chance import exceeds_chance, place_of_chance
from serplatform.statistics.intervals import LOSSES, Interval

_MOST_SPEAKERS = 30


def _fairness_lines(found: FairnessRecord) -> Iterator[str]:
    kind, gap = found["kind"], found["gap"]
    yield ""
    if kind == "gender":
        yield from table(
            ["gender", "class", "utterances", "recall"],
            [
                [r["group"], r["emotion"], r["utterances"], read_interval(r["recall"]).in_percent()]
                for r in found["recalls"]
            ],
        )
    if gap is None:
        yield f"No gap by {kind}: fewer than two can be compared in a class."
        return
    yield (
        f"Largest gap by {kind}: {gap['emotion']}, {gap['best']} against {gap['worst']}, "
        f"{100 * gap['value']:.1f} points of recall, p = {gap['p_value']:.4f} (permutations"
        + (" of whole speakers)" if kind == "gender" else " within classes)")
    )


def text(result: EvaluationResult) -> str:
    """The result in words and tables, the labels first and the number at the end of each table."""
    return "\n".join(_lines(result))


def _lines(result: EvaluationResult) -> Iterator[str]:
    main = result.measured[0]
    readings = result.measured if result.lacking else result.measured[:1]
    yield f"{result.system.title} on {result.dataset.meta['title']} ({result.request.data})"
    yield ""
    yield from table(
        ["theirs", "ours", "utterances"],
        [
            [row["theirs"], row["ours"] or "— (left out)", row["utterances"]]
            for row in result.labels
        ],
    )
    if result.lacking:
        yield f"The data has no {', '.join(result.lacking)}."
    for reason, number in result.left_out.items():
        yield f"Left out: {number} {LEFT_OUT[reason]}."
    yield f"In the numbers: {len(result.rows)} utterances of {len(set(main.speakers))} speakers."
    for note in result.notes:
        yield f"Note: {note}"
    yield ""
    yield from table(
        ["", *(f"{one.reading} classes" for one in readings)],
        [
            *([name, *(cell(name, m.metrics[name]) for m in readings)] for name in SHOWN),
            ["chance UAR", *(percent(one.chance) for one in readings)],
        ],
    )
    for one in readings if result.lacking else ():
        yield f"{one.reading}: {READ_AS[one.reading]}."
    yield "Intervals: 95 %, over speakers; the ECE, which chance raises, has none."
    yield ""
    yield from table(
        ["class", "utterances", "recall"],
        [[name, number, found.in_percent()] for name, (number, found) in main.recalls.items()],
    )
    yield ""
    yield from table(
        ["spoken \\ recognised", *main.classes],
        [
            [name, *main.confusion[k].tolist()]
            for k, name in enumerate(main.classes)
            if main.confusion[k].any()
        ],
    )
    for title, names in (("gender", result.genders), ("speaker", main.speakers)):
        groups = list(main.groups(names))
        if len(groups) < 2:
            continue
        yield ""
        yield from table(
            [title, "speakers", "utterances", "UAR", "accuracy"],
            [
                [
                    *(g["name"], g["speakers"], g["utterances"]),
                    *(read_interval(g[name]).in_percent() for name in ("uar", "accuracy")),
                ]
                for g in groups[:_MOST_SPEAKERS]
            ],
        )
        if len(groups) > _MOST_SPEAKERS:
            yield f"… and {len(groups) - _MOST_SPEAKERS} more, in the file of --out."
        if title == "gender":
            for first, second, found in differences(main, names, groups):
                yield f"{first} − {second}: UAR {points(found)}"
    for compared in found_fairness(result):
        yield from _fairness_lines(compared)
    if result.robustness:
        yield ""
        yield from table(
            ["condition", "UAR", "against the recordings as they are"],
            [
                [
                    o["condition"],
                    read_interval(o["uar"]).in_percent(),
                    points(read_interval(o["difference_to_clean"])),
                ]
                for o in result.robustness
            ],
        )
    yield ""
    yield verdict(main)


def verdict(measured: Measured) -> str:
    """The number, and whether it is above chance."""
    uar = measured.metrics["uar"]
    if exceeds_chance(uar, measured.chance):
        where = "above"
    else:
        where = f"not above: the interval {place_of_chance(uar, measured.chance)}"
    return (
        f"UAR {uar.in_percent()} ({measured.reading} classes), {where} chance, "
        f"{percent(measured.chance)}."
    )


def cell(metric: str, found: Interval) -> str:
    """A metric with its interval; losses are no shares.

    Example:
        >>> cell("nll", Interval(value=1.25, low=1.0, high=1.5))
        '1.250 (1.000–1.500)'
    """
    if metric not in LOSSES:
        return found.in_percent()
    return f"{found.value:.3f}{found.bounds('{:.3f}'.format)}"


def points(found: Interval) -> str:
    """A difference of shares, in percentage points.

    Example:
        >>> points(Interval(value=-0.04, low=-0.1, high=0.02, p_value=0.183))
        '-4.0 points (-10.0 to +2.0), p = .183'
    """
    ends = found.bounds(lambda end: f"{100 * end:+.1f}", " to ")
    told = f"{100 * found.value:+.1f} points{ends}"
    return told if found.p_value is None or not ends else f"{told}, {p_value(found.p_value)}"


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Aligned columns: text to the left, numbers to the right.

    Example:
        >>> list(table(["class", "n"], [["sad", 12]]))
        ['class   n', 'sad    12']
    """
    cells = [[str(value) for value in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [
        all(isinstance(value, (int, float)) for value in column)
        for column in zip(*rows, strict=True)
    ] or [False] * len(widths)
    for row in cells:
        parts = (
            f"{value:>{width}}" if right else f"{value:<{width}}"
            for value, width, right in zip(row, widths, numeric, strict=True)
        )
        yield "  ".join(parts).rstrip()
