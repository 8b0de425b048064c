"""What a search space says of features, made concrete for a dataset.

A space that names no encoder is good for every dataset: ``{type: feature}`` becomes a choice of
what the dataset holds, and ``@all`` its layers, before a run records the space.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import is_wordless, words_to_read
from serplatform.errors import BadInputError
from serplatform.features.base import WHOLE_UTTERANCE
from serplatform.features.names import (
    EncoderFeatureName,
    family_of,
    parse_encoder_feature,
    with_directory,
)
from serplatform.inputs.config import JOIN, canonical_feature
from serplatform.studies.parameter import FeatureQuery
from serplatform.studies.space import SearchSpace

FEATURE = "data.feature"
#: a choice of which is over words
POOLING = "data.pooling"
#: the family of frames; the others are words
FAMILY = "pretrained"
#: vectors of utterances in the order in which they are tried; others follow
VECTORS = ("descriptors", "compare_2016", "egemaps_v02")
#: frames in the order in which their pooled statistics are tried; others follow
FRAMES = ("log_mel_40", "mfcc_40", "log_mel_23")
#: seconds between frames below which a feature is a waveform
WAVEFORM_SHIFT = 1e-3
#: share of an encoder's depth at which the layer lies that is tried first
MIDDLE = 0.6


def for_dataset(space: SearchSpace, dataset: Dataset) -> SearchSpace:
    """The space with every feature named as the dataset has it, without what reads words where
    there are none.

    Raises:
        BadInputError: the dataset holds nothing that the space asks for.
    """
    fixed, parameters, points = dict(space.fixed), dict(space.parameters), space.try_first
    if fixed.get(POOLING) == "words":
        words_to_read(dataset, f"{space.architecture} with {POOLING} = words")  # says what to do
    if FEATURE in fixed:
        fixed[FEATURE] = _named(str(fixed[FEATURE]), dataset)
    searched = parameters.get(FEATURE)
    if searched is not None and searched.query is not None:
        found = feature_choices(dataset, searched.query)
        if not found:
            raise _lacking(space, dataset, searched.query)
        parameters[FEATURE] = dataclasses.replace(searched, values=found, query=None)
        points = tuple({FEATURE: found[0], **point} for point in points)
    elif searched is not None:
        values = tuple(dict.fromkeys(_named(str(value), dataset) for value in searched.values))
        if searched.held:  # none at all: all, so that it is said what to prepare
            values = tuple(v for v in values if not dataset.lacking(v)) or values
        parameters[FEATURE] = dataclasses.replace(searched, values=values, held=False)
        points = tuple(
            {name: _named(str(v), dataset) if name == FEATURE else v for name, v in point.items()}
            for point in points
        )
        points = tuple(point for point in points if point.get(FEATURE, values[0]) in values)
    pooling = parameters.get(POOLING)
    if pooling is not None and "words" in pooling.values and is_wordless(dataset):
        others = tuple(value for value in pooling.values if value != "words")
        parameters[POOLING] = dataclasses.replace(pooling, values=others)
        points = tuple(point for point in points if point.get(POOLING) != "words")
    return dataclasses.replace(space, fixed=fixed, parameters=parameters, try_first=points)


def feature_choices(dataset: Dataset, query: FeatureQuery) -> tuple[str, ...]:
    """The features that a query stands for, those first that are tried first.

    Each encoder's middle layer; where joined ones are asked for, all layers together and those
    around the middle, of vectors also over encoders; then the other layers. Where pooled statistics
    are asked for and there are none, frames stand in for them: who asks for vectors pools frames.
    Functionals come last: vectors of utterances, the first of them joined to vectors of the middle
    layers too, and frames.
    """
    layers, stored_as_vectors = _layers(dataset, pooled=query.pooled)
    vectors, frames = _functionals(dataset) if query.functionals else ([], [])
    joined: list[str] = []
    if layers.middle and query.joined:
        if query.pooled:
            joined = [JOIN.join(part) for part in (layers.whole, layers.around, layers.middle)]
        joined += [*layers.whole, *layers.around]
        if stored_as_vectors and vectors:
            joined.append(JOIN.join([*layers.middle, vectors[0]]))
    found = (*layers.middle, *joined, *layers.others, *vectors, *frames)
    return tuple(dict.fromkeys(found))


def roles(dataset: Dataset) -> dict[str, str]:
    """The features of a dataset by the part that they play in a portfolio.

    ``middle``, ``around`` (the middle layer and its neighbours) and ``whole`` (all layers) of its
    encoders, as vectors of utterances, of several encoders joined; ``middle_frames`` and
    ``whole_frames``, of its first encoder; ``functionals``, the first of its vectors that no
    encoder made, or else of its ``frames``; ``both``, the middle layers and these vectors.
    """
    found: dict[str, str] = {}
    vectors, frames = _functionals(dataset)
    layers, stored_as_vectors = _layers(dataset, pooled=True)
    if layers.middle:
        found["middle"] = JOIN.join(layers.middle)
        found["around"] = JOIN.join(layers.around)
        found["whole"] = JOIN.join(layers.whole)
        if stored_as_vectors and vectors:
            found["both"] = JOIN.join([*layers.middle, vectors[0]])
    of_frames, _ = _layers(dataset, pooled=False)
    if of_frames.middle:
        found["middle_frames"], found["whole_frames"] = of_frames.middle[0], of_frames.whole[0]
    if frames:
        found["frames"] = frames[0]
    if vectors or frames:
        found["functionals"] = [*vectors, *frames][0]
    return found


@dataclasses.dataclass
class _Layers:
    """Of each encoder: its middle layer, the layers around it, all of them; and the others."""

    middle: list[str] = dataclasses.field(default_factory=list)
    around: list[str] = dataclasses.field(default_factory=list)
    whole: list[str] = dataclasses.field(default_factory=list)
    others: list[str] = dataclasses.field(default_factory=list)


def _layers(dataset: Dataset, *, pooled: bool) -> tuple[_Layers, bool]:
    """What is stored of encoders, and whether it is vectors; frames where no vectors are."""
    found, layers = _encoders(dataset, pooled=pooled), _Layers()
    for stored in found or (_encoders(dataset, pooled=False) if pooled else []):
        middle = _middle(stored, dataset)
        place = stored.index(middle)
        layers.middle.append(middle.canonical)
        layers.others += [name.canonical for name in stored if name != middle]
        layers.around.append(_together(stored[max(0, place - 1) : place + 2]))
        layers.whole.append(_together(stored))
    return layers, pooled and bool(found)


def _functionals(dataset: Dataset) -> tuple[list[str], list[str]]:
    """Vectors of utterances and features of frames that no encoder made."""
    shifts = {
        name: dataset.feature_info(name).frame_shift
        for name in dataset.feature_names
        if family_of(name) is None
    }
    ranks = {name: place for place, name in enumerate((*VECTORS, *FRAMES))}
    ordered = sorted(shifts, key=lambda name: (ranks.get(name, len(ranks)), name))
    vectors = [name for name in ordered if shifts[name] >= WHOLE_UTTERANCE]
    frames = [name for name in ordered if WAVEFORM_SHIFT < shifts[name] < WHOLE_UTTERANCE]
    return vectors, frames


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
    encoder = dataset.meta["features"][layers[0].canonical]["spec"].get("encoder")
    told = encoder.get("num_layers") if isinstance(encoder, Mapping) else None
    depth = told or _layer(layers[-1])
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


def _lacking(space: SearchSpace, dataset: Dataset, query: FeatureQuery) -> BadInputError:
    wanted = f"{FAMILY}:DIRECTORY_OR_ID@all{':pooled' if query.pooled else ''}"
    what = "feature" if query.pooled else "frames"
    also = ", nor any of frames or of whole utterances" if query.functionals else ""
    return BadInputError(
        f"{space.source}: searches the layers of a pretrained encoder, and {dataset.path} holds "
        f"no {what} of one{also}; prepare it again with --features {wanted} to add them"
    )
