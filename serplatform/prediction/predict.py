"""Recordings to rows of posteriors, as a stream: memory does not grow with their length.

Shapes: N clips, K classes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.corpora.audio import MAX_DURATION, AudioError, summarize_notes
from serplatform.errors import BadInputError
from serplatform.inputs.new_audio import ExtractedClip, SpeakerMoments
from serplatform.prediction.predictor import Predictor, average
from serplatform.prediction.recordings import RecordingFile, UnusableRecording
from serplatform.prediction.rejection import Rejector
from serplatform.prediction.transcripts import WordReader
from serplatform.prediction.windows import RecordingClip, WindowPlan, read_whole, read_windows

#: what one unseen speaker is taken to be, for models that normalize by speaker
SPEAKERS = ("folder", "file", "all")

#: clips go through the models together up to this many, and this many padded seconds
_BATCH_CLIPS, _BATCH_SECONDS = 32, 120.0

SILENT = "silence"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictedRow:
    """One result.

    Attributes:
        file: name of the recording.
        part: ``whole`` or ``window``.
        start: seconds.
        end: seconds.
        posteriors: (K,); None where there is nothing to classify.
        note: why there is nothing, or how the whole was made.
        confidence: calibrated posterior of the emotion named; None without a rejector.
        answered: whether it is enough to answer; None without a rejector.
    """

    file: str
    part: Literal["whole", "window"]
    start: float
    end: float
    posteriors: DoubleArray | None = None
    note: str = ""
    confidence: float | None = None
    answered: bool | None = None


@dataclasses.dataclass
class PredictionTally:
    """What was done.

    Attributes:
        recordings: that gave a result.
        rows: of results.
        audio_seconds: of the recordings.
        seconds: wall time, without loading models.
        refused: recordings without a result, and why.
        remarks: what was odd about a recording, and its name.
        notes: sentences to show.
        not_sure: recordings whose emotion is not named for want of confidence.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class _End:
    """The end of a recording, or of what could be read of it."""

    fault: str | None = None


_Event = tuple[RecordingFile, RecordingClip | _End]


def predict(
    predictor: Predictor,
    sources: Sequence[RecordingFile],
    tally: PredictionTally,
    *,
    plan: WindowPlan | None = None,
    max_duration: float | None = MAX_DURATION,
    speaker: str = "folder",
    words: WordReader | None = None,
    rejector: Rejector | None = None,
) -> Iterator[PredictedRow]:
    """Classify recordings.

    Without windows a recording is one clip and gives one row. With windows it gives a row a
    window, then one for the whole: the mean of its windows' posteriors.

    Models that normalize by speaker get each folder's recordings (or each file, or all) as one
    speaker whom training has not seen; these recordings are then read twice.

    Args:
        predictor: loaded.
        sources: recordings.
        tally: is filled in as rows are made; refused recordings are added to it.
        plan: of the windows; None: whole recordings.
        max_duration: longest whole recording, seconds; None: no limit.
        speaker: one of :data:`SPEAKERS`.
        words: needed where a model reads words.
        rejector: tells where to say "not sure"; None: every recording is answered.

    Yields:
        Rows, recording by recording.

    Raises:
        BadInputError: a model reads words and none can be had.
    """
    if speaker not in SPEAKERS:
        raise BadInputError(f"--speaker {speaker}: must be one of {', '.join(SPEAKERS)}")
    if predictor.vocabularies and words is None:
        words = WordReader(predictor.vocabularies, None, windows=plan is not None)
    pipelines = predictor.speaker_pipelines
    classifier = _Classifier(predictor, words, rejector, plan is not None, tally)
    begun = time.monotonic()
    for group in _speakers(sources, speaker) if pipelines else [list(sources)]:
        moments = None
        if pipelines:
            moments = SpeakerMoments()
            for _, event in _events(group, plan, max_duration):
                if isinstance(event, RecordingClip) and event.samples is not None:
                    moments.add(predictor.read(event.samples), pipelines)
            if moments.fewest == 1:
                tally.notes.append(
                    f"{group[0].name}: is all that there is of its speaker, and a single vector of "
                    "features normalised by itself is 0 whatever is said: models that normalise "
                    "by speaker learn nothing from it; give more recordings of the speaker "
                    "(--speaker folder or all), or --window"
                )
        for row in classifier.rows(_events(group, plan, max_duration), moments):
            tally.rows += 1
            tally.seconds = time.monotonic() - begun
            yield row
    tally.seconds = time.monotonic() - begun
    tally.notes.extend(summarize_notes(tally.remarks))
    if words is not None:
        tally.notes.extend(words.notes())


def _speakers(sources: Sequence[RecordingFile], speaker: str) -> list[list[RecordingFile]]:
    """Recordings of one speaker each, in the order in which they appear."""
    groups: dict[str, list[RecordingFile]] = {}
    for source in sources:
        key = {"folder": str(source.path.parent), "file": str(source.path)}.get(speaker, "")
        groups.setdefault(key, []).append(source)
    return list(groups.values())


def _events(
    sources: Sequence[RecordingFile], plan: WindowPlan | None, max_duration: float | None
) -> Iterator[_Event]:
    """The clips of each recording, then its end."""
    for source in sources:
        fault = None
        try:
            if plan is None:
                yield source, read_whole(source.path, max_duration)
            else:
                for clip in read_windows(source.path, plan):
                    yield source, clip
        except AudioError as error:
            fault = str(error)
        except MemoryError:
            fault = "does not fit into memory: classify it in windows (--window 3 --hop 1)"
        yield source, _End(fault=fault)


@dataclasses.dataclass
class _WholeSoFar:
    """What the clips of the present recording have given."""

    total: DoubleArray | None = None
    count: int = 0
    end: float = 0.0
    notes: tuple[str, ...] = ()


@dataclasses.dataclass
class _Classifier:
    """Turns clips into rows in batches, keeping their order.

    Attributes:
        predictor: loaded.
        words: where a model reads words.
        rejector: where "not sure" may be said.
        windowed: clips are windows of recordings, not whole recordings.
        tally: counts recordings.
    """

    predictor: Predictor
    words: WordReader | None
    rejector: Rejector | None
    windowed: bool
    tally: PredictionTally
    _waiting: list[_Event] = dataclasses.field(default_factory=list)
    _inputs: list[ExtractedClip] = dataclasses.field(default_factory=list)
    _longest: float = 0.0
    _faults: dict[RecordingFile, str] = dataclasses.field(default_factory=dict)
    _whole: _WholeSoFar = dataclasses.field(default_factory=_WholeSoFar)

    def rows(
        self, events: Iterator[_Event], moments: SpeakerMoments | None
    ) -> Iterator[PredictedRow]:
        """Rows of the events, in their order."""
        for source, event in events:
            if isinstance(event, _End):
                self._waiting.append((source, _End(fault=self._faults.pop(source, event.fault))))
            elif event.samples is None:
                self._waiting.append((source, event))
            else:
                self._take(source, event)
            if self._full():
                yield from self._flush(moments)
        yield from self._flush(moments)

    def _take(self, source: RecordingFile, clip: RecordingClip) -> None:
        assert clip.samples is not None  # noqa: S101
        try:
            found = None if self.words is None else self.words.words(source.path, clip.samples)
        except AudioError as error:
            self._faults[source] = str(error)
            return
        spans, text = found or ((), None)
        self._inputs.append(self.predictor.read(clip.samples, spans, text))
        self._longest = max(self._longest, clip.end - clip.start)
        # of the samples only that there are any is still needed
        self._waiting.append((source, dataclasses.replace(clip, samples=clip.samples[:1].copy())))

    def _full(self) -> bool:
        return (
            len(self._inputs) >= _BATCH_CLIPS
            or len(self._inputs) * self._longest >= _BATCH_SECONDS
            or len(self._waiting) >= 8 * _BATCH_CLIPS
        )

    def _flush(self, moments: SpeakerMoments | None) -> Iterator[PredictedRow]:
        made: Iterator[DoubleArray] = iter(())
        if self._inputs:
            made = iter(self._posteriors(moments))
        for source, event in self._waiting:
            if isinstance(event, _End):
                yield from self._finish(source, event)
                continue
            values = None if event.samples is None else next(made)
            whole = self._whole
            whole.end, whole.notes = event.end, event.notes
            if values is not None:
                whole.total = values if whole.total is None else whole.total + values
                whole.count += 1
            if self.windowed:
                row = PredictedRow(
                    file=source.name,
                    part="window",
                    start=event.start,
                    end=event.end,
                    note=SILENT if values is None else "",
                )
                yield self._answered(row, values)
        self._waiting, self._inputs, self._longest = [], [], 0.0

    def _finish(self, source: RecordingFile, event: _End) -> Iterator[PredictedRow]:
        """The row of a whole recording, or its refusal."""
        whole, self._whole = self._whole, _WholeSoFar()
        if event.fault is not None or whole.total is None:
            reason = event.fault or "holds nothing to classify"
            if whole.count:
                reason += f"; its {whole.count} window(s) before that were classified"
            self.tally.refused.append(UnusableRecording(name=source.name, reason=reason))
            return
        self.tally.remarks.extend((note, source.name) for note in whole.notes)
        notes = (*([f"mean of {whole.count} window(s)"] if self.windowed else ()), *whole.notes)
        self.tally.recordings += 1
        self.tally.audio_seconds += whole.end
        row = PredictedRow(
            file=source.name, part="whole", start=0.0, end=whole.end, note="; ".join(notes)
        )
        row = self._answered(row, whole.total / whole.count)
        self.tally.not_sure += row.answered is False
        yield row

    def _posteriors(self, moments: SpeakerMoments | None) -> DoubleArray:
        """(N, K), or (N, 2, K) with the calibrated posteriors where a rejector needs them."""
        if self.rejector is None:
            return self.predictor.posteriors(self._inputs, moments)
        folds = self.predictor.fold_posteriors(self._inputs, moments)
        return np.stack([average(folds), self.rejector.calibrated(folds)], axis=1)

    def _answered(self, row: PredictedRow, values: DoubleArray | None) -> PredictedRow:
        """A row with its posteriors, as :meth:`_posteriors` gives them."""
        if values is None or self.rejector is None:
            return dataclasses.replace(row, posteriors=values)
        posteriors, calibrated = values
        confidence = float(calibrated[int(posteriors.argmax())])
        answered = confidence >= self.rejector.chosen.threshold
        return dataclasses.replace(
            row, posteriors=posteriors, confidence=confidence, answered=answered
        )
