"""What an architecture is: a typed configuration, a module, and its paper's settings.

Shapes: B utterances, T frames, L words, D feature dimension, K classes.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from serplatform.arrays import IntArray
from serplatform.models.architectures import ARCHITECTURES, Architecture, InputSpec

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Batch",
    "ClosedFormModel",
    "Criterion",
    "Framewise",
    "Generation",
    "InputSpec",
    "ModelOutput",
    "SerModel",
    "count_parameters",
]


@dataclasses.dataclass
class Batch:
    """One padded batch.

    Attributes:
        frames: (B, T, D) float, zero beyond each length.
        lengths: (B,) int64, valid frames, at least 1.
        labels: (B,) int64 class indices; -1 where unknown.
        word_ids: (B, L) int64; 0 padding, 1 unknown; None for audio-only models.
        word_spans: (B, L, 2) int64, first frame and one past the last of each word.
        num_words: (B,) int64.
        word_vectors: (B, L, E) float, contextual vectors; None where word ids have vectors.
        rows: (B,) int64, positions in the dataset's table.
    """

    frames: Tensor
    lengths: Tensor
    labels: Tensor
    word_ids: Tensor | None = None
    word_spans: Tensor | None = None
    num_words: Tensor | None = None
    word_vectors: Tensor | None = None
    rows: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Change every tensor."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return Batch(**{name: change(value) for name, value in given.items()})

    def to(self, device: torch.device | str) -> Batch:
        """Copy every tensor to ``device``."""
        return self.map(lambda value: value.to(device, non_blocking=True))

    def __len__(self) -> int:
        return int(self.lengths.shape[0])


@dataclasses.dataclass
class ModelOutput:
    """What a forward pass gives.

    Attributes:
        log_posteriors: (B, K), natural log, normalized over K.
        losses: (B,) per-utterance training loss other than plain cross-entropy of
            ``log_posteriors`` (chunk-wise cross-entropy, multi-task terms, …); None means
            that the loop applies its criterion to ``logits``.
        logits: (B, K), unnormalized; required when ``losses`` is None.
        attention: named maps for explanations, e.g. {"layer1": (B, T)}; zero on padding.
        statistics: named per-utterance values to report, e.g. {"sampled_share": (B,)}.
    """

    log_posteriors: Tensor
    logits: Tensor | None = None
    losses: Tensor | None = None
    attention: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    statistics: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, logits: Tensor, **attention: Tensor | None) -> ModelOutput:
        """The output of (B, K) logits; maps for explanations are detached, None is left out."""
        maps = {name: values.detach() for name, values in attention.items() if values is not None}
        return cls(logits.log_softmax(dim=-1), logits=logits, attention=maps)


class Criterion:
    """Cross-entropy with optional class weights and label smoothing, per item, unreduced.

    Modules that compute their own ``losses`` apply it to their own logits.

    Args:
        class_weights: (K,) or None.
        label_smoothing: in [0, 1).
    """

    def __init__(self, class_weights: Tensor | None = None, label_smoothing: float = 0.0) -> None:
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, K) and (N,) to (N,) weighted losses."""
        return nn.functional.cross_entropy(
            logits,
            labels,
            weight=None if self.class_weights is None else self.class_weights.to(logits.device),
            label_smoothing=self.label_smoothing,
            reduction="none",
        )

    def weights_of(self, labels: Tensor) -> Tensor | None:
        """(N,) class weight of each label, or None without class weights.

        For losses that are weighted but no cross-entropy; a module reads labels in this way or
        by calling the criterion, and in no other.
        """
        return None if self.class_weights is None else self.class_weights.to(labels.device)[labels]


class Framewise(NamedTuple):
    """Classes inside utterances: one a step, whose number S differs between utterances.

    Attributes:
        log_posteriors: (B, S, K), natural log, normalized over K; undefined on padding.
        lengths: (B,) int64, steps of each utterance, at least 1.
        spans: (B, S, 2) int64, first frame and one past the last that a step stands for.
        words: steps are the words of the batch.
    """

    log_posteriors: Tensor
    lengths: Tensor
    spans: Tensor
    words: bool = False

    @classmethod
    def of_frames(cls, logits: Tensor, lengths: Tensor) -> Framewise:
        """A step is a frame; from (B, T, K) logits."""
        first = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
        spans = torch.stack([first, first + 1], dim=2)
        return cls(logits.log_softmax(dim=-1), lengths, spans)


class Generation(NamedTuple):
    """What a model expected of its own input, one frame ahead.

    Attributes:
        predicted: (B, T-1, D), means of the frames after the first.
        log_std: (B, T-1, D), natural log of their standard deviations.
        sampled: (B, T-1, D), 1 where the model then observed the frame's element, 0 where it
            went on with its own prediction.
    """

    predicted: Tensor
    log_std: Tensor
    sampled: Tensor


class SerModel(nn.Module):
    """A classifier of utterances: ``forward(batch, criterion) -> ModelOutput``.

    In evaluation mode the output of an utterance does not depend on its batch or padding.
    ``criterion`` is given in training (labels are then valid) and is None in evaluation.

    Attributes:
        carries: :meth:`step` goes on where the frames before ended, so that a stream without end
            can be classified; a step's class is then of all steps up to it, the last one's of the
            utterance.
        no_steps: why an instance gives no classes inside utterances, where its class can.
    """

    no_steps: str = ""
    carries: ClassVar[bool] = False

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        raise NotImplementedError

    def framewise(self, batch: Batch) -> Framewise | None:
        """Classes inside the utterances, in evaluation mode; None for a model without any."""
        return None

    def generate(self, batch: Batch) -> Generation | None:
        """Frames as predicted, in evaluation mode; None for a model that predicts none."""
        return None

    def received(self, batch: Batch) -> Tensor:
        """(B, T, D) frames as :meth:`generate` predicts them: the batch's own."""
        return batch.frames

    def step(self, batch: Batch, state: Any = None) -> tuple[ModelOutput, Any]:
        """Classify what was heard up to the end of a batch that is the next stretch of utterances.

        In evaluation mode, all utterances of a batch equally long. The output after the last
        stretch is that of :meth:`forward` of all stretches together.

        Args:
            batch: the next frames.
            state: what the step before returned; None at the beginning.
        """
        raise NotImplementedError


class ClosedFormModel(SerModel):
    """A classifier that is fitted to all training rows at once, without gradients.

    The training loop calls :meth:`fit` in the place of its one epoch. The model has no
    parameters; what it learns is in buffers, whose sizes a fit may decide: see :meth:`declare`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shapes: dict[str, tuple[int | str, ...]] = {}

    @abstractmethod
    def fit(self, batches: Iterable[Batch], groups: IntArray, class_weights: Tensor | None) -> None:
        """Fit to the training rows; every global random state is seeded.

        Args:
            batches: of all rows, with labels, none changed at random.
            groups: (N,) numbers, equal where rows may not be apart in an inner cross-validation
                (of one speaker; of one recording, where there is one speaker only), in the order
                of the batches.
            class_weights: (K,) or None, as :class:`Criterion` has them.

        Raises:
            BadInputError: these rows cannot be fitted.
        """

    def declare(self, name: str, *shape: int | str, dtype: torch.dtype = torch.float64) -> None:
        """Declare a buffer; a letter is a size that the fit decides, 0 before it."""
        self._shapes[name] = shape
        sizes = [0 if isinstance(size, str) else size for size in shape]
        self.register_buffer(name, torch.zeros(sizes, dtype=dtype))

    def learned(self, **values: Tensor) -> None:
        """Give declared buffers the values of a fit."""
        self.load_state_dict(values)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Tensor], prefix: str, *rest: Any
    ) -> None:
        """Give declared buffers the sizes of what is loaded, where they fit each other."""
        sizes: dict[int | str, int] = {}
        for name, shape in self._shapes.items():
            value, own = state_dict.get(prefix + name), self.get_buffer(name)
            if value is None or value.ndim != len(shape):
                continue
            for size, found in zip(shape, value.shape, strict=True):
                sizes.setdefault(size, size if isinstance(size, int) else found)
            setattr(self, name, own.new_zeros([sizes[size] for size in shape]))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def count_parameters(module: nn.Module) -> int:
    """Number of trainable values; of a :class:`ClosedFormModel` those that it stores."""
    count = sum(p.numel() for p in module.parameters() if p.requires_grad)
    if isinstance(module, ClosedFormModel):
        count += sum(buffer.numel() for buffer in module.buffers())
    return count
