"""``speaker_statistics.json``: what statistics of few clips of a speaker cost."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NotRequired

from serplatform.artifacts.records import Count, Positive, Record, read_record

FILE = "speaker_statistics.json"


class SpeakerStatisticsPoint(Record):
    """Test UAR with statistics of so many clips (None: all) of such a kind, mean over draws."""

    kind: Literal["random", "neutral", "skewed"]
    clips: Positive | None
    uar: float
    sd: float


class SpeakerStatistics(Record):
    """One trial's curve; ``needs``: what its test was given; ``skipped``: why it has no points."""

    schema_version: int
    trial: Count
    architecture: str
    normalization: str
    folds_hash: str
    needs: str
    draws: Count
    test_utterances: Count
    neutral: list[str]
    points: list[SpeakerStatisticsPoint]
    skipped: NotRequired[str]


def read_speaker_statistics(run: Path) -> SpeakerStatistics | None:
    """What a run's trial was measured to need; None where nothing was measured.

    Raises:
        ArtifactError: the file is damaged.
    """
    if not (run / FILE).is_file():
        return None
    again = "run `serplatform explain` again"
    return read_record(SpeakerStatistics, run / FILE, "curve of speaker statistics", again)


def uar_with(found: SpeakerStatistics, kind: str, clips: int | None) -> float | None:
    """Of the point with so many clips, or with the next fewer; of the first where all have more."""
    points = [p for p in found["points"] if p["kind"] == kind]
    exact = [p for p in points if p["clips"] == clips]
    counted = [p for p in points if p["clips"] is not None]
    if clips is not None and not exact:
        below = [p for p in counted if (p["clips"] or 0) <= clips]
        exact = below[-1:] or counted[:1]
    return exact[0]["uar"] if exact else None


def curve_words(found: SpeakerStatistics) -> str:
    """The curve in a sentence; empty where it has no points."""
    whole = uar_with(found, "random", None)
    if whole is None:
        return ""
    said = [
        f"{name} {100 * uar:.1f} %"
        for kind, clips, name in (
            ("random", 20, "20 random clips"),
            ("random", 5, "5 random clips"),
            ("neutral", None, "neutral clips only"),
            ("skewed", 12, "12 clips, two thirds of them of one emotion,"),
        )
        if (uar := uar_with(found, kind, clips)) is not None
    ]
    return (
        f"{found['architecture']} #{found['trial']} on the same test clips, with a speaker's "
        f"statistics from all clips: {100 * whole:.1f} % UAR; from {'; '.join(said)} (test rows "
        "of a measured trial, used again; nothing was chosen with them)."
    )
