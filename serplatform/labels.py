"""The emotion vocabulary: one name for each category, and the names that corpora use for it.

Labels that the vocabulary does not know are kept as they are given, in lower case, so that a
corpus with categories of its own works; :func:`nearest_alias` finds the likely misspellings.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

#: canonical names, in the order in which classes are shown
EMOTIONS = (
    "neutral",
    "calm",
    "happy",
    "sad",
    "angry",
    "fearful",
    "disgust",
    "surprised",
    "bored",
    "excited",
    "frustrated",
    "contempt",
)

_ALIASES: dict[str, str] = {
    alias: name
    for name, aliases in {
        "neutral": "neu neut neutrality ntr",
        "calm": "cal calmness relaxed",
        "happy": "hap happiness joy joyful amused amusement",
        "sad": "sadness sorrow",
        "angry": "ang anger hot_anger",
        "fearful": "fea fear afraid anxiety anxious scared",
        "disgust": "dis disgusted",
        "surprised": "sur surprise ps pleasant_surprise pleasant_surprised amazed",
        "bored": "bor boredom",
        "excited": "exc excitement",
        "frustrated": "fru frustration",
        "contempt": "con contemptuous",
    }.items()
    for alias in (name, *aliases.split())
}

_WORDS = r"""n/a n.a na nan nat none null nil \n unknown unk xxx undefined undef missing unspecified
unlabeled unlabelled unidentified unbekannt inconnu inconnue desconocido desconocida desconhecido
sconosciuto nieznany неизвестно 不明 未知 n._a no_label no_speaker no_name unknown_speaker
speaker_unknown not_available not_applicable not_known not_specified not_given keine_angabe"""
_MISSING = frozenset(("", *(w.replace("_", mark) for w in _WORDS.split() for mark in " _-")))
#: around a word, or alone where a cell says that it is empty
_FRAME = " \t\xa0\u200b'\"<>()[]{}#?.…*/_-–—"
#: what a spreadsheet writes for a value that it lacks, in whatever language: #NV, #REF!
_ERROR = re.compile(r"#(N/?[ADV]|[^\W\d_][\w/]*[!?])")


def plain_label(raw: str) -> str:
    """A label as it is compared: composed, in lower case, words joined by ``_``.

    Example:
        >>> plain_label(" Hot-Anger. ")
        'hot_anger'
    """
    raw = unicodedata.normalize("NFC", raw).lower().replace("i̇", "i").strip(" .,;:!'\"")
    return "_".join(raw.replace("-", " ").replace("_", " ").split())


def is_missing(raw: str) -> bool:
    """Whether a label, a speaker or another cell says that there is none.

    Example:
        >>> [is_missing(cell) for cell in (" N/A ", "<NA>", "?", "#NV", "Not-Known", "sad")]
        [True, True, True, True, True, False]
    """
    return raw.strip(_FRAME).lower() in _MISSING or (
        raw[:1] == "#" and _ERROR.fullmatch(raw) is not None
    )


def canonical_emotion(raw: str) -> str:
    """Bring a label to the vocabulary; one that it does not know is only put in lower case.

    Example:
        >>> canonical_emotion("Anger"), canonical_emotion("ps"), canonical_emotion("Sarcastic")
        ('angry', 'surprised', 'sarcastic')
    """
    plain = plain_label(raw)
    return _ALIASES.get(plain, plain)


def is_known(emotion: str) -> bool:
    """Whether a canonical name belongs to the vocabulary."""
    return emotion in EMOTIONS


def nearest_alias(raw: str, others: Iterable[str] = ()) -> str | None:
    """The spelling, of the vocabulary or of ``others``, that a label misses by one slip, or None.

    A slip: a letter too many, too few, another, or two in the wrong order, marks on letters not
    counted. What is further away is another word ("unhappy", "gladness", "distrust").

    Example:
        >>> nearest_alias("angy"), nearest_alias("sarcastic"), nearest_alias("zlosc", ["złość"])
        ('angry', None, 'złość')
    """
    plain = plain_label(raw)
    bare = _unmarked(plain)
    for word in (*_ALIASES, *others):
        near = _unmarked(word)
        if word != plain and len(word) > 3 and (near == bare or _one_slip(bare, near)):
            return word
    return None


def _unmarked(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))


def _one_slip(one: str, other: str) -> bool:
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if start is None:
        return abs(len(one) - len(other)) == 1
    one, other = one[start:], other[start:]
    return (
        one[1:] == other[1:]
        or one[1:] == other
        or one == other[1:]
        or (one[:2] == other[1::-1] and one[2:] == other[2:])
    )


def class_order(emotions: set[str]) -> tuple[str, ...]:
    """Order class names: the vocabulary's order, then the others by name.

    Example:
        >>> class_order({"sad", "whisper", "angry", "neutral"})
        ('neutral', 'sad', 'angry', 'whisper')
    """
    known = [name for name in EMOTIONS if name in emotions]
    return (*known, *sorted(emotions.difference(EMOTIONS)))
