"""Lists of EmoBox: one JSON object a line with ``key``, ``wav`` and ``emo``, and its folds.

Ma et al., "EmoBox: Multilingual Multi-corpus Speech Emotion Recognition Toolkit and Benchmark",
Interspeech 2024; https://github.com/emo-box/EmoBox. A corpus there is a directory
``data/NAME`` with ``NAME.jsonl`` and ``fold_N/NAME_{train,valid,test}_fold_N.jsonl``, whose paths
start at the checkout, and ``label_map.json`` with the names of its short labels. The fold that
tests an utterance is its column ``fold``; one fold alone, with its parts, is the column ``split``.
The names of the fold files vary between corpora: only "train", "valid" and "test" in them count.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from serplatform.corpora.base import CORPORA, Manifest, TableFormat, Utterance
from serplatform.corpora.json_rows import as_table, cells, read_objects
from serplatform.corpora.place import Place
from serplatform.corpora.table_rows import SPLITS, read_rows
from serplatform.errors import BadInputError

_NEEDED = ("key", "wav", "emo")
_LABELS = "label_map.json"
_FOLD = re.compile(r"fold_?(\d+)")
_PART = re.compile(r"(train|valid|val|dev|test)(?![a-z])")


@CORPORA.register("emobox")
class EmoBoxLists(TableFormat):
    """One corpus of EmoBox; paths are relative to the given directory or to the list's."""

    title = "Lists of EmoBox"
    licence = "the corpus's own"
    obtain = "https://github.com/emo-box/EmoBox (data/NAME), beside your copy of the recordings"
    default_protocol = "column"
    sign = "JSON lines with key, wav and emo"
    outranks = ("csv", "folders", "audiofolder")
    examples = ("wav/a.wav", "wav/b.wav")
    example_texts: ClassVar[Mapping[str, str]] = {
        "mine.jsonl": '{"key": "a", "wav": "wav/a.wav", "emo": "Happy", "speaker": "s1"}\n'
        '{"key": "b", "wav": "wav/b.wav", "emo": "Sad", "speaker": "s2"}\n',
        "fold_1/mine_test_fold_1.jsonl": '{"key": "a", "wav": "wav/a.wav", "emo": "Happy"}\n',
        "fold_2/mine_test_fold_2.jsonl": '{"key": "b", "wav": "wav/b.wav", "emo": "Sad"}\n',
    }

    @classmethod
    def recognise(cls, place: Place) -> str:
        """By the keys of the first line of a list."""
        for file in _lists(place):
            try:
                first = read_objects(place.root / file, most=1)
            except BadInputError:
                continue
            if first and all(key in first[0] for key in _NEEDED):
                return f"{file} has lines with {', '.join(_NEEDED)}"
        return ""

    def root(self, source: Path) -> Path:
        """The given directory or the list's; of ``data/NAME`` with labels in a checkout, that."""
        folder = super().root(source)
        known = folder.resolve().parent.name == "data" and (folder / _LABELS).is_file()
        return folder.resolve().parents[1] if known else folder

    def scan(self, source: Path) -> Manifest:
        if not source.exists():
            raise BadInputError(f"{source}: no such file or directory")
        place = Place(source)
        folder = place.root
        root, names = self.root(source), _label_names(folder)
        rows: dict[str, dict[str, str]] = {}
        tests: dict[str, set[str]] = {}
        parts: dict[str, set[str]] = {}
        corpora: set[str] = set()
        for file in _lists(place):
            fold, part = _fold_and_part(file)
            for number, record in enumerate(read_objects(folder / file), start=1):
                if any(not isinstance(record.get(key), str) for key in _NEEDED):
                    raise BadInputError(
                        f"{folder / file}: object {number} lacks one of {', '.join(_NEEDED)}"
                    )
                key = record["key"]
                corpora.add(str(record.get("dataset", "")))
                read = _row(record, names, (root, folder), file)
                row = rows.setdefault(key, read)
                row |= {name: text for name, text in read.items() if name not in row}
                if row["emotion"] != read["emotion"]:
                    raise BadInputError(
                        f"{folder / file}: '{key}' is '{read['emotion']}' here and "
                        f"'{row['emotion']}' in another list"
                    )
                if part == "test" and fold:
                    tests.setdefault(key, set()).add(fold)
                if part:
                    parts.setdefault(key, set()).add(part)
        if not rows:
            raise BadInputError(f"{source}: holds no JSON lines with {', '.join(_NEEDED)}")
        if len(corpora) > 1:
            raise BadInputError(
                f"{source}: holds {len(corpora)} corpora ({', '.join(sorted(corpora))}); give the "
                "list or directory of one"
            )
        folds = {fold for found in tests.values() for fold in found}
        if twice := next((key for key, found in tests.items() if len(found) > 1), None):
            raise BadInputError(f"{source}: '{twice}' is in the test part of several folds")
        for key, row in rows.items():
            if len(folds) > 1:
                row["fold"] = next(iter(tests.get(key, ())), "")
            elif parts:
                if len(found := parts.get(key, set())) > 1:
                    raise BadInputError(f"{source}: '{key}' is in the parts {sorted(found)}")
                row["split"] = next(iter(found), "")
        listed = as_table(list(rows.values()))
        return read_rows(source, listed, root=root, allow_outside=self.allow_outside)

    def suits_default(self, utterances: Sequence[Utterance]) -> bool:
        """Where the lists give a fold or a part to each utterance."""
        return all(u.fold for u in utterances) or all(u.split for u in utterances)


def _lists(place: Place) -> list[PurePosixPath]:
    return [file for file in place.files if file.suffix == ".jsonl" and file.name[:8] != "metadata"]


def _fold_and_part(file: PurePosixPath) -> tuple[str, str]:
    """The fold and the part that a list's name and folder give, "" where they do not."""
    fold, part = _FOLD.search(str(file)), _PART.search(file.name)
    name = part[1] if part else ""
    return fold[1] if fold else "", SPLITS.get(name, name)


def _label_names(folder: Path) -> dict[str, str]:
    """What ``label_map.json`` calls the labels of the lists beside it."""
    file = folder / _LABELS
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{file}: is no JSON: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise BadInputError(f"{file}: must be an object of label to name")
    return found


def _row(
    record: Mapping[str, object],
    names: Mapping[str, str],
    roots: tuple[Path, Path],
    file: PurePosixPath,
) -> dict[str, str]:
    """A row of a table; its path from the first of ``roots``, or beside the list in the second."""
    plain = cells(record)
    key, wav, emotion = (plain.pop(name) for name in _NEEDED)
    root, folder = roots
    places = [root / wav, folder / wav, (folder / file).parent / wav]
    place = next((found for found in places if found.exists()), places[0])
    kept = {n: text for n, text in plain.items() if n in ("speaker", "spk", "gender", "text")}
    row = {
        "file": os.path.relpath(place, root) if place != places[0] else wav,
        "utterance_id": key,
        "emotion": names.get(emotion, emotion),
    }
    return row | dict(kept)
