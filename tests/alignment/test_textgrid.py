"""TextGrid files: both formats, every encoding, names of tiers, damage."""

from __future__ import annotations

import codecs
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serplatform.alignment import textgrid, tidy
from serplatform.alignment.base import Alignment, AlignmentError, get_aligner
from serplatform.alignment.textgrid import TextGridAligner, Tier, parse_textgrid
from serplatform.corpora.base import Utterance
from serplatform.errors import BadInputError

RATE = 16_000
WORDS = ((0.0, 0.3, ""), (0.3, 0.8, "Żółć"), (0.8, 1.2, 'l"so'), (1.2, 1.5, ""))
PHONES = ((0.0, 0.3, "sil"), (0.3, 0.8, "AH0"), (0.8, 1.5, "spn"))


def long_format(*tiers: Tier, end: float = 1.5) -> str:
    """As Praat and the Montreal Forced Aligner write it."""
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end}",
    ]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, tier in enumerate(tiers, 1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"']
        lines += [f'        name = "{tier.name}"', "        xmin = 0", f"        xmax = {end}"]
        lines += [f"        intervals: size = {len(tier.intervals)}"]
        for i, (a, b, text) in enumerate(tier.intervals, 1):
            quoted = text.replace('"', '""')
            lines += [
                f"        intervals [{i}]:",
                f"            xmin = {a} ",
                f"            xmax = {b} ",
            ]
            lines += [f'            text = "{quoted}" ']
    return "\n".join(lines) + "\n"


def short_format(*tiers: Tier, end: float = 1.5) -> str:
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", f"{end}"]
    lines += ["<exists>", f"{len(tiers)}"]
    for tier in tiers:
        lines += ['"IntervalTier"', f'"{tier.name}"', "0", f"{end}", f"{len(tier.intervals)}"]
        for a, b, text in tier.intervals:
            quoted = text.replace('"', '""')
            lines += [f"{a}", f"{b}", f'"{quoted}"']
    return "\n".join(lines) + "\n"


TIERS = (Tier(name="words", intervals=WORDS), Tier(name="phones", intervals=PHONES))


def utterance(root: Path, name: str = "clip", **facts: object) -> Utterance:
    values = {"utterance_id": name, "path": root / f"{name}.wav", "speaker_id": "anna"}
    return Utterance(**{**values, "emotion": "sad", **facts})  # type: ignore[arg-type]


def align(
    tmp_path: Path, content: str | bytes, seconds: float = 1.5, **facts: object
) -> Alignment | AlignmentError:
    path = tmp_path / "clip.TextGrid"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    u = utterance(tmp_path, **facts)  # type: ignore[arg-type]
    try:
        return TextGridAligner().align(u, np.zeros(round(seconds * RATE), np.float32), RATE)
    except AlignmentError as error:
        return error


def labels(found: Alignment | AlignmentError, tier: str = "word") -> list[tuple[str, float, float]]:
    assert isinstance(found, Alignment), found
    return [(s.label, round(s.start, 6), round(s.end, 6)) for s in found.spans if s.tier == tier]


@pytest.mark.parametrize("write", [long_format, short_format])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_both_formats_in_every_encoding(tmp_path: Path, write, encoding: str) -> None:
    found = align(tmp_path, write(*TIERS).encode(encoding))
    assert labels(found) == [("żółć", 0.3, 0.8), ('l"so', 0.8, 1.2)]
    assert labels(found, "phone") == [("sil", 0.0, 0.3), ("AH0", 0.3, 0.8), ("spn", 0.8, 1.5)]
    assert isinstance(found, Alignment)
    assert (found.source, found.notes) == ("textgrid", ())


def test_utf16_with_big_endian_mark_and_latin1(tmp_path: Path) -> None:
    text = short_format(Tier(name="words", intervals=((0.0, 1.5, "déjà"),)))
    found = align(tmp_path, codecs.BOM_UTF16_BE + text.encode("utf-16-be"))
    assert labels(found) == [("déjà", 0.0, 1.5)]
    assert labels(align(tmp_path, text.encode("latin-1"))) == [("déjà", 0.0, 1.5)]


def test_without_phones_the_words_are_kept_and_said(tmp_path: Path) -> None:
    found = align(tmp_path, long_format(TIERS[0]))
    assert isinstance(found, Alignment)
    assert found.notes == (textgrid.NOTE_NO_PHONES,)


def test_points_and_comments_are_passed_over(tmp_path: Path) -> None:
    text = short_format(*TIERS).replace(
        "<exists>\n2\n", '<exists> ! two, or 3?\n3\n"TextTier"\n"x"\n0\n1.5\n1\n0.5\n"!"\n'
    )
    assert labels(align(tmp_path, text)) == [("żółć", 0.3, 0.8), ('l"so', 0.8, 1.2)]


def test_tiers_of_several_speakers_are_told_apart(tmp_path: Path) -> None:
    other = ((0.0, 1.5, "no"),)
    tiers = [
        Tier(name="Anna - words", intervals=WORDS),
        Tier(name="Anna - phones", intervals=PHONES),
        Tier(name="Bert - words", intervals=other),
        Tier(name="Bert - phones", intervals=other),
    ]
    assert labels(align(tmp_path, long_format(*tiers)))[0] == ("żółć", 0.3, 0.8)
    failed = align(tmp_path, long_format(*tiers), speaker_id="eve")
    assert isinstance(failed, AlignmentError)
    assert failed.reason == textgrid.FAIL_SEVERAL
    assert failed.detail == "clip.TextGrid: Anna - words, Bert - words"


def test_a_part_of_a_file_takes_its_share_of_the_files_textgrid(tmp_path: Path) -> None:
    found = align(tmp_path, long_format(*TIERS), 0.7, utterance_id="clip_0.7-1.4",
                  path=tmp_path / "clip.wav", start=0.7, end=1.4)  # fmt: skip
    assert labels(found) == [("żółć", 0.0, 0.1), ('l"so', 0.1, 0.5)]


def test_a_textgrid_named_after_the_part_starts_at_the_part(tmp_path: Path) -> None:
    found = align(
        tmp_path, long_format(*TIERS), 1.5, path=tmp_path / "long.wav", start=9.0, end=10.5
    )
    assert labels(found)[0] == ("żółć", 0.3, 0.8)


@pytest.mark.parametrize(("seconds", "note"), [(1.0, tidy.NOTE_LONGER), (2.5, tidy.NOTE_SHORTER)])
def test_another_length_than_the_audio_is_said(tmp_path: Path, seconds: float, note: str) -> None:
    found = align(tmp_path, long_format(*TIERS), seconds)
    assert isinstance(found, Alignment)
    assert found.notes == (note,)
    assert max(s.end for s in found.spans) <= seconds


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        ("hello", textgrid.FAIL_DAMAGED, "it is no TextGrid text file; save it as such in Praat"),
        (b"", textgrid.FAIL_DAMAGED, "it is no TextGrid text file"),
        (b"ooBinaryFile\x08TextGrid\0\0", textgrid.FAIL_DAMAGED, "it is no TextGrid text file"),
        (short_format(*TIERS).split("0")[0], textgrid.FAIL_DAMAGED, "the start is missing"),
        (
            long_format(*TIERS)[:500],
            textgrid.FAIL_DAMAGED,
            "the text of interval 3 of tier 'words' is missing",
        ),
        (
            short_format(Tier(name="words", intervals=((0.5, 0.2, "a"),))),
            textgrid.FAIL_DAMAGED,
            "interval 1 of tier 'words' ends before it begins",
        ),
        (long_format(TIERS[1]), textgrid.FAIL_TIERS, "phones"),
        (long_format(Tier(name="words", intervals=((0.0, 1.5, ""),))), tidy.FAIL_NO_WORDS, ""),
    ],
)
def test_unusable_files_are_named_with_their_reason(
    tmp_path: Path, content: str | bytes, reason: str, detail: str
) -> None:
    found = align(tmp_path, content)
    assert isinstance(found, AlignmentError)
    assert found.reason == reason
    assert found.detail.startswith("clip.TextGrid")
    assert detail in found.detail


def test_files_are_found_below_a_directory(tmp_path: Path) -> None:
    folder = tmp_path / "mfa"
    for speaker in ("anna", "bert"):
        (folder / speaker).mkdir(parents=True)
        (folder / speaker / "clip.TextGrid").write_text(long_format(*TIERS))
    (folder / "anna" / "._clip.TextGrid").write_bytes(b"\0")
    aligner = get_aligner("textgrid", folder)
    assert aligner is not None
    own = utterance(tmp_path, path=tmp_path / "audio" / "anna" / "clip.wav")
    assert aligner.files([own]) == (folder / "anna" / "clip.TextGrid",)
    speakers = utterance(tmp_path, speaker_id="bert")
    assert aligner.files([speakers]) == (folder / "bert" / "clip.TextGrid",)
    with pytest.raises(AlignmentError, match="several TextGrid files of that name") as ambiguous:
        aligner.align(utterance(tmp_path, speaker_id="eve"), np.zeros(10), RATE)
    assert ambiguous.value.detail == "anna/clip.TextGrid, bert/clip.TextGrid"


def test_a_corpus_without_any_textgrid_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no TextGrid beside the audio.*'clip\.TextGrid'"):
        TextGridAligner().check([utterance(tmp_path)])
    with pytest.raises(BadInputError, match="no such directory of alignments"):
        get_aligner("textgrid", tmp_path / "absent")


@pytest.mark.parametrize(
    ("names", "word", "phone"),
    [
        (("Words", "Phones"), "w0", "w1"),
        (("WORD", "PHONE"), "w0", "w1"),
        (("ORT-MAU", "KAN-MAU", "MAU"), "w0", "w2"),
        (("KAN-MAU", "MAU"), "w0", "w1"),
        (("MAU", "ORT-MAU"), "w1", "w0"),
        (("Anna - words", "Anna - phones"), "w0", "w1"),
        (("words (Anna)", "phones (Anna)"), "w0", "w1"),
        (("anna_word", "anna_phone"), "w0", "w1"),
        (("transcript", "phonemes", "word segments"), "w2", "w1"),
        (("ortho", "words", "comments"), "w1", None),
        (("utterance", "comments"), "w0", None),
        (("Text", "Segments"), "w0", "w1"),
        (("Anna words", "words", "Bert words"), "w0", None),
        (("Bert words", "words"), "w1", None),
    ],
)
def test_the_best_tier_of_words_and_of_phones_is_read(
    tmp_path: Path, names: tuple[str, ...], word: str, phone: str | None
) -> None:
    tiers = [Tier(name=name, intervals=((0.0, 1.5, f"w{i}"),)) for i, name in enumerate(names)]
    found = align(tmp_path, long_format(*tiers))
    assert labels(found) == [(word, 0.0, 1.5)]
    assert labels(found, "phone") == ([(phone, 0.0, 1.5)] if phone else [])
    assert isinstance(found, Alignment)
    assert (textgrid.NOTE_SOUNDS in found.notes) == (names[0] == "KAN-MAU")


def test_a_tier_without_words_leaves_the_choice_to_the_others(tmp_path: Path) -> None:
    empty = ((0.0, 1.5, "<sil>"),)
    for names in (("words", "ortho"), ("Eve - words", "Bert - words")):
        tiers = (Tier(name=names[0], intervals=empty), Tier(name=names[1], intervals=WORDS))
        assert labels(align(tmp_path, short_format(*tiers)))[0] == ("żółć", 0.3, 0.8)


def test_noises_and_punctuation_are_no_words(tmp_path: Path) -> None:
    row = ("sil", "kids,", "<laugh>", "Are", "(laughs)", "spn", "talking.", "[noise]", "…")
    intervals = tuple((i / 10, (i + 1) / 10, text) for i, text in enumerate(row))
    found = align(tmp_path, short_format(Tier(name="words", intervals=intervals)), 0.9)
    assert labels(found) == [("kids", 0.1, 0.2), ("are", 0.3, 0.4), ("talking", 0.6, 0.7)]
    noise = Tier(name="words", intervals=((0.0, 1.5, "<laugh>"),))
    failed = align(tmp_path, short_format(noise))
    assert isinstance(failed, AlignmentError)
    assert failed.args == (tidy.FAIL_NO_WORDS, "clip.TextGrid: words")


def test_an_interval_of_several_words_is_shared_equally_and_said(tmp_path: Path) -> None:
    tier = Tier(name="ortho", intervals=((0.0, 0.6, "Kids are (laughs) talking."), (0.6, 1.5, "")))
    found = align(tmp_path, short_format(tier))
    assert labels(found) == [("kids", 0.0, 0.2), ("are", 0.2, 0.4), ("talking", 0.4, 0.6)]
    assert isinstance(found, Alignment)
    assert found.notes == (textgrid.NOTE_PHRASES, textgrid.NOTE_NO_PHONES)


def test_older_headers_are_read_and_other_files_of_praat_are_named(tmp_path: Path) -> None:
    text = short_format(*TIERS)
    old = text.replace('"ooTextFile"', '"ooTextFile short"').replace("Object class = ", "")
    assert labels(align(tmp_path, old))[0] == ("żółć", 0.3, 0.8)
    other = align(tmp_path, text.replace('"TextGrid"', '"Pitch 1"'))
    assert isinstance(other, AlignmentError)
    assert other.detail.endswith("it is no TextGrid text file; save it as such in Praat")


@pytest.mark.parametrize("suffix", [".TextGrid", ".textgrid", ".TEXTGRID"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("below", [False, True])
def test_files_are_found_in_any_case_of_the_suffix_and_composition_of_the_name(
    tmp_path: Path, suffix: str, form: str, below: bool
) -> None:
    folder = tmp_path / "grids" / "deep" if below else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{unicodedata.normalize(form, 'żółć')}{suffix}"
    path.write_text(long_format(*TIERS), encoding="utf-8")
    aligner = TextGridAligner(tmp_path / "grids" if below else None)
    part = utterance(tmp_path, "żółć", path=tmp_path / "day.wav", start=2.0, end=3.5)
    for one in (utterance(tmp_path, "żółć"), part):
        aligner.check([one])
        assert aligner.files([one]) == (path,)
        found = aligner.align(one, np.zeros(round(1.5 * RATE), np.float32), RATE)
        assert labels(found)[0] == ("żółć", 0.3, 0.8)


def test_the_file_in_the_folders_most_like_the_audios_is_taken(tmp_path: Path) -> None:
    for speaker in ("p", "q"):
        (tmp_path / "mfa" / speaker / "s1").mkdir(parents=True)
        (tmp_path / "mfa" / speaker / "s1" / "clip.TextGrid").write_text(long_format(*TIERS))
    own = utterance(tmp_path, path=tmp_path / "audio" / "q" / "s1" / "clip.wav")
    aligner = TextGridAligner(tmp_path / "mfa")
    assert aligner.files([own]) == (tmp_path / "mfa" / "q" / "s1" / "clip.TextGrid",)


def test_a_part_that_has_the_files_own_name_takes_its_share(tmp_path: Path) -> None:
    found = align(tmp_path, long_format(*TIERS), 0.7, start=0.7, end=1.4)
    assert labels(found) == [("żółć", 0.0, 0.1), ('l"so', 0.1, 0.5)]
    first = align(tmp_path, long_format(*TIERS), 0.6, end=0.6)
    assert labels(first) == [("żółć", 0.3, 0.6)]


_TOKENS = st.sampled_from(
    ['"ooTextFile"', '"TextGrid"', '"IntervalTier"', '"words"', '"', '""', "<exists>", "0", "1",
     "2", "-1", "1.5", "nan", "1e999", "item [1]:", "! x", "\n", "x = "]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=200),
        st.lists(_TOKENS, max_size=40).map(" ".join),
        st.lists(_TOKENS, max_size=30).map(
            lambda t: (
                '"ooTextFile" "TextGrid" 0 2 <exists> 1 "IntervalTier" "words" 0 2 ' + " ".join(t)
            )
        ),
        st.integers(0, 900).map(lambda n: long_format(*TIERS)[:n]),
    )
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        tiers = parse_textgrid(text)
    except ValueError:
        return
    assert all(a <= b for tier in tiers for a, b, _ in tier.intervals)
