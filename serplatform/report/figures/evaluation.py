"""A system on another dataset: what was matched, and what it is worth there."""

from __future__ import annotations

from serplatform.artifacts.evaluation import LEFT_OUT, READ_AS, SHOWN, EvaluationRecord
from serplatform.report import charts
from serplatform.report.data import Need, ReportData
from serplatform.report.figures.base import FIGURES, FIRST, Cell, Drawing, Figure, Palette, Table
from serplatform.report.systems import read_interval
from serplatform.report.wording import interval, listing, metric, metric_title, percent, plural
from serplatform.statistics.chance import exceeds_chance, place_of_chance


class EvaluationFigure(Figure[EvaluationRecord]):
    """A figure of one evaluation."""

    section = "evaluation"
    needs = (Need.EVALUATION,)

    def compute(self, report: ReportData) -> EvaluationRecord:
        return report.evaluations[0]


def shown_readings(data: EvaluationRecord) -> list[str]:
    """The main reading first; one alone where the data lacks no class."""
    names = sorted(READ_AS, key=lambda name: name != data["reading"])
    return names if data["classes_the_data_lacks"] else names[:1]


@FIGURES.register("evaluation")
class EvaluationResultFigure(EvaluationFigure):
    title = "Result and labels"
    after = FIRST

    def draw(self, data: EvaluationRecord, palette: Palette) -> Drawing:
        names = shown_readings(data)
        found = {name: data["readings"][name] for name in names}
        uars = {name: read_interval(one["metrics"]["uar"]) for name, one in found.items()}
        chance = found[names[0]]["chance_uar"]
        said = []
        for name, uar in uars.items():
            above = "above chance" if exceeds_chance(uar, chance) else ""
            where = above or f"not above chance, which the interval {place_of_chance(uar, chance)}"
            said.append(f"UAR {uar.in_percent()} ({name} classes), {where}")
        panel = charts.panel(
            [
                charts.interval_points(f"{name} classes", [uar], [n], charts.nth_marker(n, 10))
                for n, (name, uar) in enumerate(uars.items())
            ],
            charts.axis("UAR (%), 95 % interval", range=[-2, 102]),
            charts.rows_axis([f"{name} classes" for name in names]),
            legend=False,
            shapes=[charts.vertical(100 * chance)],
            notes=[charts.chance_note(100 * chance)],
            height=110 + 44 * len(names),
        )
        unchecked = (
            ""
            if data["training_rows_excluded"]
            else "NOT CHECKED for rows that training has seen. "
        )
        synthetic = "Synthetic speech. " if data["synthetic"] else ""
        return Drawing(
            summary=(
                f"{unchecked}{synthetic}{data['system_title']} on {data['data_title']}: "
                f"{'; '.join(said)}. Chance is {percent(chance)} %; "
                f"{plural(data['utterances'], 'utterance')} of "
                f"{plural(data['speakers'], 'speaker')}."
            ),
            panels=[panel],
            tables=[
                charts.table(
                    "Metrics on the other dataset",
                    ["metric", *(f"{n} {e}" for n in names for e in ("classes", "95 % interval"))],
                    [
                        [metric_title(m)]
                        + [
                            cell
                            for one in found.values()
                            for value in [read_interval(one["metrics"][m])]
                            for cell in (metric(m, value.value), interval(m, value))
                        ]
                        for m in SHOWN
                    ],
                ),
                charts.table(
                    "Labels of the data and classes of the system",
                    ["label of the data", "class of the system", "utterances"],
                    [
                        [r["theirs"], r["ours"] or "left out", r["utterances"]]
                        for r in data["labels"]
                    ],
                ),
                *_left_out(data),
            ],
            open_tables=True,
            note=" ".join(
                [
                    *(f"{name}: {READ_AS[name]}." for name in names if len(names) > 1),
                    *(
                        [f"The data has no {listing(data['classes_the_data_lacks'], 'or')}."]
                        if data["classes_the_data_lacks"]
                        else []
                    ),
                    "Intervals are over speakers (jackknife, Student's t); the ECE has none.",
                    *data["notes"],
                ]
            ),
        )


def _left_out(data: EvaluationRecord) -> list[Table]:
    rows: list[list[Cell]] = [
        [number, LEFT_OUT.get(name, name)] for name, number in data["left_out"].items()
    ]
    return [charts.table("Utterances left out", ["utterances", "why"], rows)] if rows else []
