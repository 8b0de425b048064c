"""Which trials the ensemble is made of, and how much each counts in each fold."""

from __future__ import annotations

import dataclasses

from serplatform.report.evidence import Evidence, Member
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Panel, Table
from serplatform.report.wording import decimal, listing, percent, plural, short

#: Most members drawn; the table lists all.
MAX_DRAWN = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Members:
    """Members that have a weight in some fold, largest mean weight first.

    Attributes:
        shares: (M, F) weights divided by their fold's sum.
        candidates: trials that were offered to the combiner.
    """

    combiner: str
    members: tuple[Member, ...]
    shares: tuple[tuple[float, ...], ...]
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
        used = [m for m in evidence.members if any(w > 0 for w in m.weights)]
        if not used:
            raise NoDataError("the ensemble lists no member with a weight above 0")
        sums = [sum(m.weights[f] for m in used) for f in range(len(used[0].weights))]
        shares = [
            tuple(w / total if total > 0 else 0.0 for w, total in zip(m.weights, sums, strict=True))
            for m in used
        ]
        order = sorted(range(len(used)), key=lambda i: -sum(shares[i]))
        return Members(
            combiner=str(ensemble.info.get("combiner", "")),
            members=tuple(used[i] for i in order),
            shares=tuple(shares[i] for i in order),
            candidates=len(evidence.members),
        )

    def draw(self, data: Members, ink: Ink) -> Drawing:
        folds = len(data.shares[0])
        drawn = data.members[:MAX_DRAWN]
        per_fold = [sum(s[f] > 0 for s in data.shares) for f in range(folds)]
        means = [sum(s) / folds for s in data.shares]
        top = max(max(s) for s in data.shares)
        effective = [1.0 / sum(s[f] ** 2 for s in data.shares) for f in range(folds) if per_fold[f]]
        temperatures = any(t is not None for m in data.members for t in m.temperatures)
        lead = [
            f"{m.name} ({percent(v, 0)} %)" for m, v in zip(data.members[:3], means, strict=False)
        ]
        spread = (
            f"{min(per_fold)} to {max(per_fold)}"
            if min(per_fold) < max(per_fold)
            else str(per_fold[0])
        )
        return Drawing(
            summary=(
                f"Combiner {data.combiner}: {spread} members a fold, "
                f"{plural(len(data.members), 'different trial')} in all. "
                f"Largest mean share: {listing(lead)}. As many equal members as weigh the same: "
                f"{decimal(sum(effective) / len(effective), 1)} on average."
            ),
            panels=[
                Panel(
                    data=[
                        {
                            "type": "heatmap",
                            "z": [
                                [round(100 * v, 2) if v > 0 else None for v in s]
                                for s in data.shares[:MAX_DRAWN]
                            ],
                            "x": list(range(folds)),
                            "y": list(range(len(drawn))),
                            "zmin": 0,
                            "zmax": 100 * top,
                            "colorscale": "@sequential",
                            "showscale": False,
                            "xgap": 2,
                            "ygap": 2,
                            "hoverinfo": "skip",
                        }
                    ],
                    layout={
                        "annotations": [
                            {
                                "x": f,
                                "y": i,
                                "text": percent(s[f], 0),
                                "showarrow": False,
                                "font": {
                                    "size": 11,
                                    "color": "@on-high" if s[f] > top / 2 else "@on-low",
                                },
                            }
                            for i, s in enumerate(data.shares[:MAX_DRAWN])
                            for f in range(folds)
                            if s[f] > 0
                        ],
                        "xaxis": {
                            "title": {"text": "share of the weight (%) by fold"},
                            "tickvals": list(range(folds)),
                            "showgrid": False,
                            "zeroline": False,
                        },
                        "yaxis": {
                            "tickvals": list(range(len(drawn))),
                            "ticktext": [short(m.name) for m in drawn],
                            "autorange": "reversed",
                            "showgrid": False,
                            "zeroline": False,
                            "automargin": True,
                        },
                    },
                    height=110 + 28 * len(drawn),
                )
            ],
            tables=[
                Table(
                    caption="Weights by fold",
                    header=[
                        "member",
                        "architecture",
                        *(f"weight, fold {f}" for f in range(folds)),
                        *((f"temperature, fold {f}" for f in range(folds)) if temperatures else ()),
                    ],
                    rows=[
                        [
                            m.name,
                            m.architecture,
                            *m.weights,
                            *(m.temperatures if temperatures else ()),
                        ]
                        for m in data.members
                    ],
                )
            ],
            note=(
                "Members, weights and temperatures of fold k are fitted on fold k's dev rows only. "
                f"{plural(data.candidates, 'trial')} could be chosen."
            ),
        )
