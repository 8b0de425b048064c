"""Classify audio that need not end, window by window, in bounded memory and time.

Where every model carries its state from window to window, the posterior of a window is that of
everything heard until its end, and the last one is that of the whole recording. Others classify
windows that know nothing of each other, and the whole is their mean, as in :mod:`predict`.

Shapes: S samples, K classes.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from serplatform.arrays import DoubleArray, FloatArray
from serplatform.corpora.audio import TARGET_RATE, AudioError, is_audible
from serplatform.errors import BadInputError
from serplatform.inputs.deltas import Deltas
from serplatform.inputs.new_audio import SpeakerMoments
from serplatform.inputs.pooling import Pooling
from serplatform.models.front import architecture_module
from serplatform.prediction.pcm import AudioStream
from serplatform.prediction.predictor import Predictor, average
from serplatform.prediction.recordings import UnusableRecording
from serplatform.prediction.rejection import Rejector
from serplatform.prediction.rows import SILENT, PredictedRow, PredictionTally, answered
from serplatform.prediction.transcripts import WordReader
from serplatform.prediction.windows import WindowPlan, cut

#: windows of systems that carry no state, unless told otherwise, seconds
DEFAULT_PLAN = WindowPlan(window=3.0, hop=1.0)
#: seconds between two results of models that carry their state, at least
_LINE = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Framing:
    """How a stream is cut into frames that carry on, in samples.

    Attributes:
        shift: from one frame to the next.
        length: of a frame.
        frames: of each window.
    """

    shift: int
    length: int
    frames: int

    @property
    def window(self) -> int:
        """Samples that a window's frames cover."""
        return (self.frames - 1) * self.shift + self.length


def carried_framing(predictor: Predictor) -> Framing | str:
    """How frames are cut where every model carries its state; else why they cannot, in words."""
    for loaded in predictor.models:
        pipeline = loaded.pipeline
        if not architecture_module(loaded.model).carries:
            return f"{loaded.config.architecture} carries no state from window to window"
        if pipeline.step(Deltas) or pipeline.step(Pooling) or pipeline.selection.resampled:
            return "a model reads derivatives, functionals or averages of frames"
        if pipeline.normalization.kind == "utterance":
            return "a model normalises by utterance, whose end is not known"
    extractors = list(predictor.extractors.values())
    if whole := [e.name for e in extractors if not e.local]:
        return f"{whole[0]} is computed of the whole utterance"
    shifts = {round(e.frame_shift * TARGET_RATE) for e in extractors}
    if len(shifts) != 1:
        return "models read frames of different shifts"
    shift = shifts.pop()
    return Framing(
        shift=shift,
        length=round(max(e.frame_length for e in extractors) * TARGET_RATE),
        frames=math.ceil(_LINE * TARGET_RATE / shift),
    )


class StreamClassifier:
    """A stream on its way through the models.

    Args:
        predictor: loaded.
        source: the stream.
        plan: of sliding windows; None: the state is carried where it can be, else
            :data:`DEFAULT_PLAN`.
        words: needed where a model reads words.
        rejector: says where to answer "not sure"; None: every window is answered.

    Attributes:
        notes: how it is classified, in sentences.
    """

    def __init__(
        self,
        predictor: Predictor,
        source: AudioStream,
        *,
        plan: WindowPlan | None = None,
        words: WordReader | None = None,
        rejector: Rejector | None = None,
    ) -> None:
        self._predictor, self._source = predictor, source
        self._words, self._rejector = words, rejector
        self._samples = 0  # heard so far
        framing = carried_framing(predictor) if plan is None else ""
        self._states: dict[Path, Any] | None = None
        self._moments = SpeakerMoments() if predictor.speaker_pipelines else None
        if isinstance(framing, Framing):
            self._states = {}
            self._cut = (framing.window, framing.shift * framing.frames)
            self._least = framing.length
            self.notes = [
                "the models' state is carried from window to window: a window's emotion is that "
                "of all that was heard until its end, which says little where emotions change "
                "(--window 3 hears each window by itself)"
            ]
            if any(model.pipeline.selection.trim for model in predictor.models):
                self.notes.append(
                    "models were trained without the silence at both ends, which is kept here, "
                    "since where speech ends is not known: a recording with silent ends is "
                    "classified as in training without --stream"
                )
        else:
            plan = plan or DEFAULT_PLAN
            self._cut = (round(plan.window * TARGET_RATE), round(plan.hop * TARGET_RATE))
            self._least = 0
            self.notes = [
                f"windows of {plan.window:g} s every {plan.hop:g} s (--window, --hop)"
                + (framing and f" that know nothing of each other, since {framing}")
            ]
        predictor.read(np.zeros(self._cut[0], dtype=np.float32))  # imports take a second
        if self._moments is not None:
            self.notes.append(
                "models normalise by speaker: statistics are of what was heard until each window, "
                "so the first windows say little, and the result is not that of the whole file"
            )

    def rows(self, tally: PredictionTally) -> Iterator[PredictedRow]:
        """One row a window as soon as it is heard, then one for the whole; fills in the tally.

        A stream that cannot be read any further is refused, and has no row for the whole.
        """
        source, total, count, end = self._source, None, 0, 0.0
        carried = self._states is not None
        try:
            for first, samples in cut(self._heard(), *self._cut, aligned=carried):
                if source.stopped or (first and len(samples) < self._least):
                    break
                begun = time.perf_counter()
                values, note = self._classified(samples)
                tally.seconds += time.perf_counter() - begun
                end = round((first + len(samples)) / TARGET_RATE, 6)
                if values is not None:
                    total = values if total is None or carried else total + values
                    count += 1
                tally.rows += 1
                start = round(first / TARGET_RATE, 6)
                row = PredictedRow(file=source.name, part="window", start=start, end=end, note=note)
                yield answered(row, values, self._rejector)
        except AudioError as found:
            error = str(found) + (
                f"; its {count} window(s) before that were classified" * bool(count)
            )
            tally.refused.append(UnusableRecording(name=source.name, reason=error))
            return
        if total is None:
            error = "holds nothing to classify" if self._samples else "no samples came"
            tally.refused.append(UnusableRecording(name=source.name, reason=error))
            return
        if not source.stopped:  # what comes behind the last window is too short for a frame
            end = round(self._samples / TARGET_RATE, 6)
        tally.recordings, tally.audio_seconds = 1, end
        tally.remarks.extend((remark, source.name) for remark in source.notes)
        note = f"{'last' if carried else 'mean'} of {count} window(s)"
        row = PredictedRow(file=source.name, part="whole", start=0.0, end=end, note=note)
        row = answered(row, total if carried else total / count, self._rejector)
        tally.not_sure += row.answered is False
        yield row

    def _heard(self) -> Iterator[FloatArray]:
        for block in self._source.blocks():
            self._samples += len(block)
            yield block

    def _classified(self, samples: FloatArray) -> tuple[DoubleArray | None, str]:
        """Posteriors of a window as ``answered`` takes them, and a note."""
        note = "" if is_audible(samples, self._source.floor_db) else SILENT
        if note and self._states is None:
            return None, note
        words = () if self._words is None else self._words.words(Path(self._source.name), samples)
        try:
            clip = self._predictor.read(samples, *words)
        except BadInputError as error:  # an encoder can make nothing of this one
            return None, str(error)
        if self._states is not None:
            clip = dataclasses.replace(clip, speech=(0.0, len(samples) / TARGET_RATE))
        if self._moments is not None:
            self._moments.add(clip, self._predictor.speaker_pipelines)
        folds = self._predictor.fold_posteriors([clip], self._moments, self._states)
        found = average(folds)[0]
        if self._rejector is not None:
            found = np.stack([found, self._rejector.calibrated(folds)[0]])
        return found, note
