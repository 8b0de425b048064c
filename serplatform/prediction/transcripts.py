"""Words of new audio, for models that read them: a transcript, or recognition."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from serplatform.alignment.base import ALIGNERS, Aligner, AlignmentError, get_aligner
from serplatform.alignment.tokens import tokens
from serplatform.arrays import FloatArray
from serplatform.corpora.audio import TARGET_RATE, AudioError
from serplatform.corpora.base import Span, Utterance
from serplatform.corpora.table_dialect import read_table
from serplatform.corpora.text_encoding import composed
from serplatform.errors import BadInputError

_COLUMNS = ("file", "text")


class Transcripts:
    """Texts by recording, read from a table with the columns ``file`` and ``text``.

    ``file`` is a path, relative to the table or to the working directory, or a bare file name;
    names are compared after Unicode composition.
    """

    def __init__(self, texts: Mapping[str, str], where: Path) -> None:
        self._texts = {composed(name): text for name, text in texts.items()}
        self._used: set[str] = set()
        self._folder = where.resolve().parent

    @classmethod
    def read(cls, path: Path) -> Transcripts:
        """Read a table with a header, as :func:`read_table` does; every fault of it is named."""
        needs = "the columns file,text in its first line"
        try:
            table = read_table(path, _COLUMNS.__contains__, needs)
        except OSError as error:
            raise BadInputError(f"{path}: cannot be read ({error.strerror})") from None
        if not set(_COLUMNS) <= set(table.header):
            raise BadInputError(f"{path}: needs {needs}; it has {', '.join(table.header)}")
        texts: dict[str, str] = {}
        errors = []
        for line, cells in table.records:
            row = dict(zip(table.header, cells, strict=False))
            name, text = row.get("file"), row.get("text")
            if not name or text is None:
                errors.append(f"line {line}: needs a file and a text")
            elif texts.setdefault(name, text) != text:
                errors.append(f"line {line}: another text for '{name}'")
        if errors:
            raise BadInputError(f"{path}: has {len(errors)} fault(s):", errors[:20])
        return cls(texts, path)

    def of(self, path: Path) -> str | None:
        """The text of a recording; None where the table has none."""
        real = os.path.realpath(path)
        candidates = [str(path), real, path.name]
        for base in (str(self._folder), os.getcwd()):
            relative = os.path.relpath(real, os.path.realpath(base))
            candidates += [relative, f"./{relative}"]
        for name in map(composed, candidates):
            if name in self._texts:
                self._used.add(name)
                return self._texts[name]
        return None

    @property
    def unused(self) -> list[str]:
        """Files of the table that no recording asked for."""
        return sorted(self._texts.keys() - self._used)


class WordReader:
    """Finds the words of each clip.

    A model that located the words of the training data (``aligner``, as it was stored with the
    models) does so here, found by its hash, first in ``folders``. Without one, where the models'
    words (``vocabularies``) are English, PocketSphinx aligns transcripts and recognizes words where
    there is none; in other languages a transcript is needed, and its words share the time equally.
    Windows have no transcripts.

    Raises:
        BadInputError: the words are needed and cannot be had.
    """

    def __init__(
        self,
        vocabularies: Sequence[Sequence[str]],
        transcripts: Transcripts | None,
        *,
        windows: bool = False,
        aligner: Mapping[str, object] | None = None,
        folders: Sequence[Path] = (),
    ) -> None:
        self.transcripts = transcripts
        self.counts: Counter[str] = Counter()
        if transcripts is not None and windows:
            raise BadInputError(
                "--text gives the text of whole recordings, which windows have not; leave --text "
                "or --window out"
            )
        vocabulary = sorted({word for words in vocabularies for word in words})
        self._aligner: Aligner | None
        if aligner is None:
            self._aligner, self._language = _english_aligner(vocabulary), "en"
        else:
            languages = cast("Sequence[str]", aligner["languages"])
            self._aligner = ALIGNERS.get(str(aligner["kind"])).restore(aligner, folders)
            self._language = languages[0] if len(languages) == 1 else ""
        self._recognizer = "PocketSphinx" if aligner is None else str(aligner["model"])
        if self._aligner is None and transcripts is None:
            raise BadInputError(
                "a model reads words, and its words are not English, so they cannot be recognized "
                "here: give --text FILE, a CSV table with the columns file,text"
                + (" (and leave --window out)" if windows else "")
            )

    def words(self, path: Path, samples: FloatArray) -> tuple[tuple[Span, ...], str | None]:
        """Words with times and the transcript of a clip, (S,) samples of a recording.

        Raises:
            AudioError: there is no transcript, and words cannot be recognized.
        """
        text = None if self.transcripts is None else self.transcripts.of(path)
        if self._aligner is None:
            if text is None:
                raise AudioError("has no row in the table of --text, and a model reads words")
            self.counts[_outcome(text)] += 1
            return (), text
        utterance = Utterance(
            utterance_id=path.name,
            path=path,
            speaker_id="unknown",
            emotion="unknown",
            text=text,
            language=self._language or None,
        )
        try:
            found = self._aligner.align(utterance, samples, TARGET_RATE)
        except AlignmentError as error:
            self.counts[f"{error.reason}: {_outcome(text)}"] += 1
            return (), text
        if text is None:
            self.counts[f"words were recognized by {self._recognizer}"] += 1
        return found.spans, text

    def notes(self) -> list[str]:
        """What was found, in sentences."""
        notes = [f"{number} clip(s): {what}" for what, number in self.counts.most_common()]
        if self.transcripts is not None and self.transcripts.unused:
            unused = self.transcripts.unused
            shown = ", ".join(unused[:3]) + (" …" if len(unused) > 3 else "")
            notes.append(f"--text: {len(unused)} row(s) are of no recording given: {shown}")
        return notes


def _outcome(text: str | None) -> str:
    """What becomes of a clip whose words have no times."""
    if tokens(text or ""):
        return "the words of their transcripts share the time equally"
    return f"{'no words in the transcript: ' if text else ''}one unknown word spans each"


def _english_aligner(vocabulary: Sequence[str]) -> Aligner | None:
    """PocketSphinx where the words are English; None where they are not."""
    aligner = get_aligner("pocketsphinx")
    if aligner is None:
        return None
    known = Utterance(
        utterance_id="vocabulary",
        path=Path(),
        speaker_id="",
        emotion="",
        text=" ".join(vocabulary),
    )
    try:
        aligner.check([known])
    except BadInputError:
        return None
    return aligner
