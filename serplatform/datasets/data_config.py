"""How a fold's frames are prepared for a model: a typed, searchable configuration."""

from __future__ import annotations

import dataclasses
from typing import Literal

from serplatform.config import setting
from serplatform.datasets.pooling import PoolingConfig
from serplatform.datasets.words import WordConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Feature, trimming, normalisation, augmentation and words; every augmentation is off.

    ``words`` is set for architectures that read words; the other ``word_…`` fields are those of
    :class:`serplatform.datasets.words.WordConfig`.

    Example:
        >>> DataConfig().feature, DataConfig().normalization
        ('log_mel_23', 'train')
    """

    feature: str = setting(
        "log_mel_23",
        "name of a feature of the dataset, or several of one frame shift with + between",
    )
    normalization: Literal["none", "train", "speaker", "utterance"] = setting(
        "train",
        "z-score of each feature dimension: over the fold's training frames, within each "
        "speaker (uses a test speaker's unlabelled audio), within each utterance, or none",
    )
    trim: bool = setting(False, "keep only the frames between the first and the last speech")
    time_masks: int = setting(0, "stretches of frames masked in training", low=0, high=20)
    time_mask_frames: int = setting(20, "longest masked stretch, frames", low=1, high=1000)
    frequency_masks: int = setting(0, "bands of dimensions masked in training", low=0, high=20)
    frequency_mask_bins: int = setting(4, "widest masked band, dimensions", low=1, high=1000)
    speed: float = setting(0.0, "largest relative change of speed in training", low=0.0, high=0.5)
    gain_db: float = setting(0.0, "largest change of level in training, decibels", low=0, high=40)

    pooling: Literal["none", "utterance", "time", "words"] = setting(
        "none",
        "sum frames up before they are normalised, for models of functionals: over the whole "
        "utterance; and over equal shares of its time, or equal numbers of its words",
    )
    pooling_segments: int = setting(6, "segments of an utterance", low=1, high=100)
    pooling_statistics: Literal["moments", "dynamics"] = setting(
        "dynamics",
        "of a segment: moments, mean and deviation; dynamics, those of first differences too",
    )
    pooling_layout: Literal["vector", "sequence"] = setting(
        "vector", "one vector an utterance, or a sequence of its segments"
    )

    words: bool = setting(False, "give the model word ids and the frames of each word")
    word_segmentation: Literal["aligned", "equal"] = setting(
        "aligned", "words' own times, or equal shares of the utterance"
    )
    word_silence: Literal["drop", "divide"] = setting(
        "drop", "time between words belongs to no word, or is divided between its neighbours"
    )
    word_overlap: float = setting(
        0.0, "share of its length that a word overlaps with its neighbours", low=0.0, high=0.5
    )
    word_min_count: int = setting(
        1, "training occurrences below which a word is unknown", low=1, high=1000
    )
    word_vectors: str | None = setting(
        None, "GloVe text file; without one word vectors are trained from scratch"
    )

    @property
    def word_config(self) -> WordConfig | None:
        """How words are cut and numbered; None where the model reads none."""
        return self._how_words_are_cut() if self.words else None

    @property
    def pooled_word_config(self) -> WordConfig | None:
        """How the words are cut that pooling follows; None where it follows none."""
        return self._how_words_are_cut() if self.pooling == "words" else None

    @property
    def pooling_config(self) -> PoolingConfig | None:
        """How frames are summed up; None where they are not."""
        if self.pooling == "none":
            return None
        return PoolingConfig(
            unit=self.pooling,
            segments=self.pooling_segments,
            statistics=self.pooling_statistics,
            layout=self.pooling_layout,
        )

    def _how_words_are_cut(self) -> WordConfig:
        return WordConfig(
            segmentation=self.word_segmentation,
            silence=self.word_silence,
            overlap=self.word_overlap,
            min_count=self.word_min_count,
            vectors=self.word_vectors,
        )

    @property
    def augments(self) -> bool:
        """Whether training frames are changed at random."""
        return bool(self.time_masks or self.frequency_masks or self.speed or self.gain_db)

    def faults(self) -> list[str]:
        """One sentence for each rule between settings that is broken."""
        if self.pooling == "none":
            return []
        faults = []
        if self.words:
            faults.append("data.pooling sums frames up; a model that reads words needs the frames")
        if self.augments:
            faults.append("data.pooling sums frames up, so they cannot be masked or changed")
        if self.pooling == "utterance" and self.pooling_layout == "sequence":
            faults.append("data.pooling_layout = sequence needs segments: pooling = time or words")
        return faults
