"""The emotion vocabulary: one name for each category, and the names that corpora use for it.

Labels that the vocabulary does not know are kept as they are given, in lower case, so that a
corpus with categories of its own works; :func:`nearest_alias` finds the likely misspellings.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

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

_MISSING = frozenset(
    {"", "-", "--", "?", "n/a", "na", "nan", "none", "null", "unknown", "unk", "xxx", "undefined"}
)


def _plain(raw: str) -> str:
    return "_".join(raw.strip().lower().replace("-", " ").replace("_", " ").split())


def is_missing(raw: str) -> bool:
    """Whether a label says that there is none.

    Example:
        >>> is_missing(" N/A "), is_missing("xxx"), is_missing("sad")
        (True, True, False)
    """
    return raw.strip().lower() in _MISSING


def canonical_emotion(raw: str) -> str:
    """Bring a label to the vocabulary; one that it does not know is only put in lower case.

    Example:
        >>> canonical_emotion("Anger"), canonical_emotion("ps"), canonical_emotion("Sarcastic")
        ('angry', 'surprised', 'sarcastic')
    """
    plain = _plain(raw)
    return _ALIASES.get(plain, plain)


def is_known(emotion: str) -> bool:
    """Whether a canonical name belongs to the vocabulary."""
    return emotion in EMOTIONS


def nearest_alias(raw: str) -> str | None:
    """The vocabulary's spelling that an unknown label was probably meant to be, or None.

    Example:
        >>> nearest_alias("angy"), nearest_alias("sarcastic")
        ('angry', None)
    """
    plain = _plain(raw)
    spellings = sorted(alias for alias in _ALIASES if len(alias) > 3)
    near = difflib.get_close_matches(plain, spellings, n=1, cutoff=0.8)
    return near[0] if near and near[0] != plain else None


def class_order(emotions: set[str]) -> tuple[str, ...]:
    """Order class names: the vocabulary's order, then the others by name.

    Example:
        >>> class_order({"sad", "whisper", "angry", "neutral"})
        ('neutral', 'sad', 'angry', 'whisper')
    """
    known = [name for name in EMOTIONS if name in emotions]
    return (*known, *sorted(emotions.difference(EMOTIONS)))


def alias_note(raw_counts: Mapping[str, int]) -> str:
    """Say how a corpus's labels were mapped; empty when every label is canonical.

    Args:
        raw_counts: utterances of each label as written in the corpus.

    Example:
        >>> alias_note({"anger": 3, "sad": 2, "fear": 1})
        'labels mapped: anger → angry (3), fear → fearful (1)'
    """
    mapped = [
        f"{raw.strip()} → {canonical_emotion(raw)} ({count})"
        for raw, count in sorted(raw_counts.items())
        if canonical_emotion(raw) != raw.strip()
    ]
    return f"labels mapped: {', '.join(mapped)}" if mapped else ""
