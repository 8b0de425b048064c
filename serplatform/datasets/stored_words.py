"""Words of a dataset, read from its alignments and transcripts.

Shapes: N utterances, L words of one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from serplatform.alignment.tidy import is_special, plain_word
from serplatform.alignment.tokens import text_notes
from serplatform.arrays import DoubleArray
from serplatform.datasets.dataset import Dataset
from serplatform.errors import BadInputError
from serplatform.inputs.timed_words import TimedWords


def stored_words(dataset: Dataset) -> TimedWords:
    """All words of a dataset; read once a process.

    Raises:
        BadInputError: it has neither alignments nor transcripts.
    """
    if "words" not in dataset.cache:
        rules = dataset.meta.get("word_rules", 1)
        dataset.cache["words"] = TimedWords.collect(_utterances(dataset), rules)
    words: TimedWords = dataset.cache["words"]
    if words.counts["wordless"] == len(dataset):
        raise BadInputError(
            f"{dataset.path}: has neither transcripts nor word alignments, so a model that reads "
            "words cannot be trained on it; prepare it again with --align pocketsphinx (English), "
            "--align textgrid, or from a table with a column 'text'",
            text_notes(dataset.utterances.column("text").to_pylist()),
        )
    return words


def _utterances(dataset: Dataset) -> Iterator[tuple[list[str], DoubleArray, str | None]]:
    """Words of the alignment, (L, 2) their times, and transcript of each utterance."""
    table = dataset.alignment
    table = table.filter(pc.equal(table.column("tier"), "word"))
    coded = table.column("label").combine_chunks().dictionary_encode()
    labels = coded.dictionary.to_pylist()
    word_of = np.array([i for i, label in enumerate(labels) if not is_special(label)], np.int64)
    plain = [plain_word(label) for label in labels]
    rows = np.array([dataset.row_of.get(n, -1) for n in table.column("utterance_id").to_pylist()])
    codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    starts, ends = (table.column(name).to_numpy().astype(np.float64) for name in ("start", "end"))
    keep = np.isin(codes, word_of) & (rows >= 0) if len(codes) else np.zeros(0, bool)
    rows, codes, starts, ends = (a[keep] for a in (rows, codes, starts, ends))
    order = np.lexsort((starts, rows))
    bounds = np.searchsorted(rows[order], np.arange(len(dataset) + 1))
    for row, text in enumerate(dataset.utterances.column("text").to_pylist()):
        chosen = order[bounds[row] : bounds[row + 1]]
        words = [plain[codes[i]] for i in chosen]
        yield words, np.stack([starts[chosen], ends[chosen]], axis=1), text
