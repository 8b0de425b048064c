"""Which trials the ensemble is made of, and how much each counts in each fold."""

from __future__ import annotations

import dataclasses
import math

from serplatform.report.evidence import Evidence, Member
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Panel, Table
from serplatform.report.wording import decimal, listing, percent, plural, points, short

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
    members: tuple[Member, ...]
    folds: tuple[int, ...]
    effective: tuple[float, ...]
    candidates: int


@FIGURES.register("members")
class MembersFigure(Figure[Members]):
    name = "members"
    title = "Members and weights"
    section = "models"
    order = 10

    def compute(self, evidence: Evidence) -> Members:
        ensemble = evidence.source.ensemble
        if ensemble is None:
            raise NoDataError(
                "there is no ensemble of this run; make one with `serplatform ensemble`"
            )
        if not evidence.members:
            raise NoDataError(
                "the ensemble has no member: the dev rows of every fold speak against every trial"
            )
        num_folds = len(evidence.members[0].shares)
        return Members(
            combiner=ensemble.info["combiner"],
            members=evidence.members,
            folds=tuple(fold["fold"] for fold in ensemble.info["folds"]),
            effective=tuple(
                1.0 / (sum(m.shares[f] ** 2 for m in evidence.members) or math.inf)
                for f in range(num_folds)
            ),
            candidates=ensemble.info.get("counts", {"candidates": 0})["candidates"],
        )

    def draw(self, data: Members, ink: Ink) -> Drawing:
        num_folds = len(data.folds)
        drawn = data.members[:MAX_DRAWN]
        per_fold = [sum(m.shares[f] > 0 for m in data.members) for f in range(num_folds)]
        low, high = min(per_fold), max(per_fold)
        lead = [f"{m.name} ({percent(sum(m.shares) / num_folds, 0)} %)" for m in data.members[:3]]
        each = f"{low} to {high} members" if low < high else plural(low, "member")
        summary = (
            f"Combiner {data.combiner}: {each} in each fold, "
            f"{plural(len(data.members), 'different trial')} in all"
            + (f", of {data.candidates} offered. " if data.candidates else ". ")
            + f"Largest mean share: {listing(lead)}."
        )
        return Drawing(
            summary=summary,
            panels=[
                Panel(
                    data=[
                        charts.heat_map(
                            [[100 * s if s > 0 else None for s in m.shares] for m in drawn],
                            [[percent(s, 0) if s > 0 else "" for s in m.shares] for m in drawn],
                            low=0,
                            high=100 * max(max(m.shares) for m in data.members),
                        )
                    ],
                    layout={
                        "xaxis": charts.axis(
                            "share of the weight (%) by fold",
                            [str(fold) for fold in data.folds],
                            **charts.BARE,
                        ),
                        "yaxis": charts.axis(
                            "",
                            [short(m.name) for m in drawn],
                            autorange="reversed",
                            **charts.BARE,
                            automargin=True,
                        ),
                    },
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
        data.members,
        {
            "member": lambda m: m.name,
            "mean share (%)": (lambda m: sum(m.shares) / folds, percent),
            "folds that use it": (
                lambda m: sum(s > 0 for s in m.shares),
                lambda used: f"{used} of {folds}",
            ),
            "dev UAR alone (%)": (lambda m: m.dev_uar, percent),
            "test UAR alone (%)": (lambda m: m.test_uar, percent),
            "gain (points)": (lambda m: m.gain, lambda v: "–" if v is None else points(v)),
        },
    )


def _weights(data: Members) -> Table:
    temperatures = any(t is not None for m in data.members for t in m.temperatures)
    header = ["member", "architecture", *(f"weight, fold {fold}" for fold in data.folds)]
    if temperatures:
        header += [f"temperature, fold {fold}" for fold in data.folds]
    return Table(
        caption="Weights by fold, as the combiner fitted them",
        header=header,
        rows=[
            [m.name, m.architecture, *m.weights, *(m.temperatures if temperatures else ())]
            for m in data.members
        ],
    )
