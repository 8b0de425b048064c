"""How often two members answer differently, and what the best choice among them could reach."""

from __future__ import annotations

import dataclasses

from serplatform.report.evidence import Evidence, member_labels
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Panel, Table
from serplatform.report.wording import percent, short


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disagreement:
    """Members of the ensemble on the pooled test rows, heaviest first.

    Attributes:
        shares: (A, A) share of test rows on which two members answer differently.
        mean: over pairs.
        oracle_uar: if the right answer were taken whenever a member of the fold has it.
        all_wrong: share of test rows on which no member is right.
    """

    members: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    mean: float
    oracle_uar: float
    all_wrong: float


@FIGURES.register("disagreement")
class DisagreementFigure(Figure[Disagreement]):
    name = "disagreement"
    title = "Disagreement between members"
    section = "models"
    order = 20

    def compute(self, evidence: Evidence) -> Disagreement:
        ensemble = evidence.source.ensemble
        if ensemble is None:
            raise NoDataError("there is no ensemble of this run")
        found = ensemble.info.get("diversity")
        if found is None or found["mean_disagreement"] is None or len(found["members"]) < 2:
            raise NoDataError("the ensemble has fewer than two members")
        labels = member_labels(ensemble.info)
        return Disagreement(
            members=tuple(labels.get(name, name) for name in found["members"]),
            shares=tuple(map(tuple, found["disagreement"])),
            mean=found["mean_disagreement"],
            oracle_uar=found["oracle"]["uar"],
            all_wrong=found["all_wrong"],
        )

    def draw(self, data: Disagreement, ink: Ink) -> Drawing:
        size = len(data.members)
        pairs = [v for i, row in enumerate(data.shares) for j, v in enumerate(row) if i != j]
        low, high = min(pairs), max(pairs)
        floor = max(0.0, low - 0.3 * (high - low) - 0.02)
        labels = [short(name) for name in data.members]
        return Drawing(
            summary=(
                f"Two members answer differently on {percent(data.mean, 0)} % of the test "
                f"utterances on average. No member is right on {percent(data.all_wrong)} %; taking "
                "the right answer whenever a member has it would give "
                f"{percent(data.oracle_uar)} % UAR, a bound for any choice among their answers."
            ),
            panels=[
                Panel(
                    data=[
                        charts.heat_map(
                            [
                                [100 * v if i != j else None for j, v in enumerate(row)]
                                for i, row in enumerate(data.shares)
                            ],
                            [
                                [percent(v, 0) if i != j else "" for j, v in enumerate(row)]
                                for i, row in enumerate(data.shares)
                            ],
                            low=100 * floor,
                            high=100 * high,
                            text_size=10,
                        )
                    ],
                    layout={
                        "xaxis": charts.axis("", labels, tickangle=-50, **charts.BARE),
                        "yaxis": charts.axis("", labels, autorange="reversed", **charts.BARE),
                        "meta": {"minWidth": 120 + 30 * size},
                    },
                    height=150 + 30 * size,
                )
            ],
            tables=[
                Table(
                    caption="Share of test utterances on which two members answer differently",
                    header=["member", *data.members],
                    rows=[
                        [name, *row] for name, row in zip(data.members, data.shares, strict=True)
                    ],
                )
            ],
            note="The heaviest members, at most twenty; percent of the pooled test utterances.",
        )
