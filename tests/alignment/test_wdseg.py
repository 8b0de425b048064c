"""IEMOCAP's .wdseg and .phseg files: frames, specials, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serplatform.alignment import tidy, wdseg
from serplatform.alignment.base import Alignment, AlignmentError, get_aligner
from serplatform.alignment.segments import words_of
from serplatform.alignment.wdseg import WdsegAligner, read_segmentation
from serplatform.corpora.base import Utterance
from serplatform.errors import BadInputError
from tests.support import iemocap_tree

RATE = 16_000
NAME = "Ses01F_impro01_F000"
ROWS = [(0, 46, "<s>"), (47, 86, "EXCUSE"), (87, 140, "ME(2)"), (141, 193, "</s>")]
PHONES = """\t SFrm  EFrm    SegAScr Phone
    0    46    -109497 SIL
   47    60    -203094 IH SIL K b
   61   193      -1000 +BREATHING+
 Total score:     -568189
"""


def utterance(root: Path, content: str | bytes | None, phones: str | None = PHONES) -> Utterance:
    sentences = root / "Session1" / "sentences"
    aligned = sentences / "ForcedAlignment" / "Ses01F_impro01"
    if content is not None:
        iemocap_tree.put(aligned / f"{NAME}.wdseg", content)
    if phones is not None:
        iemocap_tree.put(aligned / f"{NAME}.phseg", phones)
    wav = sentences / "wav" / "Ses01F_impro01" / f"{NAME}.wav"
    return Utterance(utterance_id=NAME, path=wav, speaker_id="Ses01F", emotion="neutral")


def align(u: Utterance, seconds: float = 1.94) -> Alignment | AlignmentError:
    try:
        return WdsegAligner().align(u, np.zeros(round(seconds * RATE), np.float32), RATE)
    except AlignmentError as error:
        return error


def test_frames_become_seconds_with_an_inclusive_end(tmp_path: Path) -> None:
    found = align(utterance(tmp_path, iemocap_tree.wdseg(ROWS)))
    assert isinstance(found, Alignment)
    words = [(s.label, s.start, s.end) for s in found.spans if s.tier == "word"]
    assert words == [
        ("<s>", 0.0, 0.47),
        ("excuse", 0.47, 0.87),
        ("me", 0.87, 1.41),
        ("</s>", 1.41, 1.94),
    ]
    phones = [(s.label, s.start, s.end) for s in found.spans if s.tier == "phone"]
    assert phones == [("SIL", 0.0, 0.47), ("IH", 0.47, 0.61), ("+BREATHING+", 0.61, 1.94)]
    assert (found.source, found.notes) == ("wdseg", ())


def test_noises_keep_their_time_as_fillers_and_are_no_words(tmp_path: Path) -> None:
    rows = [(0, 46, "<s>"), (47, 86, "I'M,"), (87, 120, "<laugh>"), (121, 150, "(COUGH)")]
    found = align(utterance(tmp_path, iemocap_tree.wdseg([*rows, (151, 193, "SPN")])))
    assert isinstance(found, Alignment)
    words = [s for s in found.spans if s.tier == "word"]
    assert [s.label for s in words] == ["<s>", "i'm", "[<laugh>]", "[(COUGH)]", "[SPN]"]
    assert words_of(words)[0] == ["i'm"]


def test_a_file_without_footer_is_read_and_said(tmp_path: Path) -> None:
    text = iemocap_tree.wdseg(ROWS).split("Total")[0]
    found = align(utterance(tmp_path, text))
    assert isinstance(found, Alignment)
    assert found.notes == (wdseg.NOTE_NO_FOOTER,)
    assert len([s for s in found.spans if s.tier == "word"]) == 4


def test_overlapping_rows_are_cut_and_said(tmp_path: Path) -> None:
    rows = [(0, 50, "<s>"), (47, 90, "EXCUSE"), (87, 193, "ME")]
    found = align(utterance(tmp_path, iemocap_tree.wdseg(rows)))
    assert isinstance(found, Alignment)
    assert found.notes == (tidy.NOTE_OVERLAP,)
    assert [s.end for s in found.spans if s.tier == "word"] == [0.47, 0.87, 1.94]


def test_a_row_within_another_is_refused(tmp_path: Path) -> None:
    rows = [(0, 193, "EXCUSE"), (87, 140, "ME")]
    found = align(utterance(tmp_path, iemocap_tree.wdseg(rows)))
    assert isinstance(found, AlignmentError)
    assert (found.reason, found.detail) == (
        tidy.FAIL_OVERLAP,
        f"{NAME}.wdseg: 'excuse' and 'me' at 0.00 s",
    )


@pytest.mark.parametrize(
    ("seconds", "notes"),
    [(1.94, ()), (1.5, (tidy.NOTE_LONGER,)), (3.0, (tidy.NOTE_SHORTER,))],
)
def test_alignment_of_another_length_than_the_audio_is_said(
    tmp_path: Path, seconds: float, notes: tuple[str, ...]
) -> None:
    found = align(utterance(tmp_path, iemocap_tree.wdseg(ROWS)), seconds)
    assert isinstance(found, Alignment)
    assert found.notes == notes
    assert max(s.end for s in found.spans) <= seconds


def test_alignment_of_another_recording_is_refused(tmp_path: Path) -> None:
    found = align(utterance(tmp_path, iemocap_tree.wdseg(ROWS)), seconds=0.6)
    assert isinstance(found, AlignmentError)
    assert found.reason == tidy.FAIL_BEYOND


def test_a_one_word_utterance_is_aligned(tmp_path: Path) -> None:
    found = align(utterance(tmp_path, iemocap_tree.wdseg([(0, 193, "YEAH")])))
    assert isinstance(found, Alignment)
    assert [(s.label, s.end) for s in found.spans if s.tier == "word"] == [("yeah", 1.94)]


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (None, "no .wdseg file", NAME),
        ("", tidy.FAIL_NO_WORDS, f"{NAME}.wdseg"),
        (iemocap_tree.wdseg([(0, 193, "<sil>")]), tidy.FAIL_NO_WORDS, f"{NAME}.wdseg"),
        ("   0  46 -1\n", wdseg.FAIL_ROW, f"{NAME}.wdseg: line 1 has 3 of 4 fields: '0  46 -1'"),
        (
            "   9  4 -1 SO\n",
            wdseg.FAIL_ROW,
            f"{NAME}.wdseg: line 1 does not begin with a first and a last frame: '9  4 -1 SO'",
        ),
    ],
)
def test_unusable_files_are_named_with_their_reason(
    tmp_path: Path, content: str | None, reason: str, detail: str
) -> None:
    failed = align(utterance(tmp_path, content))
    assert isinstance(failed, AlignmentError)
    assert failed.args == (reason, detail)


@pytest.mark.parametrize(
    ("phones", "note"), [(None, wdseg.NOTE_NO_PHONES), ("0 x 1 A\n", wdseg.NOTE_BAD_PHONES)]
)
def test_without_phones_the_words_are_kept(tmp_path: Path, phones: str | None, note: str) -> None:
    found = align(utterance(tmp_path, iemocap_tree.wdseg(ROWS), phones))
    assert isinstance(found, Alignment)
    assert found.notes == (note,)
    assert {s.tier for s in found.spans} == {"word"}


def test_a_directory_of_alignments_may_lie_elsewhere(tmp_path: Path) -> None:
    u = utterance(tmp_path / "corpus", None, None)
    iemocap_tree.put(tmp_path / "a" / "b" / f"{NAME}.wdseg", iemocap_tree.wdseg(ROWS))
    aligner = get_aligner("wdseg", tmp_path / "a")
    assert aligner is not None
    aligner.check([u])
    assert aligner.files([u]) == (tmp_path / "a" / "b" / f"{NAME}.wdseg",)
    assert isinstance(aligner.align(u, np.zeros(31_040, np.float32), RATE), Alignment)


def test_a_corpus_without_any_file_is_refused_with_the_alternatives(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no \.wdseg file.*--align pocketsphinx \(English\)"):
        WdsegAligner().check([utterance(tmp_path, None)])


@settings(max_examples=250, deadline=None)
@given(
    st.one_of(
        st.text(max_size=300),
        st.lists(
            st.tuples(st.integers(-5, 400), st.integers(-5, 400), st.text(max_size=8)), max_size=12
        ).map(lambda rows: "".join(f"{a} {b} -1 {w}\n" for a, b, w in rows)),
    )
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        spans, _ = read_segmentation(text, "word")
    except ValueError:
        return
    assert all(0 <= s.start < s.end for s in spans)
