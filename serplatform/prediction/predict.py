"""Recordings to rows of posteriors, as a stream: memory does not grow with their length.

Shapes: N clips, K classes.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.console import Pace, format_duration, progress
from serplatform.corpora.audio import MAX_DURATION, AudioError, summarize_notes
from serplatform.errors import BadInputError
from serplatform.inputs.new_audio import ExtractedClip, SpeakerMoments
from serplatform.prediction.recordings import RecordingFile, UnusableRecording
from serplatform.prediction.rejection import Rejector
from serplatform.prediction.rows import SILENT, PredictedRow, PredictionTally, answered
from serplatform.prediction.speaker_needs import FEW_CLIPS, few_words, system_curve
from serplatform.prediction.transcripts import WordReader
from serplatform.prediction.windows import RecordingClip, WindowPlan, read_whole, read_windows

if TYPE_CHECKING:
    from serplatform.inputs.pipeline import InputPipeline
    from serplatform.prediction.predictor import Predictor
    from serplatform.prediction.steps import Steps

#: what one unseen speaker is taken to be, for models that normalize by speaker
SPEAKERS = ("folder", "file", "all")

#: what is read of one speaker's recordings is kept up to this many bytes, else it is read twice
_KEPT_BYTES = 256 * 2**20
_LINE_EVERY = 5.0  # seconds

#: clips go through the models together up to this many, and this many padded seconds
_BATCH_CLIPS, _BATCH_SECONDS = 32, 120.0

#: a recording with a clip of it, or after its last clip why there are no more ("": it ended)
_Event = tuple[RecordingFile, RecordingClip | str]


@dataclasses.dataclass(kw_only=True)
class _Clip:
    """A clip on its way through the models, or the end of what could be used of a recording.

    Attributes:
        source: the recording.
        start: seconds; ``end`` too.
        notes: what was odd about the recording.
        read: what the models read; None where there is nothing to classify.
        posteriors: (K,), or with a rejector (2, K): the calibrated ones too; None before.
        steps: inside the clip; None where they are not asked for.
        error: None for a clip, else why the recording cannot be used further, "" at its end.
    """

    source: RecordingFile
    start: float = 0.0
    end: float = 0.0
    notes: tuple[str, ...] = ()
    read: ExtractedClip | None = None
    posteriors: DoubleArray | None = None
    steps: Steps | None = None
    error: str | None = None


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
    track: bool = False,
) -> Iterator[PredictedRow]:
    """Classify recordings; yields rows, recording by recording.

    Without windows a recording is one clip and gives one row. With windows it gives one row per
    window, then one for the whole: the mean of its windows' posteriors. ``track`` gives a row for
    each step inside a recording before that of the whole.

    Models that normalize by speaker get each folder's recordings (or each file, or all, see
    :data:`SPEAKERS`) as one speaker whom training has not seen; long ones are read twice.

    Args:
        predictor: loaded.
        sources: recordings.
        tally: is filled in as rows are made; refused recordings are added to it.
        plan: of the windows; None: whole recordings, of up to ``max_duration`` seconds.
        max_duration: None: no limit.
        speaker: one of :data:`SPEAKERS`.
        words: needed where a model reads words.
        rejector: says where to answer "not sure"; None: every recording is answered.
        track: without windows, and where every model has steps (``Predictor.without_steps``).

    Raises:
        BadInputError: a model reads words and none can be had.
    """
    if speaker not in SPEAKERS:
        raise BadInputError(f"--speaker {speaker}: must be one of {', '.join(SPEAKERS)}")
    if predictor.vocabularies and words is None:
        words = WordReader(
            predictor.vocabularies, None, windows=plan is not None, aligner=predictor.aligner
        )
    pipelines = predictor.speaker_pipelines
    least = max((FEW_CLIPS[p.normalization.kind] for p in pipelines), default=0)
    begun, scarce = time.monotonic(), list[int]()
    reading = _Reading(predictor, words, plan, max_duration, _Follow(len(sources)))
    for group in _speakers(sources, speaker) if pipelines else [list(sources)]:
        moments, clips = None, reading.clips(group)
        if pipelines:
            moments, kept = reading.moments(group, pipelines)
            clips = reading.clips(group) if kept is None else iter(kept)
            if 0 < moments.clips < least:
                scarce.append(moments.clips)
            if moments.fewest == 1:
                tally.notes.append(
                    f"{group[0].name}: is all that there is of its speaker, and a single vector of "
                    "features normalised by itself is 0 whatever is said: models that normalise "
                    "by speaker learn nothing from it; give more recordings of the speaker "
                    "(--speaker folder or all), or --window"
                )
        classifier = _Classifier(predictor, rejector, moments, track)
        clips = classifier.classified(clips)
        for source, own in itertools.groupby(clips, key=lambda clip: clip.source):
            for row in _rows(source, own, rejector, plan is not None, tally):
                tally.rows += 1
                tally.seconds = time.monotonic() - begun
                yield row
    tally.seconds = time.monotonic() - begun
    if scarce:
        curve = system_curve(predictor.system)
        tally.notes.append(few_words(min(scarce), len(scarce), least, curve))
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
        error = ""
        try:
            if plan is None:
                yield source, read_whole(source.path, max_duration)
            else:
                for clip in read_windows(source.path, plan):
                    yield source, clip
        except AudioError as found:
            error = str(found)
        except MemoryError:
            error = "does not fit into memory: classify it in windows (--window 3 --hop 1)"
        yield source, error


class _Follow:
    """Tells every few seconds how far reading is."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._begun: set[RecordingFile] = set()
        self._pace = Pace(_LINE_EVERY)
        self._pace.is_due()

    def tell(self, clip: _Clip) -> None:
        """A clip has been read."""
        self._begun.add(clip.source)
        if clip.error is None and self._pace.is_due():
            place = f"recording {len(self._begun)} of {self._total}"
            progress(f"{place}, {format_duration(clip.end)} of it read")


@dataclasses.dataclass(frozen=True)
class _Reading:
    """Reads recordings as clips, and of each clip what the models read."""

    predictor: Predictor
    words: WordReader | None
    plan: WindowPlan | None
    max_duration: float | None
    follow: _Follow

    def clips(self, sources: Sequence[RecordingFile]) -> Iterator[_Clip]:
        """The clips of each recording, then its end."""
        for source, event in _events(sources, self.plan, self.max_duration):
            clip = self._read(source, event)
            self.follow.tell(clip)
            yield clip

    def moments(
        self, sources: Sequence[RecordingFile], pipelines: Sequence[InputPipeline]
    ) -> tuple[SpeakerMoments, list[_Clip] | None]:
        """Moments of one speaker's recordings, and their clips; None: they are too many to keep."""
        moments, kept, size = SpeakerMoments(), list[_Clip](), 0
        counts = None if self.words is None else self.words.counts.copy()
        for clip in self.clips(sources):
            if clip.read is not None:
                moments.add(clip.read, pipelines)
                size += sum(frames.nbytes for frames in clip.read.frames.values())
            if size <= _KEPT_BYTES:
                kept.append(clip)
            else:
                kept.clear()
        if size <= _KEPT_BYTES:
            return moments, kept
        if self.words is not None and counts is not None:
            self.words.counts = counts  # they are counted as they are read again
        return moments, None

    def _read(self, source: RecordingFile, event: RecordingClip | str) -> _Clip:
        """What the models read of a clip."""
        if isinstance(event, str):
            return _Clip(source=source, error=event)
        clip = _Clip(source=source, start=event.start, end=event.end, notes=event.notes)
        if event.samples is not None:
            try:
                found = None if self.words is None else self.words.words(source.path, event.samples)
            except AudioError as error:
                return _Clip(source=source, error=str(error))
            try:
                clip.read = self.predictor.read(event.samples, *(found or ()))
            except BadInputError as error:  # an encoder can make nothing of this one
                return _Clip(source=source, error=str(error))
        return clip


@dataclasses.dataclass(frozen=True)
class _Classifier:
    """Sends clips through the models in batches, keeping their order."""

    predictor: Predictor
    rejector: Rejector | None
    moments: SpeakerMoments | None
    track: bool

    def classified(self, clips: Iterator[_Clip]) -> Iterator[_Clip]:
        """The same clips with their posteriors."""
        waiting: list[_Clip] = []
        count, longest = 0, 0.0
        for clip in clips:
            waiting.append(clip)
            if clip.read is not None:
                count, longest = count + 1, max(longest, clip.end - clip.start)
            full = count >= _BATCH_CLIPS or count * longest >= _BATCH_SECONDS
            if full or len(waiting) >= 8 * _BATCH_CLIPS:
                yield from self._classified(waiting)
                waiting, count, longest = [], 0, 0.0
        yield from self._classified(waiting)

    def _classified(self, waiting: list[_Clip]) -> list[_Clip]:
        """Fill in the posteriors."""
        from serplatform.prediction.predictor import average

        clips = [clip for clip in waiting if clip.read is not None]
        inputs = [clip.read for clip in clips if clip.read is not None]
        if not inputs:
            return waiting
        folds = self.predictor.fold_posteriors(inputs, self.moments)
        found = average(folds)
        if self.rejector is not None:
            found = np.stack([found, self.rejector.calibrated(folds)], axis=1)
        for clip, values in zip(clips, found, strict=True):
            if self.track and clip.read is not None:
                clip.steps = self.predictor.steps(clip.read, self.moments)
            clip.read, clip.posteriors = None, values
        return waiting


def _rows(
    source: RecordingFile,
    clips: Iterator[_Clip],
    rejector: Rejector | None,
    windowed: bool,
    tally: PredictionTally,
) -> Iterator[PredictedRow]:
    """The rows of one recording: of its windows, and of the whole, unless it is refused."""
    total: DoubleArray | None = None
    count, end, error = 0, 0.0, ""
    remarks: tuple[str, ...] = ()
    for clip in clips:
        if clip.error is not None:
            error = error or clip.error
            continue
        end, remarks, values = clip.end, clip.notes, clip.posteriors
        if values is not None:
            total = values if total is None else total + values
            count += 1
        if clip.steps is not None:
            yield from step_rows(clip.steps, source.name, clip.end, clip.start)
        if windowed:
            note = SILENT if values is None else ""
            row = PredictedRow(
                file=source.name, part="window", start=clip.start, end=end, note=note
            )
            yield answered(row, values, rejector)
    if error or total is None:
        reason = error or "holds nothing to classify"
        if count:
            reason += f"; its {count} window(s) before that were classified"
        tally.refused.append(UnusableRecording(name=source.name, reason=reason))
        return
    tally.remarks.extend((remark, source.name) for remark in remarks)
    tally.recordings += 1
    tally.audio_seconds += end
    notes = (*([f"mean of {count} window(s)"] if windowed else ()), *remarks)
    row = PredictedRow(file=source.name, part="whole", start=0.0, end=end, note="; ".join(notes))
    row = answered(row, total / count, rejector)
    tally.not_sure += row.answered is False
    yield row


def step_rows(steps: Steps, file: str, end: float, start: float = 0.0) -> Iterator[PredictedRow]:
    """A row a step of the clip from ``start`` to ``end`` of a recording.

    The last frame may reach beyond the end, where its row is cut.
    """
    for n, posteriors in enumerate(steps.posteriors):
        yield PredictedRow(
            file=file,
            part="step",
            start=start + float(steps.start[n]),
            end=min(start + float(steps.end[n]), end),
            posteriors=posteriors,
            attention=None if steps.attention is None else float(steps.attention[n]),
        )
