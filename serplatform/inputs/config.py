"""How utterances are prepared for a model: a typed, searchable configuration."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from serplatform.config import setting
from serplatform.errors import BadInputError
from serplatform.features.base import FEATURES, WHOLE_UTTERANCE
from serplatform.features.names import (
    at_speed,
    canonical,
    family_of,
    parse_encoder_feature,
    split_features,
    split_speed,
)

#: family of the features that are contextual vectors of words
WORD_VECTORS = "pretrained-text"
#: between the names of joined features
JOIN = "+"
#: frames of an encoder with more values than this are projected to so many, unless told otherwise
PROJECTED_ABOVE, PROJECTED_TO = 256, 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Feature, trimming, normalisation, augmentation and words; every augmentation is off.

    ``feature`` is kept under its canonical name, see :mod:`serplatform.features.names`.

    ``pooling`` has three ways: ``utterance``: the whole only; ``time``: and equal shares of its
    time; ``words``: and equal numbers of its words, from the first frame of the first of them to
    the last of the last; fractions of words where N does not divide their number.

    ``words`` is set for architectures that read words; the defaults of how words are cut are
    FG-CME's, without word vectors.

    Example:
        >>> DataConfig().feature, DataConfig().normalization, DataConfig().word_segmentation
        ('log_mel_23', 'train', 'aligned')
    """

    feature: str = setting(
        "log_mel_23",
        "name of a feature of the dataset, or several with + between, averaged to the longest of "
        "their frame shifts; of an encoder several layers, as in pretrained:NAME@1,2,3",
    )
    layers: Literal["joined", "weighted_sum"] = setting(
        "joined",
        "several layers, or other features of equal size: their values side by side, or their "
        "sum by weights that are trained with the model",
    )
    projection: int | None = setting(
        None,
        "values that a trained linear layer in front of the model makes of a frame; 0: no such "
        f"layer; null: {PROJECTED_TO} where frames of an encoder have more than {PROJECTED_ABOVE}, "
        "else no such layer",
        low=0,
        high=4096,
    )
    normalization: Literal["none", "train", "speaker", "speaker_shrunk", "utterance"] = setting(
        "train",
        "z-score of each feature dimension: over the fold's training frames, within each "
        "speaker (uses a test speaker's unlabelled audio), the same with statistics shrunk to "
        "those of training where a speaker's clips are few, within each utterance, or none",
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
    speeds: bool = setting(
        False,
        "train on every clip also at the other speeds that the dataset holds of the feature "
        "(prepare --speeds): in each epoch at one of them, or at all where a model is fitted at "
        "once; dev, test and new audio are as they are",
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
    pooling_whole: Literal["all", "moments"] = setting(
        "all",
        "of the whole utterance: all functionals; or moments, mean, deviation and duration, where "
        "a feature that is one vector an utterance already is taken as it is",
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
        None,
        "GloVe text file, or contextual vectors of the dataset (pretrained-text:NAME@LAYER); "
        "without one word vectors are trained from scratch",
    )

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "feature", canonical_feature(self.feature))
        except BadInputError as error:
            raise ValueError(str(error)) from None
        joined = split_features(self.feature, JOIN)
        listed = [name for part in joined for name in split_features(part)]
        if len(listed) > len(joined):
            raise ValueError(f"'{self.feature}': join features by '+': {JOIN.join(listed)}")
        for part in self.feature.split(JOIN):
            plain, _ = split_speed(part)
            if plain != part:
                raise ValueError(
                    f"'{part}' is for training beside the clips as they are: name '{plain}', and "
                    "set data.speeds = true"
                )

    @property
    def augments(self) -> bool:
        """Whether training frames are changed at random."""
        return self.changes_frames or self.noise > 0

    @property
    def changes_frames(self) -> bool:
        """Whether they are changed in a way that functionals cannot be."""
        return bool(self.time_masks or self.frequency_masks or self.speed or self.gain_db)

    def errors(self) -> list[str]:
        """One sentence for each rule between settings that is broken."""
        errors = []
        asked, pooled = f"data.deltas = {self.deltas}", self.pooling != "none"
        if self.deltas and pooled:
            errors.append(
                f"{asked}: data.pooling has derivatives of its own (data.pooling_statistics = "
                "dynamics); set data.deltas = 0"
            )
        if self.layers == "weighted_sum" and _several(self.feature):
            errors += [
                f"data.layers = weighted_sum: layers are summed in the model, after data.{name}; "
                f"set data.{name} = {off}, or data.layers = joined"
                for name, off, given in (("deltas", 0, self.deltas), ("pooling", "none", pooled))
                if given
            ]
        parts = [part.strip() for part in self.feature.split(JOIN)] if self.deltas else []
        single = [part for part in parts if _one_frame(part)]
        if single:
            errors.append(
                f"{asked}: {', '.join(single)} is one frame an utterance, which has no "
                "derivative; set data.deltas = 0"
            )
        named = self.feature.split(JOIN)
        spoken = [part for part in named if family_of(part.strip()) == WORD_VECTORS]
        if spoken:
            errors.append(
                f"data.feature = {spoken[0]}: has a vector a word and none of the audio; name it "
                "in data.word_vectors, for an architecture that reads words"
            )
        if pooled and self.words:
            errors.append("data.pooling sums frames up; a model that reads words needs the frames")
        if pooled and self.changes_frames:
            errors.append("data.pooling sums frames up, so they cannot be masked or changed")
        if self.pooling == "utterance" and self.pooling_layout == "sequence":
            errors.append("data.pooling_layout = sequence needs segments: pooling = time or words")
        return errors


def canonical_feature(name: str) -> str:
    """The name of a feature, or of joined ones, with every part's canonical name.

    Example:
        >>> canonical_feature("pretrained:/models/whisper-base@2,3+log_mel_40")
        'pretrained:whisper-base@2,3+log_mel_40'
        >>> canonical_feature("mfcc_40+pretrained:a+b/c+d@1")
        'mfcc_40+pretrained:c-d@1'
    """
    parts = split_features(name, JOIN) if ":" in name else name.split(JOIN)
    return JOIN.join(map(canonical, parts))


def feature_parts(name: str) -> tuple[str, ...]:
    """Canonical names of the features that ``name`` joins, one for each layer of an encoder.

    Raises:
        BadInputError: a name is empty or stands twice, or is of an encoder without layers.

    Example:
        >>> feature_parts("log_mel_40+pretrained:/models/whisper-base@2,3")
        ('log_mel_40', 'pretrained:whisper-base@2', 'pretrained:whisper-base@3')
    """
    parts: list[str] = []
    for part in (part.strip() for part in canonical_feature(name).split(JOIN)):
        plain, speed = split_speed(part)
        if plain != part:
            parts += [at_speed(name, speed) for name in feature_parts(plain)]
            continue
        if family_of(part) is None:
            parts.append(part)
            continue
        found = parse_encoder_feature(part)
        if found.layers is None:
            raise BadInputError(
                f"feature '{part}': `all` layers are those of a dataset; name them here, as in "
                f"{found.family}:{found.encoder_name}@1,2,3"
            )
        parts += [found.of_layer(layer).canonical for layer in found.layers]
    if not all(parts) or len(set(parts)) < len(parts):
        raise BadInputError(
            f"feature '{name}': names between '{JOIN}' must be different, and none empty, as in "
            f"log_mel_40{JOIN}egemaps_v02_lld"
        )
    return tuple(parts)


def _several(feature: str) -> bool:
    """Whether a name joins features, be it all layers that a dataset has of an encoder."""
    if JOIN in feature or family_of(feature) is None:
        return JOIN in feature
    layers = parse_encoder_feature(feature).layers
    return layers is None or len(layers) > 1


def _one_frame(feature: str) -> bool:
    """Whether a feature is known to give one frame for an utterance of any length."""
    if family_of(feature) is not None:
        return parse_encoder_feature(feature).pooled
    if feature not in FEATURES.names():
        return False  # the dataset says what it is
    extractor: Any = FEATURES.get(feature)()
    return bool(extractor.frame_shift >= WHOLE_UTTERANCE)
