"""How the models of a system are combined, as a graph of their posteriors.

Shapes: S models of the system, M candidates of a fold, B utterances, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from serplatform.ensembles.auto import Auto
from serplatform.ensembles.base import Combiner
from serplatform.ensembles.product import Product
from serplatform.ensembles.stacking import STACKING_FLOOR, Regression, Stacking
from serplatform.ensembles.syscomb import SysComb
from serplatform.errors import BadInputError
from serplatform.metrics import POSTERIOR_FLOOR
from serplatform.prediction.system import FoldSystem, PredictionSystem


class CombinerGraph(nn.Module):
    """(S, B, K) posteriors of a system's models, in the order of ``places``, to (B, K).

    Raises:
        BadInputError: a fold's combiner has no graph.
    """

    def __init__(self, system: PredictionSystem, places: Sequence[Path]) -> None:
        super().__init__()
        order = {place: number for number, place in enumerate(places)}
        count = len(system.classes)
        self.folds = nn.ModuleList(FoldGraph(fold, order, count) for fold in system.folds)

    def forward(self, models: Tensor) -> Tensor:
        """The mean over folds, as :func:`serplatform.prediction.predictor.average` takes it."""
        values = models.double()
        mean = torch.stack([fold(values) for fold in self.folds]).mean(dim=0)
        return (mean / mean.sum(dim=1, keepdim=True)).float()


class FoldGraph(nn.Module):
    """What one fold makes of the posteriors of all models: (S, B, K) to (B, K)."""

    rows: Tensor
    weights: Tensor
    temperatures: Tensor

    def __init__(self, fold: FoldSystem, order: dict[Path, int], num_classes: int) -> None:
        super().__init__()
        members = fold.members
        self.num_classes = num_classes
        self.register_buffer("rows", torch.tensor([order[m.directory] for m in members]))
        self.calibrated = any(member.temperature is not None for member in members)
        temperatures = [member.temperature or 1.0 for member in members]
        self.register_buffer("temperatures", torch.tensor(temperatures, dtype=torch.float64))
        combiner = fold.combiner(num_classes)
        if isinstance(combiner, Auto):
            combiner = combiner.chosen
        positions = [member.position for member in members]
        weights = [1.0] if combiner is None else [combiner.weights()[p] for p in positions]
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float64))
        self.logs = isinstance(combiner, (Product, SysComb))
        self.regression = None
        if isinstance(combiner, Stacking):
            self.regression = RegressionGraph(*combiner.regression, positions, num_classes)
        elif not (combiner is None or self.logs or type(combiner).combine is Combiner.combine):
            raise BadInputError(f"the combiner '{combiner.name}' has no graph")

    def forward(self, posteriors: Tensor) -> Tensor:
        """(S, B, K) posteriors of all models to (B, K), rows sum to 1."""
        if not self.rows.numel():
            return torch.full_like(posteriors[0], 1.0 / self.num_classes)
        values = posteriors[self.rows]
        if self.calibrated:
            divisor = self.temperatures.view(-1, 1, 1)
            values = (values.clamp(min=POSTERIOR_FLOOR).log() / divisor).softmax(dim=2)
        if self.regression is not None:
            pooled: Tensor = self.regression(values)
            return pooled
        weights = self.weights.view(-1, 1, 1)
        if self.logs:
            return (weights * values.clamp(min=POSTERIOR_FLOOR).log()).sum(dim=0).softmax(dim=1)
        total = (weights * values).sum(dim=0)
        return total / total.sum(dim=1, keepdim=True)


class RegressionGraph(nn.Module):
    """The logistic regression of :class:`.Stacking`, (M, B, K) to (B, K)."""

    matrix: Tensor
    intercepts: Tensor

    def __init__(
        self, used: Sequence[int], model: Regression, positions: Sequence[int], num_classes: int
    ) -> None:
        super().__init__()
        coefficients = torch.from_numpy(model.coefficients).view(
            len(model.present), len(used), num_classes
        )
        matrix = torch.zeros(len(positions), num_classes, num_classes, dtype=torch.float64)
        place = {position: number for number, position in enumerate(positions)}
        for number, position in enumerate(used):
            if position in place:  # another one has no weight: it says 1/K, whose log is centred
                matrix[place[position], :, model.present] = coefficients[:, number].T
        intercepts = torch.full((num_classes,), -torch.inf, dtype=torch.float64)
        intercepts[model.present] = torch.from_numpy(model.intercepts)
        self.register_buffer("matrix", matrix)  # (M, K, K)
        self.register_buffer("intercepts", intercepts)

    def forward(self, posteriors: Tensor) -> Tensor:
        """Classes that the fit did not see get 0."""
        logs = posteriors.clamp(min=STACKING_FLOOR).log()
        logs = logs - logs.mean(dim=2, keepdim=True)
        return ((logs @ self.matrix).sum(dim=0) + self.intercepts).softmax(dim=1)
