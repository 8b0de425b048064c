"""From a configuration and the data to a module, by the names of both."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from serplatform.models.base import (
    ARCHITECTURES,
    Architecture,
    ClosedFormModel,
    InputSpec,
    SerModel,
)
from serplatform.models.layers.words import WordEmbedding

M = TypeVar("M", bound=SerModel)

#: fields of a configuration that a module takes as one argument
_TUPLES = {"channels": "channels_", "kernel_sizes": "kernel_"}


def builder(model: type[M]) -> Callable[[Any, InputSpec], M]:
    """What makes a module, for ``Architecture.build``.

    The module is given every field of its configuration by name. ``channels_1``, ``channels_2``
    and so on become the tuple ``channels``, ``kernel_1`` and so on ``kernel_sizes``. Where it
    asks for them it is given ``feature_dim`` (D), ``num_classes`` (K) and ``frame_shift`` of the
    data, and as ``embedding`` the word vectors that ``embedding_dim`` and ``train_word_vectors``
    describe.
    """
    wanted = inspect.signature(model).parameters

    def build(config: Any, spec: InputSpec) -> M:
        values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        for name, start in _TUPLES.items():
            parts = [key for key in values if key.removeprefix(start).isdecimal()]
            if parts:
                values[name] = tuple(values.pop(key) for key in sorted(parts))
        if "embedding" in wanted:
            values["embedding"] = WordEmbedding.from_spec(
                spec, values.pop("embedding_dim"), values.pop("train_word_vectors")
            )
        for name in ("feature_dim", "num_classes", "frame_shift"):
            if name in wanted:
                values[name] = getattr(spec, name)
        return model(**values)

    return build


def architecture(
    name: str,
    config: type,
    *,
    reference: str | None = None,
    training: Mapping[str, object] | None = None,
    data: Mapping[str, object] | None = None,
    inputs: frozenset[str] = frozenset({"audio"}),
    small: Mapping[str, object] | None = None,
    space: Mapping[str, object] | None = None,
    encoder: str | None = None,
) -> Callable[[type[M]], type[M]]:
    """Register a module as an :class:`.Architecture`, built by :func:`builder`."""

    def register(model: type[M]) -> type[M]:
        ARCHITECTURES.register(name, model.__module__)(
            Architecture(
                name=name,
                config=config,
                build=builder(model),
                reference=reference,
                training=training or {},
                data=data or {},
                inputs=inputs,
                small=small or {},
                space=space,
                encoder=encoder,
                closed_form=issubclass(model, ClosedFormModel),
            )
        )
        return model

    return register
