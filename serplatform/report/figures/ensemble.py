"""Members of the ensemble: their weights, what they cost, how often they differ."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from serplatform.artifacts.ensemble import Diversity
from serplatform.errors import ArtifactError
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData
from serplatform.report.explanations import find_explanations
from serplatform.report.figures.base import FIGURES, FIRST, Drawing, Figure, Palette, Table
from serplatform.report.load import ReportTrial
from serplatform.report.members import EnsembleMember, member_labels
from serplatform.report.systems import LABELS
from serplatform.report.wording import decimal, duration, listing, percent, plural, points, whole

#: Most members drawn; the table lists all.
MAX_DRAWN = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Members:
    """Members, largest mean share first; ``candidates`` were offered to the combiner, 0: unknown.

    ``effective``: for each fold, how many members of equal weight would weigh as evenly: one over
    the sum of squared shares; 0 where it has none.
    """

    combiner: str
    members: tuple[EnsembleMember, ...]
    folds: tuple[int, ...]
    effective: tuple[float, ...]
    candidates: int


@FIGURES.register("members")
class MembersFigure(Figure[Members]):
    title = "Members and weights"
    section = "models"
    after = FIRST
    needs = (Need.ENSEMBLE,)

    def compute(self, report: ReportData) -> Members:
        if not report.members:
            raise NoDataError(
                "the ensemble has no member: in no fold is a trial better than guessing on dev rows"
            )
        folds = tuple(fold["fold"] for fold in report.ensemble["folds"])
        return Members(
            combiner=report.ensemble["combiner"],
            members=report.members,
            folds=folds,
            effective=tuple(
                1.0 / (sum(m.shares[f] ** 2 for m in report.members) or math.inf)
                for f in range(len(folds))
            ),
            candidates=report.ensemble.get("counts", {"candidates": 0})["candidates"],
        )

    def draw(self, data: Members, palette: Palette) -> Drawing:
        num_folds = len(data.folds)
        drawn = data.members[:MAX_DRAWN]
        per_fold = [sum(m.shares[f] > 0 for m in data.members) for f in range(num_folds)]
        low, high = min(per_fold), max(per_fold)
        lead = [f"{m.name} ({percent(sum(m.shares) / num_folds, 0)} %)" for m in data.members[:3]]
        each = f"{low} to {high} members" if low < high else plural(low, "member")
        plot = charts.heat_map(
            [[100 * s if s > 0 else None for s in m.shares] for m in drawn],
            [[percent(s, 0) if s > 0 else "" for s in m.shares] for m in drawn],
            rows=[m.name for m in drawn],
            columns=[str(fold) for fold in data.folds],
            low=0,
            high=100 * max(max(m.shares) for m in data.members),
            x="share of the weight (%) by fold",
            height=100 + 28 * len(drawn),
        )
        return Drawing(
            summary=(
                f"Combiner {data.combiner}: {each} in each fold, "
                f"{plural(len(data.members), 'different trial')} in all"
                + (f", of {data.candidates} offered. " if data.candidates else ". ")
                + f"Largest mean share: {listing(lead)}."
            ),
            panels=[plot],
            tables=[_weights(data)],
            note=(
                "Members, weights and temperatures of a fold are fitted on its dev rows only; an "
                "empty cell is a trial that the fold does not use. The weights of a fold are as "
                f"even as those of {decimal(sum(data.effective) / num_folds, 1)} equal members, on "
                "average over folds."
            ),
        )


def _weights(data: Members) -> Table:
    """What each member weighs and adds; what it is worth alone stands in the leaderboard."""
    folds = len(data.folds)
    columns: dict[str, Callable[[Any], str] | None] = {
        "member": None,
        "mean share (%)": percent,
        "folds that use it": lambda used: f"{used} of {folds}",
        "gain (points)": lambda v: "–" if v is None else points(v),
        **dict.fromkeys((f"weight, fold {fold}" for fold in data.folds), None),
    }
    temperatures = any(t is not None for m in data.members for t in m.temperatures)
    if temperatures:
        columns |= dict.fromkeys((f"temperature, fold {fold}" for fold in data.folds), None)
    return charts.table(
        "Weights by fold, as the combiner fitted them; gain is what the ensemble's dev UAR loses "
        "without the member",
        columns,
        [
            [
                *(m.name, sum(m.shares) / folds, m.num_folds, m.gain),
                *m.weights,
                *(m.temperatures if temperatures else ()),
            ]
            for m in data.members
        ],
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SystemCost:
    """What one system takes; None where a trial of it did not record it.

    Models, their parameters in all and the latency of an utterance are means over the folds;
    seconds and epochs are of training all its trials on every fold, memory is the largest.
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
        table = Table(
            caption="Ensemble and best single trial",
            header=["cost", *(system.label for system in data)],
            rows=[[name, *values] for name, values, _ in costs],
            display=[[name, *map(show, values)] for name, values, show in costs],
        )
        return Drawing(
            summary=summary,
            tables=[table],
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


@FIGURES.register("disagreement")
class DisagreementFigure(Figure[Diversity]):
    title = "Disagreement between members"
    section = "models"
    printed = False
    after = "ensemble_cost"
    needs = (Need.ENSEMBLE,)

    def compute(self, report: ReportData) -> Diversity:
        found = report.ensemble.get("diversity")
        if found is None or found["mean_disagreement"] is None or len(found["members"]) < 2:
            raise NoDataError("the ensemble has fewer than two members")
        labels = member_labels(report.ensemble)
        return Diversity(**{**found, "members": [labels.get(n, n) for n in found["members"]]})

    def draw(self, data: Diversity, palette: Palette) -> Drawing:
        members, shares = data["members"], data["disagreement"]
        pairs = [v for i, row in enumerate(shares) for j, v in enumerate(row) if i != j]
        low, high = min(pairs), max(pairs)
        plot = charts.heat_map(
            [
                [100 * v if i != j else None for j, v in enumerate(row)]
                for i, row in enumerate(shares)
            ],
            [
                [percent(v, 0) if i != j else "" for j, v in enumerate(row)]
                for i, row in enumerate(shares)
            ],
            rows=members,
            columns=members,
            low=100 * max(0.0, low - 0.3 * (high - low) - 0.02),
            high=100 * high,
            angle=-50,
            text_size=10,
            height=150 + 30 * len(members),
            min_width=120 + 30 * len(members),
        )
        table = charts.matrix_table(
            "Share of test utterances on which two members answer differently",
            "member",
            members,
            members,
            shares,
        )
        return Drawing(
            summary=(
                f"Two members answer differently on {percent(data['mean_disagreement'], 0)} % of "
                f"the test utterances on average. No member is right on "
                f"{percent(data['all_wrong'])} %; taking the right answer whenever a member has it "
                f"would give {percent(data['oracle']['uar'])} % UAR, a bound for any choice among "
                "their answers."
            ),
            panels=[plot],
            tables=[table],
            note="The heaviest members, at most twenty; percent of the pooled test utterances.",
        )
