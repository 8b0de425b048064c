"""What the columns of a table mean: by their names, together, and by what stands in them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from serplatform.corpora.base import READ_AS
from serplatform.corpora.paths import AUDIO_ENDINGS, PathFinder
from serplatform.corpora.times import UNITS, seconds
from serplatform.errors import BadInputError
from serplatform.labels import canonical_emotion, is_known, is_missing

NEEDS = "a header with the columns 'file' and 'emotion' (or 'label')"
#: role of a column → names it may have, the first one found wins; compared without case,
#: blanks, signs and the plural's s
_NAMES: dict[str, tuple[str, ...]] = {
    role: tuple(names.split())
    for role, names in {
        "file": "file path filename filepath wav audio wavfile audiofile wavpath audiopath "
        "audiofilepath audiofilename wavfilename clip clippath clipname filelocation "
        "datei dateiname plik fichier dosya",
        "emotion": "emotion label emotionlabel emo class category emotionname emotionclass "
        "emotioncategory emotionlabels targetemotion emotiontarget emocja duygu",
        "utterance_id": "utteranceid uttid segmentid id uid utterance utt sentenceid",
        "speaker": "speaker speakerid spk spkid actor actorid subject subjectid participant "
        "participantid speakername spkr talker sprecher locuteur mówca konuşmacı",
        "gender": "gender sex speakergender geschlecht płeć sexe sexo sesso cinsiyet",
        "session": "session sessionid",
        "start": "start starttime onset begin begintime startsec starttimestamp segmentstart "
        "clipstart tmin xmin beginn anfang début",
        "end": "end endtime stop stoptime endtimestamp segmentend clipend tmax xmax ende fin",
        "offset": "offset offsettime",
        "duration": "duration dur length segmentduration",
        "text": "text transcript transcription utterance sentence utt words",
        "language": "language lang",
        "split": "split partition subset",
        "fold": "fold",
        "parent_id": "parentid parent recording recordingid",
    }.items()
}
_TIMES = ("start", "end", "offset", "duration")
#: columns that may hold codes as well as words
_AMBIGUOUS = ("utterance", "utt", "sentence", "words")
#: seconds a sample, which depends on the file
SAMPLES = 0.0
_UNITS = {**UNITS, "samples": SAMPLES, "sample": SAMPLES, "ssmsec": 1.0, "hhmmssms": 1.0}
_PARTS = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")
_TIME_PARTS = {"start", "begin", "onset", "end", "stop"}
_PROBED = 60  # rows whose files are looked at
_OUTSIDE = 0.8  # share of rows outside their files from which times are not of these files
_ROUNDED = re.compile(r"\d([.,]\d+)?E\+\d+", re.IGNORECASE)
_FILE = re.compile(r"\S+\.(txt|lab|textgrid|json|srt|trs|eaf)", re.IGNORECASE)
_SENTENCE = re.compile(r"\w\W*\s+\w|[.?!…,]$")


def is_name(cell: str) -> bool:
    """Whether a cell is a column's name that has a meaning."""
    return any(_named(cell, role) is not None for role in _NAMES)


def labels_files(header: Sequence[str]) -> bool:
    """Whether a header has a column of files and another one of labels, by their names."""
    files = {name for name in header if _named(name, "file")}
    return bool(files) and any(_named(name, "emotion") for name in header if name not in files)


class Columns:
    """The meaning of a table's columns; ``rows`` have as many cells as the header.

    Attributes:
        roles: role → index of the column.
        units: role of a time → seconds that a plain number in it counts; :data:`SAMPLES`.
        notes: how the columns were understood; the first sentence lists them.

    Raises:
        BadInputError: a column that is needed is missing, or a column is not what it must be.
    """

    def __init__(
        self,
        table: Path,
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        finder: PathFinder,
        length: Callable[[Path], tuple[float, int] | None],
    ) -> None:
        names = [name.lower() for name in header if name]
        if twice := [name for name in names if names.count(name) > 1]:
            raise BadInputError(f"{table}: column '{twice[0]}' occurs twice; rename one")
        self.table, self.header, self.rows = table, header, rows
        self.finder, self.length = finder, length
        self.roles: dict[str, int] = {}
        self.units: dict[str, float] = {}
        self.notes: list[str] = []
        self.probed = rows[:: max(1, len(rows) // _PROBED)]
        self._file()
        self._emotion()
        self._times()
        self._words()
        for role in ("speaker", "gender", "session", "language", "split", "fold", "parent_id"):
            self._take(role, self._filled(role))
        self._check_speakers()
        said = [f"{role}={header[i]}{self._unit(role)}" for role, i in self.roles.items()]
        others = [n for i, n in enumerate(header) if n and i not in self.roles.values()]
        self._unread_times()
        without = f"; further columns: {', '.join(others)}" if others else ""
        self.notes.insert(0, f"{READ_AS}{', '.join(said)}{without}")

    def _candidates(self, role: str) -> list[int]:
        """Columns that a role's names fit, the best name first."""
        ranks = [(_named(name, role), index) for index, name in enumerate(self.header)]
        return [i for _, i in sorted((rank[0], i) for rank, i in ranks if rank is not None)]

    def _filled(self, role: str) -> list[int]:
        found = self._candidates(role)
        return [i for i in found if any(not is_missing(row[i]) for row in self.rows)] or found

    def _take(self, role: str, found: Sequence[int]) -> None:
        """Give a role to the first of the columns that have no other."""
        free = [i for i in found if i not in self.roles.values()]
        if not free:
            return
        self.roles[role] = free[0]
        if len(free) > 1:
            others = ", ".join(f"'{self.header[i]}'" for i in free[1:])
            self.notes.append(f"{role} could also be {others}; '{self.header[free[0]]}' is used")

    def _existing(self, index: int) -> int:
        return sum(self.finder.exists(row[index]) for row in self.probed)

    def _file(self) -> None:
        named = self._candidates("file")
        found = {i: self._existing(i) for i in named}
        if not any(found.values()):
            others = {i: self._existing(i) for i in range(len(self.header)) if i not in named}
            found |= {i: number for i, number in others.items() if number * 2 > len(self.probed)}
        if not found:
            self._lacks("file")
        best = next(i for i in found if found[i] * 2 >= max(found.values()))
        self.roles["file"] = best
        if best not in named[:1] and named:
            self.notes.append(
                f"column '{self.header[named[0]]}' names few files that are here, "
                f"'{self.header[best]}' does"
            )

    def _emotion(self) -> None:
        found = self._filled("emotion")
        words = [i for i in found if self._share(i, lambda v: is_known(canonical_emotion(v))) > 0.5]
        if found and words and self._share(found[0], str.isdigit) == 1:
            found = [*words, *(i for i in found if i not in words)]  # numbers stand for the words
        if not found:
            self._lacks("emotion")
        self._take("emotion", found)

    def _lacks(self, role: str) -> None:
        listed = ", ".join(name.lower() for name in self.header)
        if any(Path(cell).suffix.lower() in AUDIO_ENDINGS for cell in self.header):
            raise BadInputError(
                f"{self.table}: has no header (its first line is '{listed}'); it needs {NEEDS}"
            )
        blanks = sum(map(is_name, self.header[0].split())) if len(self.header) == 1 else 0
        remedy = "; separate the columns by commas or tabs, not blanks" if blanks > 1 else ""
        raise BadInputError(
            f"{self.table}: has no column '{role}' among {listed}{remedy}; it needs {NEEDS}"
        )

    def _times(self) -> None:
        start, end, offset, duration = (
            next((i for i in self._candidates(role) if self._share(i, bool)), None)
            for role in _TIMES
        )
        if offset is not None and start is None:
            # 0 can be no end; with an end or a duration beside it, it is where these begin
            zero = self._share(offset, lambda cell: _value(cell) == 0) > 0
            start, end = (
                (offset, end) if end is not None or duration is not None or zero else (None, offset)
            )
        elif offset is not None and end is None and start is not None:
            pairs = [(_value(row[start]), _value(row[offset])) for row in self.rows]
            end = offset if all(a is None or b is None or a < b for a, b in pairs) else None
        if start is None or end is not None:
            duration = None  # of the file, as whoever lists files notes it; or told by the end
        for role, index in (("start", start), ("end", end), ("duration", duration)):
            if index is None and role != "duration":  # a column that is empty
                index = next((i for i in self._candidates(role) if i not in (start, end)), None)
            if index is None:
                continue
            self.roles[role] = index
            rank = _named(self.header[index], "offset" if index == offset else role)
            self.units[role] = rank[1] if rank else 1.0
        if start is not None or end is not None:
            self._outside()

    def _unread_times(self) -> None:
        """Tell of columns that seem to be times, and whose names are not understood."""
        if "start" in self.roles or "end" in self.roles:
            return
        seem = [
            f"'{name}'"
            for index, name in enumerate(self.header)
            if _TIME_PARTS & {part.lower() for part in _PARTS.split(name)}
            and not any(_named(name, role) for role in _TIMES)
            and self._share(index, lambda cell: _value(cell) is not None) == 1
        ]
        if seem:
            self.notes.append(
                f"{', '.join(seem)} may be times and are not used: files are read as a whole; if "
                "they are, name them start and end, with their unit (start_ms, start_samples)"
            )

    def _outside(self) -> None:
        """Give times up that evidently are not of these files (of the episode, the film).

        An error where they may count something smaller than seconds, or alone distinguish rows.
        """
        roles = [role for role in ("start", "end", "duration") if role in self.roles]
        spans = []  # last time that a row names, what it needs to lie within its file, its length
        for row in self.probed:
            file = row[self.roles["file"]]
            known = self.length(self.finder.find(file)[0]) if self.finder.exists(file) else None
            times = {r: self._time(row, r, known[1]) for r in roles} if known else {}
            start, end = times.get("start") or 0.0, times.get("end")
            if end is None:
                end = start + (times.get("duration") or 0.0)
            if known and end > 0:  # no end is wrong by half by rounding
                spans.append((end, max(start, end / 2), known[0]))
        if not spans or sum(need >= long for _, need, long in spans) < _OUTSIDE * len(spans):
            return
        last, _, length = spans[0]
        columns = " and ".join(f"'{self.header[self.roles[role]]}'" for role in roles)
        outside = f"{columns} lie outside the files ({last:g} s in a file of {length:g} s)"
        cells = [row[self.roles[role]] for role in roles for row in self.rows]
        plain = all(cell.isdigit() or is_missing(cell) for cell in cells)
        fits = all(end / 1000 <= long for end, _, long in spans)
        files = Counter(row[self.roles["file"]] for row in self.rows)
        if (plain and fits and self.units[roles[0]] == 1.0) or max(files.values()) > 1:
            raise BadInputError(
                f"{self.table}: {outside}; if they count milliseconds or samples, say so in the "
                "names of the columns (start_ms, start_samples); if they are no times in these "
                "files, remove them"
            )
        for role in roles:
            del self.roles[role]
        self.notes.append(f"{outside}, so they are no times in these files and are not used")

    def _time(self, row: Sequence[str], role: str, rate: int) -> float | None:
        unit = self.units[role]
        return _value(row[self.roles[role]], 1 / rate if unit == SAMPLES else unit)

    def _words(self) -> None:
        """Ids and texts: a column 'utterance' may be either."""
        named = {i: _plain(self.header[i]) in _AMBIGUOUS for i in range(len(self.header))}
        texts = [i for i in self._filled("text") if not named[i] or self._is_text(i)]
        texts = [i for i in texts if self._share(i, lambda v: bool(_FILE.fullmatch(v))) <= 0.5]
        for index in self._filled("utterance_id"):
            if index in texts or index in self.roles.values():
                continue
            if repeated := self._repeats(index):
                self.notes.append(repeated)
            elif "utterance_id" not in self.roles:
                self.roles["utterance_id"] = index
        self._take("text", texts)

    def _is_text(self, index: int) -> bool:
        """Whether a column holds words rather than codes."""
        if self._share(index, lambda value: bool(_SENTENCE.search(value))) >= 0.2:
            return True
        return self._share(index, lambda value: value.isalpha() and not value.isupper()) > 0.5

    def _repeats(self, index: int) -> str:
        """Why a column of ids is no key: an id stands at different files or spans."""
        seen: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        place = [self.roles[role] for role in ("file", *_TIMES) if role in self.roles]
        for row in self.rows:
            if not is_missing(row[index]):
                seen[row[index]].add(tuple(row[i] for i in place))
        name = next((name for name, places in seen.items() if len(places) > 1), None)
        if name is None:
            return ""
        rounded = " (a spreadsheet has rounded it)" if _ROUNDED.fullmatch(name) else ""
        return (
            f"'{self.header[index]}' repeats over different files ('{name}'{rounded}), so it is "
            "no key: utterances are named after file and span"
        )

    def _check_speakers(self) -> None:
        index = self.roles.get("speaker", 0)
        rounded = (row[index] for row in self.rows if _ROUNDED.fullmatch(row[index]))
        if "speaker" in self.roles and (name := next(rounded, None)):
            raise BadInputError(
                f"{self.table}: speaker '{name}' is a number that a spreadsheet has rounded, so "
                "that speakers fall together; export the column as text"
            )

    def _share(self, index: int, holds: Callable[[str], bool]) -> float:
        """Share of the values that are there for which something holds."""
        values = [row[index] for row in self.rows if not is_missing(row[index])]
        return sum(map(holds, values)) / len(values) if values else 0.0

    def _unit(self, role: str) -> str:
        """How a column of times is written, for people."""
        if role not in self.units:
            return ""
        index, unit = self.roles[role], self.units[role]
        first = next((row[index] for row in self.rows if not is_missing(row[index])), "")
        if ":" in first:
            return " (timedelta)" if "day" in first else " (clock)"
        return {SAMPLES: " (samples)", 1e-3: " (ms)", 1.0: " (s)"}.get(unit, f" (× {unit:g} s)")


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", name)).lower()


def _named(cell: str, role: str) -> tuple[int, float] | None:
    """Rank of a column's name among those of a role, and its unit; None where it is none."""
    name, names = _plain(cell), _NAMES[role]
    forms = [(name, 1.0), (name.removesuffix("s"), 1.0)]
    if role in _TIMES:
        forms += [
            (name.removesuffix(unit).removesuffix("in"), scale)
            for unit, scale in _UNITS.items()
            if name.endswith(unit)
        ]
    return next(((names.index(form), scale) for form, scale in forms if form in names), None)


def _value(text: str, unit: float = 1.0) -> float | None:
    try:
        return seconds(text, unit)
    except ValueError:
        return None
