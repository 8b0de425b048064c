"""Sort phone labels into vowels, consonants, silence and the rest, whatever writes them.

The labels show which of three notations a corpus is written in: ARPAbet (pocketsphinx, IEMOCAP,
TIMIT, the Montreal Forced Aligner's ``arpa`` models), the International Phonetic Alphabet (its
``mfa`` models), or an ASCII phonetic alphabet in which the first character decides (espeak-ng's
mnemonics, SAMPA). ``V`` is a consonant in ARPAbet and a vowel in the others.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Literal, get_args

PhoneClass = Literal["vowel", "consonant", "silence", "other"]
Notation = Literal["arpabet", "ipa", "ascii"]

#: in the order in which results are shown
PHONE_CLASSES: tuple[PhoneClass, ...] = get_args(PhoneClass)

_SILENCE = frozenset({"", "sil", "sp", "pau", "epi", "h#", "#h", "<s>", "</s>", "<sil>", "<eps>"})
_SILENCE |= {"<p:>", "_", "_:", "sp_s", "#"}
_NOISE = frozenset({"spn", "nsn", "lau", "laugh", "garbage", "noise", "brth", "unk", "<unk>"})

#: with TIMIT's additions: reduced vowels, syllabic consonants, closures and flaps
_ARPABET_VOWELS = frozenset(
    re.findall(r"\w+", "aa ae ah ao aw ax axh axr ay eh er ey ih ix iy ow oy uh uw ux")
)
_ARPABET_CONSONANTS = frozenset(
    re.findall(
        r"\w+",
        "b bcl ch d dcl dh dx el em en eng f g gcl hh hv jh k kcl l m n ng nx p pcl q r s sh t tcl "
        "th v w wh y z zh",
    )
)
_IPA_VOWELS = frozenset("iyɨʉɯuɪʏʊeøɘɵɤoəɛœɜɞʌɔæɐaɶɑɒɚɝᵻᵿ")
#: first characters of espeak-ng's mnemonics and of SAMPA's symbols; a consonant is any other letter
_ASCII_VOWELS = frozenset("aAeEiIoOuUyYVQ@0123678{}&9")
_STRESS = "'\",%=|ˈˌ-`~.:"


def phone_class(label: str, notation: Notation) -> PhoneClass:
    """Sort one label; ``other``: noises, fillers and labels that are not of the notation."""
    text = label.strip()
    lower = text.lower()
    if lower in _SILENCE or lower.startswith("_") or (_bracketed(text) and lower[1:-1] in _SILENCE):
        return "silence"
    if lower in _NOISE or _bracketed(text):
        return "other"
    if notation == "arpabet":
        plain = lower.rstrip("0123456789")
        if plain in _ARPABET_VOWELS:
            return "vowel"
        return "consonant" if plain in _ARPABET_CONSONANTS else "other"
    plain = text.lstrip(_STRESS)
    if not plain:
        return "other"
    if notation == "ipa":
        base = unicodedata.normalize("NFD", plain)[0]
        if base in _IPA_VOWELS:
            return "vowel"
        return "consonant" if base.isalpha() else "other"
    if plain[0] in _ASCII_VOWELS:
        return "vowel"
    return "consonant" if plain[0].isalpha() or plain[0] in "?45" else "other"


def plain_phone(label: str, notation: Notation) -> str:
    """A phone without its mark of stress; of ARPAbet in capitals.

    Example:
        >>> plain_phone("ow1", "arpabet"), plain_phone("'eI", "ascii"), plain_phone("ˈa", "ipa")
        ('OW', 'eI', 'a')
    """
    text = label.strip()
    return text.upper().rstrip("012") if notation == "arpabet" else text.lstrip("',ˈˌ")


def phone_notation(counts: Mapping[str, int]) -> Notation:
    """Tell the notation of a corpus from its labels and how often each occurs.

    Letters beyond ASCII are IPA. Else it is ARPAbet where the labels are, in one case and at
    least nine in ten; the rest has its meaning in the first character.
    """
    spoken = {
        label.strip(): count
        for label, count in counts.items()
        if phone_class(label, "ascii") in ("vowel", "consonant")
    }
    if any(not c.isascii() and c.isalpha() for label in spoken for c in label.strip(_STRESS)):
        return "ipa"
    total = sum(spoken.values())
    for case in (str.upper, str.lower):
        fitting = sum(
            count
            for label, count in spoken.items()
            if label == case(label) and phone_class(label, "arpabet") != "other"
        )
        # every ARPAbet alphabet has vowels of two letters; SAMPA's consonants alone would fit
        paired = any(label.lower().rstrip("0123456789") in _ARPABET_VOWELS for label in spoken)
        if total and paired and fitting >= 0.9 * total:
            return "arpabet"
    return "ascii"


def _bracketed(text: str) -> bool:
    """Whether a label is a filler or noise in brackets: ``+SPN+``, ``[NOISE]``, ``<unk>``."""
    pairs = (("+", "+"), ("[", "]"), ("{", "}"), ("<", ">"))
    return len(text) > 2 and any(text.startswith(a) and text.endswith(b) for a, b in pairs)
