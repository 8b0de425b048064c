"""Words and their times by a local Whisper, against true sentences and PocketSphinx.

The table has the columns ``file`` (relative to it) and ``text``, in one language. Clips are drawn
evenly from it. For each aligner: word error rate of recognition without the text, seconds a clip;
and for English the absolute difference of word starts and ends between forced alignments of the
text by both, in seconds. Prints one JSON object. One thread.

    python benchmarks/word_times.py TABLE WHISPER_DIR --language en --clips 60
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from serplatform.alignment.base import Aligner, AlignmentError, get_aligner
from serplatform.alignment.segments import words_of
from serplatform.alignment.tokens import tokens
from serplatform.corpora.audio import TARGET_RATE, read_audio
from serplatform.corpora.base import Utterance


def edit_distance(found: list[str], true: list[str]) -> int:
    """Fewest words to insert, delete or replace."""
    row = list(range(len(true) + 1))
    for number, word in enumerate(found, start=1):
        before, row[0] = row[0], number
        for i, other in enumerate(true, start=1):
            before, row[i] = row[i], min(row[i] + 1, row[i - 1] + 1, before + (word != other))
    return row[-1]


def measure(aligner: Aligner, clips: list[Utterance]) -> dict[str, Any]:
    """Word error rate and seconds a clip; reasons where there are no words."""
    errors = total = 0
    reasons: dict[str, int] = {}
    begun = time.perf_counter()
    for clip in clips:
        true = tokens(clip.text or "")
        total += len(true)
        try:
            asked = dataclasses.replace(clip, text=None)
            found = aligner.align(asked, read_audio(clip.path).samples, TARGET_RATE)
            errors += edit_distance(words_of(found.spans)[0], true)
        except AlignmentError as error:
            errors += len(true)
            reasons[error.reason] = reasons.get(error.reason, 0) + 1
    seconds = (time.perf_counter() - begun) / len(clips)
    return {"word_error_rate": errors / total, "failed": reasons, "seconds_a_clip": seconds}


def differences(one: Aligner, other: Aligner, clips: list[Utterance]) -> dict[str, float]:
    """Between two forced alignments: of word starts and of word ends, in seconds."""
    found: list[np.ndarray[Any, Any]] = []
    for clip in clips:
        samples = read_audio(clip.path).samples
        try:
            (words, times), (others, other_times) = (
                words_of(aligner.align(clip, samples, TARGET_RATE).spans)
                for aligner in (one, other)
            )
        except AlignmentError:
            continue
        if words == others:
            found.append(times - other_times)
    signed = np.concatenate(found)
    starts, ends = np.abs(signed).T
    return {
        "clips": len(found),
        "words": len(signed),
        "start_median": float(np.median(starts)),
        "start_p90": float(np.quantile(starts, 0.9)),
        "start_median_signed": float(np.median(signed[:, 0])),
        "end_median": float(np.median(ends)),
        "end_p90": float(np.quantile(ends, 0.9)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("whisper")
    parser.add_argument("--language", default="en")
    parser.add_argument("--clips", type=int, default=60)
    asked = parser.parse_args()
    with asked.table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    chosen = [rows[int(i)] for i in np.linspace(0, len(rows) - 1, min(asked.clips, len(rows)))]
    clips = [
        Utterance(
            utterance_id=row["file"],
            path=asked.table.parent / row["file"],
            speaker_id="",
            emotion="",
            text=row["text"],
            language=asked.language,
        )
        for row in chosen
    ]
    whisper = get_aligner(f"whisper:{asked.whisper}")
    assert whisper is not None
    result: dict[str, Any] = {"clips": len(clips), "whisper": measure(whisper, clips)}
    if asked.language == "en":
        sphinx = get_aligner("pocketsphinx")
        assert sphinx is not None
        result["pocketsphinx"] = measure(sphinx, clips)
        result["differences"] = differences(whisper, sphinx, clips)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
