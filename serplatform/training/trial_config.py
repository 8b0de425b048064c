"""One trial's whole configuration: architecture, model, training and data settings.

From outside it is a flat mapping of dotted names, ``model.hidden_dim``,
``training.learning_rate``, ``data.feature``: the names of search spaces, of ``--set`` and of
the columns ``params.*`` of ``trials.parquet``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from serplatform.config import PLAIN, check_fields, is_plain, plain, try_config
from serplatform.errors import BadInputError, unknown_name
from serplatform.inputs.config import DataConfig
from serplatform.models.architectures import ARCHITECTURES, Architecture
from serplatform.training.training_config import TrainingConfig

#: settings that earlier versions lacked; where they have their defaults, nothing differs
LATER = frozenset(
    {"data.layers", "data.projection", "data.pooling_whole", "data.speeds", "training.refit"}
)
#: first part of a dotted name, in the order in which they are listed
SECTIONS = ("model", "training", "data")
#: fields of ``TrainingConfig`` that a model which is fitted in closed form can have otherwise
CLOSED_FORM_TRAINING = ("class_weights", "monitor", "refit")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """Everything that determines a trial but the fold and the seed.

    Attributes:
        architecture: its registered name.
        model: an instance of the architecture's configuration.
        training: how it is trained.
        data: what it is trained on.
    """

    architecture: str
    model: Any
    training: TrainingConfig
    data: DataConfig

    def values(self) -> dict[str, Any]:
        """Every setting, dotted name to plain value; ``resolve`` takes it back.

        Example:
            >>> config = resolve("moma", {"training.learning_rate": 0.01}, "example")
            >>> resolve("moma", config.values(), "example") == config
            True
        """
        return {
            f"{section}.{field.name}": plain(getattr(getattr(self, section), field.name))
            for section in SECTIONS
            for field in dataclasses.fields(getattr(self, section))
        }

    def identity(self) -> dict[str, Any]:
        """The settings that a state of an earlier version shares with this configuration."""
        defaults = {
            f"{section}.{field.name}": field.default
            for section, cls in (("training", TrainingConfig), ("data", DataConfig))
            for field in dataclasses.fields(cls)
        }
        return {
            name: value
            for name, value in self.values().items()
            if name not in LATER or value != defaults[name]
        }


def known_parameters(architecture_name: str) -> dict[str, dataclasses.Field[Any]]:
    """Every parameter that a trial of the architecture has, by dotted name.

    The field has the dataclass's default (see :func:`paper_values` for the paper's), its type
    and, in ``metadata``, its help and range.
    """
    return {
        f"{section}.{field.name}": field
        for section, cls in _classes(ARCHITECTURES.get(architecture_name)).items()
        for field in dataclasses.fields(cls)
    }


def paper_values(architecture_name: str) -> dict[str, Any]:
    """The paper's whole configuration, dotted name to plain value."""
    return resolve(architecture_name, {}, f"architecture {architecture_name}").values()


def unknown_parameter(name: str, known: Iterable[str], architectures: Sequence[str]) -> str:
    """Say that ``architectures`` have no such parameter, and how to list those that they have."""
    of = f" {architectures[0]}" if len(architectures) == 1 else ""
    return unknown_name("parameter", name, known, f"serplatform search{of} --set help")


class ParameterLine(NamedTuple):
    """A parameter, its value in the paper, and what it is."""

    name: str
    value: Any
    help: str


def list_parameters(architectures: Sequence[str]) -> dict[str, list[ParameterLine]]:
    """What ``--set help`` shows, by architecture.

    Of several, the parameters that they all have come once, under an empty name, with the values
    that they have where a paper says nothing.
    """
    found: dict[str, list[ParameterLine]] = {}
    for name in architectures:
        values = paper_values(name)
        found[name] = [
            ParameterLine(key, values[key], field.metadata.get("help", ""))
            for key, field in known_parameters(name).items()
            if len(architectures) == 1 or key.startswith("model.")
        ]
    if len(architectures) > 1:
        found[""] = [
            ParameterLine(f"{section}.{field.name}", plain(field.default), field.metadata["help"])
            for section, cls in (("training", TrainingConfig), ("data", DataConfig))
            for field in dataclasses.fields(cls)
        ]
    return found


def resolve(architecture_name: str, values: Mapping[str, Any], where: str) -> TrialConfig:
    """Build a trial's configuration; what is not given is as in the architecture's paper.

    Args:
        architecture_name: a registered name.
        values: dotted name to plain value.
        where: names the source in an error, e.g. a space file.

    Raises:
        BadInputError: with every unknown name (and the nearest known one), every value of a
            wrong type or outside its range, and every broken rule between values.
    """
    architecture = ARCHITECTURES.get(architecture_name)
    classes = _classes(architecture)
    known = known_parameters(architecture_name)
    given: dict[str, dict[str, Any]] = {
        "model": {},
        "training": dict(architecture.training),
        # a model that reads words gets them, whatever else is set
        "data": {
            "words": bool(architecture.inputs & {"text", "words"}),
            **({"projection": 0} if architecture.closed_form else {}),
            **architecture.data,
        },
    }
    errors = []
    for name, value in values.items():
        if name in known:
            section, _, field = name.partition(".")
            given[section][field] = value
        else:
            errors.append(unknown_parameter(name, known, [architecture_name]))
    built: dict[str, Any] = {}
    for section, cls in classes.items():
        built[section], found = try_config(cls, given[section], f"{section}.")
        errors.extend(found)
    if given["data"]["words"] and given["training"].get("mixup"):
        errors.append(
            f"training.mixup = {given['training']['mixup']}: {architecture_name} reads words, "
            "which cannot be mixed; set it to 0"
        )
    if given["training"].get("refit") and not architecture.closed_form:
        errors.append(
            f"training.refit = {given['training']['refit']}: {architecture_name} is trained by "
            "steps, and its epoch chosen by dev rows that it may not learn then; only what is "
            "fitted in closed form (svm, logistic, lda) is fitted again: set it to false"
        )
    if architecture.encoder is not None and (given["data"].get("projection") or 0) > 0:
        errors.append(
            f"data.projection = {given['data']['projection']}: {architecture_name} reads the "
            "waveform, not frames that could be projected; set it to 0"
        )
    if architecture.closed_form and not errors:
        errors = _closed_form_errors(architecture, built["training"], built["data"])
    if errors := errors or built["data"].errors():
        raise BadInputError(f"{where}: the configuration has {len(errors)} fault(s):", errors)
    return TrialConfig(architecture=architecture_name, **built)


def value_faults(architecture_name: str, name: str, value: Any) -> list[str]:
    """Why a known parameter cannot be ``value``, whatever the others are: its type, its range."""
    section, _, field = name.partition(".")
    cls = _classes(ARCHITECTURES.get(architecture_name))[section]
    errors = check_fields(cls, {field: value}, f"{section}.")[1]
    return errors if errors or is_plain(value) else [f"{name} = {value!r}: must be {PLAIN}"]


def _closed_form_errors(
    architecture: Architecture, training: TrainingConfig, data: DataConfig
) -> list[str]:
    """Settings of steps and epochs, of which a model that is fitted in closed form has none."""
    own, values = TrainingConfig(**architecture.training), vars(training)
    changed = [name for name in values if values[name] != getattr(own, name)]
    errors = [
        f"training.{name} = {values[name]!r}: {architecture.name} is fitted in closed form, "
        f"without steps; of training.*, {', '.join(CLOSED_FORM_TRAINING)} alone act on it"
        for name in changed
        if name not in CLOSED_FORM_TRAINING
    ]
    errors += [
        f"data.{name} = {value!r}: it is trained by gradients together with the model, and "
        f"{architecture.name} is fitted in closed form; set data.{name} = {off}"
        for name, value, off in (
            ("layers", data.layers, "joined"),
            ("projection", data.projection, 0),
        )
        if value != off
    ]
    if data.augments:
        errors.append(
            f"data.* changes training frames at random in every epoch; {architecture.name} is "
            "fitted once, in closed form: turn masks, speed, gain_db and noise off"
        )
    return errors


def _classes(architecture: Architecture) -> dict[str, type]:
    return {"model": architecture.config, "training": TrainingConfig, "data": DataConfig}
