"""Points of a search space that are tried first, after the paper's configuration.

A space's file may name them, where something is known already::

    try_first:
      - {training.learning_rate: 3.0e-3, model.hidden_dim: 256}
      - {model.dropout: 0.2}

What a point does not name is as in the paper. An earlier run gives points as well, see
``warm_start``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from serplatform.errors import unknown_name
from serplatform.search.parameter import Parameter, plain, same, storable

if TYPE_CHECKING:
    from serplatform.search.space import SearchSpace

Point = Mapping[str, Any]

_FORM = "a mapping of dotted parameter names such as {training.learning_rate: 3.0e-3}"


def read_points(raw: Any) -> tuple[tuple[Point, ...], list[str]]:
    """Return the points of a space's file that can be read, and the faults of form."""
    if not isinstance(raw, list):
        return (), [f"try_first: must be a list, each element {_FORM}"]
    points: list[Point] = []
    faults = []
    for place, entry in enumerate(raw, start=1):
        if not isinstance(entry, Mapping) or not all(isinstance(name, str) for name in entry):
            faults.append(f"{_where(place)} must be {_FORM}")
            continue
        bad = [name for name, value in entry.items() if not storable(value)]
        faults += [
            f"{_where(place)} {name} must be a finite number, text, true, false, null or a list"
            for name in bad
        ]
        if not bad:
            points.append(dict(entry))
    return tuple(points), faults


def complete_point(space: SearchSpace, point: Point, paper: Mapping[str, Any]) -> dict[str, Any]:
    """The active parameters at a point, in the order they are drawn.

    Args:
        space: the space.
        point: values of some parameters, each in the space.
        paper: the paper's values of all parameters.
    """
    return space.walk(
        lambda name, parameter: (
            parameter.canonical(point[name]) if name in point else plain(paper[name])
        )
    )


def alike(one: Point, other: Point) -> bool:
    """Whether two sets of values are the same configuration of one space."""
    return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)


def point_faults(
    space: SearchSpace,
    known: Sequence[str],
    paper: Mapping[str, Any],
    refused: Callable[[Mapping[str, Any]], Sequence[str]],
) -> list[str]:
    """What is wrong with the points of a space that is otherwise sound.

    Args:
        space: the space.
        known: every parameter of its architecture.
        paper: the paper's values, the space's fixed ones in their place.
        refused: the faults of a configuration.
    """
    faults: list[str] = []
    seen = [("the paper's configuration, the first trial anyway", complete_point(space, {}, paper))]
    for place, point in enumerate(space.try_first, start=1):
        where = _where(place)
        found = [
            fault
            for name, value in point.items()
            for fault in _value_faults(space, known, name, value)
        ]
        if not found:
            chosen = complete_point(space, point, paper)
            found = _activity_faults(space, point, chosen)
            found = found or list(refused({**space.fixed, **chosen}))
            twin = next((name for name, other in seen if alike(chosen, other)), None)
            if not found and twin is not None:
                found = [f"is the same as {twin}; leave it out"]
            seen.append((f"point {place}", chosen))
        faults += [f"{where} {fault}" for fault in found]
    return faults


def _where(place: int) -> str:
    return f"try_first, point {place}:"


def _value_faults(space: SearchSpace, known: Sequence[str], name: str, value: Any) -> list[str]:
    if name in space.parameters:
        parameter = space.parameters[name]
        if parameter.contains(value):
            return []
        return [
            f"{name} = {plain(value)!r} is not in the space ({parameter.extent()}); give a value "
            "of the space, or widen it"
        ]
    if name in space.fixed:
        return [f"{name} is fixed to {space.fixed[name]!r} here; leave it out, or search it"]
    if name in known:
        return [f"{name} is not searched here; leave it out, or add it to parameters"]
    return [unknown_name("parameter", name, list(space.parameters))]


def _activity_faults(space: SearchSpace, point: Point, chosen: Point) -> list[str]:
    """Values without effect at the point, and values that it needs and the paper's is none of."""
    idle = [
        f"{name} has no effect there, because of its `when`; leave it out"
        for name in point
        if name not in chosen
    ]
    lacking = [
        f"{name} must be named: the paper's value {value!r} is not in the space "
        f"({space.parameters[name].extent()})"
        for name, value in chosen.items()
        if not space.parameters[name].contains(value)
    ]
    return idle + lacking


def points_left(
    space: SearchSpace, points: Sequence[Point], paper: Mapping[str, Any]
) -> tuple[Point, ...]:
    """The points of a wider space that say something in this one.

    Parameters that are not searched or not active any more are left out of each; points that
    are then the paper's configuration or alike are left out.
    """
    kept: list[Point] = []
    seen = [complete_point(space, {}, paper)]
    for point in points:
        usable = {name: value for name, value in point.items() if name in space.parameters}
        if not all(space.parameters[name].contains(value) for name, value in usable.items()):
            kept.append(usable)  # a fault, which is said elsewhere
            continue
        chosen = complete_point(space, usable, paper)
        if not any(alike(chosen, other) for other in seen):
            seen.append(chosen)
            kept.append({name: value for name, value in usable.items() if name in chosen})
    return tuple(kept)


def same_point(parameters: Mapping[str, Parameter], one: Point, other: Mapping[str, Any]) -> bool:
    """Whether a whole configuration ``other`` has the values that ``one`` searches."""
    active = {name: value for name, value in other.items() if name in parameters}
    return alike(one, active)
