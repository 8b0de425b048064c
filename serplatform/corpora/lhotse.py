"""Manifests of Lhotse: cuts, or recordings and supervisions, as JSON lines (also ``.gz``).

The format is documented at https://lhotse.readthedocs.io. Each supervision is an utterance; its
emotion stands in ``custom`` of the supervision or the cut. Plain JSON is read, so the package is
not needed, and sources of the type ``command`` are refused: nothing is executed or fetched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from serplatform.corpora.base import CORPORA, Manifest, RejectedUtterance, TableFormat
from serplatform.corpora.json_rows import cells, part_of, read_objects, read_parts
from serplatform.corpora.paths import RowError
from serplatform.corpora.place import Place
from serplatform.errors import BadInputError

_LABELS = ("emotion", "emo", "label", "emotion_label")
_TOLERANCE = 0.0005  # seconds by which a span may fall short of a whole recording
_KEPT = ("speaker", "gender", "text", "language")


@CORPORA.register("lhotse")
class LhotseManifests(TableFormat):
    """Cuts of one channel; what is changed on the fly (speed, mixing) is left out."""

    title = "Manifests of Lhotse"
    obtain = "CutSet.to_file('cuts.jsonl.gz'), with custom={'emotion': …} in each supervision"
    sign = "JSON lines of cuts, or recordings.jsonl(.gz) and supervisions.jsonl(.gz)"
    outranks = ("csv", "folders")
    examples = ("wav/a.wav", "wav/b.wav")
    example_texts: ClassVar[Mapping[str, str]] = {
        "cuts.jsonl": "".join(
            f'{{"id": "{n}-0", "start": 0, "duration": 0.5, "channel": 0, "type": "MonoCut", '
            f'"recording": {{"id": "{n}", "sampling_rate": 16000, "num_samples": 8000, "duration": '
            f'0.5, "sources": [{{"type": "file", "channels": [0], "source": "wav/{n}.wav"}}]}}, '
            f'"supervisions": [{{"id": "{n}", "recording_id": "{n}", "start": 0, "duration": 0.5, '
            f'"speaker": "{n}", "custom": {{"emotion": "{label}"}}}}]}}\n'
            for n, label in (("a", "happy"), ("b", "sad"))
        )
    }

    @classmethod
    def recognise(cls, place: Place) -> str:
        """By the first object of a manifest."""
        for file in _manifests(place):
            try:
                first = read_objects(file, most=1)
            except BadInputError:
                continue
            if first and _kind(first[0]) in ("cut", "supervision"):
                return f"{file.relative_to(place.root)} is a manifest of {_kind(first[0])}s"
        return ""

    def scan(self, source: Path) -> Manifest:
        if not source.exists():
            raise BadInputError(f"{source}: no such file or directory")
        root = self.root(source)
        objects = [
            (file, value)
            for file in _manifests(Place(source))
            for value in read_objects(file)
            if _kind(value)
        ]
        recordings = {str(v.get("id")): v for file, v in objects if _kind(v) == "recording"}
        rows: list[dict[str, str]] = []
        rejections: list[RejectedUtterance] = []
        for file, value in objects:
            if _kind(value) == "recording":
                continue
            for name, read in _utterances(value, recordings):
                try:
                    rows.append({**read(), "split": part_of(file, root)})
                except RowError as error:
                    rejections.append(RejectedUtterance(name, str(file), str(error)))
        if not rows:
            raise BadInputError(
                f"{source}: holds no supervision that can be read:",
                list(dict.fromkeys(r.reason for r in rejections))
                or ["no JSON lines of cuts or of supervisions are in it"],
            )
        outside = self.allow_outside
        return read_parts(source, rows, rejections, root=root, allow_outside=outside)


def _manifests(place: Place) -> list[Path]:
    return [
        place.root / file for file in place.files if file.name.endswith((".jsonl", ".jsonl.gz"))
    ]


def _kind(value: Mapping[str, object]) -> str:
    """``cut``, ``recording`` or ``supervision``; "" where it is none of Lhotse's objects."""
    if str(value.get("type", "")).endswith("Cut") or {"recording", "supervisions"} <= value.keys():
        return "cut"
    if "sources" in value and "sampling_rate" in value:
        return "recording"
    return "supervision" if {"recording_id", "start", "duration"} <= value.keys() else ""


def _utterances(
    value: Mapping[str, Any], recordings: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Any]]:
    """The name of each utterance of a cut or supervision, and what reads its row."""
    if _kind(value) == "supervision":
        recording = recordings.get(str(value.get("recording_id")))
        yield str(value.get("id")), lambda: _row(value, 0.0, recording, {})
        return
    supervisions = [s for s in value.get("supervisions") or [] if isinstance(s, dict)]
    for supervision in supervisions or [{}]:
        name = str(supervision.get("id") or value.get("id"))
        yield name, lambda s=supervision: _row_of_cut(value, s)


def _row_of_cut(cut: Mapping[str, object], supervision: Mapping[str, object]) -> dict[str, str]:
    kind = cut.get("type", "MonoCut")
    if kind != "MonoCut":
        raise RowError(f"is a {kind}: only cuts of one recording and channel are read")
    if not supervision:
        raise RowError("the cut has no supervision, and so no label")
    custom = cut.get("custom")
    return _row(supervision, _number(cut, "start"), cut.get("recording"), custom if custom else {})


def _row(
    supervision: Mapping[str, object], start: float, recording: Any, others: Any
) -> dict[str, str]:
    """One supervision as a row; its times count from ``start`` of the recording."""
    if not isinstance(recording, dict):
        raise RowError(f"the recording '{supervision.get('recording_id')}' is not there")
    if recording.get("transforms"):
        raise RowError("its recording is changed on the fly (transforms); write it to a file")
    sources = recording.get("sources")
    if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], dict):
        raise RowError("its recording must have one source")
    kind, place = sources[0].get("type"), sources[0].get("source")
    if kind != "file" or not isinstance(place, str):
        raise RowError(
            f"its recording is of the type '{kind}', where only files are read: commands are not "
            "executed and addresses not fetched; write it to a file (CutSet.save_audios)"
        )
    if len(sources[0].get("channels") or [0]) > 1:
        raise RowError("its recording has several channels; write one of them to a file")
    begin = start + _number(supervision, "start")
    length = _number(supervision, "duration")
    row = cells({name: supervision[name] for name in _KEPT if name in supervision})
    own: Any = supervision.get("custom")
    custom = {**(others if isinstance(others, dict) else {}), **(own if own else {})}
    label = next((name for name in _LABELS if name in custom), "")
    row |= {name: text for name, text in cells(custom).items() if name not in (*row, label)}
    row |= {"file": place, "utterance_id": str(supervision.get("id", ""))}
    row["emotion"] = str(custom.get(label, ""))
    whole = recording.get("duration")
    if begin > 0 or not isinstance(whole, (int, float)) or length < whole - _TOLERANCE:
        row |= {"start": repr(begin), "end": repr(round(begin + length, 9))}
    return row


def _number(value: Mapping[str, object], name: str) -> float:
    found = value.get(name, 0.0)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise RowError(f"its {name} is no number")
    try:
        return float(found)
    except OverflowError:
        raise RowError(f"its {name} is too large") from None
