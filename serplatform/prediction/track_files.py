"""Segments of recordings as files of other programs: CSV, JSON, Praat TextGrid, audformat."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePath

import yaml

from serplatform.artifacts.files import csv_text, write_text
from serplatform.errors import BadInputError
from serplatform.prediction.track import Segment, TrackedRows

_DECIMALS = 6
_KINDS = (
    "must end in .csv, .json, .TextGrid (one recording) or .yaml (an audformat database: this file "
    "and a table beside it), or be a folder, without an ending, for one TextGrid a recording"
)


def check_segments_file(path: Path, num_recordings: int) -> None:
    """Refuse a name whose format is unknown, or holds a single recording, before any work."""
    kind = path.suffix.lower()
    if kind not in ("", ".csv", ".json", ".textgrid", ".yaml"):
        raise BadInputError(f"--segments {path}: {_KINDS}")
    if kind == ".textgrid" and num_recordings > 1:
        raise BadInputError(
            f"--segments {path}: a TextGrid is of one recording, and there are {num_recordings}; "
            "name a folder, without an ending"
        )


def write_segments(path: Path, rows: TrackedRows) -> None:
    """Write what was found in a file of the format that its ending says, or TextGrids in a folder.

    Raises:
        BadInputError: two recordings would have the same TextGrid.
    """
    kind = path.suffix.lower()
    if kind == ".csv":
        write_text(path, _csv(rows.segments))
    elif kind == ".json":
        values = [_rounded(segment)._asdict() for segment in rows.segments]
        write_text(path, json.dumps(values, ensure_ascii=False, indent=1) + "\n")
    elif kind == ".yaml":
        _write_audformat(path, rows)
    else:
        places = dict.fromkeys(rows.durations, path)
        if not kind:
            places = {n: path / f"{PurePath(n).stem}.TextGrid" for n in rows.durations}
            if len(set(places.values())) < len(places):
                raise BadInputError(
                    f"--segments {path}: two recordings have the same name, and so would their "
                    "TextGrids; classify them one by one, or name a .csv file"
                )
        for name, place in places.items():
            own = [segment for segment in rows.segments if segment.file == name]
            write_text(place, textgrid(own, rows.durations[name]))


def textgrid(segments: Sequence[Segment], duration: float) -> str:
    """A recording's segments in Praat's short text format: tiers of emotions and of posteriors.

    Intervals of a tier touch and fill it; those without a segment have no text ("TextGrid file
    formats", Praat manual).
    """
    bounds: list[tuple[float, float, Segment | None]] = []
    at = 0.0
    for segment in map(_rounded, segments):
        if segment.start > at:
            bounds.append((at, segment.start, None))
        bounds.append((max(segment.start, at), segment.end, segment))
        at = segment.end
    duration = max(round(duration, _DECIMALS), at)
    if at < duration:
        bounds.append((at, duration, None))
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", repr(duration)]
    lines += ["<exists>", "2"]
    for tier in ("emotion", "posterior"):
        lines += ['"IntervalTier"', f'"{tier}"', "0", repr(duration), str(len(bounds))]
        for start, end, found in bounds:
            text = "" if found is None else str(getattr(found, tier))
            lines += [repr(start), repr(end), '"' + text.replace('"', '""') + '"']
    return "\n".join(lines) + "\n"


def _write_audformat(path: Path, rows: TrackedRows) -> None:
    """A header with one segmented table, as audformat 1 writes them."""
    columns = {name: {"scheme_id": name} for name in ("emotion", "posterior")}
    header = {
        "name": path.stem,
        "source": "serplatform predict --track",
        "usage": "unrestricted",
        "description": "Segments of recordings by the emotion that a model recognised.",
        "schemes": {
            "emotion": {"dtype": "str", "labels": list(rows.classes)},
            "posterior": {"dtype": "float", "minimum": 0.0, "maximum": 1.0},
        },
        "tables": {"segments": {"type": "segmented", "columns": columns}},
    }
    write_text(path.with_name(f"{path.stem}.segments.csv"), _csv(rows.segments, unit="s"))
    write_text(path, yaml.safe_dump(header, sort_keys=False, allow_unicode=True))


def _csv(segments: Sequence[Segment], *, unit: str = "") -> str:
    """A header, then one line a segment; ``unit`` follows its times."""
    lines = [
        [found.file, f"{found.start}{unit}", f"{found.end}{unit}", *found[3:]]
        for found in map(_rounded, segments)
    ]
    return csv_text([Segment._fields, *lines])


def _rounded(found: Segment) -> Segment:
    start, end, posterior = (round(v, _DECIMALS) for v in (found.start, found.end, found.posterior))
    return found._replace(start=start, end=end, posterior=posterior)
