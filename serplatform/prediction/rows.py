"""What recordings give: rows of posteriors, and a tally of what was done.

Shapes: K classes.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from serplatform.arrays import DoubleArray
from serplatform.prediction.recordings import UnusableRecording
from serplatform.prediction.rejection import Rejector

SILENT = "silence"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictedRow:
    """One result.

    Attributes:
        file: name of the recording.
        part: ``whole``, ``window``, or ``step`` of a model inside a recording.
        start: seconds; ``end`` too.
        posteriors: (K,); None where there is nothing to classify.
        note: why there is nothing, or how the whole was made.
        confidence: calibrated posterior of the emotion named; None without a rejector.
        answered: whether it is enough to answer; None without a rejector.
        attention: of a step, in multiples of even attention; None where there is none.
    """

    file: str
    part: Literal["whole", "window", "step"]
    start: float
    end: float
    posteriors: DoubleArray | None = None
    note: str = ""
    confidence: float | None = None
    answered: bool | None = None
    attention: float | None = None


@dataclasses.dataclass
class PredictionTally:
    """What was done.

    Attributes:
        recordings: that gave a result.
        rows: of results.
        not_sure: recordings whose emotion is not named for want of confidence.
        audio_seconds: of the recordings.
        seconds: wall time, without loading models.
        refused: recordings without a result, and why.
        remarks: what was odd about a recording, and its name.
        notes: sentences to show.
    """

    recordings: int = 0
    rows: int = 0
    not_sure: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    refused: list[UnusableRecording] = dataclasses.field(default_factory=list)
    remarks: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def times_real_time(self) -> float | None:
        """Seconds of audio a second; None where nothing was timed."""
        return self.audio_seconds / self.seconds if self.seconds > 0 else None


def answered(
    row: PredictedRow, values: DoubleArray | None, rejector: Rejector | None
) -> PredictedRow:
    """A row with (K,) posteriors; with a rejector (2, K), the calibrated ones too."""
    if values is None or rejector is None:
        return dataclasses.replace(row, posteriors=values)
    posteriors, calibrated = values
    confidence = float(calibrated[int(posteriors.argmax())])
    answered = confidence >= rejector.chosen.threshold
    return dataclasses.replace(row, posteriors=posteriors, confidence=confidence, answered=answered)
