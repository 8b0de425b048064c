"""Word inputs of a fold: word ids and the frames of each word, without stored padding.

The words of an utterance are those of its alignment; without an alignment, those of its
transcript in equal shares of the time; without either, one unknown word that spans it. So
every utterance has at least one word, and none is lost. How many took which way is said.

The vocabulary is fitted on the fold's training rows only. Spans depend on no fold and are
computed once for a feature and a way of cutting.

Shapes: N utterances of the dataset, W words of all of them, B of a batch, L words, E values of
a word vector, V ids.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from serplatform.alignment.segments import (
    divide_silence,
    equal_segments,
    frame_spans,
    overlap_neighbours,
    words_of,
)
from serplatform.alignment.tidy import is_special, plain_word
from serplatform.alignment.tokens import text_notes, tokens
from serplatform.arrays import DoubleArray, IntArray
from serplatform.config import setting
from serplatform.corpora.base import Span
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.vocabulary import UNKNOWN, Vocabulary
from serplatform.datasets.word_vectors import WordVectors, read_word_vectors
from serplatform.errors import BadInputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordConfig:
    """How words are cut and numbered; the defaults are FG-CME's, without word vectors.

    Example:
        >>> WordConfig().segmentation
        'aligned'
    """

    segmentation: Literal["aligned", "equal"] = setting(
        "aligned", "words' own times, or equal shares of the utterance (ablation of CAN)"
    )
    silence: Literal["drop", "divide"] = setting(
        "drop", "time between words belongs to no word, or is divided between its neighbours (CAN)"
    )
    overlap: float = setting(
        0.0, "share of its length that a word overlaps with its neighbours", low=0.0, high=0.5
    )
    min_count: int = setting(
        1, "training occurrences below which a word is unknown", low=1, high=1000
    )
    vectors: str | None = setting(
        None, "GloVe text file; without one word vectors are trained from scratch"
    )


@dataclasses.dataclass(frozen=True)
class _Corpus:
    """All words of a dataset.

    Attributes:
        words: distinct words.
        codes: (W,) position in ``words`` of each word, utterance by utterance.
        times: (W, 2) seconds; NaN where the word has no time of its own.
        offsets: (N + 1,) first word of each utterance.
        counts: utterances ``unaligned``: with words of their transcripts; ``wordless``;
            ``outdated``: today's rules find other words in their transcripts.
        rules: version of the rules by which transcripts were split.
    """

    words: tuple[str, ...]
    codes: IntArray
    times: DoubleArray
    offsets: IntArray
    counts: Counter[str]
    rules: int

    def of(self, row: int) -> slice:
        return slice(int(self.offsets[row]), int(self.offsets[row + 1]))

    def text(self, row: int) -> list[str]:
        return [self.words[code] for code in self.codes[self.of(row)]]


class WordInputs:
    """Encodes the words of a dataset's rows; make one with :meth:`fit`.

    Attributes:
        vocabulary: of the training rows.
        vectors: (V, E) float32 initial word vectors, or None.
        notes: sentences that belong beside any number computed with it.
    """

    def __init__(
        self,
        corpus: _Corpus,
        spans: IntArray,
        num_frames: IntArray,
        vocabulary: Vocabulary,
        vectors: npt.NDArray[np.float32] | None,
        config: WordConfig,
        notes: tuple[str, ...],
    ) -> None:
        self.vocabulary = vocabulary
        self.vectors = vectors
        self.config = config
        self.notes = notes
        self._corpus = corpus
        self._spans = spans
        self._num_frames = num_frames
        self._id_of_code = vocabulary.encode(corpus.words)

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        train_rows: IntArray,
        config: WordConfig,
        *,
        feature: str,
        first_frames: IntArray | None = None,
        last_frames: IntArray | None = None,
    ) -> WordInputs:
        """Fit the vocabulary on the training rows, and cut the words of all rows.

        Args:
            dataset: opened.
            train_rows: rows that the vocabulary is fitted on.
            config: how words are cut and numbered.
            feature: whose frames the spans count.
            first_frames: (N,) first frame kept of each utterance (trimming); None: all are.
            last_frames: (N,) one past the last frame kept.

        Raises:
            BadInputError: the dataset has neither alignments nor transcripts, or the file of
                word vectors cannot be used.
        """
        corpus = _corpus_of(dataset)
        total = dataset.num_frames(feature)
        first = np.zeros_like(total) if first_frames is None else first_frames
        last = total if last_frames is None else last_frames
        shift = dataset.feature_info(feature).frame_shift
        trimmed = bool((first != 0).any() or (last != total).any())
        key = ("word spans", feature, trimmed, config.segmentation, config.silence, config.overlap)
        if key not in dataset.cache:
            dataset.cache[key] = _all_spans(corpus, config, shift, first, last)
        vocabulary = Vocabulary.fit((corpus.text(int(r)) for r in train_rows), config.min_count)
        notes = list(_notes(corpus, config, vocabulary, train_rows))
        matrix = None
        if config.vectors is not None:
            found = _vectors_of(dataset, corpus, config.vectors)
            matrix = found.matrix(vocabulary)
            notes.extend(f"{config.vectors}: {note}" for note in found.notes)
        return cls(
            corpus, dataset.cache[key], last - first, vocabulary, matrix, config, tuple(notes)
        )

    @property
    def source_notes(self) -> tuple[str, ...]:
        """Those of :attr:`notes` that say where the words came from."""
        return _source_notes(self._corpus, self.config)

    def encode(
        self, rows: IntArray, lengths: IntArray | None = None
    ) -> tuple[IntArray, IntArray, IntArray]:
        """Ids and frames of the words of some utterances.

        Args:
            rows: (B,) rows of the dataset.
            lengths: (B,) frames of each in the batch, where a change of speed made them
                more or fewer; None: as kept.

        Returns:
            (B, L) ids, 0 beyond the last word; (B, L, 2) first frame and one past the last,
            zero beyond the last word; (B,) words, at least 1.
        """
        slices = [self._corpus.of(int(row)) for row in rows]
        counts = np.array([s.stop - s.start for s in slices], dtype=np.int64)
        longest = int(counts.max(initial=1))
        ids = np.zeros((len(rows), longest), dtype=np.int64)
        spans = np.zeros((len(rows), longest, 2), dtype=np.int64)
        for position, (row, words) in enumerate(zip(rows.tolist(), slices, strict=True)):
            count = counts[position]
            ids[position, :count] = self._id_of_code[self._corpus.codes[words]]
            own = self._spans[words]
            kept = int(self._num_frames[row])
            wanted = kept if lengths is None else int(lengths[position])
            spans[position, :count] = own if wanted == kept else rescale(own, kept, wanted)
        return ids, spans, counts

    def settings(self) -> dict[str, Any]:
        """What :func:`encode_clip` needs for new audio, JSON-serialisable."""
        values = dataclasses.asdict(self.config)
        values.pop("vectors")
        rules = {} if self._corpus.rules == 1 else {"word_rules": self._corpus.rules}
        return {**values, **rules, "vocabulary": list(self.vocabulary.words)}


def encode_clip(
    spans: Sequence[Span],
    text: str | None,
    settings: Mapping[str, Any],
    *,
    frame_shift: float,
    num_frames: int,
    first_frame: int = 0,
) -> tuple[IntArray, IntArray]:
    """Encode the words of one new clip as training's were.

    Args:
        spans: of its alignment; may be empty.
        text: its transcript, used where there is no alignment.
        settings: from :meth:`WordInputs.settings`.
        frame_shift: of the feature, seconds.
        num_frames: frames kept.
        first_frame: the first one kept (trimming).

    Returns:
        (L,) ids and (L, 2) frames, L at least 1.

    Example:
        >>> settings = {"vocabulary": ["door"], "segmentation": "aligned", "silence": "drop",
        ...             "overlap": 0.0, "min_count": 1}
        >>> ids, spans = encode_clip((), "the door", settings, frame_shift=0.01, num_frames=10)
        >>> ids.tolist(), spans.tolist()
        ([1, 2], [[0, 5], [5, 10]])
    """
    config = WordConfig(
        **{k: v for k, v in settings.items() if k not in ("vocabulary", "word_rules")}
    )
    words, times = words_of(spans)
    if not words:
        words = tokens(text or "", settings.get("word_rules", 1)) or [UNKNOWN]
        times = np.full((len(words), 2), np.nan)
    ids = Vocabulary(tuple(settings["vocabulary"])).encode(words)
    return ids, _cut(times, config, frame_shift, first_frame, first_frame + num_frames)


def rescale(spans: IntArray, old: int, new: int) -> IntArray:
    """Move (L, 2) frame spans of ``old`` frames to ``new`` frames; each keeps at least one.

    Example:
        >>> rescale(np.array([[0, 5], [5, 10]]), 10, 5).tolist()
        [[0, 2], [2, 5]]
    """
    moved = np.round(spans * (new / old)).astype(np.int64)
    first = np.clip(moved[:, 0], 0, new - 1)
    return np.stack([first, np.clip(moved[:, 1], first + 1, new)], axis=1)


def _corpus_of(dataset: Dataset) -> _Corpus:
    """All words of a dataset; read once a process."""
    if "words" not in dataset.cache:
        dataset.cache["words"] = _read_corpus(dataset)
    corpus: _Corpus = dataset.cache["words"]
    if corpus.counts["wordless"] == len(dataset):
        raise BadInputError(
            f"{dataset.path}: has neither transcripts nor word alignments, so a model that reads "
            "words cannot be trained on it; prepare it again with --align pocketsphinx (English), "
            "--align textgrid, or from a table with a column 'text'",
            text_notes(dataset.utterances.column("text").to_pylist()),
        )
    return corpus


def _read_corpus(dataset: Dataset) -> _Corpus:
    count = len(dataset)
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
    bounds = np.searchsorted(rows[order], np.arange(count + 1))
    texts = dataset.utterances.column("text").to_pylist()
    rules = dataset.meta.get("word_rules", 1)
    numbers: dict[str, int] = {}
    all_codes: list[int] = []
    all_times: list[DoubleArray] = []
    offsets, counts = [0], Counter[str]()
    for row in range(count):
        chosen = order[bounds[row] : bounds[row + 1]]
        words = [plain[codes[i]] for i in chosen]
        times = np.stack([starts[chosen], ends[chosen]], axis=1)
        if not words:
            words = tokens(texts[row] or "", rules)
            counts["outdated"] += rules == 1 and words != tokens(texts[row] or "")
            counts["unaligned" if words else "wordless"] += 1
            words = words or [UNKNOWN]
            times = np.full((len(words), 2), np.nan)
        all_codes += [numbers.setdefault(word, len(numbers)) for word in words]
        all_times.append(times)
        offsets.append(len(all_codes))
    return _Corpus(
        words=tuple(numbers),
        codes=np.array(all_codes, dtype=np.int64),
        times=np.concatenate([np.zeros((0, 2)), *all_times]),
        offsets=np.array(offsets, dtype=np.int64),
        counts=counts,
        rules=rules,
    )


def _all_spans(
    corpus: _Corpus, config: WordConfig, shift: float, first: IntArray, last: IntArray
) -> IntArray:
    """(W, 2) frames of every word."""
    spans = np.zeros((len(corpus.codes), 2), dtype=np.int64)
    for row in range(len(corpus.offsets) - 1):
        words = corpus.of(row)
        spans[words] = _cut(corpus.times[words], config, shift, int(first[row]), int(last[row]))
    return spans


def _cut(times: DoubleArray, config: WordConfig, shift: float, first: int, last: int) -> IntArray:
    """(L, 2) frames of one utterance's words, counted from the first frame kept."""
    start, end = first * shift, last * shift
    if config.segmentation == "equal" or np.isnan(times).any():
        segments = equal_segments(len(times), start, end)
    elif config.silence == "divide":
        segments = divide_silence(times, start, end)
    else:
        segments = times
    if config.overlap:
        segments = overlap_neighbours(segments, config.overlap)
    return frame_spans(segments, shift, last - first, first)


def _vectors_of(dataset: Dataset, corpus: _Corpus, path: str) -> WordVectors:
    """Vectors of all words of the dataset, read once a process."""
    key = ("word vectors", path)
    if key not in dataset.cache:
        dataset.cache[key] = read_word_vectors(path, corpus.words)
    vectors: WordVectors = dataset.cache[key]
    return vectors


def _notes(
    corpus: _Corpus, config: WordConfig, vocabulary: Vocabulary, train_rows: IntArray
) -> list[str]:
    return [
        f"vocabulary of {len(vocabulary.words)} words from {len(train_rows)} training utterances",
        *_source_notes(corpus, config),
    ]


def _source_notes(corpus: _Corpus, config: WordConfig) -> tuple[str, ...]:
    total, notes = len(corpus.offsets) - 1, []
    unaligned, nothing = corpus.counts["unaligned"], corpus.counts["wordless"]
    if unaligned and config.segmentation == "aligned":
        notes.append(
            f"{unaligned} of {total} utterances have no word alignment: the words of their "
            "transcripts share the time equally"
        )
    if nothing:
        notes.append(
            f"{nothing} of {total} utterances have no words at all: one unknown word spans each"
        )
    if corpus.counts["outdated"]:
        notes.append(
            f"{corpus.counts['outdated']} transcripts are split by the rules of an earlier "
            "version, of which the dataset is; prepare it again to have their words by today's"
        )
    return tuple(notes)
