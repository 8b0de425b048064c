"""From a configuration and the data to a module, by the names of both."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from serplatform.models.base import InputSpec, SerModel
from serplatform.models.layers.word_embedding import WordEmbedding

M = TypeVar("M", bound=SerModel)

#: fields of a configuration that a module takes as one argument
_TUPLES = {"channels": "channels_", "kernel_sizes": "kernel_"}


def builder(model: type[M]) -> Callable[[Any, InputSpec], M]:
    """What makes a module, for ``Architecture.build``.

    The module is given every field of its configuration by name. ``channels_1``, ``channels_2``
    and so on become the tuple ``channels``, ``kernel_1`` and so on ``kernel_sizes``. Where it
    asks for them it is given ``feature_dim`` and ``num_classes`` of the data, and as
    ``embedding`` the word vectors that ``embedding_dim`` and ``train_word_vectors`` describe.
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
        if "feature_dim" in wanted:
            values["feature_dim"] = spec.feature_dim
        return model(num_classes=spec.num_classes, **values)

    return build
