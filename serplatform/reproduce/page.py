"""What page and terminal show of a reproduced table, and the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from serplatform import __version__
from serplatform.artifacts.reproduced_table import (
    MeasuredMetric,
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
from serplatform.report.figures.attention_by_label import (
    MapLabels,
    label_sentence,
    label_table,
    map_labels,
)
from serplatform.report.figures.base import Table
from serplatform.report.wording import METRICS, decimal, duration, in_percent, percent, points
from serplatform.reproduce.drawing import curve_svg, points_svg

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
    "vowels": "Vowels, attention per frame",
    "consonants": "Consonants, attention per frame",
    "silence": "Silence, attention per frame",
    "total_variation": "Total variation",
    "autocorrelation": "Autocorrelation, 50 ms",
    "spread": "Spread",
    "neighbours": "Neighbours of its class (%)",
    "distance_ratio": "Distance ratio",
}
#: of these, those that are no shares
_DECIMALS = (
    *("vowels", "consonants", "silence", "distance_ratio"),
    *("total_variation", "autocorrelation", "spread"),
)
#: differences of two layers smaller than this are none, whatever their interval
_ALIKE = 0.0005


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnSection:
    """What page and terminal show of one column: rows of texts under two-line titles."""

    column: ReproducedColumn
    heading: str
    titles: list[str]
    rows: list[list[str]]
    numbers: bool
    similarity: SimilarityMatrix | None
    shows: list[str]
    pictures: list[Markup]
    tables: list[Table]
    notes: list[str]


def column_section(outcome: ReproducedTable, column: ReproducedColumn) -> ColumnSection:
    """Put the cells of a column into texts."""
    cells = [row["cells"][column["name"]] for row in outcome["rows"]]
    found = [value for cell in cells for value in cell["measured"].values()]
    numbers = any(not isinstance(value, str) for value in found)  # else there are no intervals
    printed = "published_shows" not in outcome  # figures print no numbers
    compared = not column["stand_in"] and printed
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
        shows=figure_sentences(outcome, column),
        pictures=_pictures(outcome, column),
        tables=[
            label_table(labels, column["classes"] or ()) for c in cells for labels in _labels(c)
        ],
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
        if metric in _DECIMALS or not in_percent(metric):
            return decimal(value)
        return percent(value)

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


def figure_sentences(outcome: ReproducedTable, column: ReproducedColumn) -> list[str]:
    """The caption of a figure: what the paper's shows, and what ours does; empty of a table."""
    if "published_shows" not in outcome:
        return []
    cells = {row["label"]: row["cells"][column["name"]] for row in outcome["rows"]}
    found: Found = {
        label: {k: v for k, v in cell["measured"].items() if not isinstance(v, str)}
        for label, cell in cells.items()
        if cell["measured"]
    }
    said = [f"The paper: {outcome['published_shows']}"]
    if found:
        said.append(f"Here: {_SENTENCES[outcome['kind']](found)}")
    said += [label_sentence(labels) for cell in cells.values() for labels in _labels(cell)]
    if words := {cell["figure"].get("word") for cell in cells.values() if "figure" in cell} - {
        None
    }:
        said.append(f"The segments that are drawn share the word “{words.pop()}”.")
    return said


Found = dict[str, dict[str, MeasuredMetric]]


def _by_phone(found: Found) -> str:
    parts = [
        f"{decimal(metrics['vowels']['pooled'] / metrics['consonants']['pooled'])} in {label}"
        for label, metrics in found.items()
        if {"vowels", "consonants"} <= metrics.keys()
    ]
    return f"per frame, attention on vowels is {', '.join(parts)} times that on consonants."


def _by_layer(found: Found) -> str:
    parts = []
    for metric, smoother in (("total_variation", -1), ("autocorrelation", 1), ("spread", 1)):
        values = [metrics[metric] for metrics in found.values() if metric in metrics]
        if len(values) != len(("layer1", "layer2", "difference")):
            continue
        first, second, gap = values
        verdict = "no difference beyond chance"
        if abs(gap["pooled"]) < _ALIKE:
            verdict = "alike"
        elif gap["low"] is not None and gap["high"] is not None and gap["low"] * gap["high"] > 0:
            verdict = "smoother" if gap["pooled"] * smoother > 0 else "less smooth"
        parts.append(
            f"{_TITLES[metric].lower()} {decimal(first['pooled'])} in layer 1 "
            f"and {decimal(second['pooled'])} in layer 2 ({verdict})"
        )
    return "; ".join(parts) + "."


def _by_ablation(found: Found) -> str:
    parts = [
        f"{percent(metrics['neighbours']['pooled'])} % in {label}"
        for label, metrics in found.items()
        if "neighbours" in metrics
    ]
    return f"of an utterance's five nearest, of its class are {'; '.join(parts)}."


_SENTENCES: Mapping[str, Callable[[Found], str]] = {
    "attention_by_phone": _by_phone,
    "attention_smoothness": _by_layer,
    "embeddings": _by_ablation,
}


def _pictures(outcome: ReproducedTable, column: ReproducedColumn) -> list[Markup]:
    """What is drawn of a column, row by row."""
    drawn = []
    for row in outcome["rows"]:
        figure = row["cells"][column["name"]].get("figure", {})
        drawn += [curve_svg(found) for found in figure.get("curves", [])]
        if "points" in figure:
            drawn.append(points_svg(figure["points"], row["label"]))
    return drawn


def _labels(cell: ReproducedCell) -> list[MapLabels]:
    """Attention by word and by phone."""
    return [
        map_labels(found, f"{found['architecture']}, first training,")
        for found in cell.get("figure", {}).get("labels", [])
    ]


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
