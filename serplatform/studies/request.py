"""What a user asks of a search or a training."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """What the user asks for; the fields are those of ``serplatform.search`` and ``.train``.

    Attributes:
        spaces: files or names of packaged spaces; architectures that none of them is for use
            the packaged space of their own name, or ``<name>-small`` where ``small``.
        settings: texts KEY=VALUE that hold in every trial.
        exact: search nothing: the paper's configuration with ``settings``, ``repeats`` times.
        max_folds: only the first of the protocol's folds; None for all.
        time_budget: seconds of this call, or None.
        combiner: None: `product`, or what the run has.
        portfolio: no architecture was named: all are searched, by what they promise.
        reference: train the reference system too, see ``studies.reference``.
        nested: a study an outer fold, see ``studies.nested``.
        sealed: compute no test posteriors until the run is unsealed, see ``training.seal``.
        log: experiment trackers, texts NAME or NAME=TARGET, see ``tracking.choice``.
    """

    architectures: tuple[str, ...] = ()
    dataset: str | Path | None = None
    protocol: str | None = None
    spaces: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    exact: bool = False
    repeats: int = 1
    small: bool | None = None
    seed: int = 0
    objectives: tuple[str, ...] = ("uar",)
    sampler: str = "tpe"
    pruner: str = "folds"
    storage: str | None = None
    max_folds: int | None = None
    warm_start: tuple[str, ...] = ()
    trials: str | None = None
    time_budget: float | None = None
    combiner: str | None = None
    portfolio: bool = False
    reference: bool = True
    nested: bool = False
    sealed: bool = False
    log: tuple[str, ...] = ()

    def of_one_configuration(self) -> SearchRequest:
        """Train it ``repeats`` times over all folds; several trainings are combined."""
        combiner = "mean" if self.repeats > 1 else "none"
        return dataclasses.replace(
            self,
            exact=True,
            sampler="random",
            pruner="none",
            combiner=combiner,
            reference=False,
        )
