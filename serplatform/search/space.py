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

``int`` and ``float`` take an optional ``step`` or ``log: true``; ``when`` makes a parameter
depend on the values of earlier ones. The paper's own value of every searched parameter must lie
inside the space, because the paper's configuration is the first trial of every search. Points to
try next may follow as ``try_first``, see the module of that name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import serplatform
from serplatform.errors import BadInputError, unknown_name
from serplatform.models.base import ARCHITECTURES
from serplatform.search.parameter import (
    Parameter,
    among,
    encode,
    parse_parameter,
    plain,
    storable,
)
from serplatform.search.strict_yaml import read_yaml
from serplatform.search.try_first import (
    Point,
    complete_point,
    point_faults,
    points_left,
    read_points,
)
from serplatform.training.trial_config import known_parameters, paper_values, resolve

if TYPE_CHECKING:
    import optuna

_TOP_KEYS = ("architecture", "description", "fixed", "parameters", "try_first")
_SAMPLES = 128  # drawn to find combinations that the configuration refuses
_SHOWN = 3  # of the combinations that it refuses


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """What a search varies, and what it holds fixed.

    Attributes:
        architecture: a registered name.
        description: one sentence.
        fixed: dotted parameter name to the value it has in every trial.
        parameters: dotted parameter name to its range, in the order they are drawn.
        source: the file it came from, for messages.
        try_first: points to try after the paper's; what one does not name is as in the paper.
    """

    architecture: str
    description: str = ""
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    parameters: Mapping[str, Parameter] = dataclasses.field(default_factory=dict)
    source: str = ""
    try_first: tuple[Point, ...] = ()

    def suggest(self, trial: optuna.trial.BaseTrial, prefix: str = "") -> dict[str, Any]:
        """Draw the active parameters from an Optuna trial.

        Args:
            trial: any Optuna trial.
            prefix: put before each name in the study, where several spaces share one.

        Returns:
            Dotted name to value, without ``fixed``: a trial's configuration is
            ``{**space.fixed, **space.suggest(trial)}``.
        """
        return self.walk(lambda name, parameter: parameter.suggest(trial, prefix + name))

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw the active parameters at random; the same form as :meth:`suggest`."""
        return self.walk(lambda _, parameter: parameter.sample(rng))

    def encode(self, values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """Turn drawn values into the ``params`` of ``optuna.Study.enqueue_trial``."""
        return {prefix + name: encode(value) for name, value in values.items()}

    def decode(self, params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """Turn the ``params`` of an Optuna trial back into drawn values."""
        values: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if prefix + name in params:
                value = params[prefix + name]
                values[name] = next((v for v in parameter.values if encode(v) == value), value)
        return values

    def fix(self, overrides: Mapping[str, Any]) -> SearchSpace:
        """Hold parameters that the user sets (``--set``) and search only the others.

        Parameters that can no longer become active are left out.

        Raises:
            BadInputError: an override is not a valid value of the architecture, or makes the
                space invalid; all faults are listed.
        """
        fixed = {**self.fixed, **overrides}
        kept: dict[str, Parameter] = {}
        for name, parameter in self.parameters.items():
            possible = all(
                parent in kept or (parent in fixed and among(fixed[parent], allowed))
                for parent, allowed in parameter.when.items()
            )
            if name not in overrides and possible:
                kept[name] = parameter
        space = dataclasses.replace(self, fixed=fixed, parameters=kept, try_first=())
        if self.try_first and not space_faults(space):
            paper = paper_values(space.architecture)
            points = points_left(space, self.try_first, paper)
            space = dataclasses.replace(space, try_first=points)
        if faults := space_faults(space):
            where = f"{self.source or self.architecture} with {', '.join(overrides)} set"
            raise BadInputError(f"{where}: the search space has {len(faults)} fault(s):", faults)
        return space

    def walk(self, choose: Callable[[str, Parameter], Any]) -> dict[str, Any]:
        """Call ``choose`` for each active parameter in order; return name to its answer."""
        chosen: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            known = {**self.fixed, **chosen}
            if all(p in known and among(known[p], ok) for p, ok in parameter.when.items()):
                chosen[name] = choose(name, parameter)
        return chosen


def paper_point(space: SearchSpace, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The paper's own values of the searched parameters: the first trial of a search.

    Args:
        space: a space without faults.
        overrides: values that the user sets; these parameters are not part of the result.

    Returns:
        Dotted name to value for the parameters that are active when everything else is as in
        the paper, in ``fixed`` and in ``overrides``; :meth:`SearchSpace.encode` turns it into
        what Optuna enqueues.
    """
    space = space.fix(overrides) if overrides else space
    return complete_point(space, {}, paper_values(space.architecture))


def first_points(space: SearchSpace) -> list[dict[str, Any]]:
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


def load_space(name_or_path: str) -> SearchSpace:
    """Read and check a search space before anything starts.

    Args:
        name_or_path: the name of a packaged space, or the path of a YAML file.

    Raises:
        BadInputError: no such space, or it has faults; all of them are listed.
    """
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
    space, unreadable, faults = parse_space(raw, str(path))
    faults += space_faults(space, unreadable)
    if faults:
        raise BadInputError(f"{path}: the search space has {len(faults)} fault(s):", faults)
    return space


def parse_space(raw: Mapping[Any, Any], source: str) -> tuple[SearchSpace, list[str], list[str]]:
    """Return what can be read, the names of parameters that cannot, and the faults of form."""
    faults = [unknown_name("key", str(key), _TOP_KEYS) for key in raw if key not in _TOP_KEYS]
    texts = {key: raw.get(key) for key in ("architecture", "description")}
    for key, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            faults.append(f"{key}: is missing; it must be text")
    sections: dict[str, Mapping[str, Any]] = {}
    for key in ("fixed", "parameters"):
        section = raw.get(key, {})
        if not isinstance(section, Mapping) or not all(isinstance(name, str) for name in section):
            faults.append(f"{key}: must be a mapping of dotted parameter names")
            section = {}
        elif key == "parameters" and not section:
            faults.append("parameters: is empty; name at least one parameter to search")
        sections[key] = section
    fixed = {name: value for name, value in sections["fixed"].items() if storable(value)}
    for name in sections["fixed"]:
        if name not in fixed:
            faults.append(
                f"fixed {name}: must be a finite number, text, true, false, null or a list"
            )
    parameters: dict[str, Parameter] = {}
    unreadable: list[str] = []
    for name, entry in sections["parameters"].items():
        parameter, found = parse_parameter(name, entry)
        faults.extend(found)
        if parameter is None:
            unreadable.append(name)
        else:
            parameters[name] = parameter
    points, found = read_points(raw.get("try_first", []))
    faults.extend(found)
    space = SearchSpace(
        architecture=texts["architecture"] if isinstance(texts["architecture"], str) else "",
        description=texts["description"] if isinstance(texts["description"], str) else "",
        fixed=fixed,
        parameters=parameters,
        source=source,
        try_first=points,
    )
    return space, unreadable, faults


def space_faults(space: SearchSpace, unreadable: Collection[str] = ()) -> list[str]:
    """Everything that would stop a search of ``space``, found before it starts.

    Args:
        space: the space.
        unreadable: names of further parameters whose entries could not be read; their names
            are checked too.

    Returns:
        One sentence a fault; empty when the space is sound.
    """
    faults = [
        f"{name}: {fault}" for name, p in space.parameters.items() for fault in p.faults()
    ] + _when_faults(space, unreadable)
    if not space.architecture:
        return faults
    if space.architecture not in ARCHITECTURES.names():
        return [unknown_name("architecture", space.architecture, ARCHITECTURES.names()), *faults]
    known = known_parameters(space.architecture)
    for name in [*space.parameters, *unreadable]:
        if name not in known:
            faults.append(_unknown_parameter(name, known))
        elif name in space.fixed:
            faults.append(f"{name}: is both fixed and searched; leave one out")
    for name in space.fixed:
        if name not in known:
            faults.append(f"fixed: {_unknown_parameter(name, known)}")
    fixed = {name: value for name, value in space.fixed.items() if name in known}
    refused = _refused(space.architecture, fixed)
    faults.extend(f"fixed: {fault}" for fault in refused)
    paper = {**paper_values(space.architecture), **fixed}
    for name, parameter in space.parameters.items():
        if name in known and not parameter.faults():
            faults.extend(_range_faults(space.architecture, name, parameter))
    if faults:
        return faults
    faults = _paper_faults(space, paper) or _combination_faults(space)
    if faults or unreadable:
        return faults

    def refused_at(values: Mapping[str, Any]) -> tuple[str, ...]:
        return _refused(space.architecture, values)

    return point_faults(space, list(known), paper, refused_at)


def _unknown_parameter(name: str, known: Collection[str]) -> str:
    section = name.partition(".")[0] + "."
    nearby = [other for other in known if other.startswith(section)]
    return unknown_name("parameter", name, nearby or known)


def _refused(architecture: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        resolve(architecture, values, "search space")
    except BadInputError as error:
        return error.faults or (str(error),)
    return ()


def _range_faults(architecture: str, name: str, parameter: Parameter) -> list[str]:
    """Values of the parameter that break the type or range of its own field."""
    found: dict[str, None] = {}
    for value in parameter.probes():
        for fault in _refused(architecture, {name: value}):
            if fault.startswith((f"{name} ", f"{name}[")):  # not a rule between fields
                found[fault] = None
    shown = list(found)
    if len(shown) > _SHOWN:
        shown = [*shown[:_SHOWN], f"{name}: {len(shown) - _SHOWN} more of its values are refused"]
    return shown


def _when_faults(space: SearchSpace, unreadable: Collection[str]) -> list[str]:
    faults = []
    names = list(space.parameters)
    for place, (name, parameter) in enumerate(space.parameters.items()):
        for parent, allowed in parameter.when.items():
            where = f"{name}: when {parent}"
            if parent in unreadable or parent in space.fixed:
                continue
            if parent not in space.parameters:
                hint = unknown_name("parameter", parent, [n for n in names if n != name])
                faults.append(f"{where}: is neither searched nor fixed here. {hint}")
            elif _depends(space, parent, name):
                faults.append(f"{where}: the conditions form a circle; remove one")
            elif names.index(parent) > place:
                faults.append(f"{where}: must be an earlier parameter; move {parent} before {name}")
            else:
                faults.extend(
                    f"{where}: can never be {value!r}"
                    for value in allowed
                    if not space.parameters[parent].contains(value)
                )
    return faults


def _depends(space: SearchSpace, name: str, on: str) -> bool:
    """Whether ``name`` is, or is conditioned through any chain on, the parameter ``on``."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current == on:
            return True
        if current not in seen and current in space.parameters:
            seen.add(current)
            waiting.extend(space.parameters[current].when)
    return False


def _paper_faults(space: SearchSpace, paper: Mapping[str, Any]) -> list[str]:
    """Paper values outside the space: its configuration could not be the first trial."""
    faults = []
    for name in space.walk(lambda name, _: paper[name]):
        if not space.parameters[name].contains(paper[name]):
            faults.append(
                f"{name}: the paper's value {plain(paper[name])!r} is not in the space, so the "
                "paper's configuration could not be the first trial; widen the space to it, or "
                "fix the parameter"
            )
    return faults


def _combination_faults(space: SearchSpace) -> list[str]:
    """Combinations, among random ones, that a rule between fields refuses."""
    rng = np.random.default_rng(0)
    refused: dict[str, dict[str, Any]] = {}
    for _ in range(_SAMPLES):
        drawn = space.sample(rng)
        for fault in _refused(space.architecture, {**space.fixed, **drawn}):
            refused.setdefault(fault, drawn)
    return [
        f"a combination is refused: {fault}; e.g. with {drawn}"
        for fault, drawn in list(refused.items())[:_SHOWN]
    ]
