"""Words of new audio: transcripts from a table, alignment, recognition."""

from __future__ import annotations

import numpy as np
import pytest

from serplatform.corpora.audio import AudioError
from serplatform.errors import BadInputError
from serplatform.prediction.transcripts import Transcripts, WordReader

ENGLISH = [["the", "door", "dogs", "kids"]]
POLISH = [["drzwi", "się", "otwierają", "źle"]]
NOISE = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)


def table(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_texts_are_found_by_path_and_by_name(tmp_path):
    file = table(tmp_path / "t/texts.csv", 'file,text\na.wav,"one, two"\nsub/b.wav,three\n')
    texts = Transcripts.read(file)
    assert texts.of(tmp_path / "t/a.wav") == "one, two"
    assert texts.of(tmp_path / "elsewhere/a.wav") == "one, two"  # a bare name
    assert texts.of(tmp_path / "t/sub/b.wav") == "three"
    assert texts.of(tmp_path / "b.wav") is None
    assert texts.unused == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,text\na,b\n", "needs the columns file,text .* it has path, text"),
        ("", "the file is empty; it needs the columns file,text"),
        ("file,text\na.wav,x\na.wav,y\n,z\nb.wav\n", r"3 fault(.|\n)*line 3: another text for"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, message):
    with pytest.raises(BadInputError, match=message):
        Transcripts.read(table(tmp_path / "t.csv", text))
    with pytest.raises(BadInputError, match="cannot be read"):
        Transcripts.read(tmp_path / "gone.csv")


def test_other_languages_need_transcripts(tmp_path):
    with pytest.raises(BadInputError, match=r"not English.* give --text FILE"):
        WordReader(POLISH, None)
    texts = Transcripts.read(table(tmp_path / "t.csv", "file,text\na.wav,drzwi\nc.wav,x\n"))
    reader = WordReader(POLISH, texts)
    assert reader.words(tmp_path / "a.wav", NOISE) == ((), "drzwi")
    with pytest.raises(AudioError, match="has no row in the table of --text"):
        reader.words(tmp_path / "b.wav", NOISE)
    notes = " ".join(reader.notes())
    assert "1 clip(s): the words of their transcripts share the time equally" in notes
    assert "1 row(s) are of no recording given: c.wav" in notes


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_spreadsheets_are_read(tmp_path, encoding, delimiter):
    text = "file,text\r\na.wav,déjà vu\r\n".replace(",", delimiter)
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    assert Transcripts.read(tmp_path / "t.csv").of(tmp_path / "a.wav") == "déjà vu"


def test_names_of_the_table_are_composed_and_texts_without_words_are_said(tmp_path):
    thai = "ผมไปโรงเรียนแล้วกลับบ้าน"
    texts = table(
        tmp_path / "t.csv", f"file,text\nz\u0307o\u0301\u0142c\u0301.wav,{thai}\nb.wav,tak\n"
    )
    reader = WordReader(POLISH, Transcripts.read(texts))
    assert reader.words(tmp_path / "żółć.wav", NOISE) == ((), thai)
    reader.words(tmp_path / "b.wav", NOISE)
    assert reader.notes() == [
        "1 clip(s): no words in the transcript: one unknown word spans each",
        "1 clip(s): the words of their transcripts share the time equally",
    ]


def test_english_without_transcript_is_recognized_and_noise_has_no_words(tmp_path):
    reader = WordReader(ENGLISH, None)
    spans, text = reader.words(tmp_path / "a.wav", NOISE[:1000])
    assert (spans, text) == ((), None)
    assert any("one unknown word spans each" in note for note in reader.notes())


def test_windows_have_no_transcripts(tmp_path):
    texts = Transcripts.read(table(tmp_path / "t.csv", "file,text\na.wav,x\n"))
    with pytest.raises(BadInputError, match="leave --text or --window out"):
        WordReader(ENGLISH, texts, windows=True)
