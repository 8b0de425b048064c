"""Rows of a dataset as what models read, and their posteriors, as ``predict`` would give them.

Stored features are taken where the dataset holds all that the models read, made in the same way;
else they are computed from the audio.

Shapes: S samples, N rows, K classes, F folds.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.config import plain
from serplatform.console import Pace, progress
from serplatform.corpora.audio import AudioError, audio_hash
from serplatform.corpora.base import Span
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import is_wordless
from serplatform.datasets.recordings import read_recording, recording_path
from serplatform.errors import BadInputError
from serplatform.inputs.new_audio import ExtractedClip, SpeakerMoments
from serplatform.inputs.words import Words
from serplatform.prediction.predictor import Predictor, average
from serplatform.prediction.transcripts import WordReader

#: what happens to (S,) samples of a row before features are extracted
Change = Callable[[FloatArray, int], FloatArray]

_BATCH_CLIPS, _BATCH_SECONDS = 32, 120.0
_LINE_EVERY = 5.0  # seconds


class DatasetClips:
    """Rows of a dataset as clips for a predictor.

    Args:
        predictor: loaded.
        dataset: opened.
        change: of the audio, which is then read anew; None: as it was recorded.

    Attributes:
        lacking: features that the models read and the dataset does not hold so; empty: the stored
            ones are taken.
        words: recognises words where models read some and the dataset has none; else None.
    """

    def __init__(
        self, predictor: Predictor, dataset: Dataset, change: Change | None = None
    ) -> None:
        self._predictor, self._dataset, self._change = predictor, dataset, change
        held = dataset.meta["features"]
        read = {name: plain(one.spec()) for name, one in predictor.extractors.items()}
        for model in predictor.models:
            words = model.pipeline.step(Words)
            if words is not None and words.contextual is not None:
                read[words.contextual] = plain(words.contextual_spec)
        self.lacking = tuple(
            name for name, spec in read.items() if name not in held or held[name]["spec"] != spec
        )
        self._read = tuple(read)
        self.words: WordReader | None = None
        if predictor.vocabularies and is_wordless(dataset):
            self.words = WordReader(predictor.vocabularies, None, aligner=predictor.aligner)
        self._spans: dict[str, list[Span]] = defaultdict(list)
        if predictor.vocabularies and self.words is None:
            for row in dataset.alignment.to_pylist():
                span = Span(row["tier"], row["label"], row["start"], row["end"])
                self._spans[row["utterance_id"]].append(span)

    @property
    def from_audio(self) -> bool:
        """Whether features are computed from the audio."""
        return bool(self.lacking) or self._change is not None or self.words is not None

    def clip(self, row: int) -> ExtractedClip:
        """What the models read of a row.

        Raises:
            AudioError: its recording is needed and cannot be read, or is another than it was.
        """
        dataset = self._dataset
        spans: Sequence[Span] = self._spans.get(dataset.utterance_ids[row], ())
        text = dataset.utterances.column("text")[row].as_py()
        if not self.from_audio:
            table = dataset.utterances
            begin, end = (table[f"speech_{name}"][row].as_py() for name in ("start", "end"))
            return ExtractedClip(
                frames={name: dataset.frames(name, row) for name in self._read},
                speech=(begin, end),
                spans=tuple(spans),
                text=text,
            )
        samples = read_recording(dataset, row)
        if audio_hash(samples) != dataset.utterances.column("audio_hash")[row].as_py():
            raise AudioError("is not the recording that the dataset was prepared from")
        if self._change is not None:
            samples = self._change(samples, row)
        if self.words is not None:
            spans, text = self.words.words(recording_path(dataset, row), samples)
        return self._predictor.read(samples, spans, text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowPosteriors:
    """What a system says of some rows.

    Attributes:
        rows: (N,) of the dataset, those that could be read.
        posteriors: (N, K), rows sum to 1.
        unusable: utterance id of each other row, and why.
    """

    rows: IntArray
    posteriors: DoubleArray
    unusable: dict[str, str]


def row_posteriors(
    predictor: Predictor, dataset: Dataset, rows: IntArray, clips: DatasetClips
) -> RowPosteriors:
    """Posteriors of some rows, at least one; the mean over folds.

    Models that normalise by speaker take each speaker's rows as one unseen speaker.

    Raises:
        BadInputError: no row can be read.
    """
    found: dict[int, DoubleArray] = {}
    unusable: dict[str, str] = {}
    groups = [rows.tolist()]
    if predictor.speaker_pipelines:
        own: dict[str, list[int]] = defaultdict(list)
        for row in rows.tolist():
            own[dataset.speaker_ids[row]].append(row)
        groups = list(own.values())
    pace, done = Pace(_LINE_EVERY), 0
    pace.is_due()

    def read(row: int) -> ExtractedClip | None:
        try:
            return clips.clip(row)
        except (AudioError, BadInputError) as error:
            unusable[dataset.utterance_ids[row]] = str(error)
            return None

    for group in groups:
        moments, kept = None, dict[int, ExtractedClip | None]()
        if predictor.speaker_pipelines:
            moments = SpeakerMoments()
            for row in group:
                if (clip := read(row)) is not None:
                    moments.add(clip, predictor.speaker_pipelines)
                if clips.from_audio:  # stored features are in a memory map
                    kept[row] = clip
        for batch in _batches(dataset, group):
            made = {row: kept[row] if row in kept else read(row) for row in batch}
            usable = {row: clip for row, clip in made.items() if clip is not None}
            if usable:
                values = average(predictor.fold_posteriors(list(usable.values()), moments))
                found |= dict(zip(usable, values, strict=True))
            done += len(batch)
            if pace.is_due():
                progress(f"{done} of {len(rows)} utterances")
    if not found:
        raise BadInputError(
            f"{dataset.path}: no row can be used; prepare it with the features that the system "
            "reads, or put its recordings back:",
            [f"{name}: {reason}" for name, reason in list(unusable.items())[:10]],
        )
    order = np.array(sorted(found), dtype=np.int64)
    return RowPosteriors(
        rows=order,
        posteriors=np.stack([found[row] for row in order.tolist()]),
        unusable=unusable,
    )


def _batches(dataset: Dataset, rows: Sequence[int]) -> list[list[int]]:
    """Rows in their order, together while they are few and short."""
    seconds = dataset.utterances.column("duration").to_pylist()
    batches: list[list[int]] = [[]]
    longest = 0.0
    for row in rows:
        longest = max(longest, seconds[row])
        size = len(batches[-1]) + 1
        if batches[-1] and (size > _BATCH_CLIPS or size * longest > _BATCH_SECONDS):
            batches.append([])
            longest = seconds[row]
        batches[-1].append(row)
    return batches
