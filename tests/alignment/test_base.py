"""Names of sources, the corpus's own spans, equal shares, encodings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serplatform.alignment import equal
from serplatform.alignment.base import ALIGNERS, AlignmentError, aligner_names, get_aligner
from serplatform.corpora.base import Utterance
from serplatform.corpora.text_encoding import decode_text
from serplatform.errors import BadInputError


def utterance(text: str | None = None) -> Utterance:
    return Utterance(utterance_id="u", path=Path("u.wav"), speaker_id="s", emotion="sad", text=text)


def test_every_source_has_a_name_and_a_description() -> None:
    names = ["equal", "pocketsphinx", "textgrid", "wdseg", "whisper", "whisper-asr", "none"]
    assert aligner_names() == names
    for name in names[:-1]:
        assert ALIGNERS.get(name).name == name
        assert ALIGNERS.get(name).description


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


def test_equal_shares_of_the_time() -> None:
    aligner = get_aligner("equal")
    assert aligner is not None
    found = aligner.align(utterance("Oh, well..."), np.zeros(16_000, np.float32), 16_000)
    assert found.source == "equal"
    assert [(s.label, s.start, s.end) for s in found.spans] == [("oh", 0, 0.5), ("well", 0.5, 1)]
    with pytest.raises(AlignmentError) as failed:
        aligner.align(utterance("..."), np.zeros(10, np.float32), 16_000)
    assert failed.value.args == (equal.FAIL_NO_TEXT, "u")
    with pytest.raises(BadInputError, match="this corpus has none"):
        aligner.check([utterance()])


def test_a_text_without_blanks_between_words_is_not_shared_out() -> None:
    thai = utterance("ผมไปโรงเรียนแล้วกลับบ้าน")
    aligner = get_aligner("equal")
    assert aligner is not None
    with pytest.raises(AlignmentError, match="Thai without blanks between words"):
        aligner.align(thai, np.zeros(16_000, np.float32), 16_000)
    with pytest.raises(BadInputError, match=r"(?s)corpus has none.*1 of 1 .* are in Thai script"):
        aligner.check([thai])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_text_is_decoded_whatever_its_encoding(encoding: str) -> None:
    text = "Ses01F_impro01_F000: it’s déjà vu\n" * 3
    assert decode_text(text.encode(encoding))[0] == text


def test_any_bytes_are_decoded() -> None:
    rng = np.random.default_rng(0)
    for size in (0, 1, 2, 3, 50, 400):
        assert isinstance(decode_text(rng.bytes(size))[0], str)
