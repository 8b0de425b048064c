"""One model as an ONNX graph: features of a batch in, posteriors out, equal to the model itself.

Shapes: B utterances, T frames, L words, D values a frame, K classes.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from serplatform.arrays import FloatArray
from serplatform.artifacts.model import WITHIN_SPEAKER
from serplatform.errors import BadInputError
from serplatform.inputs.normalization import VARIANCE_CLIPS, Normalization
from serplatform.models.base import Batch, SerModel
from serplatform.models.layers.masks import valid_steps

OUTPUT = "posteriors"
#: largest difference of a posterior between graph and model
TOLERANCE = 1e-4

#: architectures that no graph is made of, and why
REFUSED: Mapping[str, str] = {
    "encoder_lora": "it runs a pretrained encoder over the waveform in pieces, whose number "
    "depends on the length of the recording; export the encoder itself with its own tools",
    "vrnn": "each window decides what it observes of the next one by comparing numbers, so that "
    "roundings of another program change the path; predict with serplatform",
}

#: what a graph reads: name to axes and meaning
INPUTS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "frames": (("batch", "frames", "values"), "the feature, utterances padded to one length"),
    "lengths": (("batch",), "frames of each utterance, at least 1"),
    "word_ids": (
        ("batch", "words"),
        "place of each word in the vocabulary; 0 padding, 1 a word that it lacks",
    ),
    "word_spans": (
        ("batch", "words", "2"),
        "first frame of each word, and one past its last; an utterance without words is one word 1 "
        "over all its frames",
    ),
    "num_words": (("batch",), "words of each utterance, at least 1"),
    "word_vectors": (("batch", "words", "values"), "vectors that the text encoder gives to words"),
    "speaker_mean": (("batch", "values"), "mean of all frames of the utterance's speaker"),
    "speaker_deviation": (
        ("batch", "values"),
        "standard deviation of all frames of the utterance's speaker",
    ),
    "speaker_clips": (("batch",), "utterances that these are of"),
    "models": (
        ("models", "batch", "classes"),
        "posteriors of every model, in the order of the list of models",
    ),
}


class ModelGraph(nn.Module):
    """Normalization and a model, as a function of tensors under the names of :data:`INPUTS`."""

    def __init__(self, model: SerModel, normalization: Normalization) -> None:
        super().__init__()
        self.model = model
        self.kind = normalization.kind
        values = {"mean": normalization.mean, "std": normalization.std}
        values["floor"] = normalization.floor
        if normalization.shrinkage is not None:
            values["prior_clips"] = normalization.shrinkage.clips
            values["prior_variance"] = normalization.shrinkage.variance
        self.normal = nn.Module()  # names with a dot are no operator's
        for name, found in values.items():
            self.normal.register_buffer(name, torch.from_numpy(np.array(found, dtype=np.float64)))

    def forward(
        self,
        frames: Tensor,
        lengths: Tensor,
        word_ids: Tensor | None = None,
        word_spans: Tensor | None = None,
        num_words: Tensor | None = None,
        word_vectors: Tensor | None = None,
        speaker_mean: Tensor | None = None,
        speaker_deviation: Tensor | None = None,
        speaker_clips: Tensor | None = None,
    ) -> Tensor:
        """(B, K) posteriors."""
        valid = valid_steps(lengths, frames.shape[1]).unsqueeze(2)  # (B, T, 1)
        if self.kind != "none":
            if self.kind == "utterance":
                speaker_mean, speaker_deviation = _moments(frames.double(), valid, lengths)
            mean, std = self._statistics(speaker_mean, speaker_deviation, speaker_clips)
            frames = (frames - mean.float()) * (1.0 / std).float()
        batch = Batch(
            frames=frames.masked_fill(~valid, 0.0),
            lengths=lengths,
            labels=torch.full_like(lengths, -1),
            word_ids=word_ids,
            word_spans=word_spans,
            num_words=num_words,
            word_vectors=word_vectors,
        )
        posteriors: Tensor = self.model(batch).log_posteriors.exp()
        return posteriors

    def _statistics(
        self, mean: Tensor | None, std: Tensor | None, clips: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Mean and deviation that frames are normalized by, (B, 1, D) or (D,), as
        :class:`.Normalization` has them."""
        if mean is None or std is None:
            return self.get_buffer("normal.mean"), self.get_buffer("normal.std")
        mean, std = mean.double(), std.double()
        if clips is not None:
            count = clips.double().unsqueeze(1)
            prior = self.get_buffer("normal.prior_clips")
            mean = (count * mean + prior * self.get_buffer("normal.mean")) / (count + prior)
            variance = count * std.square() + VARIANCE_CLIPS * self.get_buffer(
                "normal.prior_variance"
            )
            std = (variance / (count + VARIANCE_CLIPS)).sqrt()
        return mean.unsqueeze(1), torch.maximum(std, self.get_buffer("normal.floor")).unsqueeze(1)


def _moments(frames: Tensor, valid: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(B, D) means and (population) standard deviations."""
    count = lengths.double().unsqueeze(1)
    mean = frames.masked_fill(~valid, 0.0).sum(dim=1) / count
    spread = (frames - mean.unsqueeze(1)).masked_fill(~valid, 0.0).square().sum(dim=1)
    return mean, (spread / count).sqrt()


def input_names(normalization: str, *, words: bool, vectors: bool) -> list[str]:
    """Names of :data:`INPUTS` that a graph reads."""
    names = ["frames", "lengths"]
    names += ["word_ids", "word_spans", "num_words"] * words + ["word_vectors"] * vectors
    names += ["speaker_mean", "speaker_deviation"] * (normalization in WITHIN_SPEAKER)
    return names + ["speaker_clips"] * (normalization == "speaker_shrunk")


def export_graph(module: nn.Module, example: Mapping[str, Tensor]) -> bytes:
    """The ONNX file of a module's function of named tensors, any sizes along named axes.

    ``example`` has at least two utterances. Axes are those of :data:`INPUTS`; others have no name.
    Weights keep their names in the module's state, for :func:`with_weights`.

    Raises:
        BadInputError: onnx or onnxscript is not installed, or the module cannot be traced.
    """
    need_onnx()
    axes: dict[str, object] = {}
    shapes: dict[str, dict[int, object]] = {}
    for name in example:
        named = {
            place: axis
            for place, axis in enumerate(INPUTS[name][0] if name in INPUTS else ())
            if axis in ("batch", "frames", "words")
        }
        for axis in named.values():
            axes.setdefault(axis, torch.export.Dim(axis))
        shapes[name] = {place: axes[axis] for place, axis in named.items()}
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    with quiet():
        try:
            program = torch.onnx.export(
                module.eval(),
                (),
                kwargs=dict(example),
                dynamo=True,
                input_names=list(example),
                output_names=[OUTPUT],
                dynamic_shapes=shapes,
                external_data=False,
                optimize=False,  # onnxruntime does, and weights would be folded into others
                verbose=False,
            )
        except Exception as error:
            reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            raise BadInputError(f"torch cannot write it as an ONNX graph ({reason[0]})") from error
        assert program is not None  # noqa: S101 - for the type checker
        proto = program.model_proto
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.initializer):
        del part.metadata_props[:]  # where the code lies on this machine
        part.ClearField("doc_string")
    del proto.graph.value_info[:]
    return bytes(proto.SerializeToString())


def with_weights(content: bytes, module: nn.Module) -> bytes:
    """The ONNX file of a module that differs in weights only from the one it was made of."""
    import onnx

    proto, state = onnx.ModelProto.FromString(content), module.state_dict()
    for weights in proto.graph.initializer:
        if weights.name in state:  # others are numbers of the architecture
            values = state[weights.name].detach().numpy()
            weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    return bytes(proto.SerializeToString())


class GraphSession:
    """An ONNX file, loaded by onnxruntime."""

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        #: names of what it reads: what a model ignores is none of it
        self.inputs = [found.name for found in self._session.get_inputs()]

    def __call__(self, inputs: Mapping[str, Tensor]) -> FloatArray:
        """The only output."""
        given = {name: inputs[name].numpy() for name in self.inputs}
        return np.asarray(self._session.run(None, given)[0])


def need_onnx() -> None:
    """Say how to get what graphs are written and checked with, where it is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BadInputError(
            f"--onnx needs onnx, onnxscript and onnxruntime ({error.name} is not installed): "
            "pip install 'serplatform[onnx]'"
        ) from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what torch and onnxscript tell of their own workings."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
