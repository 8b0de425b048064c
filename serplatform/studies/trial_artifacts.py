"""What `optuna-dashboard` shows of a trial besides its numbers: its learning curves, and what it
confuses on dev rows, as small SVG files below ``RUN/artifacts``.
"""

from __future__ import annotations

import contextlib
import html
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serplatform.arrays import IntArray
from serplatform.artifacts.posteriors import rows_of_part
from serplatform.artifacts.trial import TrialRecord
from serplatform.errors import ArtifactError
from serplatform.metrics import confusion_counts
from serplatform.run_directory import RunDirectory

if TYPE_CHECKING:
    import optuna

FOLDER = "artifacts"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_STYLE = "font: 13px sans-serif; background: white"


class TrialArtifacts:
    """Pictures of the trials of a run.

    Args:
        run: where they are kept.
        classes: of its posteriors.
    """

    def __init__(self, run: RunDirectory, classes: Sequence[str]) -> None:
        self._run = run
        self._classes = tuple(classes)

    def attach(self, trial: optuna.trial.Trial, record: TrialRecord) -> None:
        """Attach them to a trial that is about to be told; a second time changes nothing.

        A disk that is full, or posteriors that lie on another node, cost a picture, not a trial.
        """
        from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact

        with warnings.catch_warnings(), contextlib.suppress(OSError, ArtifactError):
            warnings.simplefilter("ignore")  # experimental
            have = {meta.filename for meta in get_all_artifact_meta(trial)}
            store = None
            for name, picture in self._pictures(record):
                if name in have:
                    continue
                if store is None:
                    (self._run.path / FOLDER).mkdir(exist_ok=True)
                    store = FileSystemArtifactStore(self._run.path / FOLDER)
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder, name)
                    file.write_text(picture, encoding="utf-8")
                    upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=trial)

    def _pictures(self, record: TrialRecord) -> Iterator[tuple[str, str]]:
        if record.get("history"):
            yield "learning-curves.svg", learning_curves(record)
        if record["state"] == "complete":
            yield "dev-confusions.svg", confusion_matrix(self._dev_counts(record), self._classes)

    def _dev_counts(self, record: TrialRecord) -> IntArray:
        """(K, K) dev utterances by truth and prediction, over all folds."""
        table = self._run.read_posteriors(record["trial"])
        _, truth, posteriors = rows_of_part(table, "dev", self._classes)
        return confusion_counts(truth, posteriors.argmax(axis=1), len(self._classes))


def learning_curves(record: TrialRecord) -> str:
    """Dev UAR in percent by epoch, a line for each fold."""
    by_fold: dict[int, list[tuple[int, float]]] = {}
    for entry in record["history"]:
        by_fold.setdefault(entry["fold"], []).append((entry["epoch"], entry["dev"]["uar"]))
    last = max(epoch for line in by_fold.values() for epoch, _ in line)
    left, top, width, height = 50, 30, 380, 220

    def point(epoch: int, uar: float) -> tuple[float, float]:
        return left + width * (epoch - 1) / max(last - 1, 1), top + height * (1 - uar)

    parts = [_text(left, 18, f"Dev UAR by epoch, trial {record['trial']}")]
    for percent in (0, 25, 50, 75, 100):
        y = top + height * (1 - percent / 100)
        parts.append(f'<path d="M{left} {y}h{width}" stroke="#ddd"/>')
        parts.append(_text(left - 6, y + 4, f"{percent} %", "end"))
    parts += [_text(left + width, top + height + 18, f"epoch {last}", "end")]
    for place, (fold, line) in enumerate(by_fold.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        at = [point(epoch, uar) for epoch, uar in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in at]
        label_at = left + width + 10, top + 14 + 18 * place
        parts.append(_text(*label_at, f"fold {fold}", colour=colour))
    return _svg(left + width + 80, max(top + height + 30, top + 30 + 18 * len(by_fold)), parts)


def confusion_matrix(counts: IntArray, classes: Sequence[str]) -> str:
    """Dev utterances by truth (rows) and prediction (columns), shaded by their share of the row."""
    cell, left, top = 54, 110, 60
    rows = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(rows, 1)
    parts = [_text(10, 18, "Dev rows of all folds: truth in rows, prediction in columns")]
    for i, name in enumerate(classes):
        parts.append(_text(left - 8, top + cell * (i + 0.55), name, "end"))
        parts.append(_text(left + cell * (i + 0.5), top - 8, name[:8], "middle"))
        for j in range(len(classes)):
            x, y, share = left + cell * j, top + cell * i, float(shares[i, j])
            ink = "white" if share > 0.55 else "black"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" stroke="#ccc" '
                f'fill="#0072b2" fill-opacity="{share:.3f}"/>'
            )
            label_at = x + cell / 2, y + cell * 0.58
            parts.append(_text(*label_at, str(counts[i, j]), "middle", colour=ink))
    size = cell * len(classes) + 20
    return _svg(max(left + size, 440), top + size, parts)


def describe_study(study: optuna.Study, told: Mapping[str, str]) -> None:
    """Write what a study is of where `optuna-dashboard` shows it, if that is installed."""
    try:
        from optuna_dashboard import get_note, save_note
    except ImportError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental
        if not get_note(study):  # else somebody may have written one
            save_note(study, "\n".join(f"- {name}: {text}" for name, text in told.items()))


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "black") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">'
        f"{html.escape(text)}</text>"
    )


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="{_STYLE}">{"".join(parts)}</svg>'
