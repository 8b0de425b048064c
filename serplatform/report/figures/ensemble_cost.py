"""What the ensemble and the best single trial cost: models, parameters, training, latency."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from serplatform.errors import ArtifactError
from serplatform.report.data import LABELS, Need, NoDataError, ReportData
from serplatform.report.explanations import find_explanations
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette, Table
from serplatform.report.load import ReportTrial
from serplatform.report.wording import decimal, duration, percent, whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class SystemCost:
    """What one system takes; None where a trial of it did not record it.

    Attributes:
        label: what the page calls it.
        test_uar: pooled.
        models: of one fold, mean over the folds.
        num_parameters: of these models, in all; mean over the folds.
        trials: different ones, over all folds.
        seconds: of training these trials on every fold.
        epochs: of the same.
        memory_mb: of the trial whose training took most.
        latency_seconds: of one utterance, one model after another; mean over the folds.
    """

    label: str
    test_uar: float | None
    models: float
    num_parameters: float | None
    trials: int
    seconds: float
    epochs: int
    memory_mb: float | None
    latency_seconds: float | None


@FIGURES.register("ensemble_cost")
class EnsembleCost(Figure[tuple[SystemCost, SystemCost]]):
    title = "What the ensemble costs"
    section = "models"
    after = "members"
    needs = (Need.ENSEMBLE,)

    def compute(self, report: ReportData) -> tuple[SystemCost, SystemCost]:
        folds, known = report.ensemble["folds"], report.source.named_trials
        wanted = [[(m["run"], m["trial"]) for m in f["members"] if m["share"] > 0] for f in folds]
        chosen = [(f["best_single"]["run"], f["best_single"]["trial"]) for f in folds]
        if any(key not in known for key in chosen + [key for keys in wanted for key in keys]):
            raise NoDataError("trials of the ensemble are no longer there")
        members = [[known[key] for key in keys] for keys in wanted]
        single = [[known[key]] for key in chosen]
        uar = {m.key: m.pooled["uar"].value for m in report.measured}
        latencies = _latencies(report)
        return (
            _cost(LABELS["ensemble"], uar.get("ensemble"), members, latencies),
            _cost(LABELS["single"], uar.get("single"), single, latencies),
        )

    def draw(self, data: tuple[SystemCost, SystemCost], palette: Palette) -> Drawing:
        ensemble, single = data
        summary = (
            f"The ensemble runs {decimal(ensemble.models, 1)} models for an utterance where the "
            "best single trial runs one"
        )
        if ensemble.num_parameters and single.num_parameters:
            times = ensemble.num_parameters / single.num_parameters
            summary += (
                f", with {ensemble.num_parameters:,.0f} parameters instead of "
                f"{single.num_parameters:,.0f} ({decimal(times, 1)} times as many)"
            )
        summary += f"; its trials were trained for {duration(ensemble.seconds)} in all."
        costs: list[tuple[str, list[float | None], Callable[[Any], str]]] = [
            ("test UAR (%)", [c.test_uar for c in data], percent),
            ("models", [c.models for c in data], _tenths),
            ("parameters", [c.num_parameters for c in data], whole),
            ("latency (ms)", [_thousand(c.latency_seconds) for c in data], _tenths),
            ("trials in it", [c.trials for c in data], "{:,}".format),
            ("training (h)", [c.seconds / 3600 for c in data], "{:.2f}".format),
            ("epochs", [c.epochs for c in data], "{:,}".format),
            ("peak memory in training (MiB)", [c.memory_mb for c in data], whole),
        ]
        return Drawing(
            summary=summary,
            tables=[
                Table(
                    caption="Ensemble and best single trial",
                    header=["cost", *(system.label for system in data)],
                    rows=[[name, *values] for name, values, _ in costs],
                    display=[[name, *map(show, values)] for name, values, show in costs],
                )
            ],
            note=(
                "Models, parameters and latency are of one fold, the mean over the folds; training "
                "is that of the trials in it on every fold, without the search that found them. "
                "Latency is the sum of what “serplatform explain” measured of each model alone, a "
                "dash where it did not look at all of them."
            ),
            open_tables=True,
        )


def _tenths(value: float | None) -> str:
    return decimal(value, 1)


def _thousand(value: float | None) -> float | None:
    return None if value is None else 1000 * value


def _latencies(report: ReportData) -> dict[tuple[Path, int], float]:
    """Seconds that each explained trial takes for an utterance."""
    try:
        found = find_explanations(report)
    except (NoDataError, ArtifactError):
        return {}
    return {
        (explained.run.path, entry["trial"]): seconds
        for explained in found
        for entry in explained.info["trials"]
        if (seconds := entry.get("latency_seconds"))
    }


def _cost(
    label: str,
    test_uar: float | None,
    folds: Sequence[Sequence[ReportTrial]],
    latencies: Mapping[tuple[Path, int], float],
) -> SystemCost:
    used = {t.key: t for fold in folds for t in fold}.values()
    memory = [t.peak_memory_mb for t in used if t.peak_memory_mb is not None]
    return SystemCost(
        label=label,
        test_uar=test_uar,
        models=sum(map(len, folds)) / len(folds),
        num_parameters=_mean_total([[t.num_parameters for t in fold] for fold in folds]),
        trials=len(used),
        seconds=sum(t.seconds for t in used),
        epochs=sum(t.epochs for t in used),
        memory_mb=max(memory, default=None),
        latency_seconds=_mean_total([[latencies.get(t.key) for t in fold] for fold in folds]),
    )


def _mean_total(folds: Sequence[Sequence[float | None]]) -> float | None:
    """Mean over folds of the sum within each; None where a part is not known."""
    values = [value for fold in folds for value in fold]
    known = [value for value in values if value is not None]
    return sum(known) / len(folds) if len(known) == len(values) else None
