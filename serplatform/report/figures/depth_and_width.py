"""Dev UAR of MOMA over the blocks of a mixture and the mixtures that are stacked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from serplatform.report import charts
from serplatform.report.data import NoDataError, ReportData, grouped
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette, Panel
from serplatform.report.load import ReportTrial
from serplatform.report.wording import decimal, percent, percent_sign, plural

WIDTH, DEPTH = "model.num_blocks", "model.mixture_layers"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthCell:
    """All finished trials of one width and depth: their number, mean dev UAR and mean gap.

    ``gap``: dev NLL minus training loss at each fold's epoch of the highest dev UAR, mean over
    folds; None where epochs were not recorded.
    """

    blocks: int
    layers: int
    trials: int
    uar: float
    gap: float | None


def loss_gap(trial: ReportTrial) -> float | None:
    """How far the dev loss lies above the training loss; see :class:`DepthCell`."""
    gaps = []
    for epochs in grouped(trial.history, lambda entry: entry["fold"]).values():
        best = max(epochs, key=lambda entry: entry["dev"].get("uar", 0.0))
        if "nll" in best["dev"]:
            gaps.append(best["dev"]["nll"] - best["train_loss"])
    return float(np.mean(gaps)) if gaps else None


@FIGURES.register("depth_and_width")
class DepthAndWidth(Figure[tuple[DepthCell, ...]]):
    title = "MOMA by depth and width"
    section = "search"
    after = "parameter_effects"

    def compute(self, report: ReportData) -> tuple[DepthCell, ...]:
        said = [
            trial
            for trial in report.finished_by_architecture().get("moma", [])
            if {WIDTH, DEPTH} <= trial.params.keys()
        ]
        by_cell = grouped(said, lambda trial: (int(trial.params[WIDTH]), int(trial.params[DEPTH])))
        if min((len(set(values)) for values in zip(*by_cell, strict=True)), default=0) < 2:
            raise NoDataError("finished moma trials do not vary both blocks and stacked mixtures")
        found = []
        for (blocks, layers), trials in sorted(by_cell.items()):
            gaps = [gap for gap in map(loss_gap, trials) if gap is not None]
            found.append(
                DepthCell(
                    blocks=blocks,
                    layers=layers,
                    trials=len(trials),
                    uar=float(np.mean([trial.objective or 0.0 for trial in trials])),
                    gap=float(np.mean(gaps)) if gaps else None,
                )
            )
        return tuple(found)

    def draw(self, data: tuple[DepthCell, ...], palette: Palette) -> Drawing:
        best = max(data, key=lambda cell: cell.uar)
        summary = (
            f"Mean dev UAR is highest at {plural(best.blocks, 'block')} and "
            f"{plural(best.layers, 'mixture')}: {percent_sign(best.uar)} over "
            f"{plural(best.trials, 'trial')}."
        )
        panels = [_surface(data, "Dev UAR (%)", lambda cell: 100 * cell.uar, 1)]
        ends = min(cell.blocks for cell in data), max(cell.blocks for cell in data)
        gaps = [
            [cell.gap for cell in data if cell.blocks == end and cell.gap is not None]
            for end in ends
        ]
        if all(gaps):
            panels.append(_surface(data, "Dev NLL minus training loss", lambda cell: cell.gap, 2))
            few, many = (decimal(float(np.mean(values)), 2) for values in gaps)
            summary += (
                f" The dev loss lies {few} above the training loss with {plural(ends[0], 'block')} "
                f"and {many} with {ends[1]}."
            )
        return Drawing(
            summary=summary,
            panels=panels,
            tables=[
                charts.table(
                    "Finished MOMA trials by blocks and stacked mixtures",
                    {
                        "blocks": None,
                        "stacked mixtures": None,
                        "trials": None,
                        "mean dev UAR (%)": percent,
                        "dev NLL minus training loss": decimal,
                    },
                    [[c.blocks, c.layers, c.trials, c.uar, c.gap] for c in data],
                )
            ],
            note=(
                "Each cell: the mean over its trials, whose number is in brackets; their other "
                "parameters differ, so compare cells of many trials. The paper's point is 3 blocks "
                "and 1 mixture; stacked mixtures are ours. The loss gap is at the kept epoch of "
                "each fold; label smoothing, class weights, dropout and augmentation are in the "
                "training loss alone. A gap that grows with blocks is overfitting."
            ),
        )


def _surface(
    data: tuple[DepthCell, ...], title: str, value: Callable[[DepthCell], float | None], digits: int
) -> Panel:
    """Cells of blocks (across) and mixtures (down)."""
    blocks, layers = (sorted({getattr(c, name) for c in data}) for name in ("blocks", "layers"))
    cells = {(cell.layers, cell.blocks): cell for cell in data}
    known = [shown for cell in data if (shown := value(cell)) is not None]
    return charts.heat_map(
        [[value(c) if (c := cells.get((d, w))) else None for w in blocks] for d in layers],
        [
            [
                f"{decimal(value(c), digits)} ({c.trials})" if (c := cells.get((d, w))) else ""
                for w in blocks
            ]
            for d in layers
        ],
        rows=[str(d) for d in layers],
        columns=[str(w) for w in blocks],
        low=min(known),
        high=max(known),
        height=140 + 44 * len(layers),
        title=title,
        x="blocks in a mixture",
        y="stacked mixtures",
    )
