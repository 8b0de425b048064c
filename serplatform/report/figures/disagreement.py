"""How often two members answer differently, and what the best choice among them could reach."""

from __future__ import annotations

from serplatform.artifacts.ensemble import Diversity
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData, member_labels
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette
from serplatform.report.wording import percent


@FIGURES.register("disagreement")
class DisagreementFigure(Figure[Diversity]):
    title = "Disagreement between members"
    section = "models"
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
        return Drawing(
            summary=(
                f"Two members answer differently on {percent(data['mean_disagreement'], 0)} % of "
                f"the test utterances on average. No member is right on "
                f"{percent(data['all_wrong'])} %; taking the right answer whenever a member has it "
                f"would give {percent(data['oracle']['uar'])} % UAR, a bound for any choice among "
                "their answers."
            ),
            panels=[
                charts.heat_map(
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
            ],
            tables=[
                charts.matrix_table(
                    "Share of test utterances on which two members answer differently",
                    "member",
                    members,
                    members,
                    shares,
                )
            ],
            note="The heaviest members, at most twenty; percent of the pooled test utterances.",
        )
