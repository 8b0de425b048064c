"""The search space that travels with an architecture, or is made of its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from serplatform import plugins
from serplatform.config import fields_of
from serplatform.models.architectures import ARCHITECTURES
from serplatform.studies.space import read_space_file
from serplatform.training.trial_config import paper_values


def own_space(architecture: str) -> tuple[Mapping[str, object], str]:
    """The space that travels with an architecture, in the form of its file, and where it is from.

    It is the ``space`` of its registration, or the YAML file beside its plugin; without either,
    one is made of what its configuration says of its fields: their ranges where both ends are
    given, their choices, true and false; and of usual settings of training.
    """
    space = ARCHITECTURES.get(architecture).space
    if space is not None:
        described = {"architecture": architecture, "description": f"As {architecture} gives it."}
        return {**described, **space}, f"the space of architecture {architecture}"
    file = plugins.space_file(architecture)
    if file is not None:
        return read_space_file(str(file))
    paper = paper_values(architecture)
    rate, size = paper["training.learning_rate"], paper["training.batch_size"]
    found = {
        f"model.{name}": _field_range(kind, meta)
        for name, (kind, meta) in fields_of(ARCHITECTURES.get(architecture).config).items()
    }
    steps = {
        "training.learning_rate": _range("float", min(1e-4, rate), max(1e-2, rate)),
        "training.batch_size": {"type": "choice", "values": sorted({16, 32, size})},
    }
    parameters = {
        **{name: entry for name, entry in found.items() if entry is not None},
        **({} if ARCHITECTURES.get(architecture).closed_form else steps),
        "data.normalization": {"type": "choice", "values": ["train", "speaker", "utterance"]},
    }
    return {
        "architecture": architecture,
        "description": f"Made of the ranges that the configuration of {architecture} declares.",
        "parameters": parameters,
    }, f"the space made of the configuration of {architecture}"


def _field_range(kind: Any, meta: Mapping[str, Any]) -> dict[str, object] | None:
    """What a search varies of a field; None where its range is open or it is no single value."""
    if kind is bool:
        return {"type": "choice", "values": [False, True]}
    if get_origin(kind) is Literal:
        return {"type": "choice", "values": list(get_args(kind))}
    low, high = meta.get("low"), meta.get("high")
    if kind not in (int, float) or low is None or high is None or not low < high:
        return None
    return _range(kind.__name__, low, high)


def _range(kind: str, low: float, high: float) -> dict[str, object]:
    """Logarithmic where it spans a factor of ten."""
    log = {"log": True} if low > 0 and high >= 10 * low else {}
    return {"type": kind, "low": low, "high": high, **log}
