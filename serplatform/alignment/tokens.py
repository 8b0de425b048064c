"""What a word is, in a transcript and in the label of an alignment: one rule for both.

Words lie between the default word boundaries of Unicode (UAX #29), so that combining marks stay
with their letters in every script. Before and after that:

===============================================  ================================================
written                                          read as
===============================================  ================================================
``Don’t``, ``o'clock``, ``l´amour``              ``don't``, ``o'clock``, ``l'amour``: one word each
``twenty-one``, ``and/or``, ``snake_case``       two words; one in the label of an alignment
``3.5``, ``1,000``; ``Yes.No``, ``a.m.``         one word each; two words: a blank was forgotten
composed or not, soft hyphens, full width, ``ﬁ`` composed (NFC), without them, plain letters
``[LAUGHTER]``, ``<sil>``, ``{cough}``, ``【笑】``  no word: whatever stands in such brackets
``++NAME++``, ``+BREATH+``, ``%hes%``, ``#uh#``    no word
``(laughs)``, ``((door slams))``, ``*sigh*``       no word: up to four words, one of them a noise
``(well) talkin(g)``                             ``well``, ``talking``: other words are kept
``&=laughs``, ``&+fr``, ``xxx``, ``yyy``, ``www``    no word (CHAT); ``woof@o`` is ``woof``
``spn``, ``nsn``; in labels also ``sil``, ``sp``, …  no word
punctuation, symbols, emoji                      no word
Chinese characters, hiragana                     a word each (UAX #29); katakana: the whole run
Thai, Lao, Khmer, Burmese and their like         words between blanks or U+200B; text without
                                                 them is refused (:func:`unsegmented`)
===============================================  ================================================

Words are in lower case and not case-folded: word vectors write ``straße``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

import regex

#: Version of these rules. Datasets and models record it as ``word_rules``; where they do not,
#: they are of version 1, and what was learned from its words is still read by it.
RULES = 2

#: sounds and remarks of transcribers: a short text in parentheses or asterisks with one of them
#: is no speech
_NOISES = frozenset(
    re.findall(
        r"\S+",
        """
    laugh laughs laughing laughter chuckle chuckles chuckling giggle giggles giggling cough coughs
    coughing sigh sighs sighing breath breaths breathes breathing inhale inhales exhale exhales
    sniff sniffs sniffles sniffling sob sobs sobbing crying cries scream screams screaming gasp
    gasps groan groans grunt grunts yawn yawns sneeze sneezes hiccup hum hums humming whistle
    whistles throat smack lipsmack noise noises static beep click clicks slam slams pause silence
    music applause unintelligible inaudible indistinct unclear crosstalk cutoff
    lachen lacht hustet husten seufzt seufzen atmet atmen geräusch unverständlich räuspert
    rire rires toux soupir bruit inintelligible risa risas tos suspiro ruido pausa ininteligible
    risate risata ride tosse sospiro rumore riso risos ruído śmiech śmieje kaszel westchnienie
    westchnął szum niezrozumiałe смех смеётся кашель вздох шум 笑 笑声 咳嗽 叹气 噪音 笑い 咳
    """,
    )
)
#: codes that are no words anywhere, and such as only a label holds: ``sil`` is Turkish for "wipe"
_CODES = frozenset({"spn", "nsn", "xxx", "yyy", "www"})
_LABEL_CODES = _CODES | {"sil", "sp", "unk", "eps", "h#", "sent-start", "sent-end"}
_LABEL_CODES |= {"vocnoise", "iver", "spoken_noise"}

_FORMS = regex.compile(r"[\uFB00-\uFDFF\uFE70-\uFEFC\uFF01-\uFFEE]+")  # ligatures, widths
_INVISIBLE = regex.compile(r"(?V1)[\p{Cf}--[\u200B-\u200D]]")
_APOSTROPHE = regex.compile(r"(?<=[\w\p{M}])['’‘ʼ´`](?=\w)")
_MARK = regex.compile(
    r"\[[^][]*\]|【[^【】]*】|〔[^〔〕]*〕|<[^<>]*>|\{[^{}]*\}|\+\+[^+]*\+\+|(?<!\w)\+[^\W\d]\w*\+(?!\w)"
    r"|%\w+%|#\w+#|&=\S+|&\+\w+|(?<=\w)@[\w:$]+|\p{Extended_Pictographic}|[0-9#*]\uFE0F?\u20E3"
)
_REMARK = regex.compile(r"(?<!\()\(++([^()]*+)\)++|\*([^*\n]++)\*")
# ``regex`` departs from UAX #29 at an apostrophe before a vowel: outside words there is none left
_APART = regex.compile(r"(?<=\p{L}\p{M}*)[.:](?=\p{L})|['’]|\p{Pc}|\u200B")
_UNSPACED = regex.compile(r"(?:\p{Line_Break=Complex_Context}[\p{M}\u200C\u200D]*)+")
_WORD = regex.compile(rf"(?V1ws){_UNSPACED.pattern}|\b.+?\b")
_LETTER = regex.compile(r"\p{Lo}")
_EDGES = regex.compile(r"^[^\w']+|[^\w\p{M}']+$")
_HAN_RUN = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]{9,}")
#: Where words are written apart, the letters of a run, counted without marks, are at most this
#: many on average, and at most that many in one.
_MEAN_LETTERS, _MOST_LETTERS = 6, 15


def tokens(text: str, rules: int = RULES) -> list[str]:
    """Split a transcript into lower-case words by the table above, in a version of its rules.

    Returns:
        The words; none where the text is refused (:func:`unsegmented`).

    Example:
        >>> tokens("Don’t you -- I'm... (laughs) twenty-one, 3.5 [noise] O'Clock? 我们")
        ["don't", 'you', "i'm", 'twenty', 'one', '3.5', "o'clock", '我', '们']
    """
    if rules == 1:
        text = re.sub(r"\[[^\]]*\]|\+\+[^+]*\+\+|<[^>]*>", " ", text)
        found = re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text)
        return [word.replace("’", "'").lower() for word in found]
    return _split(_plain(text))


def label_words(label: str) -> list[str]:
    """The words of one interval of an alignment: one, none, or several.

    A label without blanks is one word, with its hyphens and with an apostrophe at one end.

    Example:
        >>> [label_words(x) for x in ("Kids,", "WHAT(2)", "twenty-one", "'em", "<laugh>", "I am")]
        [['kids'], ['what'], ['twenty-one'], ["'em"], [], ['i', 'am']]
    """
    text = _plain(re.sub(r"(?<=\S)\(\d+\)$", "", label.strip())).replace("’", "'").strip()
    if text in _LABEL_CODES or regex.fullmatch(r"!\w+", text):
        return []
    if len(text.split()) > 1 or _HAN_RUN.search(text) or "\u200b" in text:
        return _split(text)
    word = _EDGES.sub("", text).replace("ʼ", "'").strip("_")
    word = word[1:-1] if word[:1] == word[-1:] == "'" else word  # a quotation
    if regex.fullmatch(r"(?:\p{L}\.)+\p{L}", word) and f"{word}." in text:
        word += "."  # a.m.
    longest = max(map(_letters, _UNSPACED.findall(word)), default=0)
    spoken = any(map(str.isalnum, word)) and word not in _LABEL_CODES and longest <= _MOST_LETTERS
    return [word] if spoken else []


def unsegmented(text: str) -> str | None:
    """The script (Thai, Lao, …) of a text whose words cannot be separated without a dictionary."""
    return _unspaced_script(_plain(text))


def text_notes(texts: Iterable[str | None]) -> list[str]:
    """A sentence for each script in which transcripts are refused, with their number."""
    written = [text for text in texts if text]
    refused = Counter(script for text in written if (script := unsegmented(text)))
    return [
        f"{number} of {len(written)} transcripts are in {script} script without blanks between "
        "words: models that read words get no text of them; write blanks (or U+200B) between the "
        "words, or give word times by --align textgrid"
        for script, number in refused.most_common()
    ]


def _plain(text: str) -> str:
    """Composed, in lower case, without noise marks; apostrophes within words are ``ʼ``."""
    text = _FORMS.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text)).lower().replace("i̇", "i")
    return _REMARK.sub(_without_remark, _MARK.sub(" ", _APOSTROPHE.sub("ʼ", text)))


def _without_remark(match: regex.Match[str]) -> str:
    """What is left of ``(…)`` or ``*…*``: a blank for a noise, else the words."""
    inside: str = match[1] if match[2] is None else match[2]
    words = re.findall(r"[^\W\d_]+", inside)
    if len(words) <= 4 and not _NOISES.isdisjoint(words):
        return " "
    return inside if match[2] is None and inside.isalpha() else f" {inside} "


def _split(text: str) -> list[str]:
    if _unspaced_script(text):
        return []
    found = (word.replace("ʼ", "'") for word in _WORD.findall(_APART.sub(" ", text)))
    words = (word.strip("'\u200c\u200d") for word in found)
    return [word for word in words if any(map(str.isalnum, word)) and word not in _CODES]


def _letters(run: str) -> int:
    return len(_LETTER.findall(run))


def _unspaced_script(text: str) -> str | None:
    runs = _UNSPACED.findall(text)
    letters = [_letters(run) for run in runs]
    if not runs or (sum(letters) <= _MEAN_LETTERS * len(runs) and max(letters) <= _MOST_LETTERS):
        return None
    return unicodedata.name(runs[0][0], "unknown").split()[0].title()
