"""Whole recordings as EmoBox has its metadata: a JSON object a line.

``key, wav, type, length, task, emo`` are those of its ``jsonl`` files (Ma et al., "EmoBox:
Multilingual Multi-corpus Speech Emotion Recognition Toolkit and Benchmark", Interspeech 2024, and
its repository); ``emo`` is the emotion recognised, and ``pred`` its index, under which name EmoBox
evaluates it; ``posteriors`` are ours. Windows and steps have no place in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath

from serplatform.prediction.formats.base import ROW_FORMATS
from serplatform.prediction.output import row_values
from serplatform.prediction.rows import PredictedRow


@ROW_FORMATS.register("emobox")
def emobox_lines(
    rows: Iterable[PredictedRow], classes: Sequence[str], **_: object
) -> Iterator[str]:
    """A line for each whole recording; the key is its name without folder and ending."""
    for row in rows:
        if row.part != "whole" or row.posteriors is None:
            continue
        values = row_values(row, classes)
        entry = {
            "key": PurePath(row.file).stem,
            "wav": row.file,
            "type": "raw",
            "length": values["end"],
            "task": "category",
            "emo": values["emotion"],
            "pred": int(row.posteriors.argmax()),
            "posteriors": values["posteriors"],
        }
        yield json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n"
