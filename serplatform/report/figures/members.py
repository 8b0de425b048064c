"""Which trials the ensemble is made of, and how much each counts in each fold."""

from __future__ import annotations

import dataclasses
import math

from serplatform.report import charts
from serplatform.report.data import EnsembleMember, Need, NoDataError, ReportData
from serplatform.report.figures.base import FIGURES, FIRST, Drawing, Figure, Palette, Table
from serplatform.report.wording import decimal, listing, percent, plural, points

#: Most members drawn; the table lists all.
MAX_DRAWN = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Members:
    """Members, largest mean share first.

    Attributes:
        folds: numbers of the outer folds.
        effective: for each fold, how many members of equal weight would weigh as evenly:
            one over the sum of squared shares; 0 where it has none.
        candidates: trials that were offered to the combiner; 0 where unknown.
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
                "the ensemble has no member: the dev rows of every fold speak against every trial"
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
        return Drawing(
            summary=(
                f"Combiner {data.combiner}: {each} in each fold, "
                f"{plural(len(data.members), 'different trial')} in all"
                + (f", of {data.candidates} offered. " if data.candidates else ". ")
                + f"Largest mean share: {listing(lead)}."
            ),
            panels=[
                charts.heat_map(
                    [[100 * s if s > 0 else None for s in m.shares] for m in drawn],
                    [[percent(s, 0) if s > 0 else "" for s in m.shares] for m in drawn],
                    rows=[m.name for m in drawn],
                    columns=[str(fold) for fold in data.folds],
                    low=0,
                    high=100 * max(max(m.shares) for m in data.members),
                    x="share of the weight (%) by fold",
                    height=100 + 28 * len(drawn),
                )
            ],
            tables=[_alone(data), _weights(data)],
            note=(
                "Members, weights and temperatures of a fold are fitted on its dev rows only; an "
                "empty cell is a trial that the fold does not use. The weights of a fold are as "
                f"even as those of {decimal(sum(data.effective) / num_folds, 1)} equal members, on "
                "average over folds."
            ),
        )


def _alone(data: Members) -> Table:
    """What each member is worth by itself and to the ensemble."""
    folds = len(data.folds)
    return charts.table(
        "Each member alone, and what the ensemble's test UAR loses without it",
        {
            "member": None,
            "mean share (%)": percent,
            "folds that use it": lambda used: f"{used} of {folds}",
            "dev UAR alone (%)": percent,
            "test UAR alone (%)": percent,
            "gain (points)": lambda v: "–" if v is None else points(v),
        },
        [
            (m.name, sum(m.shares) / folds, m.num_folds, m.dev_uar, m.test_uar, m.gain)
            for m in data.members
        ],
    )


def _weights(data: Members) -> Table:
    temperatures = any(t is not None for m in data.members for t in m.temperatures)
    header = ["member", "architecture", *(f"weight, fold {fold}" for fold in data.folds)]
    if temperatures:
        header += [f"temperature, fold {fold}" for fold in data.folds]
    return charts.table(
        "Weights by fold, as the combiner fitted them",
        header,
        [
            [m.name, m.architecture, *m.weights, *(m.temperatures if temperatures else ())]
            for m in data.members
        ],
    )
