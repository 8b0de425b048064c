"""Distributed hyperparameter search and ensembles for speech emotion recognition.

In Python, as on the command line; every function does what the command of its name does:

    >>> import serplatform as sp
    >>> data = sp.prepare("labels.csv", features=["log_mel_23"])  # doctest: +SKIP
    >>> run = sp.search(data, ["moma"], trials=20)  # doctest: +SKIP
    >>> run.leaderboard()  # doctest: +SKIP
    >>> run.ensemble(combiner="product").predict("a.wav")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serplatform.api.calls import ensemble, join, load, prepare, search, train
    from serplatform.api.evaluations import Evaluation, evaluate
    from serplatform.api.results import Bundle, Ensemble, Run
    from serplatform.api.runs import runs
    from serplatform.datasets.dataset import Dataset
    from serplatform.errors import SerplatformError

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "Dataset",
    "Ensemble",
    "Evaluation",
    "Run",
    "SerplatformError",
    "ensemble",
    "evaluate",
    "join",
    "load",
    "prepare",
    "runs",
    "search",
    "train",
]

_HOMES = {
    **dict.fromkeys(
        ["ensemble", "join", "load", "prepare", "search", "train"], "serplatform.api.calls"
    ),
    **dict.fromkeys(["Bundle", "Ensemble", "Run"], "serplatform.api.results"),
    **dict.fromkeys(["Evaluation", "evaluate"], "serplatform.api.evaluations"),
    "runs": "serplatform.api.runs",
    "Dataset": "serplatform.datasets.dataset",
    "SerplatformError": "serplatform.errors",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *globals()])
