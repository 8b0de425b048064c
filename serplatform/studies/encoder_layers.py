"""What a search space says of pretrained encoders, made concrete for a dataset.

A space that names no encoder is good for every dataset: ``{type: feature}`` becomes a choice of
what the dataset holds, and ``@all`` its layers, before a run records the space.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from serplatform.datasets.dataset import Dataset
from serplatform.errors import BadInputError
from serplatform.features.names import (
    EncoderFeatureName,
    family_of,
    parse_encoder_feature,
    with_directory,
)
from serplatform.inputs.config import JOIN, canonical_feature
from serplatform.studies.parameter import LayerQuery
from serplatform.studies.space import SearchSpace

FEATURE = "data.feature"
#: the family of frames; the others are words
FAMILY = "pretrained"
#: share of an encoder's depth at which the layer lies that is tried first
MIDDLE = 0.6


def for_dataset(space: SearchSpace, dataset: Dataset) -> SearchSpace:
    """The space with every feature named as the dataset has it.

    Raises:
        BadInputError: the dataset holds nothing that the space asks for.
    """
    fixed, parameters, points = dict(space.fixed), dict(space.parameters), space.try_first
    if FEATURE in fixed:
        fixed[FEATURE] = _named(str(fixed[FEATURE]), dataset)
    searched = parameters.get(FEATURE)
    if searched is not None and searched.query is not None:
        found = layer_choices(dataset, searched.query)
        if not found:
            raise _lacking(space, dataset, searched.query)
        parameters[FEATURE] = dataclasses.replace(searched, values=found, query=None)
        points = tuple({FEATURE: found[0], **point} for point in points)
    elif searched is not None:
        values = tuple(dict.fromkeys(_named(str(value), dataset) for value in searched.values))
        parameters[FEATURE] = dataclasses.replace(searched, values=values)
        points = tuple(
            {name: _named(v, dataset) if name == FEATURE else v for name, v in point.items()}
            for point in points
        )
    return dataclasses.replace(space, fixed=fixed, parameters=parameters, try_first=points)


def layer_choices(dataset: Dataset, query: LayerQuery) -> tuple[str, ...]:
    """The features that a query stands for.

    Each encoder's middle layer; where joined ones are asked for, all layers together and those
    around the middle, of vectors also over encoders; then the other layers. Where pooled statistics
    are asked for and there are none, frames stand in for them: who asks for vectors pools frames.
    """
    first: list[str] = []
    around: list[str] = []
    whole: list[str] = []
    others: list[str] = []
    found = _encoders(dataset, pooled=query.pooled)
    for stored in found or (_encoders(dataset, pooled=False) if query.pooled else []):
        middle = _middle(stored, dataset)
        place = stored.index(middle)
        first.append(middle.canonical)
        others += [name.canonical for name in stored if name != middle]
        around.append(_together(stored[max(0, place - 1) : place + 2]))
        whole.append(_together(stored))
    if not (first and query.joined):
        return (*first, *others)
    joined = [JOIN.join(part) for part in (whole, around, first)] if query.pooled else []
    return tuple(dict.fromkeys((*first, *joined, *whole, *around, *others)))


def _encoders(dataset: Dataset, *, pooled: bool) -> list[list[EncoderFeatureName]]:
    """The stored layers of each encoder, ascending."""
    found: dict[str, list[EncoderFeatureName]] = {}
    for name in dataset.feature_names:
        if family_of(name) == FAMILY:
            parsed = parse_encoder_feature(name)
            if parsed.layers is not None and parsed.pooled == pooled:
                found.setdefault(parsed.encoder, []).append(parsed)
    return [sorted(stored, key=_layer) for stored in found.values()]


def _layer(name: EncoderFeatureName) -> int:
    return (name.layers or (0,))[0]


def _middle(stored: Iterable[EncoderFeatureName], dataset: Dataset) -> EncoderFeatureName:
    """The stored layer that is nearest to :data:`MIDDLE` of the encoder's depth."""
    layers = list(stored)
    spec: dict[str, Any] = dataset.meta["features"][layers[0].canonical]["spec"]
    depth = spec.get("encoder", {}).get("num_layers") or _layer(layers[-1])
    return min(layers, key=lambda name: abs(_layer(name) - round(MIDDLE * depth)))


def _together(stored: list[EncoderFeatureName]) -> str:
    layers = tuple(map(_layer, stored))
    return dataclasses.replace(stored[0], layers=layers).canonical


def _named(feature: str, dataset: Dataset) -> str:
    """A feature's canonical name, ``@all`` replaced by the layers that the dataset holds."""
    return JOIN.join(_with_layers(part, dataset) for part in canonical_feature(feature).split(JOIN))


def _with_layers(part: str, dataset: Dataset) -> str:
    if family_of(part) is None or parse_encoder_feature(part).layers is not None:
        return part
    asked = parse_encoder_feature(part)
    for stored in _encoders(dataset, pooled=asked.pooled):
        if (stored[0].family, stored[0].encoder) == (asked.family, asked.encoder):
            return _together(stored)
    raise BadInputError(
        f"{dataset.path}: holds no layer of {part} (it has {', '.join(dataset.feature_names)}); "
        f"prepare it again with --features {with_directory(part)} to add them"
    )


def _lacking(space: SearchSpace, dataset: Dataset, query: LayerQuery) -> BadInputError:
    wanted = f"{FAMILY}:DIRECTORY_OR_ID@all{':pooled' if query.pooled else ''}"
    what = "feature" if query.pooled else "frames"
    return BadInputError(
        f"{space.source}: searches the layers of a pretrained encoder, and {dataset.path} holds "
        f"no {what} of one; prepare it again with --features {wanted} to add them"
    )
