"""What a user may choose of a study, checked without Optuna: objectives, samplers, pruners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from serplatform.artifacts.trial import DEV_METRICS
from serplatform.errors import BadInputError, unknown_name
from serplatform.metrics import HIGHER_IS_BETTER

Direction = Literal["minimize", "maximize"]

#: objective name → direction
OBJECTIVES: dict[str, Direction] = {
    **{name: "maximize" if HIGHER_IS_BETTER[name] else "minimize" for name in DEV_METRICS},
    "parameters": "minimize",
    "seconds": "minimize",
}

SAMPLERS = ("tpe", "random", "gp")
PRUNERS = ("folds", "asha", "median", "hyperband", "none")


def check_choices(objectives: Sequence[str], sampler: str, pruner: str) -> None:
    """See that all are known, and the objectives differ.

    Raises:
        BadInputError: otherwise.
    """
    for name in objectives:
        if name not in OBJECTIVES:
            raise BadInputError(unknown_name("objective", name, OBJECTIVES))
    if len(set(objectives)) != len(objectives) or not objectives:
        raise BadInputError(f"--objective {','.join(objectives)}: give each objective once")
    for kind, name, known in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        if name not in known:
            raise BadInputError(unknown_name(kind, name, known))
