"""One shard of utterances to frames, table rows and rejections; no Ray, no files written.

Shapes: T frames, D feature dimension.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from serplatform.alignment.base import CORPUS_SOURCE, Aligner, Alignment, AlignmentError
from serplatform.alignment.segments import spoken_words
from serplatform.arrays import FloatArray
from serplatform.artifacts.dataset import UTTERANCE_SCHEMA
from serplatform.corpora.audio import (
    MAX_DURATION,
    TARGET_RATE,
    AudioError,
    audio_hash,
    level_db,
    read_audio,
    speech_bounds,
)
from serplatform.corpora.base import Corpus, RejectedUtterance, Span, Utterance
from serplatform.features.base import FeatureExtractor
from serplatform.features.clip import Clip
from serplatform.features.fingerprint import fingerprint

#: columns of the utterance table that stand in an utterance as they are
_COPIED = [
    field.name for field in dataclasses.fields(Utterance) if field.name in UTTERANCE_SCHEMA.names
]


class SpanRow(TypedDict):
    """A row of ``artifacts.ALIGNMENT_SCHEMA``; seconds."""

    utterance_id: str
    tier: str
    label: str
    start: float
    end: float
    source: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardContent:
    """What a shard of utterances became; all lists but ``spans`` are in the same order.

    Attributes:
        rows: the columns of ``artifacts.UTTERANCE_SCHEMA`` and the corpus's own.
        frames: for each feature, (T, D) frames of each utterance.
        rejections: utterances left out.
        unaligned: utterance id, reason and detail of each that could not be aligned; it is kept.
        alignment_notes: what was repaired in alignments, once per utterance.
        audio_notes: what was odd about a recording and how it was taken, and its path.
    """

    rows: list[dict[str, Any]]
    frames: dict[str, list[FloatArray]]
    spans: list[SpanRow]
    rejections: list[RejectedUtterance]
    unaligned: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    alignment_notes: list[str] = dataclasses.field(default_factory=list)
    audio_notes: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def digest(self) -> str:
        """SHA-256 of rows and spans, which does not depend on how a file stores them.

        Fingerprints follow from the audio, whose hash is in it, and are left out: the dataset
        stays the same one where only the recipe of fingerprints changes.
        """
        total = hashlib.sha256()
        for row in (*self.rows, *self.spans):
            row = {name: value for name, value in row.items() if name != "fingerprint"}
            total.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode())
        return total.hexdigest()


def extract_shard(
    utterances: Sequence[Utterance],
    extractors: Mapping[str, FeatureExtractor],
    *,
    corpus: Corpus,
    root: Path,
    extra_columns: Sequence[str] = (),
    max_duration: float | None = MAX_DURATION,
    aligner: Aligner | None = None,
) -> ShardContent:
    """Read each utterance, compute its features and locate its words.

    Each row gets all of the corpus's ``extra_columns``; its path is relative to ``root``.
    Utterances longer than ``max_duration`` seconds are rejected. Without an aligner, the spans that
    the corpus itself gives are kept.
    """
    content = ShardContent(
        rows=[], frames={name: [] for name in extractors}, spans=[], rejections=[]
    )
    for utterance in utterances:
        path = relative_path(utterance.path, root)
        try:
            spoken = corpus.render(utterance)
            audio = read_audio(
                spoken.path, start=spoken.start, end=spoken.end, max_duration=max_duration
            )
            clip = Clip(audio.samples)
            frames = {n: e.extract_clip(clip) for n, e in extractors.items() if not e.reads_words}
        except AudioError as error:
            content.rejections.append(RejectedUtterance(utterance.utterance_id, path, str(error)))
            continue
        content.audio_notes.extend((note, path) for note in audio.notes)
        speech_start, speech_end = speech_bounds(audio.samples)
        for name, values in frames.items():
            content.frames[name].append(values)
        content.rows.append(
            {
                **{name: getattr(spoken, name) for name in _COPIED},
                "path": path,
                "start": audio.start,
                "end": audio.end,
                "duration": audio.duration,
                "parent_id": spoken.parent_id or spoken.utterance_id,
                "audio_hash": audio_hash(audio.samples),
                "sampling_rate": audio.sampling_rate,
                "level_db": round(level_db(audio.samples), 4),
                "speech_start": speech_start,
                "speech_end": speech_end,
                "fingerprint": fingerprint(audio.samples),
                **{name: spoken.extra.get(name) for name in extra_columns},
            }
        )
        spans = _align(content, spoken, audio.samples, aligner)
        for name, extractor in extractors.items():
            if extractor.reads_words:
                words = spoken_words(spans, spoken.text)
                content.frames[name].append(extractor.extract_words(words))
    return content


def _align(
    content: ShardContent, utterance: Utterance, samples: FloatArray, aligner: Aligner | None
) -> Sequence[Span]:
    """Add and return an utterance's spans; where the aligner fails, its own and the reason."""
    alignment = Alignment(spans=utterance.spans, source=CORPUS_SOURCE)
    try:
        if aligner is not None:
            alignment = aligner.align(utterance, samples, TARGET_RATE)
    except AlignmentError as error:
        content.unaligned.append((utterance.utterance_id, error.reason, error.detail))
    content.alignment_notes.extend(alignment.notes)
    content.spans.extend(
        {
            "utterance_id": utterance.utterance_id,
            "tier": span.tier,
            "label": span.label,
            "start": round(span.start, 6),
            "end": round(span.end, 6),
            "source": alignment.source,
        }
        for span in alignment.spans
    )
    return alignment.spans


def relative_path(path: Path, root: Path) -> str:
    """``path`` below ``root`` with forward slashes; the absolute path when it lies elsewhere."""
    absolute, base = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    if absolute.is_relative_to(base):
        return absolute.relative_to(base).as_posix()
    return str(absolute)
