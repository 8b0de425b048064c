"""Which search space each architecture is searched in, on a dataset: the user's, the packaged one
of the paper's sizes or of reduced ones, or that over the layers of pretrained encoders."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from serplatform import plugins
from serplatform.artifacts.run import SpaceKind
from serplatform.datasets.dataset import Dataset
from serplatform.errors import BadInputError
from serplatform.features.names import with_directory
from serplatform.inputs.config import DataConfig, feature_parts
from serplatform.inputs.front import summed_layers
from serplatform.models.architectures import ARCHITECTURES
from serplatform.strict_yaml import parse_yaml
from serplatform.studies.feature_choice import feature_choices, for_dataset
from serplatform.studies.own_space import own_space
from serplatform.studies.request import SearchRequest
from serplatform.studies.space import (
    SearchSpace,
    make_space,
    packaged_spaces,
    read_space_file,
)
from serplatform.training.trial_config import (
    known_parameters,
    resolve,
    unknown_parameter,
    value_faults,
)

#: ends of the names of packaged spaces
_ENDS: dict[SpaceKind, str] = {"encoder": "-pretrained", "paper": "", "reduced": "-small"}


def packaged_name(architecture: str, kind: SpaceKind) -> str:
    """The name that the packaged space of a kind has, or would have."""
    return f"{architecture}{_ENDS.get(kind, '')}"


def candidate_spaces(
    request: SearchRequest, dataset: Dataset
) -> tuple[dict[str, dict[SpaceKind, SearchSpace]], list[str], dict[str, str]]:
    """The spaces that each architecture may be searched in, the user's settings fixed, features
    named as the dataset has them; the first is searched unless something decides for another.

    There are two where sizes are to be chosen: the reduced ones, then the paper's.

    Returns:
        the spaces by architecture and kind; sentences on those that are not its own; and, in a
        portfolio, why architectures are left out.

    Raises:
        BadInputError: the request is faulty, or the dataset lacks a feature of every candidate of
            an architecture that was named.
    """
    given = given_spaces(request)
    overrides = parse_overrides(request.settings, request.architectures)
    found: dict[str, dict[SpaceKind, SearchSpace]] = {}
    lacking: dict[str, list[str]] = {}
    notes: list[str] = []
    left_out: dict[str, str] = {}
    refused: BadInputError | None = None
    for architecture in request.architectures:
        try:
            found[architecture], missing = _that_fit(
                _spaces_of(request, architecture, given, overrides[architecture]),
                dataset,
                portfolio=request.portfolio,
            )
        except BadInputError as error:
            if not request.portfolio or architecture in given:
                raise
            refused = refused or error
            left_out[architecture] = _briefly(error)
            continue
        if missing and "encoder" in found[architecture]:
            notes.append(
                f"{architecture}: the dataset lacks {', '.join(missing)}; it searches the space "
                f"{packaged_name(architecture, 'encoder')}, over the dataset's encoders; "
                f"--space {architecture} is the one without."
            )
            continue
        if missing and request.portfolio:
            del found[architecture]
            left_out[architecture] = f"the dataset lacks {', '.join(missing)}"
        for feature in missing:
            lacking.setdefault(feature, []).append(architecture)
    if lacking and not (request.portfolio and found):
        have = ", ".join(dataset.feature_names)
        raise BadInputError(
            f"{dataset.path}: the dataset lacks features (it has {have}); prepare it again with "
            f"--features {','.join(map(with_directory, lacking))} to add them",
            [f"{feature}, needed by {', '.join(names)}" for feature, names in lacking.items()],
        )
    if not found and refused is not None:
        raise refused
    for spaces in found.values():
        for space in spaces.values():
            _check_features(space, dataset)
    return found, notes, left_out


def _spaces_of(
    request: SearchRequest,
    architecture: str,
    given: Mapping[str, tuple[Mapping[Any, Any], str]],
    overrides: Mapping[str, object],
) -> dict[SpaceKind, SearchSpace]:
    """The spaces of an architecture, the user's settings fixed, whatever the dataset holds."""
    packaged = packaged_spaces()
    found: dict[SpaceKind, SearchSpace] = {}
    for kind in _kinds(request, architecture, given, packaged):
        name = packaged_name(architecture, kind)
        raw: Mapping[Any, Any]
        if request.exact:
            described = "one configuration: the paper's, with what the user set"
            raw = {"architecture": architecture, "description": described}
            source = "--set"
        elif kind == "given":
            raw, source = given[architecture]
        else:
            known = name in packaged
            raw, source = read_space_file(name) if known else own_space(architecture)
        found[kind] = make_space(raw, source, overrides, exact=request.exact)
    return found


def _briefly(error: BadInputError) -> str:
    """Why an architecture is left out: the first fault, without its example."""
    text = error.faults[0] if error.faults else str(error)
    return re.sub(r"^(a combination is refused|try_first, point \d+): ", "", text).partition("; ")[
        0
    ]


def given_spaces(request: SearchRequest) -> dict[str, tuple[Mapping[Any, Any], str]]:
    """The content of the spaces that the user named, by architecture, and where they are from."""
    given: dict[str, tuple[Mapping[Any, Any], str]] = {}
    for name in request.spaces:
        raw, source = read_space_file(name)
        architecture = raw.get("architecture")
        if architecture not in ARCHITECTURES.names():
            make_space(raw, source)  # says so, with its other errors
        if architecture not in request.architectures:
            raise BadInputError(
                f"--space {name}: it is for architecture '{architecture}', which is not "
                f"searched ({', '.join(request.architectures)})"
            )
        if architecture in given:
            raise BadInputError(f"--space: two spaces for architecture '{architecture}'")
        given[architecture] = raw, source
    return given


def _kinds(
    request: SearchRequest, architecture: str, given: Collection[str], packaged: Collection[str]
) -> list[SpaceKind]:
    """What may be searched, the preferred first; ``encoder`` only where a dataset allows it."""
    if request.exact or architecture in given:
        return ["given"]
    reduced = packaged_name(architecture, "reduced") in packaged
    sizes: list[SpaceKind] = ["paper"]
    if reduced and request.small is not False:
        sizes = ["reduced"] if request.small else ["reduced", "paper"]
    encoder = packaged_name(architecture, "encoder") in packaged
    return [*sizes, "encoder"] if encoder else sizes


def _that_fit(
    spaces: dict[SpaceKind, SearchSpace], dataset: Dataset, *, portfolio: bool
) -> tuple[dict[SpaceKind, SearchSpace], list[str]]:
    """The spaces whose features the dataset holds, and what the others lack where there are none.

    That over encoders takes the place of the others in a portfolio, and where features of theirs
    are lacking.
    """
    encoder = spaces.pop("encoder", None)
    searched = None if encoder is None else encoder.parameters.get("data.feature")
    over_encoders: dict[SpaceKind, SearchSpace] = {}
    query = None if searched is None else searched.query
    if encoder is not None and query is not None and feature_choices(dataset, query):
        over_encoders["encoder"] = for_dataset(encoder, dataset)
    if over_encoders and portfolio:
        return over_encoders, []
    concrete = {kind: for_dataset(space, dataset) for kind, space in spaces.items()}
    lacking = {
        kind: [part for feature in features_of(space) for part in dataset.lacking(feature)]
        for kind, space in concrete.items()
    }
    fitting = {kind: space for kind, space in concrete.items() if not lacking[kind]}
    if fitting:
        return fitting, []
    return over_encoders or concrete, list(dict.fromkeys(lacking[next(iter(lacking))]))


def parse_overrides(
    settings: Sequence[str], architectures: Sequence[str]
) -> dict[str, dict[str, object]]:
    """Assign each setting to the architectures that have the parameter.

    A key is a parameter's full name (``model.hidden_dim``), its last part where that is
    unambiguous (``hidden_dim``), or either after ``<architecture>.`` for one architecture only;
    the value is read as YAML.

    Returns:
        architecture to flat parameters.
    """
    known = {name: known_parameters(name) for name in architectures}
    overrides: dict[str, dict[str, object]] = {name: {} for name in architectures}
    errors: list[str] = []
    wrong: dict[str, None] = {}  # once, where several architectures say the same
    for text in settings:
        key, equals, given = text.partition("=")
        key = key.strip()
        if not equals or not key:
            errors.append(f"'{text}': must be KEY=VALUE, e.g. training.learning_rate=1e-3")
            continue
        try:
            value = parse_yaml(given, f"'{text}'")
        except BadInputError as error:
            errors.append(f"{error}; put text with special characters in quotes of its own")
            continue
        first, _, rest = key.partition(".")
        targets = [first] if first in known and rest else list(architectures)
        name = rest if first in known and rest else key
        found = False
        for architecture in targets:
            matches = [p for p in known[architecture] if name in (p, p.partition(".")[2])]
            if len(matches) > 1:
                errors.append(f"'{key}' is ambiguous for {architecture}: {', '.join(matches)}")
                found = True
            elif matches:
                overrides[architecture][matches[0]] = value
                wrong |= dict.fromkeys(value_faults(architecture, matches[0], value))
                found = True
        if not found:
            every = {p for architecture in targets for p in known[architecture]}
            errors.append(unknown_parameter(name, every, targets))
    if errors := errors + list(wrong):
        raise BadInputError(f"--set: {len(errors)} fault(s):", errors)
    return overrides


def features_of(space: SearchSpace) -> list[str]:
    """Every feature that a trial of a space may read."""
    searched = space.parameters.get("data.feature")
    if searched is not None:
        return [str(value) for value in searched.values]
    return [resolve(space.architecture, space.fixed, space.source).data.feature]


def _check_features(space: SearchSpace, dataset: Dataset) -> None:
    """What a trial reads must fit together, and be there at every speed that it is trained at."""
    searched = space.parameters.get("data.layers")
    copies = space.parameters.get("data.speeds")
    speeds = copies.values if copies else [space.fixed.get("data.speeds", False)]
    ways: Sequence[Any] = (
        searched.values if searched else [space.fixed.get("data.layers", "joined")]
    )
    for feature in features_of(space):
        for record in dataset.meta.get("plugins", []):
            if set(record["registers"].get("feature", ())) & set(feature_parts(feature)):
                plugins.require({"plugins": [record]}, dataset.path)  # predicting will need it
        dataset.feature_info(feature)  # says what cannot be joined
        if True in speeds:
            dataset.training_speeds(feature)
        for way in ways:
            summed_layers(DataConfig(feature=feature, layers=way), dataset.dims(feature))
