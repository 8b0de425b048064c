"""Optimisers, and the learning rate as a function of progress or of dev plateaus."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import nn

from serplatform.training.training_config import TrainingConfig

Opt = TypeVar("Opt", bound=torch.optim.Optimizer)

#: one_cycle: share of training spent rising, and how far below the peak it starts and ends
#: (the defaults of torch's OneCycleLR)
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = ONE_CYCLE_START / 1e4


def build_optimizer(
    config: TrainingConfig, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Make the optimiser; fused kernels where torch has them (adam, adamw, sgd)."""
    rate, decay = config.learning_rate, config.weight_decay
    trained = [{"params": [p for p in parameters if p.requires_grad]}]  # there may be none
    of_adam: dict[str, Any] = {
        "betas": (config.beta_1, 0.999 if config.beta_2 is None else config.beta_2),
        "eps": config.epsilon,
        "fused": True,
    }
    match config.optimizer:
        case "adam":
            return _eager(torch.optim.Adam)(trained, lr=rate, weight_decay=decay, **of_adam)
        case "adamw":
            return _eager(torch.optim.AdamW)(trained, lr=rate, weight_decay=decay, **of_adam)
        case "sgd":
            return _eager(torch.optim.SGD)(
                trained, lr=rate, momentum=config.momentum, weight_decay=decay, fused=True
            )
        case "rmsprop":
            return _eager(torch.optim.RMSprop)(
                trained,
                lr=rate,
                alpha=0.99 if config.beta_2 is None else config.beta_2,
                eps=config.epsilon,
                momentum=config.momentum,
                weight_decay=decay,
                foreach=True,
            )


@functools.cache
def _eager(kind: type[Opt]) -> type[Opt]:
    """An optimiser whose methods are not kept from torch's compiler: that, which nothing here uses,
    takes 1.5 s to import."""
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return cast("type[Opt]", type(kind.__name__, (kind,), methods))


class LearningRate:
    r"""The learning rate of every step.

    ``none`` keeps the rate. ``plateau`` is torch's ``ReduceLROnPlateau`` with its default
    threshold (a relative improvement of 1e-4 counts), fed with the monitored dev metric.
    ``cosine`` falls along half a cosine to 0 at ``max_epochs`` (Loshchilov and Hutter,
    "SGDR", ICLR 2017, Eq. (5), one cycle). ``one_cycle`` rises from 1/25 of the rate to the
    rate over the first 30 % and falls to almost 0, both along cosines (Smith and Topin 2018, as
    in torch's ``OneCycleLR`` but without cycling the momentum).

    Args:
        config: training settings.
        optimizer: whose rate is set.
        higher_is_better: direction of the monitored metric.
    """

    def __init__(
        self, config: TrainingConfig, optimizer: torch.optim.Optimizer, *, higher_is_better: bool
    ) -> None:
        self._config = config
        self._optimizer = optimizer
        self._plateau: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None
        if config.scheduler == "plateau":
            self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer,
                mode="max" if higher_is_better else "min",
                factor=config.plateau_factor,
                patience=config.plateau_patience,
            )

    @property
    def current(self) -> float:
        """Rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def before_step(self, epoch: int, step: int, steps_per_epoch: int) -> None:
        """Set the rate of a step; ``epoch`` and ``step`` count from 0."""
        if self._config.scheduler in ("cosine", "one_cycle"):
            progress = (epoch + step / steps_per_epoch) / self._config.max_epochs
            shape = _cosine if self._config.scheduler == "cosine" else _one_cycle
            for group in self._optimizer.param_groups:
                group["lr"] = self._config.learning_rate * shape(progress)

    def after_epoch(self, value: float) -> None:
        """Tell the monitored dev metric."""
        if self._plateau is not None:
            self._plateau.step(value)

    def state(self) -> dict[str, Any]:
        """What a resumed training needs, JSON-serialisable."""
        state: dict[str, Any] = {"rate": self.current}
        if self._plateau is not None:
            state["plateau"] = {
                "best": self._plateau.best if math.isfinite(self._plateau.best) else None,
                "num_bad_epochs": self._plateau.num_bad_epochs,
                "last_epoch": self._plateau.last_epoch,
            }
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        for group in self._optimizer.param_groups:
            group["lr"] = state["rate"]
        if self._plateau is not None:
            plateau = state["plateau"]
            if plateau["best"] is not None:
                self._plateau.best = plateau["best"]
            self._plateau.num_bad_epochs = plateau["num_bad_epochs"]
            self._plateau.last_epoch = plateau["last_epoch"]


def _cosine(progress: float) -> float:
    """1 at progress 0, 0 at progress 1."""
    return (1 + math.cos(math.pi * progress)) / 2


def _one_cycle(progress: float) -> float:
    """1/25 at progress 0, 1 at 0.3, almost 0 at 1."""
    if progress < ONE_CYCLE_RISE:
        return 1 + (ONE_CYCLE_START - 1) * _cosine(progress / ONE_CYCLE_RISE)
    fall = _cosine((progress - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))
    return ONE_CYCLE_END + (1 - ONE_CYCLE_END) * fall
