"""Which front a model gets: what ``data.layers`` and ``data.projection`` mean for some data."""

from __future__ import annotations

from collections.abc import Mapping

from serplatform.errors import BadInputError
from serplatform.features.base import WHOLE_UTTERANCE
from serplatform.features.names import family_of
from serplatform.inputs.config import PROJECTED_ABOVE, PROJECTED_TO, DataConfig, feature_parts
from serplatform.models.architectures import InputSpec


def summed_layers(config: DataConfig, dims: Mapping[str, int]) -> int:
    """Layers that a model sums by trained weights; 1 where it sums none.

    Args:
        config: whose feature consists of ``dims``.
        dims: each joined feature to its values a frame.

    Raises:
        BadInputError: they are not of equal size.

    Example:
        >>> summed_layers(DataConfig(layers="weighted_sum"), {"a": 512, "b": 512})
        2
    """
    if config.layers == "joined":
        return 1
    if len(set(dims.values())) > 1:
        sizes = ", ".join(f"{name} {dim}" for name, dim in dims.items())
        raise BadInputError(
            f"data.layers = weighted_sum: only features with equally many values a frame can be "
            f"summed ({sizes}); name layers of one encoder in data.feature, or set data.layers = "
            "joined"
        )
    return len(dims)


def projected_dim(config: DataConfig, dim: int, frame_shift: float) -> int:
    """Values that D = ``dim`` values a frame are projected to in front of a model; 0: they are not.

    Example:
        >>> projected_dim(DataConfig(feature="pretrained:whisper-base@3"), 512, 0.02)
        128
        >>> projected_dim(DataConfig(feature="compare_2016_lld"), 512, 0.02)
        0
    """
    if config.projection is not None:
        return config.projection
    encoded = any(family_of(part) for part in feature_parts(config.feature))
    frames = config.pooling == "none" and frame_shift < WHOLE_UTTERANCE
    return PROJECTED_TO if encoded and frames and dim > PROJECTED_ABOVE else 0


def front_notes(spec: InputSpec) -> tuple[str, ...]:
    """What belongs beside a number of a model with a front."""
    notes = []
    if spec.layers > 1:
        notes.append(f"The model reads a sum of {spec.layers} layers by weights trained with it.")
    if spec.projection:
        dim = spec.feature_dim // spec.layers
        notes.append(
            f"A linear layer trained with the model makes {spec.projection} values of the {dim} of "
            "a frame (data.projection)."
        )
    return tuple(notes)
