"""File names as the releases have them, copied from published file lists of the corpora."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from serplatform.corpora.base import CORPORA
from serplatform.corpora.guess import guess

_JL = "Raw JL corpus (unchecked and unannotated)/JL(wav+txt)"

#: names, and how many of them are read in which class; the rest is left out
RELEASES: dict[str, tuple[list[str], dict[str, int], int]] = {
    "tess": (
        [
            *("OAF_ton_happy", "YAF_dab_angry", "YAF_neat_neutral", "OAF_walk_sad"),
            *("OAF_such_fear", "YAF_boat_disgust", "OAF_hurl_ps", "YAF_mob_ps"),
        ],
        {
            **dict.fromkeys(("happy", "angry", "neutral", "sad", "fearful", "disgust"), 1),
            "surprised": 2,
        },
        0,
    ),
    "savee": (
        [
            *("DC_n18", "JK_d07", "KL_h08", "JE_f07", "DC_a15", "JE_n28"),
            *("JK_sa07", "JE_sa14", "KL_su06", "DC_su13"),
        ],
        {
            "neutral": 2,
            "sad": 2,
            "surprised": 2,
            **dict.fromkeys(("disgust", "happy", "fearful", "angry"), 1),
        },
        0,
    ),
    "shemo": (
        [
            *("female/F07S16", "male/M29A08", "male/M04N42", "female/F24A63", "female/F24H22"),
            *("female/F02F01", "female/F21W02", "male/M41A05", "female/F24F01"),
        ],
        {"sad": 1, "angry": 3, "neutral": 1, "happy": 1, "fearful": 2, "surprised": 1},
        0,
    ),
    "jl-corpus": (
        [
            f"{_JL}/{name}"
            for name in (
                *("male2_angry_12a_2", "male1_sad_1a_2", "female2_excited_5a_2"),
                *("male1_happy_7b_2", "female2_neutral_15b_1", "male2_concerned_6b_1"),
                *("female1_apologetic_15b_2", "male2_assertive_7a_2", "male1_anxious_2b_2"),
                "male1_encouraging_12b_2",
            )
        ],
        dict.fromkeys(("angry", "sad", "excited", "happy", "neutral"), 1),
        5,
    ),
}


@pytest.mark.parametrize("corpus", RELEASES)
def test_names_of_the_release(corpus: str, tmp_path: Path) -> None:
    names, classes, left_out = RELEASES[corpus]
    for name in names:
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\1" * 2000)
        path.with_suffix(".txt").write_text("what was said", encoding="utf-8")
    manifest = CORPORA.get(corpus)().scan(tmp_path)
    assert Counter(u.emotion for u in manifest.utterances) == classes
    assert len(manifest.rejections) == left_out
    assert all("secondary emotion" in r.reason for r in manifest.rejections)
    assert guess(tmp_path).corpus == corpus
