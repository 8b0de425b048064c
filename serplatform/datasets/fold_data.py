"""One fold of a dataset as a model sees it: rows of each part, padded and normalized batches.

Whatever is fitted is fitted on the fold's training rows. Speaker normalization also reads the
unlabelled frames of dev and test speakers: it is named in :attr:`FoldData.notes`.

Shapes: N utterances of the dataset, B of a batch, L words, T frames, D feature dimension, K
classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from serplatform.alignment.tidy import is_special, plain_word
from serplatform.alignment.tokens import text_notes
from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.model import WITHIN_SPEAKER, Preprocessing
from serplatform.datasets.dataset import Dataset
from serplatform.errors import BadInputError, LeakError
from serplatform.inputs.augmentation import Augmentation
from serplatform.inputs.clips import Clips, ClipSource
from serplatform.inputs.config import DataConfig, feature_parts
from serplatform.inputs.front import front_notes, projected_dim, summed_layers
from serplatform.inputs.pipeline import InputPipeline
from serplatform.inputs.speeds import played, with_drawn_speed
from serplatform.inputs.timed_words import TimedWords
from serplatform.inputs.words import Words
from serplatform.models.architectures import InputSpec
from serplatform.protocols.base import PARTS, FoldPlan
from serplatform.protocols.selection import recording_groups

if TYPE_CHECKING:
    from serplatform.models.base import Batch

#: normalised frames of a dataset that a fold keeps in memory, bytes; larger ones it makes anew
KEPT_BYTES = 64 * 2**20


def stored_clips(dataset: Dataset, speakers: Sequence[IntArray]) -> ClipSource:
    """A dataset's utterances as a source of the pipeline, with the rows of each speaker."""
    columns = (dataset.utterances.column(name) for name in ("speech_start", "speech_end"))
    start, end = (column.to_numpy() for column in columns)
    return ClipSource(
        feature=dataset.mapped,
        words=lambda rules: words_to_read(dataset),  # by the rules it was prepared by
        speech=(start, end),
        speakers=speakers,
        cache=dataset.cache,
        aligner=(dataset.meta.get("request") or {}).get("aligner"),
        spec=lambda name: dataset.meta["features"][name]["spec"],
        release=dataset.pages.release,
    )


class FoldData:
    """The utterances of one fold, ready to be batched.

    Args:
        dataset: opened.
        plan: made from this dataset's utterance table.
        fold: its position in the plan.
        config: feature, trimming, normalization, augmentation.

    Raises:
        BadInputError: the plan names utterances or labels that the dataset has not, the dataset
            lacks the feature or other speeds of it, or it cannot be changed in gain.
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
        self._rows = self._part_rows()
        self._labels = self._all_labels()
        self._speakers = dataset.speaker_ids
        train = self._rows["train"]
        if not len(train):
            raise BadInputError(f"fold {fold} of '{plan.protocol}' has no training rows")
        info = dataset.feature_info(config.feature)
        source = stored_clips(dataset, self._speaker_rows())
        selection = info.selection(trim=config.trim)
        self.pipeline = InputPipeline.fit(config, selection, source, train)
        augmentation = Augmentation(config, self.pipeline.normalization)
        clips = self.pipeline.apply(source, augmentation)
        self._played = self._at_speeds(source, augmentation)
        if self._played:
            clips = with_drawn_speed(clips, list(self._played.values()))
        self._clips = clips.kept(KEPT_BYTES)
        self._length = clips.num_frames
        self.info = dataclasses.replace(info, dim=clips.dim)
        self._layers = summed_layers(config, dataset.dims(config.feature))
        self._projection = projected_dim(config, clips.dim // self._layers, info.frame_shift)
        if clips.frame_shift != info.frame_shift:  # functionals
            shift = clips.frame_shift
            self.info = dataclasses.replace(self.info, frame_shift=shift, frame_length=shift)

    # -- what is in it

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong beside any number computed on this fold."""
        notes = (*self.pipeline.notes, *front_notes(self.input_spec))
        if len(self.speeds) == 1:
            return notes
        listed = ", ".join(f"{speed:g}" for speed in sorted(self.speeds))
        return (*notes, f"Trained on clips at speeds {listed}; dev and test are at speed 1.")

    @property
    def speeds(self) -> tuple[float, ...]:
        """Speeds of the training clips, 1 first."""
        return (1.0, *self._played)

    @property
    def input_spec(self) -> InputSpec:
        """What a model needs to know to be built."""
        import torch

        spec = InputSpec(
            feature_dim=self.info.dim,
            num_classes=len(self.classes),
            frame_shift=self.info.frame_shift,
            layers=self._layers,
            projection=self._projection,
        )
        words = self.pipeline.step(Words)
        if words is None:
            return spec
        return dataclasses.replace(
            spec,
            vocabulary_size=len(words.vocabulary),
            word_vector_dim=words.vector_dim,
            word_vectors=None if words.vectors is None else torch.from_numpy(words.vectors),
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the features that are joined, in their order."""
        return feature_parts(self.config.feature)

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
        return self._clips.first[rows], self._clips.last[rows]

    def utterance_ids(self, part: str) -> list[str]:
        """Utterance ids of a part's rows."""
        return [self.dataset.utterance_ids[row] for row in self.rows(part)]

    def speaker_ids(self, part: str) -> list[str]:
        """Speaker ids of a part's rows."""
        return [self._speakers[row] for row in self.rows(part)]

    def groups(self, part: str) -> IntArray:
        """(N,) numbers of a part's rows, equal for those of one speaker; where one speaker is
        all, for those of one recording."""
        numbers = np.unique(self.speaker_ids(part), return_inverse=True)[1].astype(np.int64)
        if numbers.any():
            return numbers
        return recording_groups(self.dataset.utterances.take(self.rows(part)))

    def class_counts(self, part: str) -> IntArray:
        """(K,) utterances of each class in a part; zero for a class that it lacks."""
        return np.bincount(self.labels(part), minlength=len(self.classes)).astype(np.int64)

    # -- batches

    def collate(
        self,
        rows: IntArray,
        *,
        augment: int | np.random.Generator | None = None,
        speed: float = 1.0,
    ) -> Batch:
        """Trim, augment, normalize and pad some utterances.

        Args:
            rows: (B,) rows of the dataset's table, at least one.
            augment: the epoch's key, e.g. ``derive_seed(seed, "augment", epoch)``: an utterance
                is then changed in the same way in whatever batch and process it is. A generator
                gives a key of its own for this batch. None leaves the frames as they are.
            speed: of the clips, one of :attr:`speeds`; with ``augment`` it is drawn.

        Returns:
            A batch; frames (B, T, D) are zero beyond each length.
        """
        import torch

        rows = np.asarray(rows, dtype=np.int64)
        key = int(augment.integers(2**62)) if isinstance(augment, np.random.Generator) else augment
        clips = self._clips if speed == 1.0 else self._played[speed]
        batch = clips.collate(rows, key)
        batch.labels, batch.rows = torch.from_numpy(self._labels[rows]), torch.from_numpy(rows)
        return batch

    def preprocessing(self) -> Preprocessing:
        """Everything that turns new audio into the same frames, JSON-serialisable."""
        return self.pipeline.describe()

    # -- preparation

    def _at_speeds(self, source: ClipSource, augmentation: Augmentation) -> dict[float, Clips]:
        """The utterances at each further speed; normalized as they are at speed 1."""
        if not self.config.speeds:
            return {}
        speakers = {}
        if self.config.normalization in WITHIN_SPEAKER:
            clips = self.pipeline.unnormalized(source)
            speakers = {clips.identity: self.pipeline.normalization.speaker_moments(clips)}
        return {
            speed: self.pipeline.apply(played(source, speed, speakers), augmentation)
            for speed in self.dataset.training_speeds(self.config.feature)
        }

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

    def _speaker_rows(self) -> list[IntArray]:
        """Rows of each speaker that are in a part of the fold."""
        used = np.concatenate(list(self._rows.values()))
        names = np.array(self._speakers, dtype=object)[used].astype(str)
        _, code = np.unique(names, return_inverse=True)
        return [used[code == number] for number in range(int(code.max()) + 1)]


def words_of(dataset: Dataset) -> TimedWords:
    """All words of a dataset, of alignments or transcripts, read once a process."""
    if "words" not in dataset.cache:
        rules = dataset.meta.get("word_rules", 1)
        dataset.cache["words"] = TimedWords.collect(_spoken(dataset), rules)
    words: TimedWords = dataset.cache["words"]
    return words


def is_wordless(dataset: Dataset) -> bool:
    """Whether no utterance has words, neither aligned nor in a transcript."""
    return words_of(dataset).counts["wordless"] == len(dataset)


def words_to_read(dataset: Dataset, reader: str = "a model that reads words") -> TimedWords:
    """Those words, for ``reader``.

    Raises:
        BadInputError: there are none.
    """
    if is_wordless(dataset):
        raise BadInputError(
            f"{dataset.path}: has neither transcripts nor word alignments, so {reader} cannot be "
            "trained on it; prepare it again with --align pocketsphinx (English), "
            "--align whisper:DIR, --align textgrid, or from a table with a column 'text'",
            text_notes(dataset.utterances.column("text").to_pylist()),
        )
    return words_of(dataset)


def _spoken(dataset: Dataset) -> Iterator[tuple[list[str], DoubleArray, str | None]]:
    """Words of the alignment, (L, 2) their times, and transcript of each utterance."""
    table = dataset.alignment
    table = table.filter(pc.equal(table.column("tier"), "word"))
    coded = table.column("label").combine_chunks().dictionary_encode()
    labels = coded.dictionary.to_pylist()
    word_of = np.array([i for i, label in enumerate(labels) if not is_special(label)], np.int64)
    plain = [plain_word(label) for label in labels]
    rows = np.array([dataset.row_of.get(n, -1) for n in table.column("utterance_id").to_pylist()])
    codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    starts, ends = (table.column(name).to_numpy().astype(np.float64) for name in ("start", "end"))
    keep = np.isin(codes, word_of) & (rows >= 0) if len(codes) else np.zeros(0, bool)
    rows, codes, starts, ends = (a[keep] for a in (rows, codes, starts, ends))
    order = np.lexsort((starts, rows))
    bounds = np.searchsorted(rows[order], np.arange(len(dataset) + 1))
    for row, text in enumerate(dataset.utterances.column("text").to_pylist()):
        chosen = order[bounds[row] : bounds[row + 1]]
        words = [plain[codes[i]] for i in chosen]
        yield words, np.stack([starts[chosen], ends[chosen]], axis=1), text
