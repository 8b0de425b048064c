"""How a fold's frames are prepared for a model: a typed, searchable configuration."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from serplatform.config import setting
from serplatform.datasets.joined import feature_parts
from serplatform.datasets.pooling import PoolingConfig
from serplatform.datasets.words import WordConfig
from serplatform.features.base import FEATURES, WHOLE_UTTERANCE


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
    deltas: int = setting(
        0,
        "time derivatives appended to the frames: 1, the first; 2, the second too",
        low=0,
        high=2,
    )
    time_masks: int = setting(0, "stretches of frames masked in training", low=0, high=20)
    time_mask_frames: int = setting(20, "longest masked stretch, frames", low=1, high=1000)
    frequency_masks: int = setting(0, "bands of dimensions masked in training", low=0, high=20)
    frequency_mask_bins: int = setting(4, "widest masked band, dimensions", low=1, high=1000)
    speed: float = setting(0.0, "largest relative change of speed in training", low=0.0, high=0.5)
    gain_db: float = setting(0.0, "largest change of level in training, decibels", low=0, high=40)
    noise: float = setting(
        0.0,
        "deviation of Gaussian noise added to normalised frames in training, in deviations of "
        "the training frames",
        low=0.0,
        high=5.0,
    )

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
        return self.changes_frames or self.noise > 0

    @property
    def changes_frames(self) -> bool:
        """Whether they are changed in a way that functionals cannot be."""
        return bool(self.time_masks or self.frequency_masks or self.speed or self.gain_db)

    def faults(self) -> list[str]:
        """One sentence for each rule between settings that is broken."""
        faults = self._delta_faults()
        if self.pooling == "none":
            return faults
        if self.words:
            faults.append("data.pooling sums frames up; a model that reads words needs the frames")
        if self.changes_frames:
            faults.append("data.pooling sums frames up, so they cannot be masked or changed")
        if self.pooling == "utterance" and self.pooling_layout == "sequence":
            faults.append("data.pooling_layout = sequence needs segments: pooling = time or words")
        return faults

    def _delta_faults(self) -> list[str]:
        """Why there can be no derivatives."""
        if not self.deltas:
            return []
        asked = f"data.deltas = {self.deltas}"
        faults = []
        if self.pooling != "none":
            faults.append(
                f"{asked}: data.pooling has derivatives of its own (data.pooling_statistics = "
                "dynamics); set data.deltas = 0"
            )
        single = [part for part in feature_parts(self.feature) if _one_frame(part)]
        if single:
            faults.append(
                f"{asked}: {', '.join(single)} is one frame an utterance, which has no "
                "derivative; set data.deltas = 0"
            )
        return faults


def _one_frame(feature: str) -> bool:
    """Whether a feature is known to give one frame for an utterance of any length."""
    if feature not in FEATURES.names():
        return False  # the dataset says what it is
    extractor: Any = FEATURES.get(feature)()
    return bool(extractor.frame_shift >= WHOLE_UTTERANCE)
