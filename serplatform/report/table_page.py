"""The page of a reproduced table, from its ``table.json`` values; and its numbers in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serplatform import __version__
from serplatform.report.build import (
    content_security_policy,
    template_environment,
    template_text,
)
from serplatform.report.wording import METRICS, duration, in_percent, percent, points

#: what columns of the papers' other tables show
_TITLES = {
    "after_first_window": "Sampled after the first window",
    "with_first_window": "Sampled, first window counted",
    "most_alike": "Most alike",
    "least_alike": "Least alike",
}
#: speakers below which an interval that resamples them says little
FEW_SPEAKERS = 6


def metric_title(metric: str) -> str:
    """What a metric is called, with its name in outputs."""
    if metric in METRICS:
        return f"{metric} (%)" if in_percent(metric) else metric
    title = _TITLES[metric]
    return title if metric.endswith("alike") else f"{title} (%)"


def _number(metric: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return percent(value) if in_percent(metric) else f"{value:.3f}"


def published_text(cell: Mapping[str, Any], metric: str) -> str:
    """The paper's number, or a dash where it has none."""
    value = cell["published"].get(metric)
    return "–" if value is None else _number(metric, value)


def measured_text(cell: Mapping[str, Any], metric: str) -> str:
    """Mean ± standard deviation, or why there is none.

    Example:
        >>> cell = {"status": "measured", "measured": {"uar": {"mean": 0.5, "sd": None}}}
        >>> measured_text(cell, "uar")
        '50.0'
    """
    found = cell["measured"].get(metric)
    if found is None:
        return "–" if cell["status"] == "not in the paper" else str(cell["status"])
    if isinstance(found, str):
        return found
    text = _number(metric, found["mean"])
    return text if found["sd"] is None else f"{text} ± {_number(metric, found['sd'])}"


def interval_text(cell: Mapping[str, Any], metric: str) -> str:
    """The bounds of the interval, or nothing."""
    found = cell["measured"].get(metric)
    if not isinstance(found, Mapping) or found["low"] is None:
        return ""
    return f"{_number(metric, found['low'])} to {_number(metric, found['high'])}"


def difference_text(cell: Mapping[str, Any], metric: str) -> str:
    """Measured minus published, in points; for a name, whether it is the same."""
    found, published = cell["measured"].get(metric), cell["published"].get(metric)
    if isinstance(found, str) and published is not None:
        return "same" if found == published else "other"
    value = cell["difference"].get(metric)
    return "" if value is None else points(value)


def heading(outcome: Mapping[str, Any], column: Mapping[str, Any]) -> str:
    """What a column is, with everything that one must know of it."""
    text = f"{column['label']} · {column['protocol']}"
    text += " · QUICK" if outcome["quick"] else ""
    if column["synthetic"]:
        text = f"SYNTHETIC DATA · {text}"
    return f"{text} · {column['reason']}" if column["reason"] else text


def has_numbers(outcome: Mapping[str, Any], column: Mapping[str, Any]) -> bool:
    """Whether numbers were measured in a column; else there are no intervals to show."""
    cells = [row["cells"][column["name"]] for row in outcome["rows"]]
    return any(isinstance(v, Mapping) for cell in cells for v in cell["measured"].values())


def has_differences(outcome: Mapping[str, Any], column: Mapping[str, Any]) -> bool:
    """Whether measured and published may be compared, and something was measured."""
    measured = any(row["cells"][column["name"]]["measured"] for row in outcome["rows"])
    return measured and not column["stand_in"] and not outcome["quick"]


def row_notes(outcome: Mapping[str, Any], column: Mapping[str, Any]) -> list[str]:
    """Why rows of a column lack a number, or some of their seeds; and their own notes."""
    notes = []
    for row in outcome["rows"]:
        cell = row["cells"][column["name"]]
        if cell["reason"] and cell["status"] != "not run":
            notes.append(f"{row['label']}: {cell['status']}, {cell['reason']}.")
        if row["note"] and cell["measured"]:
            notes.append(f"{row['label']}: {row['note']}")
    return notes


def column_notes(outcome: Mapping[str, Any], column: Mapping[str, Any]) -> list[str]:
    """Sentences on how the numbers of a column came about."""
    notes = []
    if column["folds_hash"] is not None:
        notes.append(
            f"Protocol {column['protocol']}, {column['folds']} fold(s) with seed "
            f"{column['fold_seed']}, fold file {column['folds_hash'][:16]}, dataset "
            f"{column['dataset_fingerprint'][:16]}; {column['trained']} of {column['wanted']} "
            f"trainings, {column['seeds']} seed(s) a row, trained for "
            f"{duration(column['seconds'])}."
        )
    cells = [row["cells"][column["name"]] for row in outcome["rows"]]
    speakers = {cell["speakers"] for cell in cells if "speakers" in cell}
    if speakers:
        count = min(speakers)
        few = ", too few to trust them" if count < FEW_SPEAKERS else ""
        notes.append(f"Intervals resample {count} test speakers{few}.")
    return [*notes, *column["notes"]]


def render_table(outcome: Mapping[str, Any]) -> str:
    """The page as HTML: self-contained, without scripts."""
    from markupsafe import Markup

    shown = [column_section(outcome, column) for column in outcome["columns"]]
    definitions = [
        (METRICS[name].title, name, METRICS[name].definition)
        for name in dict.fromkeys(m for c in outcome["columns"] for m in c["metrics"])
        if name in METRICS
    ]
    template = template_environment().get_template("table.html")
    for text in (published_text, measured_text, interval_text, difference_text):
        template.globals[text.__name__] = text
    return template.render(
        outcome=outcome,
        shown=shown,
        definitions=definitions,
        settings=_settings(outcome),
        version=__version__,
        style=Markup(template_text("page.css")),  # noqa: S704 - ours
        policy=content_security_policy([]).replace("script-src ;", "script-src 'none';"),
    )


def column_section(outcome: Mapping[str, Any], column: Mapping[str, Any]) -> dict[str, Any]:
    """What the page says of one column."""
    compared, numbers = not column["stand_in"], has_numbers(outcome, column)
    return {
        "column": column,
        "heading": heading(outcome, column),
        "notes": [*row_notes(outcome, column), *column_notes(outcome, column)],
        "compared": compared,
        "numbers": numbers,
        "differences": has_differences(outcome, column),
        "metrics": [metric_title(metric) for metric in column["metrics"]],
        "similarity": similarity_of(outcome, column),
    }


def similarity_of(
    outcome: Mapping[str, Any], column: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """The matrix of similarities, where the table is about one."""
    for row in outcome["rows"]:
        found: Mapping[str, Any] | None = row["cells"][column["name"]].get("similarity")
        if found is not None:
            return found
    return None


def _settings(outcome: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How each row was trained, where it was."""
    trained = [
        (row, column, cell)
        for row in outcome["rows"]
        for column in outcome["columns"]
        if "settings" in (cell := row["cells"][column["name"]])
    ]
    return [
        {
            "label": row["label"],
            "column": column["label"],
            "architecture": row["architecture"],
            "changes": ", ".join(f"{k}={v}" for k, v in cell["departures"].items()),
            "training": ", ".join(
                f"{k.partition('.')[2]} {v}"
                for k, v in cell["settings"].items()
                if k.startswith("training.")
            ),
            "parameters": f"{cell['num_parameters']:,}",
            "best_epochs": "; ".join(", ".join(map(str, epochs)) for epochs in cell["best_epochs"]),
        }
        for row, column, cell in trained
    ]
