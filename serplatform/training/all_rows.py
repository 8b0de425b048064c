"""Train a configuration once on every row of its folds, when cross-validation has ended.

No dev row is left to choose an epoch by, so that their number is fixed beforehand: the median over
the folds of the best epochs. What dev rows steer besides (a plateau of the learning rate, whether
the average of the last epochs is kept) follows what most folds did.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from serplatform.artifacts.trial import HistoryEntry
from serplatform.datasets.fold_data import FoldData
from serplatform.protocols.base import Fold, FoldPlan
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import TrialConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Course:
    """How long training goes on, decided beforehand.

    Attributes:
        best_epochs: best epoch of each fold of the cross-validation.
        epochs: trained here: their median, of two middle ones the later.
        rates: learning rate of each of these epochs, the folds' median: followed where the
            schedule is ``plateau``; empty where none was recorded.
        averaged: keep the average over the last ``training.swa_epochs``.
    """

    best_epochs: tuple[int, ...]
    epochs: int
    rates: tuple[float, ...]
    averaged: bool

    @classmethod
    def of_folds(
        cls, metrics: Sequence[Mapping[str, Any]], history: Sequence[HistoryEntry]
    ) -> Course:
        """From what each fold's model says of its choice, and the epochs of the trial.

        Example:
            >>> Course.of_folds([{"epoch": 3}, {"epoch": 9}, {"epoch": 4}], []).epochs
            4
        """
        best = tuple(int(found["epoch"]) for found in metrics)
        epochs = statistics.median_high(best)
        rates = [
            [e["learning_rate"] for e in history if e["epoch"] == n and "learning_rate" in e]
            for n in range(1, epochs + 1)
        ]
        return cls(
            best_epochs=best,
            epochs=epochs,
            rates=tuple(map(statistics.median, rates)) if all(rates) else (),
            averaged=2 * sum("averaged_epochs" in found for found in metrics) > len(metrics),
        )


def plan_of_all_rows(plan: FoldPlan) -> FoldPlan:
    """A plan of one fold whose training rows are all that any fold of ``plan`` has."""
    names = {n for fold in plan.folds for n in (*fold.train, *fold.dev, *fold.test)}
    fold = Fold(train=tuple(sorted(names)), dev=(), test=())
    return dataclasses.replace(plan, folds=(fold,))


class AllRowsTrainer(FoldTrainer):
    """Train one model on all rows for a fixed number of epochs; the last one's weights are kept.

    ``data`` is of a plan of :func:`plan_of_all_rows`. What is fitted in closed form is fitted
    once, and ``training.refit`` means nothing here: dev rows are among the training rows.
    """

    NEEDED_PARTS: ClassVar[tuple[str, ...]] = ("train",)

    def __init__(
        self, config: TrialConfig, data: FoldData, course: Course, *, seed: int, device: str
    ) -> None:
        training = dataclasses.replace(config.training, refit=False)
        super().__init__(
            dataclasses.replace(config, training=training), data, seed=seed, device=device
        )
        self.course = course

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.course.epochs

    def _judge(self, epoch: int, rate: float) -> tuple[dict[str, float], None]:
        self.epoch = epoch
        if self.config.training.scheduler == "plateau" and epoch < len(self.course.rates):
            for group in self._optimizer.param_groups:
                group["lr"] = self.course.rates[epoch]
        if self._swa is not None:
            self._swa.take(self.model, epoch)
        if self.finished and self._swa is not None and self.course.averaged:
            with self._averaged(self._swa):
                self._keep({}, averaged=True)
        elif self.finished:
            self._keep({})
        return {}, None
