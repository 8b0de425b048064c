"""``speaker_statistics.json``: what statistics of few clips of a test speaker cost."""

from __future__ import annotations

from typing import Literal, NotRequired

from serplatform.artifacts.records import Count, Number, Positive, Record


class SpeakerStatisticsPoint(Record):
    """Test UAR with statistics of so many clips (None: all) of such a kind, mean over draws."""

    kind: Literal["random", "neutral", "skewed"]
    clips: Positive | None
    uar: Number
    sd: Number


class SpeakerStatistics(Record):
    """One trial's curve; ``skipped`` says why there are no points."""

    schema_version: int
    trial: Count
    architecture: str
    normalization: str
    folds_hash: str
    draws: Count
    test_utterances: Count
    neutral: list[str]
    points: list[SpeakerStatisticsPoint]
    skipped: NotRequired[str]
