"""Word vectors from a GloVe text file, streamed: only the needed words are kept.

Pennington, Socher and Manning, "GloVe: Global Vectors for Word Representation", EMNLP 2014.
A line is a token and its values, separated by single spaces; a header line, as word2vec and
fastText write it, is skipped. A ragged line is skipped and counted where few are; a file with
many is refused.

Shapes: V ids, E values of a vector.
"""

from __future__ import annotations

import dataclasses
import itertools
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.errors import BadInputError
from serplatform.inputs.vocabulary import PADDING_ID, UNKNOWN_ID, Vocabulary

#: a file with more ragged lines than this share is not a file of word vectors
MAX_RAGGED = 0.01
_MAX_WIDTH = 4096
_MAX_LINE = 1 << 20  # characters
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class WordVectors:
    """The vectors of some words.

    Attributes:
        vectors: (E,) of each word found.
        dim: E.
        notes: header, ragged lines, and how many of the words have a vector.
    """

    vectors: dict[str, FloatArray]
    dim: int
    notes: tuple[str, ...]

    def matrix(self, vocabulary: Vocabulary, seed: int = 0) -> FloatArray:
        """Initial vectors of all ids: (V, E).

        Padding is zero. The unknown word is the mean of the vectors found. A word without a
        vector is drawn from a normal distribution with their mean and standard deviation.
        """
        rng = np.random.default_rng(seed)
        rows = [self.vectors[word] for word in vocabulary.words if word in self.vectors]
        known = np.stack(rows) if rows else np.zeros((1, self.dim), np.float32)
        mean = known.mean(axis=0)
        std = known.std(axis=0) if len(rows) > 1 else np.zeros(self.dim, np.float32)
        if not rows:
            std = np.full(self.dim, 0.1, np.float32)
        matrix = np.empty((len(vocabulary), self.dim), dtype=np.float32)
        matrix[PADDING_ID] = 0.0
        matrix[UNKNOWN_ID] = mean
        for word in vocabulary.words:
            found = self.vectors.get(word)
            drawn = mean + std * rng.standard_normal(self.dim).astype(np.float32)
            matrix[vocabulary.id_of(word)] = drawn if found is None else found
        return matrix


def read_word_vectors(path: str | Path, words: Iterable[str]) -> WordVectors:
    """Stream a UTF-8 text file, of any size, and keep the vectors of ``words`` (lower case).

    The first occurrence of a token counts, composed (NFC) as words are.

    Raises:
        BadInputError: the file is missing, empty, not text, or more than one line in a
            hundred is ragged.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInputError(
            f"{path}: no such file of word vectors; give a GloVe text file, such as "
            "glove.6B.300d.txt, or leave data.word_vectors out to train vectors from scratch"
        )
    wanted = frozenset(words)
    vectors: dict[str, FloatArray] = {}
    notes: list[str] = []
    ragged: list[str] = []
    total = num_ragged = dim = 0
    for number, line in _lines(path):
        if number == 1 and _is_header(line):
            notes.append("the first line is a header (number of words, width): skipped")
            continue
        total += 1
        if dim and line.count(" ") == dim and line[: line.index(" ")] not in wanted:
            continue  # the common case: nothing of the line is needed
        try:
            token, values = _split(line, dim)
            dim = dim or len(values)
            if len(values) != dim:
                raise ValueError(f"it has {len(values)} values, the first line {dim}")
            if token in wanted and token not in vectors:
                vectors[token] = _parse(values)
        except ValueError as error:
            num_ragged += 1
            if len(ragged) < _SHOWN:
                ragged.append(f"line {number}: {error}")
    if dim == 0:
        raise BadInputError(
            f"{path}: is not a file of word vectors: no line is a token and numbers"
        )
    if num_ragged > max(1.0, MAX_RAGGED * total):
        raise BadInputError(
            f"{path}: {num_ragged} of {total} lines are not a token and {dim} numbers; give a "
            "GloVe text file:",
            ragged,
        )
    if num_ragged:
        notes.append(f"{num_ragged} of {total} lines are ragged and were skipped: {ragged[0]}")
    notes.append(f"{len(vectors)} of {len(wanted)} words have a vector of {dim} values")
    return WordVectors(vectors, dim, tuple(notes))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank; bytes that are not UTF-8 are replaced."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        for number in itertools.count(1):
            line = stream.readline(_MAX_LINE)
            if not line:
                return
            if len(line) == _MAX_LINE:
                raise BadInputError(
                    f"{path}: is not a file of word vectors: line {number} of it is longer than "
                    f"{_MAX_LINE:,} characters; give a GloVe text file"
                )
            if "\0" in line:
                raise BadInputError(
                    f"{path}: is not a text file (zero byte in line {number}); give the unpacked "
                    "GloVe text file"
                )
            text = unicodedata.normalize("NFC", line.strip("\r\n \t"))
            if text:
                yield number, text


def _is_header(line: str) -> bool:
    """Whether a line is two whole numbers: how many words, how wide."""
    fields = line.split()
    return len(fields) == 2 and all(f.isascii() and f.isdigit() for f in fields)


def _split(line: str, dim: int) -> tuple[str, list[str]]:
    """Token and values; a token may hold spaces (``. . .``) once the width is known."""
    fields = line.split(" ") if "\t" not in line else line.split()
    first = max(1, len(fields) - dim) if dim else 1
    fits = 2 <= len(fields) <= _MAX_WIDTH + 16
    if not (fits and _number(fields[first]) and _number(fields[-1])):
        raise ValueError("it is not a token and numbers")
    if any(_number(field) for field in fields[1:first]):
        return fields[0], fields[1:]  # too many numbers, not a token of several words
    return " ".join(fields[:first]), fields[first:]


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(values: list[str]) -> FloatArray:
    vector = np.array([float(value) if _number(value) else np.nan for value in values])
    if not np.isfinite(vector).all() or np.abs(vector).max(initial=0.0) > 1e30:
        raise ValueError("a value is not a finite number")
    return vector.astype(np.float32)
