"""What normalisation within a speaker was given, and what less of it is worth."""

from __future__ import annotations

from serplatform.artifacts.speaker_statistics import (
    SpeakerStatistics,
    curve_words,
    read_speaker_statistics,
)
from serplatform.report.data import ReportData
from serplatform.statistics.speaker_clips import SpeakerClips


def speaker_curves(report: ReportData) -> list[SpeakerStatistics]:
    """Those of the page's runs that are of their folds."""
    found = ((run, read_speaker_statistics(run.path)) for run in report.source.runs)
    return [
        curve
        for run, curve in found
        if curve is not None and curve["folds_hash"] == run.info.get("folds_hash")
    ]


def speaker_needs(report: ReportData) -> str:
    """In two sentences at most; empty where no trial of the page normalises by speaker."""
    used = (*report.used, *report.finished)
    if not report.systems or not any(trial.by_speaker for trial in used):
        return ""
    test = report.systems[0].test
    clips = SpeakerClips.count(test.truth, test.speaker_ids.tolist(), report.classes)
    needs = (
        f"uses {clips}; new speakers need as many: fewer clips, or another mixture of emotions, "
        "give a lower UAR."
    )
    return " ".join([needs, *filter(None, map(curve_words, speaker_curves(report)))])
