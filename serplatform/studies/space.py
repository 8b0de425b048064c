"""Search spaces: a YAML file of what to vary, checked against an architecture's configuration.

A space names an architecture, values fixed in every trial, and the parameters to search::

    architecture: moma
    description: one sentence
    fixed: {training.max_epochs: 40}
    parameters:
      model.hidden_dim: {type: choice, values: [64, 128, 256, 512]}
      model.num_blocks: {type: int, low: 1, high: 6}
      training.learning_rate: {type: float, low: 1e-5, high: 3e-3, log: true}
      model.gamma_scale: {type: float, low: 0.01, high: 2.0, log: true,
                          when: {model.gamma_init: [normal, uniform]}}
    try_first:
      - {training.learning_rate: 3e-3, model.hidden_dim: 256}

``int`` and ``float`` take an optional ``step`` or ``log: true``; ``when`` makes a parameter
depend on the values of earlier ones; ``data.feature: {type: feature}`` is a choice of every layer
that the dataset holds of a pretrained encoder (``pooled: true``: of pooled statistics, if any;
``joined: true``: and of all its layers together), the middle one first; with ``functionals: true``
also of what no encoder made. ``held: true`` with a choice of features leaves out those that the
dataset does not hold.

Where the paper's own value of every searched parameter lies inside the space, the paper's
configuration is the first trial; the points of ``try_first`` follow, and what they do not name is
as in the paper. What the user sets (``--set``) is fixed before a space is judged: it may be faulty
in what can then play no part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import serplatform
from serplatform.config import plain
from serplatform.errors import BadInputError, unknown_name
from serplatform.models.architectures import ARCHITECTURES
from serplatform.strict_yaml import read_yaml
from serplatform.studies.parameter import Parameter, encode, parse_parameter, value_in, values_equal
from serplatform.training.trial_config import (
    known_parameters,
    paper_values,
    resolve,
    unknown_parameter,
    value_faults,
)

if TYPE_CHECKING:
    import optuna

_TOP_KEYS = ("architecture", "description", "fixed", "parameters", "try_first")
_SAMPLES = 128  # drawn to find combinations that the configuration refuses
_SHOWN = 3  # of the combinations that it refuses
_POINT = "a mapping of dotted parameter names such as {training.learning_rate: 3e-3}"

Point = Mapping[str, object]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """What a search varies, and what it holds fixed, by dotted parameter name."""

    architecture: str
    description: str = ""
    #: the value that a parameter has in every trial
    fixed: Mapping[str, object] = dataclasses.field(default_factory=dict)
    #: ranges, in the order they are drawn
    parameters: Mapping[str, Parameter] = dataclasses.field(default_factory=dict)
    source: str = ""  # the file it came from, for messages
    try_first: tuple[Point, ...] = ()  # what a point does not name is as in the paper

    def suggest(self, trial: optuna.trial.BaseTrial) -> dict[str, object]:
        """Draw the active parameters from an Optuna trial: its configuration is
        ``{**space.fixed, **space.suggest(trial)}``."""
        return self.walk(lambda name, parameter: parameter.suggest(trial, name))

    def sample(self, rng: np.random.Generator) -> dict[str, object]:
        """Draw the active parameters at random; the same form as :meth:`suggest`."""
        return self.walk(lambda _, parameter: parameter.sample(rng))

    def encode(self, values: Mapping[str, object]) -> dict[str, object]:
        """Turn drawn values into the ``params`` of ``optuna.Study.enqueue_trial``."""
        return {name: encode(value) for name, value in values.items()}

    def decode(self, params: Mapping[str, object]) -> dict[str, object]:
        """Turn the ``params`` of an Optuna trial back into drawn values."""
        values: dict[str, object] = {}
        for name, parameter in self.parameters.items():
            if name in params:
                value = params[name]
                values[name] = next((v for v in parameter.values if encode(v) == value), value)
        return values

    def walk(self, choose: Callable[[str, Parameter], Any]) -> dict[str, object]:
        """Call ``choose`` for each active parameter in order; return name to its answer."""
        chosen: dict[str, object] = {}
        for name, parameter in self.parameters.items():
            known = {**self.fixed, **chosen}
            if all(p in known and value_in(known[p], ok) for p, ok in parameter.when.items()):
                chosen[name] = choose(name, parameter)
        return chosen


def complete_point(
    space: SearchSpace, point: Point, paper: Mapping[str, object]
) -> dict[str, object]:
    """The active parameters at a point of the space, in the order they are drawn; what the point
    does not name is as in the paper, whose values of all parameters are ``paper``. No paper has
    a feature of ``type: feature``: the first is taken."""
    return space.walk(
        lambda name, parameter: (
            parameter.canonical(point[name])
            if name in point
            else plain(paper[name] if parameter.query is None else parameter.values[0])
        )
    )


def _outside(space: SearchSpace, point: Point) -> list[str]:
    """The parameters whose values at a whole point the space does not hold."""
    return [name for name, value in point.items() if not space.parameters[name].contains(value)]


def paper_point(space: SearchSpace) -> dict[str, object] | None:
    """The paper's own values of the searched parameters that are then active: the first trial of a
    search; None where the space does not hold one of the values, as of features of encoders."""
    if any(parameter.query is not None for parameter in space.parameters.values()):
        return None
    point = complete_point(space, {}, paper_values(space.architecture))
    return None if _outside(space, point) else point


def departures(space: SearchSpace) -> list[str]:
    """Parameters that every trial has at another value than the paper's."""
    paper = paper_values(space.architecture)
    return [n for n, value in space.fixed.items() if not values_equal(value, paper.get(n))]


def why_no_paper_trial(space: SearchSpace) -> str | None:
    """A sentence where :func:`paper_point` is None, which names the values."""
    point = complete_point(space, {}, paper_values(space.architecture))
    outside = [
        f"{name} = {point[name]!r} ({space.parameters[name].extent()})"
        for name in _outside(space, point)
    ]
    told = f"The paper's configuration of {space.architecture} is no trial: its space does not hold"
    return f"{told} {'; '.join(outside)}." if outside else None


def points_inside(
    space: SearchSpace, points: Iterable[Point | None]
) -> list[dict[str, object] | None]:
    """Points, completed by the paper's values; None for one that the space does not hold."""
    paper = paper_values(space.architecture)
    found: list[dict[str, object] | None] = []
    for point in points:
        known = point is not None and not point.keys() - space.parameters.keys()
        inside = known and all(space.parameters[n].contains(v) for n, v in (point or {}).items())
        whole = complete_point(space, point or {}, paper) if inside else None
        found.append(None if whole is None or _outside(space, whole) else whole)
    return found


def first_points(space: SearchSpace) -> list[dict[str, object]]:
    """The points to try after the paper's, whole, in the form of :func:`paper_point`."""
    paper = paper_values(space.architecture) if space.try_first else {}
    return [complete_point(space, point, paper) for point in space.try_first]


def space_directory() -> Path:
    """Folder of the packaged spaces: inside an installed wheel, else beside the package."""
    package = Path(serplatform.__file__).parent
    installed = package / "search_spaces"
    return installed if installed.is_dir() else package.parent / "search_spaces"


def packaged_spaces() -> list[str]:
    """Names of the spaces that travel with the package, e.g. ``moma`` and ``moma-small``."""
    return sorted(path.stem for path in space_directory().glob("*.yaml"))


def load_space(name_or_path: str, overrides: Mapping[str, object] | None = None) -> SearchSpace:
    """The packaged space of a name, or that of a YAML file, see :func:`make_space`.

    Raises:
        BadInputError: no such space, or it has faults; all of them are listed.
    """
    return make_space(*read_space_file(name_or_path), overrides)


def read_space_file(name_or_path: str) -> tuple[Mapping[Any, Any], str]:
    """The content of a packaged space or of a file, for :func:`make_space`, and its path."""
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path or "\\" in name_or_path:
        path = Path(name_or_path)
    elif name_or_path in packaged_spaces():
        path = space_directory() / f"{name_or_path}.yaml"
    else:
        problem = unknown_name("search space", name_or_path, packaged_spaces())
        raise BadInputError(f"{problem} A file of your own is given by its path, ending in .yaml.")
    raw = read_yaml(path, "search space")
    if not isinstance(raw, Mapping):
        raise BadInputError(f"{path}: a search space is a mapping of {', '.join(_TOP_KEYS)}")
    return raw, str(path)


def make_space(
    raw: Mapping[Any, Any],
    source: str,
    overrides: Mapping[str, object] | None = None,
    *,
    exact: bool = False,
) -> SearchSpace:
    """Make a space of the content of its file.

    Args:
        raw: what YAML gives.
        source: where it is from, for messages.
        overrides: dotted name to what the user sets: it is fixed, and what can then play no
            part, be it faulty or not, is left out before the space is judged.
        exact: nothing need be searched.

    Raises:
        BadInputError: it has faults; all of them are listed.
    """
    space, errors = parse_space(raw, source, overrides)
    if not exact and raw.get("parameters", {}) == {}:
        errors.append("parameters: is empty; name at least one parameter to search")
    if errors := errors or _combination_errors(space):
        where = source if exact or not overrides else f"{source} with {', '.join(overrides)} set"
        what = "configuration" if exact else "search space"
        raise BadInputError(f"{where}: the {what} has {len(errors)} fault(s):", errors)
    return space


def parse_space(
    raw: Mapping[Any, Any],
    source: str,
    overrides: Mapping[str, object] | None = None,
    *,
    recorded: bool = False,
) -> tuple[SearchSpace, list[str]]:
    """Read a space as :func:`make_space` does; return it with all its errors but those of
    combinations of values. A ``recorded`` one is of a run, features named as its dataset has them:
    two of its points may have become the same."""
    fixed_by_user = overrides or {}
    errors = [unknown_name("key", str(key), _TOP_KEYS) for key in raw if key not in _TOP_KEYS]
    texts = {key: raw.get(key) for key in ("architecture", "description")}
    for key, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            errors.append(f"{key}: is missing; it must be text")
            texts[key] = ""
    sections: dict[str, Mapping[str, object]] = {}
    for key in ("fixed", "parameters"):
        sections[key] = raw.get(key, {})
        if not _has_names(sections[key]):
            errors.append(f"{key}: must be a mapping of dotted parameter names")
            sections[key] = {}
    settled = _settled(sections["parameters"], fixed_by_user)
    parameters: dict[str, Parameter] = {}
    unreadable: list[str] = []
    for name, entry in sections["parameters"].items():
        if name in settled:
            continue
        found: list[str] = []
        parameter = parse_parameter(entry, found)
        errors += [f"{name}: {error}" for error in found]
        if parameter is None:
            unreadable.append(name)
        else:
            parameters[name] = parameter
    space = SearchSpace(
        architecture=str(texts["architecture"]),
        description=str(texts["description"]),
        fixed={**sections["fixed"], **fixed_by_user},
        parameters=parameters,
        source=source,
    )
    errors += _condition_errors(space, unreadable, recorded=recorded)
    errors += _name_and_range_errors(space, unreadable)
    points = raw.get("try_first", [])
    if not isinstance(points, list):
        return space, [*errors, f"try_first: must be a list, each element {_POINT}"]
    malformed = [place for place, point in enumerate(points, start=1) if not _has_names(point)]
    errors += [f"try_first, point {place}: must be {_POINT}" for place in malformed]
    if not errors and points:
        space = dataclasses.replace(
            space, try_first=_points(points, space, settled, errors, recorded=recorded)
        )
    return space, errors


def _has_names(section: Any) -> bool:
    return isinstance(section, Mapping) and all(isinstance(name, str) for name in section)


def _settled(entries: Mapping[str, object], overrides: Mapping[str, object]) -> set[str]:
    """What the user has fixed, and the searched parameters that can then never be active."""
    settled = set(overrides)
    for name, entry in entries.items():
        when = entry.get("when") if isinstance(entry, Mapping) else None
        for parent, allowed in when.items() if isinstance(when, Mapping) else ():
            if parent not in overrides:
                never = parent in settled
            else:
                listed = allowed if isinstance(allowed, list) else []
                never = bool(listed) and not value_in(overrides[parent], listed)
            if never:
                settled.add(name)
    return settled


def _points(
    entries: Sequence[Point],
    space: SearchSpace,
    settled: Collection[str],
    errors: list[str],
    *,
    recorded: bool,
) -> tuple[Point, ...]:
    """The points that a sound space's file tries first, without what is settled, and without
    those that are then the paper's configuration or equal; what is wrong goes to ``errors``."""
    paper = paper_values(space.architecture)
    first = paper_point(space)
    seen = [] if first is None else [("the paper's configuration, the first trial anyway", first)]
    points: list[Point] = []
    for place, entry in enumerate(entries, start=1):
        point = {name: value for name, value in entry.items() if name not in settled}
        found = list(_point_errors(space, point, paper))
        if not found:
            chosen = complete_point(space, point, paper)
            twin = next((name for name, other in seen if values_equal(chosen, other)), None)
            if twin is not None and settled:
                continue
            if twin is not None and not recorded:
                found = [f"is the same as {twin}; leave it out"]
            seen.append((f"point {place}", chosen))
        points.append(point)
        errors += [f"try_first, point {place}: {error}" for error in found]
    return tuple(points)


def _point_errors(space: SearchSpace, point: Point, paper: Mapping[str, object]) -> Iterator[str]:
    """Why a point cannot be tried: its values, those without effect there, those that it must
    name because the paper's are none of the space, and rules between them."""
    searched = space.parameters
    wrong = [n for n in point if n not in searched or not searched[n].contains(point[n])]
    for name in wrong:
        if name in searched:
            yield (
                f"{name} = {plain(point[name])!r} is not in the space ({searched[name].extent()}); "
                "give a value of the space, or widen it"
            )
        elif name in space.fixed:
            yield f"{name} is fixed to {space.fixed[name]!r} here; leave it out, or search it"
        elif name in paper:
            yield f"{name} is not searched here; leave it out, or add it to parameters"
        else:
            yield unknown_name("parameter", name, list(searched))
    if wrong:
        return
    chosen = complete_point(space, point, paper)
    lacking = _outside(space, chosen)
    for name in (name for name in point if name not in chosen):
        yield f"{name} has no effect there, because of its `when`; leave it out"
    for name in lacking:
        yield (
            f"{name} must be named: the paper's value {chosen[name]!r} is not in the space "
            f"({searched[name].extent()})"
        )
    if not lacking:
        yield from _refused(space, chosen)


def _name_and_range_errors(space: SearchSpace, unreadable: Sequence[str]) -> list[str]:
    """Unknown names, values and ranges that the parameter's own field refuses."""
    architecture = space.architecture
    if not architecture:
        return []
    if architecture not in ARCHITECTURES.names():
        return [unknown_name("architecture", architecture, ARCHITECTURES.names())]
    known = known_parameters(architecture)

    def unknown(name: str) -> str:
        section = name.partition(".")[0] + "."
        nearby = [other for other in known if other.startswith(section)]
        return unknown_parameter(name, nearby or known, [architecture])

    errors = [
        f"{name}: only data.feature can be of type feature, or held"
        for name, parameter in space.parameters.items()
        if (parameter.query is not None or parameter.held) and name != "data.feature"
    ]
    for name in [*space.parameters, *unreadable]:
        if name not in known:
            errors.append(unknown(name))
        elif name in space.fixed:
            errors.append(f"{name}: is both fixed and searched; leave one out")
    for name, value in space.fixed.items():
        found = value_faults(architecture, name, value) if name in known else [unknown(name)]
        errors += [f"fixed: {error}" for error in found]
    for name in (name for name in space.parameters if name in known):
        probes = space.parameters[name].probes()
        found = list(dict.fromkeys(e for v in probes for e in value_faults(architecture, name, v)))
        errors += found[:_SHOWN]
        if len(found) > _SHOWN:
            errors.append(f"{name}: {len(found) - _SHOWN} more of its values are refused")
    return errors


def _condition_errors(
    space: SearchSpace, unreadable: Collection[str], *, recorded: bool
) -> list[str]:
    """What is wrong with ``when``, but of parents that are fixed or could not be read; of those of
    a recorded space, values that the dataset does not allow were left out."""
    errors = []
    names = list(space.parameters)
    for place, (name, parameter) in enumerate(space.parameters.items()):
        for parent, allowed in parameter.when.items():
            where = f"{name}: when {parent}"
            if parent in unreadable or parent in space.fixed:
                continue
            if parent not in space.parameters:
                hint = unknown_name("parameter", parent, [n for n in names if n != name])
                errors.append(f"{where}: is neither searched nor fixed here. {hint}")
            elif _depends(space, parent, name):
                errors.append(f"{where}: the conditions form a circle; remove one")
            elif names.index(parent) > place:
                errors.append(f"{where}: must be an earlier parameter; move {parent} before {name}")
            elif not recorded:
                never = [v for v in allowed if not space.parameters[parent].contains(v)]
                errors += [f"{where}: can never be {value!r}" for value in never]
    return errors


def _depends(space: SearchSpace, name: str, on: str) -> bool:
    """Whether ``name`` is, or is conditioned through any chain on, the parameter ``on``."""
    found = {name}
    for _ in space.parameters:  # a chain is no longer
        found.update(*(space.parameters[n].when for n in found if n in space.parameters))
    return on in found


def _refused(space: SearchSpace, values: Point) -> Sequence[str]:
    """The rules between fields that a configuration breaks."""
    try:
        resolve(space.architecture, {**space.fixed, **values}, "search space")
    except BadInputError as error:
        return error.faults or (str(error),)
    return ()


def _combination_errors(space: SearchSpace) -> list[str]:
    """Combinations that a rule between fields refuses: the paper's, where it is a trial, and
    among random ones. With them a search would fail in its sixth hour."""
    rng = np.random.default_rng(0)
    paper = paper_point(space)
    drawn = [] if paper is None else [paper]
    drawn += [space.sample(rng) for _ in range(_SAMPLES)]
    distinct = {repr(values): values for values in drawn}.values()
    refused: dict[str, list[Point]] = {}
    for values in distinct:
        for error in _refused(space, values):
            refused.setdefault(error, []).append(values)
    if not space.parameters:
        return list(refused)
    return [
        f"every combination is refused: {error}"
        if len(examples) == len(distinct)
        else f"a combination is refused: {error}; e.g. with {examples[0]}"
        for error, examples in list(refused.items())[:_SHOWN]
    ]
