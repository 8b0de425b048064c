"""Configurations that are known to do well on corpora that they were not made for.

``portfolio.yaml`` holds them, in two lists, for datasets with layers of a pretrained encoder and
without, in the order in which a greedy choice took them: each is the one that adds most to the
ensemble of those before it, over the corpora on which all were trained; ``gain`` is what it adds,
in points of UAR. ``benchmarks/portfolio.py`` makes the file, and measures what it is worth on a
corpus that it was not made from. (Zero-shot portfolios: Feurer et al., Auto-sklearn 2.0, JMLR
2022.)

Features stand in it by their part: ``middle``, ``around`` and ``whole`` layers of the dataset's
encoders, its ``functionals`` and its ``frames``, see :func:`.feature_choice.roles`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from serplatform.artifacts.run import SpaceKind
from serplatform.datasets.dataset import Dataset
from serplatform.strict_yaml import read_yaml
from serplatform.studies.feature_choice import FEATURE, roles
from serplatform.studies.space import SearchSpace, points_inside
from serplatform.studies.space_choice import packaged_name

FILE = Path(__file__).with_name("portfolio.yaml")


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = read_yaml(FILE, "portfolio")
    return content


def cheapest_first(architectures: Sequence[str]) -> list[str]:
    """Architectures by what their trials took when the portfolio was made; unknown ones last."""
    known: list[str] = _content()["cheapest_first"]
    return sorted(
        architectures, key=lambda name: known.index(name) if name in known else len(known)
    )


def with_portfolio(
    candidates: Mapping[str, Mapping[SpaceKind, SearchSpace]], dataset: Dataset
) -> tuple[dict[str, dict[SpaceKind, SearchSpace]], dict[str, dict[SpaceKind, list[float]]]]:
    """Put the portfolio's configurations first in the spaces that hold them; where it has none,
    a space keeps its own.

    Returns:
        the spaces; and the gain of each point of their ``try_first``, in points of UAR.
    """
    held = roles(dataset)
    regime = "with_encoder" if "middle" in held else "without_encoder"
    spaces: dict[str, dict[SpaceKind, SearchSpace]] = {}
    gains: dict[str, dict[SpaceKind, list[float]]] = {}
    for architecture, kinds in candidates.items():
        spaces[architecture], gains[architecture] = {}, {}
        for kind, space in kinds.items():
            name = packaged_name(architecture, kind)
            of_space = [entry for entry in _content()[regime] if entry["space"] == name]
            points = [_resolved(entry["values"], held, space) for entry in of_space]
            inside = points_inside(space, points)
            kept = [place for place, point in enumerate(inside) if point is not None]
            own = tuple(point for point in inside if point is not None)
            spaces[architecture][kind] = dataclasses.replace(
                space, try_first=own or space.try_first
            )
            gains[architecture][kind] = [float(of_space[place]["gain"]) for place in kept]
    return spaces, gains


def _resolved(
    values: Mapping[str, object], held: Mapping[str, str], space: SearchSpace
) -> dict[str, object] | None:
    """A configuration with its feature named; None where the dataset has none of that part."""
    point = {name: value for name, value in values.items() if name not in space.fixed}
    if FEATURE in point:
        if point[FEATURE] not in held:
            return None
        point[FEATURE] = held[str(point[FEATURE])]
    return point
