"""One fold of a dataset as a model sees it: rows of each part, padded and normalized batches.

Whatever is fitted (means, deviations, the vocabulary of models that read words) is fitted on
the fold's training rows. Speaker normalization also reads the unlabelled frames of dev and test
speakers: it is named in :attr:`FoldData.notes`.

Shapes: N utterances of the dataset, B of a batch, T frames, D feature dimension, K classes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.datasets.augmentation import (
    Change,
    add_noise,
    change_speed,
    changed_length,
    draw,
    gain_extractor,
    mask,
)
from serplatform.datasets.data_config import DataConfig
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.deltas import DeltaViews, append_deltas
from serplatform.datasets.joined import FrameViews
from serplatform.datasets.normalization import (
    DEVIATION_FLOOR,
    Moments,
    trim_bounds,
    usable_deviation,
    utterance_moments,
)
from serplatform.datasets.pooling import PooledViews, PoolingConfig, pool
from serplatform.datasets.words import WordConfig, WordInputs
from serplatform.errors import BadInputError, LeakError
from serplatform.models.base import Batch, InputSpec
from serplatform.models.kernels.memory import RELEASE_AFTER
from serplatform.protocols.base import PARTS, FoldPlan


class FoldData:
    """The utterances of one fold, ready to be batched.

    Args:
        dataset: opened.
        plan: made from this dataset's utterance table.
        fold: its position in the plan.
        config: feature, trimming, normalization, augmentation.

    Raises:
        BadInputError: the plan names utterances or labels that the dataset has not, the dataset
            lacks the feature, or the feature cannot be changed in gain.
        LeakError: an utterance is in two parts.
    """

    def __init__(self, dataset: Dataset, plan: FoldPlan, fold: int, config: DataConfig) -> None:
        if not 0 <= fold < len(plan.folds):
            raise BadInputError(
                f"protocol '{plan.protocol}' has folds 0 to {len(plan.folds) - 1}; there is no "
                f"fold {fold}"
            )
        self.dataset = dataset
        self.plan = plan
        self.fold = fold
        self.config = config
        self.classes = plan.classes
        self.info = dataset.feature_info(config.feature)
        self._views: FrameViews = dataset.views(config.feature)
        self._rows = self._part_rows()
        self._labels = self._all_labels()
        self._speakers = dataset.speaker_ids
        self._unreleased = 0
        self._first, self._last = self._bounds()
        self.words = self._word_inputs(config.word_config)
        self._pooled_words = self._word_inputs(config.pooled_word_config)
        self._pool()
        self.info = dataclasses.replace(self.info, dim=self.info.dim * (1 + config.deltas))
        self._length = self._last - self._first
        self._gain = self._gain_source()
        self._train_mean, self._train_deviation = self._fit()
        self._shift, self._scale, self._statistic = self._normalizers()

    # -- what is in it

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong beside any number computed on this fold."""
        notes = () if self.words is None else self.words.notes
        if self._pooled_words is not None:
            notes = (
                "Segments follow the words: transcripts or alignments, those of test utterances "
                "included, say where each begins.",
                *self._pooled_words.source_notes,
            )
        if self.config.normalization != "speaker":
            return notes
        return (
            *notes,
            "Speaker normalization: frames are standardized within each speaker, test speakers "
            "included, over their own unlabelled utterances.",
        )

    @property
    def input_spec(self) -> InputSpec:
        """What a model needs to know to be built."""
        spec = InputSpec(
            feature_dim=self.info.dim,
            num_classes=len(self.classes),
            frame_shift=self.info.frame_shift,
        )
        if self.words is None:
            return spec
        vectors = self.words.vectors
        return dataclasses.replace(
            spec,
            vocabulary_size=len(self.words.vocabulary),
            word_vectors=None if vectors is None else torch.from_numpy(vectors),
        )

    def rows(self, part: str) -> IntArray:
        """Rows of the dataset's table that are in a part, ascending."""
        if part not in PARTS:
            raise ValueError(f"part '{part}': must be one of {', '.join(PARTS)}")
        return self._rows[part]

    def labels(self, part: str) -> IntArray:
        """Class indices of a part's rows."""
        return self._labels[self.rows(part)]

    def lengths(self, part: str) -> IntArray:
        """Frames of a part's rows, after trimming."""
        return self._length[self.rows(part)]

    def kept(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """(B,) first frame (or pooled step) that is kept of some rows, and one past the last."""
        return self._first[rows], self._last[rows]

    def utterance_ids(self, part: str) -> list[str]:
        """Utterance ids of a part's rows."""
        return [self.dataset.utterance_ids[row] for row in self.rows(part)]

    def speaker_ids(self, part: str) -> list[str]:
        """Speaker ids of a part's rows."""
        return [self._speakers[row] for row in self.rows(part)]

    def class_counts(self, part: str) -> IntArray:
        """(K,) utterances of each class in a part; zero for a class that it lacks."""
        return np.bincount(self.labels(part), minlength=len(self.classes)).astype(np.int64)

    # -- batches

    def collate(self, rows: IntArray, *, augment: int | np.random.Generator | None = None) -> Batch:
        """Trim, augment, normalize and pad some utterances.

        Args:
            rows: (B,) rows of the dataset's table, at least one.
            augment: the epoch's key, e.g. ``derive_seed(seed, "augment", epoch)``: an utterance
                is then changed in the same way in whatever batch and process it is. A generator
                gives a key of its own for this batch. None leaves the frames as they are.

        Returns:
            A batch; frames (B, T, D) are zero beyond each length.
        """
        rows = np.asarray(rows, dtype=np.int64)
        key = int(augment.integers(2**62)) if isinstance(augment, np.random.Generator) else augment
        changes = None
        lengths = self._length[rows]
        if key is not None and self.config.augments:
            changes = [draw(self.config, key, int(row)) for row in rows]
            lengths = np.array(
                [changed_length(int(n), c.speed) for n, c in zip(lengths, changes, strict=True)]
            )
        padded = np.empty((len(rows), int(lengths.max()), self.info.dim), dtype=np.float32)
        for position, row in enumerate(rows.tolist()):
            count = int(lengths[position])
            self._fill(padded[position, :count], row, changes[position] if changes else None)
            if key is not None and self.config.noise:
                add_noise(padded[position, :count], self._noise_deviation, key, row)
            if changes is not None:
                mask(padded[position, :count], changes[position], self.config, self._mask_fill)
            padded[position, count:] = 0.0
        self._release_pages(padded.nbytes)
        batch = Batch(
            frames=torch.from_numpy(padded),
            lengths=torch.from_numpy(lengths.astype(np.int64)),
            labels=torch.from_numpy(self._labels[rows]),
            rows=torch.from_numpy(rows),
        )
        if self.words is not None:
            encoded = self.words.encode(rows, lengths)
            batch.word_ids, batch.word_spans, batch.num_words = map(torch.from_numpy, encoded)
        return batch

    def _release_pages(self, num_bytes: int) -> None:
        """Count what was read, and now and then give the mapped pages back."""
        self._unreleased += num_bytes
        if self._unreleased > RELEASE_AFTER:
            self._views.release()
            self._unreleased = 0

    def _fill(self, target: FloatArray, row: int, change: Change | None) -> None:
        """Write one utterance's frames into ``target``, (T, D)."""
        frames = self._views.frames(row, int(self._first[row]), int(self._last[row]))
        if change is not None:
            frames = change_speed(frames, change.speed)
            if self._gain is not None:
                offset = self._gain.gain_offset(change.gain_db)
                frames = frames if offset is None else frames + offset
        frames = append_deltas(frames, self.config.deltas)
        if self._statistic is None:
            np.copyto(target, frames)
        else:
            statistic = self._statistic[row]
            np.subtract(frames, self._shift[statistic], out=target)
            np.multiply(target, self._scale[statistic], out=target)

    @property
    def _mask_fill(self) -> FloatArray:
        """(D,) the training frames' mean, in the units of the batches."""
        if self._statistic is not None:
            return np.zeros(self.info.dim, dtype=np.float32)
        return self._train_mean.astype(np.float32)

    @property
    def _noise_deviation(self) -> FloatArray:
        """(D,) of the noise, in the units of the batches."""
        if self._statistic is not None:
            return np.full(self.info.dim, self.config.noise, dtype=np.float32)
        return (self.config.noise * self._train_deviation).astype(np.float32)

    # -- what new audio needs

    def preprocessing(self) -> dict[str, Any]:
        """Everything that turns new audio into the same frames, JSON-serialisable.

        See :func:`serplatform.datasets.preprocessing.preprocess`, which applies it.
        """
        values: dict[str, Any] = {
            "feature": self.info.name,
            "spec": dict(self.info.spec),
            "dim": self.info.dim,
            "frame_shift": self.info.frame_shift,
            "trim": self.config.trim,
            "normalization": self.config.normalization,
            "mean": self._train_mean.tolist(),
            "deviation": self._train_deviation.tolist(),
            "deviation_floor": (DEVIATION_FLOOR * self._train_deviation).tolist(),
        }
        if self.config.deltas:
            values["deltas"] = self.config.deltas
        if self.words is not None:
            values["words"] = self.words.settings()
        if self.config.pooling_config is not None:
            values["pooling"] = dataclasses.asdict(self.config.pooling_config)
            # of the frames, where the others are of what they are summed up to
            values["frame_shift"] = self.dataset.feature_info(self.config.feature).frame_shift
            if self._pooled_words is not None:
                values["pooling"]["words"] = self._pooled_words.settings()
        return values

    # -- preparation

    def _part_rows(self) -> dict[str, IntArray]:
        """Rows of each part, by utterance id."""
        fold = self.plan.folds[self.fold]
        row_of = self.dataset.row_of
        missing = [name for part in PARTS for name in getattr(fold, part) if name not in row_of]
        if missing:
            raise BadInputError(
                f"{self.dataset.path}: fold {self.fold} of '{self.plan.protocol}' names "
                f"{len(missing)} utterances that the dataset has not; make the folds again from "
                "this dataset:",
                missing[:20],
            )
        rows = {
            part: np.sort(np.array([row_of[n] for n in getattr(fold, part)], dtype=np.int64))
            for part in PARTS
        }
        seen, count = np.unique(np.concatenate(list(rows.values())), return_counts=True)
        twice = [self.dataset.utterance_ids[row] for row in seen[count > 1]]
        if twice:
            raise LeakError(
                f"fold {self.fold} of '{self.plan.protocol}': these utterances are in two parts:",
                twice[:20],
            )
        return rows

    def _all_labels(self) -> IntArray:
        """(N,) class index of each row, -1 where the plan has no class for its label."""
        index = {name: position for position, name in enumerate(self.classes)}
        of_label = {raw: index[name] for raw, name in self.plan.label_map.items()}
        coded = self.dataset.utterances.column("emotion").combine_chunks().dictionary_encode()
        names = coded.dictionary.to_pylist()
        table = np.array([of_label.get(name, -1) for name in names], dtype=np.int64)
        codes = coded.indices.to_numpy(zero_copy_only=False)
        labels = table[codes] if len(codes) else np.zeros(0, np.int64)
        used = np.concatenate(list(self._rows.values()))
        wrong = used[labels[used] < 0]
        if len(wrong):
            raise BadInputError(
                f"fold {self.fold} of '{self.plan.protocol}' holds utterances whose label is none "
                "of its classes; make the folds again from this dataset:",
                [f"{self.dataset.utterance_ids[row]}: {names[codes[row]]}" for row in wrong[:20]],
            )
        return labels

    def _bounds(self) -> tuple[IntArray, IntArray]:
        """(N,) first frame and one past the last frame of each row."""
        total = self._views.num_frames
        if not self.config.trim:
            return np.zeros_like(total), total
        table = self.dataset.utterances
        start = table.column("speech_start").to_numpy()
        end = table.column("speech_end").to_numpy()
        return trim_bounds(start, end, total, self.info.frame_shift)

    def _pool(self) -> None:
        """Put functionals in the place of frames, where the configuration asks for them."""
        config = self.config.pooling_config
        if config is None:
            return
        words = self._pooled_words
        key = ("pooled", self.config.feature, self.config.trim, config, words and words.config)
        if key not in self.dataset.cache:
            self.dataset.cache[key] = self._pooled(config)
        self._views = self.dataset.cache[key]
        self._first = np.zeros_like(self._views.num_frames)
        self._last = self._views.num_frames
        self.info = dataclasses.replace(
            self.info,
            dim=self._views.dim,
            frame_shift=config.frame_shift,
            frame_length=config.frame_shift,
        )

    def _pooled(self, config: PoolingConfig) -> PooledViews:
        """Functionals of every utterance of the dataset."""
        count = len(self._first)
        values = np.empty((count, config.num_steps, config.dim(self.info.dim)), dtype=np.float32)
        for row in range(count):
            frames = self._views.frames(row, int(self._first[row]), int(self._last[row]))
            spans = None
            if self._pooled_words is not None:
                spans = self._pooled_words.encode(np.array([row], dtype=np.int64))[1][0]
            values[row] = pool(frames, config, self.info.frame_shift, spans)
            self._release_pages(frames.nbytes)
        self._views.release()
        return PooledViews(values)

    def _word_inputs(self, config: WordConfig | None) -> WordInputs | None:
        """Words of all rows, with a vocabulary of the training rows; None where none are read."""
        if config is None:
            return None
        return WordInputs.fit(
            self.dataset,
            self._rows["train"],
            config,
            feature=self.info.name,
            first_frames=self._first,
            last_frames=self._last,
        )

    def _gain_source(self) -> Any:
        """The extractor that knows what a gain adds, or None where none is asked for."""
        if not self.config.gain_db:
            return None
        extractor = gain_extractor(self.config.feature)
        if extractor is None:
            raise BadInputError(
                f"data.gain_db = {self.config.gain_db}: a gain does not add a constant to the "
                f"feature '{self.config.feature}'; set data.gain_db = 0"
            )
        return extractor

    def _moments(self) -> Moments:
        """Moments of every utterance; computed once a process for all folds and trials."""
        words = self._pooled_words
        pooling = (self.config.pooling_config, words and words.config)
        deltas = self.config.deltas
        key = ("moments", self.config.feature, self.config.trim, pooling, deltas)
        if key not in self.dataset.cache:
            views = DeltaViews(self._views, deltas) if deltas else self._views
            self.dataset.cache[key] = utterance_moments(views, self._first, self._last)
        moments: Moments = self.dataset.cache[key]
        return moments

    def _fit(self) -> tuple[DoubleArray, DoubleArray]:
        """Mean and deviation of the training frames, (D,) each."""
        rows = self._rows["train"]
        if not len(rows):
            raise BadInputError(f"fold {self.fold} of '{self.plan.protocol}' has no training rows")
        mean, deviation = self._moments().pool(rows)
        return mean, usable_deviation(deviation, mean)

    def _normalizers(self) -> tuple[FloatArray, FloatArray, IntArray | None]:
        """Rows of shifts and scales, and which of them each utterance takes (None: none)."""
        kind = self.config.normalization
        count = len(self._length)
        mean, deviation = self._train_mean[None], self._train_deviation[None]
        statistic: IntArray | None = np.zeros(count, np.int64)
        if kind == "none":
            statistic = None
        elif kind == "utterance":
            moments = self._moments()
            mean = moments.mean
            deviation = np.sqrt(moments.scatter / moments.count[:, None])
            statistic = np.arange(count)
        elif kind == "speaker":
            mean, deviation, statistic = self._by_speaker()
        if kind in ("utterance", "speaker"):
            deviation = np.maximum(deviation, DEVIATION_FLOOR * self._train_deviation)
        return mean.astype(np.float32), (1.0 / deviation).astype(np.float32), statistic

    def _by_speaker(self) -> tuple[DoubleArray, DoubleArray, IntArray]:
        """Mean and deviation of each speaker over the fold's rows, and each row's speaker."""
        used = np.concatenate(list(self._rows.values()))
        names = np.array(self._speakers, dtype=object)
        _, code = np.unique(names[used].astype(str), return_inverse=True)
        pooled = [self._moments().pool(used[code == s]) for s in range(int(code.max()) + 1)]
        statistic = np.zeros(len(names), np.int64)
        statistic[used] = code
        return np.stack([m for m, _ in pooled]), np.stack([d for _, d in pooled]), statistic
