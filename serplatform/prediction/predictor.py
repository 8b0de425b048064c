"""Loaded models that turn clips of new audio into posteriors.

Shapes: S samples, N clips, K classes, F folds.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from serplatform.alignment.segments import spoken_words
from serplatform.arrays import DoubleArray, FloatArray
from serplatform.artifacts.model import WITHIN_SPEAKER
from serplatform.config import plain
from serplatform.corpora.audio import speech_bounds
from serplatform.corpora.base import Span
from serplatform.errors import ArtifactError, BadInputError
from serplatform.features.base import FEATURES, SAMPLING_RATE, FeatureExtractor
from serplatform.features.clip import Clip
from serplatform.features.names import family_of
from serplatform.inputs.new_audio import ExtractedClip, SpeakerMoments, new_audio
from serplatform.inputs.pipeline import InputPipeline
from serplatform.inputs.selection import spec_parts
from serplatform.inputs.words import Words
from serplatform.models.front import architecture_module
from serplatform.prediction.steps import Steps, gives_steps, model_steps, on_one_grid
from serplatform.prediction.system import PredictionSystem
from serplatform.training.bundle import LoadedModel, load_model


class Predictor:
    """A system with its models loaded; every model file is verified by its checksum.

    Args:
        system: what to load.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:<index>"``.

    Raises:
        ArtifactError: a model is missing, damaged, or does not belong to the system.
        BadInputError: this machine has no such device, or lacks an encoder.
    """

    def __init__(self, system: PredictionSystem, *, device: str = "cpu") -> None:
        self.system = system
        self.classes = system.classes
        self._device = _checked_device(device)
        self._models: dict[Path, LoadedModel] = {}
        self._combiners = [fold.combiner(len(system.classes)) for fold in system.folds]
        for directory in dict.fromkeys(member.directory for member in system.members):
            self._models[directory] = self._load(directory)
        self.extractors: dict[str, FeatureExtractor] = {}
        for directory, model in self._models.items():
            joined = model.pipeline.selection
            for name, spec in spec_parts(joined.feature, joined.spec).items():
                extractor = _extractor(name, spec, directory)
                known = self.extractors.setdefault(name, extractor)
                if plain(known.spec()) != plain(extractor.spec()):
                    raise _of_another_encoder(directory, name)
        quiet = Clip(np.zeros(SAMPLING_RATE // 10, dtype=np.float32))
        for extractor in self.extractors.values():
            if extractor.costly:  # loads its weights now; damaged ones are no recording's fault
                extractor.extract_clip(quiet)
        self._word_vectors: dict[str, tuple[FeatureExtractor, int]] = {}
        for directory, model in self._models.items():
            words = model.pipeline.step(Words)
            if words is None or words.contextual is None:
                continue
            extractor = FEATURES.restore(words.contextual, words.contextual_spec)
            extractor.extract_words(["words"])  # loads its weights now
            first, _ = self._word_vectors.setdefault(words.contextual, (extractor, words.rules))
            if plain(first.spec()) != plain(extractor.spec()):
                raise _of_another_encoder(directory, words.contextual)

    @property
    def models(self) -> list[LoadedModel]:
        """All of them, each once."""
        return list(self._models.values())

    @property
    def speaker_pipelines(self) -> list[InputPipeline]:
        """Of the models that normalize by speaker; empty where none does."""
        found = [model.pipeline for model in self.models]
        return [p for p in found if p.normalization.kind in WITHIN_SPEAKER]

    @property
    def without_steps(self) -> list[str]:
        """Architectures of the models that say nothing of the time inside an utterance, and why
        where others of the same architecture do."""
        found = set()
        for member in self.system.members:
            loaded = self._models[member.directory]
            if not gives_steps(loaded):
                why = architecture_module(loaded.model).no_steps
                found.add(f"{member.architecture} ({why})" if why else member.architecture)
        return sorted(found)

    @property
    def encoders(self) -> list[str]:
        """Each pretrained encoder that audio or words go through, and its use, in words."""
        layers: dict[str, set[Any]] = {}
        word_vectors = [extractor for extractor, _ in self._word_vectors.values()]
        for spec in (e.spec() for e in (*self.extractors.values(), *word_vectors)):
            if isinstance(encoder := spec.get("encoder"), Mapping):
                layers.setdefault(_called(encoder), set()).add(spec["layer"])
        uses = [f"{name}, layer {', '.join(map(str, sorted(k)))}" for name, k in layers.items()]
        if self.aligner is not None:
            aligner = {**self.aligner, "name": self.aligner["model"]}
            uses.append(f"{_called(aligner)}, which locates words")
        return uses

    @property
    def vocabularies(self) -> list[tuple[str, ...]]:
        """Words of each model that needs words; empty where none does."""
        found = [model.pipeline.read_words for model in self._models.values()]
        return [words.vocabulary.words for words in found if words is not None]

    @property
    def aligner(self) -> Mapping[str, object] | None:
        """The model that located the words of the training data; None where no model did."""
        found = [model.pipeline.read_words for model in self._models.values()]
        return next((words.aligner for words in found if words and words.aligner), None)

    def read(
        self, samples: FloatArray, spans: Sequence[Span] = (), text: str | None = None
    ) -> ExtractedClip:
        """Extract what the models read of (S,) samples, float32 mono at 16 kHz, full scale 1.

        Spans are words with times, seconds from the start of the clip; the text is its transcript.
        """
        clip = Clip(samples)
        frames = {name: e.extract_clip(clip) for name, e in self.extractors.items()}
        for name, (extractor, rules) in self._word_vectors.items():
            frames[name] = extractor.extract_words(spoken_words(spans, text, rules))
        return ExtractedClip(
            frames=frames,
            speech=speech_bounds(samples),
            spans=tuple(spans),
            text=text,
        )

    def posteriors(
        self, clips: Sequence[ExtractedClip], speaker: SpeakerMoments | None = None
    ) -> DoubleArray:
        """(N, K): the mean over folds of :meth:`fold_posteriors`."""
        return average(self.fold_posteriors(clips, speaker))

    def fold_posteriors(
        self,
        clips: Sequence[ExtractedClip],
        speaker: SpeakerMoments | None = None,
        states: dict[Path, Any] | None = None,
    ) -> DoubleArray:
        """Combined posteriors of each fold for N clips, at least one: (F, N, K), rows sum to 1.

        Models that normalize by speaker take the moments of the clips' speaker; None: of these
        clips. ``states`` are of the stretches before these ones, empty at first, and are brought
        up to date; None: the clips are whole.
        """
        source, rows = new_audio(clips, speaker), np.arange(len(clips), dtype=np.int64)
        solo: dict[Path, DoubleArray] = {}
        with torch.inference_mode():
            for directory, loaded in self._models.items():
                batch = loaded.pipeline.apply(source).collate(rows).to(self._device)
                if states is None:
                    output = loaded.model(batch)
                else:
                    output, states[directory] = loaded.model.step(batch, states.get(directory))
                solo[directory] = output.log_posteriors.double().softmax(dim=1).cpu().numpy()
        return self._combined(solo, len(clips))

    def steps(self, clip: ExtractedClip, speaker: SpeakerMoments | None = None) -> Steps:
        """Classes inside a clip, combined over members and folds like those of whole clips.

        Only of a system with a model and without :attr:`without_steps`.
        """
        source = new_audio([clip], speaker)
        found: dict[Path, Steps] = {}
        with torch.inference_mode():
            for directory, loaded in self._models.items():
                selection = loaded.pipeline.selection
                parts = spec_parts(selection.feature, selection.spec)
                clips = loaded.pipeline.apply(source)
                batch = clips.collate(np.zeros(1, dtype=np.int64))
                found[directory] = model_steps(
                    loaded.model,
                    batch.to(self._device),
                    first=int(clips.first[0]),
                    shift=selection.frame_shift,
                    length=max(self.extractors[name].frame_length for name in parts),
                )
        found = dict(zip(found, on_one_grid(list(found.values())), strict=True))
        one = next(iter(found.values()))
        solo = {directory: steps.posteriors for directory, steps in found.items()}
        maps = [steps.attention for steps in found.values() if steps.attention is not None]
        return dataclasses.replace(
            one,
            posteriors=average(self._combined(solo, len(one.start))),
            attention=np.mean(maps, axis=0) if maps else None,
        )

    def _combined(self, solo: Mapping[Path, DoubleArray], number: int) -> DoubleArray:
        """Each model's (N, K) posteriors to each fold's, (F, N, K)."""
        shape = number, len(self.classes)
        return np.stack(
            [
                fold.combine(combiner, [solo[member.directory] for member in fold.members], shape)
                for fold, combiner in zip(self.system.folds, self._combiners, strict=True)
            ]
        )

    def _load(self, directory: Path) -> LoadedModel:
        model = load_model(directory, self._device)
        if model.classes != self.classes:
            raise ArtifactError(
                f"{directory}: its classes are {', '.join(model.classes)}, where the system's are "
                f"{', '.join(self.classes)}; it is a model of something else"
            )
        return model


def _called(encoder: Mapping[str, object]) -> str:
    return f"{encoder['name']} (SHA-256 {str(encoder['sha256'])[:12]}…)"


def _of_another_encoder(directory: Path, name: str) -> ArtifactError:
    return ArtifactError(
        f"{directory}: its '{name}' is of another encoder than that of the other models, which has "
        "the same name; predict with each trial by itself"
    )


def average(folds: DoubleArray) -> DoubleArray:
    """(F, N, K) posteriors of each fold to their mean, (N, K)."""
    mean = folds.mean(axis=0)
    return np.asarray(mean / mean.sum(axis=1, keepdims=True), dtype=np.float64)


def _extractor(name: str, spec: Mapping[str, object], directory: Path) -> FeatureExtractor:
    """The extractor of this version and this machine, if it is the one that a model read."""
    if family_of(name) is None and name not in FEATURES.names():
        raise ArtifactError(
            f"{directory}: was trained on the feature '{name}', which this version cannot compute"
        )
    extractor = FEATURES.restore(name, spec)
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
