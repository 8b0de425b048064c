"""Data directories of Kaldi: ``wav.scp``, ``utt2spk``, ``text``, ``segments``, and labels.

The format is documented at https://kaldi-asr.org/doc/data_prep.html. Labels stand in ``utt2emo``,
``utt2emotion`` or ``emotion``, one utterance a line. An entry of ``wav.scp`` that is a command
(``sox … |``) is refused: nothing that a file says is executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from serplatform.corpora.base import CORPORA, Manifest, RejectedUtterance, TableFormat
from serplatform.corpora.json_rows import part_of, read_parts
from serplatform.corpora.place import Place
from serplatform.corpora.text_encoding import decode_text
from serplatform.errors import BadInputError

_LABELS = ("utt2emo", "utt2emotion", "emotion", "emotions", "utt2label")
_COLUMNS = {"utt2spk": "speaker", "text": "text", "utt2lang": "language", "utt2gender": "gender"}
_PIPE = (
    "wav.scp makes it by a command ('… |'), and commands are not executed; write the audio to a "
    "file, as with 'wav-copy scp:wav.scp', and name that"
)


@CORPORA.register("kaldi")
class KaldiDirectory(TableFormat):
    """One data directory, or several of them (``train``, ``dev``, ``test``) in one."""

    title = "A data directory of Kaldi"
    obtain = "wav.scp, utt2spk and utt2emo, one utterance a line (and text, segments, spk2gender)"
    sign = "wav.scp, with labels in utt2emo or emotion"
    outranks = ("csv", "folders")
    examples = ("wav/a.wav", "wav/b.wav")
    example_texts: ClassVar[Mapping[str, str]] = {
        "wav.scp": "u1 wav/a.wav\nu2 wav/b.wav\n",
        "utt2spk": "u1 anna\nu2 ben\n",
        "spk2gender": "anna f\nben m\n",
        "utt2emo": "u1 happy\nu2 sad\n",
        "text": "u1 hello there\nu2 goodbye\n",
    }

    @classmethod
    def recognise(cls, place: Place) -> str:
        """By wav.scp and a file of labels beside it."""
        found = [f for f in _folders(place) if any((f / name).is_file() for name in _LABELS)]
        return f"{len(found)} folder(s) with wav.scp and labels are in it" if found else ""

    def scan(self, source: Path) -> Manifest:
        if not source.exists():
            raise BadInputError(f"{source}: no such directory; give the one that holds wav.scp")
        root, folders = self.root(source), _folders(Place(source))
        if not folders:
            raise BadInputError(f"{source}: holds no wav.scp, so it is no data directory of Kaldi")
        rows: list[dict[str, str]] = []
        rejections: list[RejectedUtterance] = []
        for folder in folders:
            found, left_out = _read(folder, root)
            rows += found
            rejections += left_out
        if not rows:
            reasons = dict.fromkeys(rejection.reason for rejection in rejections)
            raise BadInputError(f"{source}: no utterance can be read:", list(reasons))
        table, outside = folders[0] / "wav.scp", self.allow_outside
        return read_parts(table, rows, rejections, root=root, allow_outside=outside)


def _folders(place: Place) -> list[Path]:
    found = [place.root / file for file in place.files if file.name == "wav.scp"]
    return [file.parent for file in found]


def _read(folder: Path, root: Path) -> tuple[list[dict[str, str]], list[RejectedUtterance]]:
    """The rows of one data directory, and what cannot be one."""
    wavs = _lines(folder / "wav.scp")
    segments = _lines(folder / "segments") if (folder / "segments").is_file() else None
    labels = next((folder / name for name in _LABELS if (folder / name).is_file()), None)
    if labels is None:
        raise BadInputError(
            f"{folder}: has no file of labels; write one line for each utterance, its id and its "
            f"emotion, into {_LABELS[0]}"
        )
    columns = {"emotion": _lines(labels)}
    for file, role in _COLUMNS.items():
        if (folder / file).is_file():
            columns[role] = _lines(folder / file)
    genders = _lines(folder / "spk2gender") if (folder / "spk2gender").is_file() else {}
    rows, rejections = [], []
    for name in segments if segments is not None else wavs:
        recording, times = name, ["", ""]
        if segments is not None:
            recording, *times = segments[name].split()
        reason = ""
        place = wavs.get(recording, "")
        if segments is not None and len(times) not in (2, 3):
            reason = "its line in segments needs a recording, a start and an end"
        elif not place:
            reason = f"wav.scp has no recording '{recording}'"
        elif place.endswith("|") or place.startswith("|"):
            reason = _PIPE
        elif place.rpartition(":")[2].isdecimal() and ".ark" in place:
            reason = "lies in an archive (.ark); write it to a file"
        if reason:
            rejections.append(RejectedUtterance(name, place, reason))
            continue
        row = {"file": place, "utterance_id": name, "start": times[0], "end": times[1]}
        if times[1:2] == ["-1"]:  # to the end of the recording
            row["end"] = ""
        row |= {role: values.get(name, "") for role, values in columns.items()}
        if not row.get("gender"):
            row["gender"] = genders.get(row.get("speaker", ""), "")
        local = (folder / place).is_file() and not Path(place).is_absolute()
        if folder != root and local:
            row["file"] = (folder / place).relative_to(root).as_posix()
        rows.append({**row, "split": part_of(folder / "wav.scp", root)})
    return rows, rejections


def _lines(path: Path) -> dict[str, str]:
    """First word of each line → the rest of it.

    Raises:
        BadInputError: a word begins two lines.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(decode_text(path.read_bytes())[0].splitlines(), start=1):
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        if key and found.setdefault(key, value.strip()) != value.strip():
            raise BadInputError(f"{path}: line {number} says something else of '{key}' than before")
    return found
