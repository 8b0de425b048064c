"""Word inputs of a fold: ids of the training vocabulary, frames of each word, nothing lost."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from serplatform.artifacts.dataset import ALIGNMENT_SCHEMA
from serplatform.artifacts.files import (
    file_sha256,
    read_json,
    read_parquet,
    write_json,
    write_parquet,
)
from serplatform.corpora.base import Span
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData, stored_clips
from serplatform.errors import BadInputError
from serplatform.inputs.clips import Clips
from serplatform.inputs.config import DataConfig
from serplatform.inputs.new_audio import ExtractedClip, new_audio
from serplatform.inputs.selection import FrameSelection
from serplatform.inputs.timed_words import rescale
from serplatform.inputs.words import Words
from serplatform.protocols.plan import make_plan
from serplatform.testing.synthetic import make_dataset

NAME = "log_mel_23"
#: words of the first rows: (label, start, end); None leaves the row without alignment
SPOKEN = [
    [("<sil>", 0.0, 0.1), ("THE", 0.1, 0.2), ("DOOR(2)", 0.2, 0.4), ("<sil>", 0.4, 0.6)],
    [("yes", 0.05, 0.55)],
    None,
    None,
    [("<sil>", 0.0, 0.6)],
]
TEXTS = ["The door.", "Yes!", "Dogs are here", None, "[LAUGHTER]"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "set"
    return make_dataset(path, num_speakers=6, per_speaker=8, features={NAME: 5})


def rewrite(path: Path, **changes: pa.Table) -> Dataset:
    """Replace tables of a dataset, keeping its checksums right."""
    meta = read_json(path / "dataset.json")
    for name, table in changes.items():
        write_parquet(path / f"{name}.parquet", table)
        meta["files"][f"{name}.parquet"] = file_sha256(path / f"{name}.parquet")
    write_json(path / "dataset.json", meta)
    return Dataset.open(path)


@pytest.fixture
def dataset(base: Path, tmp_path: Path) -> Dataset:
    """Forty-eight utterances whose first five have the words above, the others one word."""
    path = tmp_path / "set"
    shutil.copytree(base, path)
    utterances = read_parquet(path / "utterances.parquet")
    ids = utterances.column("utterance_id").to_pylist()
    spans = []
    for row, name in enumerate(ids):
        words = SPOKEN[row] if row < len(SPOKEN) else [("so", 0.1, 0.3)]
        for label, start, end in words or ():
            spans.append(("word", name, label, start, end))
            spans.append(("phone", name, "AH", start, end))
    spans.reverse()  # the table's order does not matter
    table = pa.Table.from_pylist(
        [
            {
                "utterance_id": name,
                "tier": tier,
                "label": label,
                "start": start,
                "end": end,
                "source": "corpus",
            }
            for tier, name, label, start, end in spans
        ],
        schema=ALIGNMENT_SCHEMA,
    )
    texts = [*TEXTS, *["So."] * (len(ids) - len(TEXTS))]
    column = utterances.schema.get_field_index("text")
    utterances = utterances.set_column(column, "text", pa.array(texts, pa.string()))
    return rewrite(path, utterances=utterances, alignment=table)


SELECTION = FrameSelection(feature=NAME, spec={}, frame_shift=0.01, trim=False)


class Fitted:
    """Words of training rows, and the dataset that they are read from."""

    def __init__(self, dataset: Dataset, rows: list[int] | None = None, **config: object) -> None:
        train = np.arange(len(dataset)) if rows is None else np.array(rows)
        settings = DataConfig(words=True, **{f"word_{k}": v for k, v in config.items()})  # type: ignore[arg-type]
        self.clips = SELECTION.apply(stored_clips(dataset, []))
        words = Words.fit(settings, self.clips, train)
        assert words is not None
        self.words, self.vocabulary, self.notes = words, words.vocabulary, words.notes

    def encode(
        self, rows: np.ndarray, lengths: np.ndarray | None = None, clips: Clips | None = None
    ) -> tuple[np.ndarray, ...]:
        clips = clips or self.clips
        lengths = clips.num_frames[rows] if lengths is None else lengths
        return self.words.encoded(clips).batch(rows, lengths)

    def encode_new(
        self, spans: list[Span], text: str | None, num_frames: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids and frames of a new clip's words, by what is stored with the model."""
        frames = {NAME: np.zeros((num_frames, 5), np.float32)}
        clip = ExtractedClip(frames=frames, speech=(0.0, 1.0), spans=tuple(spans), text=text)
        loaded = Words.load(json.loads(json.dumps(self.words.describe())))
        assert loaded is not None
        clips = SELECTION.apply(new_audio([clip]))
        ids, found, _ = loaded.encoded(clips).batch(np.array([0]), clips.num_frames)
        return ids[0], found[0]


def test_ids_spans_and_padding_of_a_batch(dataset: Dataset) -> None:
    inputs = Fitted(dataset)
    ids, spans, counts = inputs.encode(np.array([0, 1]))
    assert counts.tolist() == [2, 1]
    words = inputs.vocabulary
    assert ids.tolist() == [[words.id_of("the"), words.id_of("door")], [words.id_of("yes"), 0]]
    assert spans.tolist() == [[[10, 20], [20, 40]], [[5, 55], [0, 0]]]
    assert (ids.dtype, spans.dtype, counts.dtype) == (np.int64,) * 3


def test_vocabulary_is_of_the_training_rows_only(dataset: Dataset) -> None:
    inputs = Fitted(dataset, rows=[0])
    assert sorted(inputs.vocabulary.words) == ["door", "the"]
    assert inputs.encode(np.array([1]))[0].tolist() == [[1]]
    ids, _, counts = inputs.encode(np.array([0, 1]))
    assert ((ids == 1).sum(), counts.sum()) == (1, 3)


def test_without_alignment_the_transcript_shares_the_time_equally(dataset: Dataset) -> None:
    inputs = Fitted(dataset)
    ids, spans, counts = inputs.encode(np.array([2]))
    total = int(dataset.num_frames(NAME)[2])
    assert counts.tolist() == [3]
    assert [inputs.vocabulary.words[i - 2] for i in ids[0]] == ["dogs", "are", "here"]
    edges = np.round(np.linspace(0, total, 4) + 1e-6).astype(int).tolist()
    assert spans[0].tolist() == [edges[0:2], edges[1:3], edges[2:4]]


def test_an_utterance_without_any_words_keeps_one_unknown_word(dataset: Dataset) -> None:
    inputs = Fitted(dataset)
    ids, spans, counts = inputs.encode(np.array([3, 4]))
    assert ids.tolist() == [[1], [1]]
    assert counts.tolist() == [1, 1]
    assert spans[:, 0].tolist() == [[0, n] for n in dataset.num_frames(NAME)[[3, 4]]]


def test_sources_are_known_and_counted(dataset: Dataset) -> None:
    inputs = Fitted(dataset)
    assert inputs.notes == (
        "vocabulary of 7 words from 48 training utterances",
        "1 of 48 utterances have no word alignment: the words of their transcripts share the "
        "time equally",
        "2 of 48 utterances have no words at all: one unknown word spans each",
    )


def test_silence_is_divided_and_words_overlap_for_can(dataset: Dataset) -> None:
    total = int(dataset.num_frames(NAME)[0])
    spans = Fitted(dataset, silence="divide").encode(np.array([0]))[1]
    assert spans[0].tolist() == [[0, 20], [20, total]]
    spans = Fitted(dataset, silence="divide", overlap=0.1).encode(np.array([0]))[1]
    assert spans[0].tolist() == [[0, 21], [20 - round((total - 20) * 0.05), total]]


def test_equal_segmentation_ignores_the_alignment(dataset: Dataset) -> None:
    total = int(dataset.num_frames(NAME)[0])
    spans = Fitted(dataset, segmentation="equal").encode(np.array([0]))[1]
    middle = round(total / 2 + 1e-6)
    assert spans[0].tolist() == [[0, middle], [middle, total]]


def test_trimmed_frames_count_from_the_first_kept_one(dataset: Dataset) -> None:
    total = dataset.num_frames(NAME)
    first, last = np.full_like(total, 15), np.full_like(total, 35)
    inputs = Fitted(dataset)
    clips = dataclasses.replace(inputs.clips, first=first, last=last, identity="trimmed")
    assert inputs.encode(np.array([0]), clips=clips)[1].tolist() == [[[0, 5], [5, 20]]]


def test_spans_follow_a_change_of_speed(dataset: Dataset) -> None:
    inputs = Fitted(dataset)
    total = int(dataset.num_frames(NAME)[0])
    spans = inputs.encode(np.array([0]), np.array([2 * total]))[1]
    assert spans[0].tolist() == [[20, 40], [40, 80]]
    assert rescale(np.array([[0, 1], [1, 2], [2, 3]]), 3, 1).tolist() == [[0, 1]] * 3


def test_a_dataset_without_words_is_refused_with_the_remedy(dataset: Dataset) -> None:
    utterances = dataset.utterances
    column = utterances.schema.get_field_index("text")
    utterances = utterances.set_column(column, "text", pa.nulls(len(dataset), pa.string()))
    bare = rewrite(dataset.path, utterances=utterances, alignment=ALIGNMENT_SCHEMA.empty_table())
    with pytest.raises(BadInputError, match=r"neither transcripts nor word alignments.*--align"):
        Fitted(bare)


def test_transcripts_alone_are_enough(dataset: Dataset) -> None:
    plain = rewrite(dataset.path, alignment=ALIGNMENT_SCHEMA.empty_table())
    inputs = Fitted(plain)
    assert inputs.encode(np.arange(5))[2].tolist() == [2, 1, 3, 1, 1]
    assert [note.split()[:3] for note in inputs.notes[1:]] == [
        ["46", "of", "48"],
        ["2", "of", "48"],
    ]


def test_word_vectors_have_a_row_an_id(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("the 1 2 3\nso 4 5 6\n")
    inputs = Fitted(dataset, vectors=str(path))
    vectors = inputs.words.vectors
    assert vectors is not None
    assert vectors.shape == (len(inputs.vocabulary), 3)
    assert vectors[inputs.vocabulary.id_of("so")].tolist() == [4, 5, 6]
    assert any("2 of 8 words have a vector" in note for note in inputs.notes)


@pytest.mark.parametrize("silence", ["drop", "divide"])
@pytest.mark.parametrize("segmentation", ["aligned", "equal"])
@pytest.mark.parametrize("overlap", [0.0, 0.1])
def test_new_audio_is_encoded_as_training_was(
    dataset: Dataset, silence: str, segmentation: str, overlap: float
) -> None:
    inputs = Fitted(dataset, silence=silence, segmentation=segmentation, overlap=overlap)
    for row, words in enumerate(SPOKEN):
        spans = [Span(tier="word", label=a, start=s, end=e) for a, s, e in words or ()]
        ids, frames = inputs.encode_new(spans, TEXTS[row], int(dataset.num_frames(NAME)[row]))
        expected = inputs.encode(np.array([row]))
        assert ids.tolist() == expected[0][0].tolist()
        assert frames.tolist() == expected[1][0].tolist()


def test_fold_data_gives_words_to_models_that_read_them(dataset: Dataset) -> None:
    plan = make_plan(dataset.utterances, "speaker-kfold:3", seed=1, classes=dataset.classes)
    audio_only = FoldData(dataset, plan, 0, DataConfig())
    assert audio_only.pipeline.step(Words) is None
    assert audio_only.collate(np.array([0])).word_ids is None
    assert "words" not in audio_only.preprocessing()
    config = DataConfig(words=True, trim=True, speed=0.2, word_silence="divide", word_overlap=0.1)
    data = FoldData(dataset, plan, 0, config)
    words_step = data.pipeline.step(Words)
    assert words_step is not None
    vocabulary = words_step.vocabulary
    assert data.input_spec.vocabulary_size == len(vocabulary)
    held_out = np.concatenate([data.rows("dev"), data.rows("test")])
    own = {"the", "door"}, {"yes"}, {"dogs", "are", "here"}
    for row, words in enumerate(own):
        assert words.isdisjoint(vocabulary.words) == (row in held_out)
    rows = data.rows("train")
    for augment in (None, 7):
        batch = data.collate(rows, augment=augment)
        assert batch.word_ids is not None
        assert batch.word_spans is not None
        assert batch.num_words is not None
        assert batch.word_ids.shape == batch.word_spans.shape[:2]
        for i, count in enumerate(batch.num_words.tolist()):
            spans = batch.word_spans[i, :count]
            assert (spans[:, 0] < spans[:, 1]).all()
            assert int(spans.max()) <= int(batch.lengths[i])
            assert (batch.word_ids[i, :count] > 0).all()
            assert (batch.word_ids[i, count:] == 0).all()
    assert data.preprocessing()["words"]["vocabulary"] == list(vocabulary.words)
    assert any("vocabulary of" in note for note in data.notes)


def test_a_dataset_keeps_the_words_of_the_rules_it_was_prepared_by(dataset: Dataset) -> None:
    text = "ti\u0065\u0302\u0301ng 3.5 (laughs)"
    texts = dataset.utterances.column("text").to_pylist()
    texts[2] = text
    column = dataset.utterances.schema.get_field_index("text")
    table = dataset.utterances.set_column(column, "text", pa.array(texts, pa.string()))
    path = Path(str(dataset.path))
    settings = {}
    for rules, words in ((None, ["tie", "ng", "3", "5", "laughs"]), (2, ["tiếng", "3.5"])):
        meta = read_json(path / "dataset.json")
        write_json(path / "dataset.json", meta if rules is None else {**meta, "word_rules": rules})
        inputs = Fitted(rewrite(path, utterances=table), rows=[2])
        assert set(inputs.vocabulary.words) == set(words)
        warned = [note for note in inputs.notes if "rules of an earlier version" in note]
        assert len(warned) == (1 if rules is None else 0)
        settings[rules] = inputs.words.describe()["words"]
        ids, _ = inputs.encode_new([], text, num_frames=50)
        assert [inputs.vocabulary.words[i - 2] for i in ids] == words
    assert "word_rules" not in settings[None]
    assert settings[2]["word_rules"] == 2


def test_a_text_whose_words_cannot_be_told_apart_counts_as_none(dataset: Dataset) -> None:
    texts = ["ผมไปโรงเรียนแล้วกลับบ้าน"] * len(dataset)
    column = dataset.utterances.schema.get_field_index("text")
    thai = dataset.utterances.set_column(column, "text", pa.array(texts, pa.string()))
    path = Path(str(dataset.path))
    meta = read_json(path / "dataset.json")
    write_json(path / "dataset.json", {**meta, "word_rules": 2})
    inputs = Fitted(rewrite(path, utterances=thai))
    assert inputs.encode(np.array([2, 3]))[0].tolist() == [[1], [1]]
    bare = rewrite(path, utterances=thai, alignment=dataset.alignment.slice(0, 0))
    with pytest.raises(BadInputError, match="48 of 48 transcripts are in Thai script") as caught:
        Fitted(bare)
    assert "has neither transcripts nor word alignments" in str(caught.value)
