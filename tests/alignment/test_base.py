"""Names of sources, the corpus's own spans, equal shares, encodings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serplatform.alignment import equal
from serplatform.alignment.base import (
    Alignment,
    AlignmentFailure,
    align_utterance,
    aligner_names,
    get_aligner,
)
from serplatform.alignment.files import decode_text
from serplatform.corpora.base import Span, Utterance
from serplatform.errors import BadInputError

OWN = (Span(tier="word", label="so", start=0.0, end=0.5),)


def utterance(text: str | None = None, spans: tuple[Span, ...] = ()) -> Utterance:
    return Utterance(
        utterance_id="u", path=Path("u.wav"), speaker_id="s", emotion="sad", text=text, spans=spans
    )


def test_every_source_has_a_name_and_a_description() -> None:
    assert aligner_names() == ["equal", "pocketsphinx", "textgrid", "wdseg", "none"]
    for name in aligner_names()[:-1]:
        aligner = get_aligner(name)
        assert aligner is not None
        assert aligner.name == name
        assert aligner.description


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(BadInputError, match=r"Unknown alignment source 'textgird'.*'textgrid'"):
        get_aligner("textgird")


def test_a_directory_without_a_source_that_reads_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="--align none reads no alignments"):
        get_aligner("none", tmp_path)
    with pytest.raises(BadInputError, match="--align equal reads no files"):
        get_aligner("equal", tmp_path)


def test_an_aligner_is_made_once_a_process() -> None:
    assert get_aligner("equal") is get_aligner("equal")


def test_without_a_source_the_corpus_own_spans_are_kept() -> None:
    found = align_utterance(None, utterance(spans=OWN), np.zeros(10, np.float32), 16_000)
    assert found == Alignment(spans=OWN, source="corpus")


def test_equal_shares_of_the_time() -> None:
    aligner = get_aligner("equal")
    found = align_utterance(aligner, utterance("Oh, well..."), np.zeros(16_000, np.float32), 16_000)
    assert isinstance(found, Alignment)
    assert found.source == "equal"
    assert [(s.label, s.start, s.end) for s in found.spans] == [("oh", 0, 0.5), ("well", 0.5, 1)]
    failed = align_utterance(aligner, utterance("..."), np.zeros(10, np.float32), 16_000)
    assert failed == AlignmentFailure(reason=equal.FAIL_NO_TEXT, detail="u")
    assert aligner is not None
    with pytest.raises(BadInputError, match="this corpus has none"):
        aligner.check([utterance()])


def test_a_text_without_blanks_between_words_is_not_shared_out() -> None:
    thai = utterance("ผมไปโรงเรียนแล้วกลับบ้าน")
    aligner = get_aligner("equal")
    assert aligner is not None
    failed = aligner.align(thai, np.zeros(16_000, np.float32), 16_000)
    assert isinstance(failed, AlignmentFailure)
    assert failed.reason == "no words in the transcript: Thai without blanks between words"
    with pytest.raises(BadInputError, match=r"(?s)corpus has none.*1 of 1 .* are in Thai script"):
        aligner.check([thai])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_text_is_decoded_whatever_its_encoding(encoding: str) -> None:
    text = "Ses01F_impro01_F000: it’s déjà vu\n" * 3
    assert decode_text(text.encode(encoding)) == text


def test_any_bytes_are_decoded() -> None:
    rng = np.random.default_rng(0)
    for size in (0, 1, 2, 3, 50, 400):
        assert isinstance(decode_text(rng.bytes(size)), str)
