"""An evaluation as text for people, and as the JSON that ``--out`` and ``--json`` give."""

from __future__ import annotations

import itertools
import posixpath
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from serplatform.artifacts.files import write_json, write_parquet
from serplatform.console import percent
from serplatform.environment import now, versions
from serplatform.evaluation.evaluate import EvaluationRequest, EvaluationResult, evaluate
from serplatform.evaluation.measures import GroupResult, Measured
from serplatform.evaluation.seen_rows import RECORDING, SPEAKER
from serplatform.statistics.chance import exceeds_chance, place_of_chance
from serplatform.statistics.intervals import LOSSES, Interval
from serplatform.storage.destination import check_file
from serplatform.storage.outgoing import written_file

SCHEMA_VERSION = 1
#: metrics that are shown, in this order
SHOWN = ("uar", "accuracy", "macro_f1", "nll", "brier", "ece")
READ_AS = {
    "all": "all classes of the system may be answered; one that the data lacks is wrong",
    "shared": "posteriors restricted to the classes that the data has",
}
LEFT_OUT = {
    "label": "whose label is none of the system's classes",
    RECORDING: "recordings that training has seen",
    SPEAKER: "other recordings of speakers whom training has seen",
    "unusable": "that could not be read",
}
_MOST_SPEAKERS = 30


def write_evaluation(
    request: EvaluationRequest, out: str | Path | None = None
) -> tuple[EvaluationResult, dict[str, Any]]:
    """Evaluate, and write the JSON ``out`` with the posteriors beside it as Parquet.

    Returns:
        what was found, and the content of the JSON.
    """
    beside = None if out is None else posixpath.splitext(str(out))[0] + ".parquet"
    if out is not None and beside is not None:
        check_file(out)
        check_file(beside)
    found = evaluate(request)
    values = {**record(found), "posteriors": beside}
    if out is not None and beside is not None:
        with written_file(beside) as target:
            write_parquet(target, found.table())
        with written_file(out) as target:
            write_json(target, values)
    return found, values


def record(result: EvaluationResult) -> dict[str, Any]:
    """Everything that was found, for JSON."""
    main, request = result.measured[0], result.request
    genders = list(main.groups(result.genders))
    return {
        "schema_version": SCHEMA_VERSION,
        "system": request.system,
        "system_title": result.system.title,
        "kind": result.system.kind,
        "data": request.data,
        "data_title": result.dataset.meta["title"],
        "fingerprint": result.dataset.fingerprint,
        "synthetic": result.system.synthetic or result.dataset.synthetic,
        "training_rows_excluded": result.checked,
        "labels": [
            {"theirs": row.theirs, "ours": row.ours, "utterances": row.utterances}
            for row in result.labels
        ],
        "classes": list(result.system.classes),
        "classes_the_data_lacks": result.lacking,
        "utterances": len(result.rows),
        "speakers": len(set(main.speakers)),
        "left_out": result.left_out,
        "unusable": result.unusable,
        "features": result.features,
        "reading": main.reading,
        "readings": {one.reading: _reading(one) for one in result.measured},
        "by_gender": [_group(one) for one in genders],
        "gender_differences": [
            {"one": one.name, "other": other.name, "uar": found.as_dict()}
            for one, other, found in differences(main, result.genders, genders)
        ],
        "by_speaker": [_group(one) for one in main.groups(main.speakers)],
        "robustness": [
            {
                "group": one.group,
                "condition": one.name,
                "utterances": one.utterances,
                "uar": one.uar.as_dict(),
                "difference_to_clean": one.difference.as_dict(),
            }
            for one in result.robustness
        ],
        "seed": request.seed,
        "notes": result.notes,
        "command": sys.argv,
        "made": now(),
        "versions": versions(),
    }


def differences(
    measured: Measured, names: Sequence[str], groups: Sequence[GroupResult]
) -> Iterator[tuple[GroupResult, GroupResult, Interval]]:
    """UAR of each group against each later one."""
    for one, other in itertools.combinations(groups, 2):
        yield one, other, measured.difference(names, one.name, other.name)


def _reading(measured: Measured) -> dict[str, Any]:
    return {
        "classes": list(measured.classes),
        "metrics": {name: found.as_dict() for name, found in measured.metrics.items()},
        "chance_uar": measured.chance,
        "recall": {
            name: {"utterances": number, **recall.as_dict()}
            for name, (number, recall) in measured.recalls.items()
        },
        "confusion": measured.confusion.tolist(),
    }


def _group(found: GroupResult) -> dict[str, Any]:
    return {
        "name": found.name,
        "utterances": found.utterances,
        "speakers": found.speakers,
        "uar": found.uar.as_dict(),
        "accuracy": found.accuracy.as_dict(),
    }


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
        [[row.theirs, row.ours or "— (left out)", row.utterances] for row in result.labels],
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
                [g.name, g.speakers, g.utterances, g.uar.in_percent(), g.accuracy.in_percent()]
                for g in groups[:_MOST_SPEAKERS]
            ],
        )
        if len(groups) > _MOST_SPEAKERS:
            yield f"… and {len(groups) - _MOST_SPEAKERS} more, in the file of --out."
        if title == "gender":
            for first, second, found in differences(main, names, groups):
                yield f"{first.name} − {second.name}: UAR {points(found)}"
    if result.robustness:
        yield ""
        yield from table(
            ["condition", "UAR", "against the recordings as they are"],
            [[o.name, o.uar.in_percent(), points(o.difference)] for o in result.robustness],
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
    ends = "" if found.low is None else f" ({found.low:.3f}–{found.high:.3f})"
    return f"{found.value:.3f}{ends}"


def points(found: Interval) -> str:
    """A difference of shares, in percentage points.

    Example:
        >>> points(Interval(value=-0.04, low=-0.1, high=0.02, p_value=0.183))
        '-4.0 points (-10.0 to +2.0), p = .183'
    """
    value = f"{100 * found.value:+.1f} points"
    if found.low is None or found.high is None:
        return value
    ends = f" ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    if found.p_value is None:
        return value + ends
    p = "p < .001" if found.p_value < 0.001 else f"p = {found.p_value:.3f}".replace("0.", ".")
    return f"{value}{ends}, {p}"


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
