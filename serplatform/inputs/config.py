"""How utterances are prepared for a model: a typed, searchable configuration.

Each step of the pipeline declares its own settings; they are put together here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from serplatform.features.base import FEATURES, WHOLE_UTTERANCE
from serplatform.inputs.augmentation import AugmentationSettings
from serplatform.inputs.deltas import DeltaSettings
from serplatform.inputs.normalization import NormalizationSettings
from serplatform.inputs.pooling import PoolingSettings
from serplatform.inputs.selection import FeatureSettings, TrimSettings, feature_parts
from serplatform.inputs.words import WordSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(  # settings are listed from the last class to the first
    WordSettings,
    PoolingSettings,
    AugmentationSettings,
    DeltaSettings,
    TrimSettings,
    NormalizationSettings,
    FeatureSettings,
):
    """Feature, trimming, normalisation, augmentation and words; every augmentation is off.

    Example:
        >>> DataConfig().feature, DataConfig().normalization
        ('log_mel_23', 'train')
    """

    def errors(self) -> list[str]:
        """One sentence for each rule between settings that is broken."""
        errors = self._delta_errors()
        if self.pooling == "none":
            return errors
        if self.words:
            errors.append("data.pooling sums frames up; a model that reads words needs the frames")
        if self.changes_frames:
            errors.append("data.pooling sums frames up, so they cannot be masked or changed")
        if self.pooling == "utterance" and self.pooling_layout == "sequence":
            errors.append("data.pooling_layout = sequence needs segments: pooling = time or words")
        return errors

    def _delta_errors(self) -> list[str]:
        """Why there can be no derivatives."""
        if not self.deltas:
            return []
        asked = f"data.deltas = {self.deltas}"
        errors = []
        if self.pooling != "none":
            errors.append(
                f"{asked}: data.pooling has derivatives of its own (data.pooling_statistics = "
                "dynamics); set data.deltas = 0"
            )
        single = [part for part in feature_parts(self.feature) if _one_frame(part)]
        if single:
            errors.append(
                f"{asked}: {', '.join(single)} is one frame an utterance, which has no "
                "derivative; set data.deltas = 0"
            )
        return errors


def _one_frame(feature: str) -> bool:
    """Whether a feature is known to give one frame for an utterance of any length."""
    if feature not in FEATURES.names():
        return False  # the dataset says what it is
    extractor: Any = FEATURES.get(feature)()
    return bool(extractor.frame_shift >= WHOLE_UTTERANCE)
