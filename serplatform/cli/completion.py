"""What a shell completes, by the name of a command's parameter: registered names, runs, datasets.

`serplatform --install-completion` sets it up. Nothing here imports torch, Ray or Optuna, and of
files only names are looked at. What cannot be completed is left to the shell.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable

from serplatform.artifacts.layout import DATASET, SYSTEMS, holders
from serplatform.errors import SerplatformError

Complete = Callable[[str], list[str]]


def _registered(module: str, registry: str, *further: str) -> Complete:
    """Names of a family."""

    def names(incomplete: str) -> list[str]:
        with contextlib.suppress(SerplatformError):  # a broken plugin says so when it is run
            family = getattr(importlib.import_module(f"serplatform.{module}"), registry)
            return [n for n in (*family.names(), *further) if n.startswith(incomplete)]
        return []

    return names


def _listed(module: str, attribute: str) -> Complete:
    """Names that stand in a module."""

    def names(incomplete: str) -> list[str]:
        found = getattr(importlib.import_module(f"serplatform.{module}"), attribute)
        return [n for n in (found() if callable(found) else found) if n.startswith(incomplete)]

    return names


def _last_of_several(complete: Complete) -> Complete:
    """Names with commas between: the last one is completed."""

    def names(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in complete(last)]

    return names


def _directories(*markers: str) -> Complete:
    """Directories that hold one of these files, there or a level below; the shell does the rest."""

    def names(incomplete: str) -> list[str]:
        head, tail = os.path.split(incomplete)
        return sorted(holders(head, tail, markers))

    return names


_ARCHITECTURES = _registered("models.architectures", "ARCHITECTURES", "all")
_SYSTEM = _directories(*SYSTEMS)

#: parameter of a command → how it is completed
COMPLETIONS: dict[str, Complete] = {
    "architectures": _ARCHITECTURES,
    "corpus": _registered("corpora.base", "CORPORA"),
    "features": _last_of_several(_registered("features.base", "FEATURES")),
    "align": _registered("alignment.base", "ALIGNERS", "none"),
    "protocol": _registered("protocols.base", "PROTOCOLS"),
    "stand_in": _registered("protocols.base", "PROTOCOLS"),
    "combiner": _registered("ensembles.base", "COMBINERS"),
    "objective": _last_of_several(_listed("studies.choices", "OBJECTIVES")),
    "sampler": _listed("studies.choices", "SAMPLERS"),
    "pruner": _listed("studies.choices", "PRUNERS"),
    "table": _listed("papers.paper_table", "table_names"),
    "data": _directories(DATASET),
    "run": _directories(SYSTEMS[0]),
    "runs": _directories(SYSTEMS[0]),
    "warm_start": _directories(SYSTEMS[0]),
    "source": _SYSTEM,
    "system": _SYSTEM,
}
