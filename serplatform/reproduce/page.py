"""What page and terminal show of a reproduced table, and the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from serplatform import __version__
from serplatform.artifacts.reproduced_table import (
    ReproducedCell,
    ReproducedColumn,
    ReproducedTable,
    SimilarityMatrix,
)
from serplatform.report.build import (
    content_security_policy,
    template_environment,
    template_text,
)
from serplatform.report.wording import METRICS, duration, in_percent, percent, points

#: what stands above results of others in a paper's table
QUOTED = (
    "Quoted in the paper's table, by their own folds and definitions, comparable with nothing here"
)
#: what columns of the papers' other tables show
_TITLES = {
    "after_first_window": "Sampled after the first window (%)",
    "with_first_window": "Sampled, first window counted (%)",
    "most_alike": "Most alike",
    "least_alike": "Least alike",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnSection:
    """What page and terminal show of one column: rows of texts under two-line titles."""

    column: ReproducedColumn
    heading: str
    titles: list[str]
    rows: list[list[str]]
    numbers: bool
    similarity: SimilarityMatrix | None
    notes: list[str]


def column_section(outcome: ReproducedTable, column: ReproducedColumn) -> ColumnSection:
    """Put the cells of a column into texts."""
    cells = [row["cells"][column["name"]] for row in outcome["rows"]]
    found = [value for cell in cells for value in cell["measured"].values()]
    numbers = any(not isinstance(value, str) for value in found)  # else there are no intervals
    compared = not column["stand_in"]
    shown = {
        "published": compared,
        "measured": True,
        "95 % interval": numbers,
        "difference": bool(found) and compared and not outcome["quick"],
    }
    kinds = [kind for kind, wanted in shown.items() if wanted]
    titles = [
        f"{_metric_title(metric)}\n{kind}" if kind == kinds[0] else kind
        for metric in column["metrics"]
        for kind in kinds
    ]
    rows = [
        [
            row["label"],
            *(_texts(cell, metric)[kind] for metric in column["metrics"] for kind in kinds),
            *([str(cell["seeds"] or "")] if numbers else []),
        ]
        for row, cell in zip(outcome["rows"], cells, strict=True)
    ]
    return ColumnSection(
        column=column,
        heading=_heading(outcome, column),
        titles=["row", *titles, *(["seeds"] if numbers else [])],
        rows=rows,
        numbers=numbers,
        similarity=next((c["similarity"] for c in cells if "similarity" in c), None),
        notes=[*_row_notes(outcome, column), *_column_notes(column, cells)],
    )


def _metric_title(metric: str) -> str:
    if metric in _TITLES:
        return _TITLES[metric]
    return f"{metric} (%)" if in_percent(metric) else metric


def _texts(cell: ReproducedCell, metric: str) -> dict[str, str]:
    """The paper's number, ours with its std and its interval, and how the two differ."""

    def number(value: float | str) -> str:
        if isinstance(value, str):
            return value
        return percent(value) if in_percent(metric) else f"{value:.3f}"

    published, found = cell["published"].get(metric), cell["measured"].get(metric)
    between, difference = "", cell["difference"].get(metric)
    differs = "" if difference is None else points(difference)
    if found is None:
        measured = "–" if cell["status"] == "not in the paper" else cell["status"]
    elif isinstance(found, str):
        measured = found
        if published is not None:
            differs = "same" if found == published else "other"
    else:
        measured = number(found["mean"])
        measured += "" if found["sd"] is None else f" ± {number(found['sd'])}"
        if found["low"] is not None and found["high"] is not None:
            between = f"{number(found['low'])} to {number(found['high'])}"
    printed = "–" if published is None else number(published)
    if (deviation := cell.get("published_sd", {}).get(metric)) is not None:
        printed += f" ± {number(deviation)}"
    return {
        "published": printed,
        "measured": measured,
        "95 % interval": between,
        "difference": differs,
    }


def _heading(outcome: ReproducedTable, column: ReproducedColumn) -> str:
    """What a column is, with everything that one must know of it."""
    text = f"{column['label']} · {column['protocol']}"
    text += " · QUICK" if outcome["quick"] else ""
    if column["synthetic"]:
        text = f"SYNTHETIC DATA · {text}"
    return f"{text} · {column['reason']}" if column["reason"] else text


def _row_notes(outcome: ReproducedTable, column: ReproducedColumn) -> list[str]:
    """Why rows of a column lack a number, or some of their seeds; and their own notes."""
    notes = []
    for row in outcome["rows"]:
        cell = row["cells"][column["name"]]
        if cell["reason"] and cell["status"] != "not run":
            notes.append(f"{row['label']}: {cell['status']}, {cell['reason']}.")
        if row["note"] and cell["measured"]:
            notes.append(f"{row['label']}: {row['note']}")
    return notes


def _column_notes(column: ReproducedColumn, cells: Sequence[ReproducedCell]) -> list[str]:
    """Sentences on how the numbers of a column came about."""
    notes = []
    if column["folds_hash"] is not None and column["dataset_fingerprint"] is not None:
        notes.append(
            f"Protocol {column['protocol']}, {column['folds']} fold(s) with seed "
            f"{column['fold_seed']}, fold file {column['folds_hash'][:16]}, dataset "
            f"{column['dataset_fingerprint'][:16]}; {column['trained']} of {column['wanted']} "
            f"trainings, {column['seeds']} seed(s) a row, trained for "
            f"{duration(column['seconds'] or 0.0)}."
        )
    if speakers := {cell["speakers"] for cell in cells if "speakers" in cell}:
        notes.append(f"Intervals are over {min(speakers)} test speakers.")
    return [*notes, *column["notes"]]


def render_table(outcome: ReproducedTable) -> str:
    """The page as HTML: self-contained, without scripts."""
    from markupsafe import Markup

    definitions = [
        (METRICS[name].title, name, METRICS[name].definition)
        for name in dict.fromkeys(m for c in outcome["columns"] for m in c["metrics"])
        if name in METRICS
    ]
    return (
        template_environment()
        .get_template("table.html")
        .render(
            outcome=outcome,
            shown=[column_section(outcome, column) for column in outcome["columns"]],
            definitions=definitions,
            quoted=QUOTED,
            settings=_settings(outcome),
            version=__version__,
            style=Markup(template_text("page.css")),  # noqa: S704 - ours
            policy=content_security_policy([]).replace("script-src ;", "script-src 'none';"),
        )
    )


def _settings(outcome: ReproducedTable) -> list[dict[str, str | None]]:
    """How each row was trained, where it was."""
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
        for row in outcome["rows"]
        for column in outcome["columns"]
        if "settings" in (cell := row["cells"][column["name"]])
    ]
