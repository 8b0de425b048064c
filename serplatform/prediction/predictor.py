"""Loaded models that turn clips of new audio into posteriors.

Shapes: S samples, T frames, D feature dimension, N clips, L words, M members, K classes, F folds.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.artifacts.model import Preprocessing
from serplatform.config import plain
from serplatform.corpora.audio import speech_bounds
from serplatform.corpora.base import Span
from serplatform.datasets.deltas import append_deltas
from serplatform.datasets.joined import clip_frames, spec_parts
from serplatform.datasets.normalization import trim_bounds
from serplatform.datasets.pooling import PoolingConfig, pool
from serplatform.datasets.preprocessing import preprocess
from serplatform.datasets.words import encode_clip
from serplatform.errors import ArtifactError, BadInputError
from serplatform.features.base import FEATURES, FeatureExtractor
from serplatform.features.clip import Clip as FeatureClip
from serplatform.models.base import Batch
from serplatform.prediction.system import System
from serplatform.training.bundle import LoadedModel, load_model


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipInput:
    """What models read of one clip.

    Attributes:
        frames: feature name to (T, D), as extracted.
        speech: start and end of the speech, seconds from the start of the clip.
        spans: its words with their times; may be empty.
        text: its transcript, for words without times.
    """

    frames: Mapping[str, FloatArray]
    speech: tuple[float, float]
    spans: tuple[Span, ...] = ()
    text: str | None = None


class SpeakerMoments:
    """Mean and deviation of one speaker's frames, over clips that need not be kept.

    Sums are joined as Chan, Golub and LeVeque 1983, Eq. (2.1), so that nothing large is
    subtracted from anything large.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, DoubleArray, DoubleArray]] = {}

    def add(self, clip: ClipInput, settings: Sequence[Preprocessing]) -> None:
        """Add a clip's frames, for every feature and way of preparing it in ``settings``."""
        for key, chosen in {_key(s): s for s in settings}.items():
            frames = _model_frames(clip, chosen).astype(np.float64)
            mean = frames.mean(axis=0)
            count, scatter = len(frames), np.square(frames - mean).sum(axis=0)
            if key in self._sums:
                had, old_mean, old_scatter = self._sums[key]
                gap = mean - old_mean
                total = had + count
                scatter = old_scatter + scatter + np.square(gap) * had * count / total
                mean, count = old_mean + gap * count / total, total
            self._sums[key] = (count, mean, scatter)

    @property
    def fewest(self) -> int:
        """Frames that the scarcest feature gave; 0 before any clip."""
        return min((count for count, _, _ in self._sums.values()), default=0)

    def settings(self, settings: Preprocessing) -> Preprocessing:
        """Preprocessing that standardizes by this speaker what ``settings`` would by a clip's."""
        count, mean, scatter = self._sums[_key(settings)]
        deviation = np.maximum(np.sqrt(scatter / count), np.array(settings["deviation_floor"]))
        return {
            **settings,
            "normalization": "train",
            "mean": mean.tolist(),
            "deviation": deviation.tolist(),
        }


class Predictor:
    """A system with its models loaded; every model file is verified by its checksum.

    Args:
        system: what to load.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:<index>"``.

    Raises:
        ArtifactError: a model is missing, damaged, or does not belong to the system.
        BadInputError: this machine has no such device.
    """

    def __init__(self, system: System, *, device: str = "cpu") -> None:
        self.system = system
        self.classes = system.classes
        self._device = _checked_device(device)
        self._models: dict[Path, LoadedModel] = {}
        self._combiners = [fold.combiner(len(system.classes)) for fold in system.folds]
        for fold in system.folds:
            for member in fold.members:
                if member.directory not in self._models:
                    self._models[member.directory] = self._load(member.directory)
        self.extractors = {
            name: _extractor(name, found) for name, found in self._features().items()
        }

    # -- what it needs

    @property
    def models(self) -> list[LoadedModel]:
        """Every model once."""
        return list(self._models.values())

    @property
    def speaker_settings(self) -> list[Preprocessing]:
        """Preprocessing of the models that normalize by speaker; empty where none does."""
        found = [model.preprocessing for model in self.models]
        return [settings for settings in found if settings["normalization"] == "speaker"]

    @property
    def word_settings(self) -> list[Mapping[str, Any]]:
        """Word settings of the models that need words; empty where none does."""
        found = [_word_settings(model.preprocessing) for model in self.models]
        return [settings for settings in found if settings is not None]

    # -- prediction

    def read(
        self, samples: FloatArray, spans: Sequence[Span] = (), text: str | None = None
    ) -> ClipInput:
        """Extract what the models read.

        Args:
            samples: (S,), float32 mono at 16 kHz, full scale 1.
            spans: words with times, seconds from the start of the clip.
            text: its transcript.
        """
        clip = FeatureClip(samples)
        return ClipInput(
            frames={name: e.extract_clip(clip) for name, e in self.extractors.items()},
            speech=speech_bounds(samples),
            spans=tuple(spans),
            text=text,
        )

    def posteriors(
        self, clips: Sequence[ClipInput], speaker: SpeakerMoments | None = None
    ) -> DoubleArray:
        """(N, K): the mean over folds of :meth:`fold_posteriors`."""
        mean = self.fold_posteriors(clips, speaker).mean(axis=0)
        return np.asarray(mean / mean.sum(axis=1, keepdims=True), dtype=np.float64)

    def fold_posteriors(
        self, clips: Sequence[ClipInput], speaker: SpeakerMoments | None = None
    ) -> DoubleArray:
        """Combined posteriors of each fold.

        Args:
            clips: N, at least one.
            speaker: moments of the speaker of all clips, for models that normalize by
                speaker; None: of these clips.

        Returns:
            (F, N, K), rows sum to 1.
        """
        kept: dict[str, list[FloatArray]] = {}  # many models get the same frames
        solo = {}
        for directory, model in self._models.items():
            key = _key(model.preprocessing)
            if key not in kept:
                kept[key] = [_model_frames(clip, model.preprocessing) for clip in clips]
            solo[directory] = self._model_posteriors(model, clips, kept[key], speaker)
        shape = len(clips), len(self.classes)
        return np.stack(
            [
                fold.combine(combiner, [solo[member.directory] for member in fold.members], shape)
                for fold, combiner in zip(self.system.folds, self._combiners, strict=True)
            ]
        )

    def _model_posteriors(
        self,
        model: LoadedModel,
        clips: Sequence[ClipInput],
        kept: Sequence[FloatArray],
        speaker: SpeakerMoments | None,
    ) -> DoubleArray:
        settings = model.preprocessing
        if settings["normalization"] == "speaker" and speaker is not None:
            settings = speaker.settings(settings)
        frames = preprocess(kept, settings)
        batch = _pad(frames)
        if "words" in settings:
            _add_words(batch, clips, settings)
        with torch.inference_mode():
            output = model.model(batch.to(self._device))
            posteriors = output.log_posteriors.double().softmax(dim=1).cpu().numpy()
        return np.asarray(posteriors, dtype=np.float64)

    # -- loading

    def _load(self, directory: Path) -> LoadedModel:
        model = load_model(directory, self._device)
        if model.classes != self.classes:
            raise ArtifactError(
                f"{directory}: its classes are {', '.join(model.classes)}, where the system's are "
                f"{', '.join(self.classes)}; it is a model of something else"
            )
        return model

    def _features(self) -> dict[str, tuple[Path, Mapping[str, Any]]]:
        """Each feature with the specification that the models were trained on.

        Raises:
            ArtifactError: models were trained on different features of one name.
        """
        found: dict[str, tuple[Path, Mapping[str, Any]]] = {}
        for directory, model in self._models.items():
            joined = model.preprocessing
            for name, spec in spec_parts(joined["feature"], joined["spec"]).items():
                first, known = found.setdefault(name, (directory, spec))
                if plain(known) != plain(spec):
                    raise ArtifactError(
                        f"{directory}: was trained on another '{name}' than {first}; they cannot "
                        "be used together"
                    )
        return found


def _extractor(name: str, found: tuple[Path, Mapping[str, Any]]) -> FeatureExtractor:
    directory, spec = found
    if name not in FEATURES.names():
        raise ArtifactError(
            f"{directory}: was trained on the feature '{name}', which this version cannot compute"
        )
    extractor: FeatureExtractor = FEATURES.get(name)()
    ours, theirs = plain(extractor.spec()), plain(spec)
    if ours != theirs:
        differing = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
        raise ArtifactError(
            f"{directory}: was trained on '{name}' with other parameters than this version's "
            f"({', '.join(differing)}); use the version that trained it, or train again"
        )
    return extractor


@functools.cache
def _checked_device(device: str) -> str:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BadInputError(
            f"--device {device}: cannot be used ({reason}); cpu always can"
        ) from None
    return device


def _key(settings: Mapping[str, Any]) -> str:
    """The same for all preprocessing that gives a clip the same frames before normalization."""
    prepared = [settings.get(k) for k in ("feature", "trim", "pooling", "deltas")]
    return json.dumps(prepared, sort_keys=True)


def _word_settings(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Of the words that a model reads, or that its functionals follow."""
    found: Mapping[str, Any] | None = settings.get("words")
    return found or settings.get("pooling", {}).get("words")


def _model_frames(clip: ClipInput, settings: Mapping[str, Any]) -> FloatArray:
    """What a model gets of a clip, (T, D), before normalization: trimmed, with derivatives or
    summed up."""
    first, last = _kept(clip, settings)
    frames = clip_frames(clip.frames, settings["feature"])[first:last]
    pooling = settings.get("pooling")
    if pooling is None:
        return append_deltas(frames, settings.get("deltas", 0))
    config = PoolingConfig(**{k: v for k, v in pooling.items() if k != "words"})
    spans = None
    if "words" in pooling:
        spans = _words_of(clip, settings, pooling["words"])[1]
    return pool(frames, config, float(settings["frame_shift"]), spans)


def _words_of(
    clip: ClipInput, settings: Mapping[str, Any], words: Mapping[str, Any]
) -> tuple[IntArray, IntArray]:
    """Ids and frames of a clip's words, as training's were."""
    first, last = _kept(clip, settings)
    return encode_clip(
        clip.spans,
        clip.text,
        words,
        frame_shift=float(settings["frame_shift"]),
        num_frames=last - first,
        first_frame=first,
    )


def _kept(clip: ClipInput, settings: Mapping[str, Any]) -> tuple[int, int]:
    """First frame that the model gets and one past the last."""
    count = len(clip_frames(clip.frames, settings["feature"]))
    if not settings["trim"]:
        return 0, count
    start, end = clip.speech
    first, last = trim_bounds([start], [end], [count], float(settings["frame_shift"]))
    return int(first[0]), int(last[0])


def _pad(frames: Sequence[FloatArray]) -> Batch:
    """(T, D) each to a batch, zero beyond each length."""
    lengths = np.array([len(values) for values in frames], dtype=np.int64)
    padded = np.zeros((len(frames), int(lengths.max()), frames[0].shape[1]), dtype=np.float32)
    for row, values in zip(padded, frames, strict=True):
        row[: len(values)] = values
    return Batch(
        frames=torch.from_numpy(padded),
        lengths=torch.from_numpy(lengths),
        labels=torch.full((len(frames),), -1, dtype=torch.int64),
    )


def _add_words(batch: Batch, clips: Sequence[ClipInput], settings: Mapping[str, Any]) -> None:
    """Encode each clip's words as training's were."""
    encoded = [_words_of(clip, settings, settings["words"]) for clip in clips]
    counts = np.array([len(ids) for ids, _ in encoded], dtype=np.int64)
    ids = np.zeros((len(clips), int(counts.max())), dtype=np.int64)
    spans = np.zeros((*ids.shape, 2), dtype=np.int64)
    for row, (own_ids, own_spans) in enumerate(encoded):
        ids[row, : counts[row]], spans[row, : counts[row]] = own_ids, own_spans
    batch.word_ids, batch.word_spans = torch.from_numpy(ids), torch.from_numpy(spans)
    batch.num_words = torch.from_numpy(counts)
