"""Words of transcripts and of labels: many scripts, apostrophes, numbers, noises. Oracle: hand."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serplatform.alignment.tidy import is_special, plain_word
from serplatform.alignment.tokens import label_words, text_notes, tokens, unsegmented

#: words that a reader of the language would count, set apart by " | "
SCRIPTS = {
    "English": ("Wait-- I don't.", "wait | i | don't"),
    "Polish": ("Ile masz LAT, żono?", "ile | masz | lat | żono"),
    "German": ("Heute könnte ich's: Straße!", "heute | könnte | ich's | straße"),
    "French": ("«L’été d'Émile», n'est-ce pas?", "l'été | d'émile | n'est | ce | pas"),
    "Catalan": ("Un col·lega", "un | col·lega"),
    "Turkish": ("İyi günler, ISPARTA", "iyi | günler | isparta"),
    "Vietnamese": ("Tôi nói tiếng Việt.", "tôi | nói | tiếng | việt"),
    "Greek": ("ΚΑΛΟΣ άνθρωπος;", "καλος | άνθρωπος"),
    "Russian": ("Привет, ёлка!", "привет | ёлка"),
    "Hebrew": ("שָׁלוֹם, צה״ל", "שָׁלוֹם | צה״ל"),
    "Arabic": ("السَّلامُ عَلَيْكُمْ، كيف؟", "السَّلامُ | عَلَيْكُمْ | كيف"),
    "Persian": ("می\u200cخواهم بروم", "می\u200cخواهم | بروم"),
    "Hindi": ("नमस्ते, क्या हाल है?", "नमस्ते | क्या | हाल | है"),
    "Tamil": ("தமிழ் மொழி", "தமிழ் | மொழி"),
    "Bengali": ("আমি বাংলায় গান গাই।", "আমি | বাংলায় | গান | গাই"),
    "Amharic": ("አማርኛ፡ቋንቋ።", "አማርኛ | ቋንቋ"),
    "Georgian": ("ქართული ენა", "ქართული | ენა"),
    "Korean": ("한국어를 말해요.", "한국어를 | 말해요"),
    "Chinese": ("我喜欢你。", "我 | 喜 | 欢 | 你"),
    "Japanese": ("私のテスト、です", "私 | の | テスト | で | す"),
    "Thai": ("ผม ไป โรงเรียน แล้ว", "ผม | ไป | โรงเรียน | แล้ว"),
    "Khmer": ("ខ្ញុំ\u200bទៅ\u200bសាលារៀន", "ខ្ញុំ | ទៅ | សាលារៀន"),
    "Burmese": ("ကျွန်တော် ကျောင်း သွား တယ်", "ကျွန်တော် | ကျောင်း | သွား | တယ်"),
    "Tibetan": ("བོད་སྐད།", "བོད | སྐད"),
}


@pytest.mark.parametrize("language", SCRIPTS)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_words_of_a_script_keep_their_marks_however_they_are_composed(
    language: str, form: str
) -> None:
    text, words = SCRIPTS[language]
    expected = unicodedata.normalize("NFC", words).split(" | ")
    assert tokens(unicodedata.normalize(form, text)) == expected
    assert unsegmented(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("... -- … !? ♪ & % $", []),
        ("it's they’re o‘clock rock´n`roll", ["it's", "they're", "o'clock", "rock'n'roll"]),
        ("'em 'cause 'all' dogs' '90s 90's", ["em", "cause", "all", "dogs", "90s", "90's"]),
        ("twenty-one and/or snake_case", ["twenty", "one", "and", "or", "snake", "case"]),
        ("3.5 1,000 11 24.12.2025", ["3.5", "1,000", "11", "24.12.2025"]),
        ("Yes.No a.m. wait:what 12:30", ["yes", "no", "a", "m", "wait", "what", "12", "30"]),
        ("co\u00adop\u00aderate \ufeffa\u200db\u2060c", ["cooperate", "a\u200dbc"]),
        ("ＨＥＬＬＯ　１２３ ｶﾞｷﾞ ﬁne", ["hello", "123", "ガギ", "fine"]),
        ("hi 👩\u200d👩\u200d👧 🇩🇪 1\ufe0f\u20e3 ❤\ufe0f ℹ\ufe0f ok", ["hi", "ok"]),
        ("a\ud800b", ["a", "b"]),
    ],
)
def test_apostrophes_numbers_and_signs(text: str, words: list[str]) -> None:
    assert tokens(text) == words


@pytest.mark.parametrize(
    "noise",
    ["[LAUGHTER]", "[door slam]", "<sil>", "<unk>", "<laugh></laugh>", "{cough}", "{LG}", "++um++",
     "++NAME++", "+BREATHING+", "%hes%", "#noise#", "(laughs)", "((unintelligible))", "(hustet)",
     "(door slams)", "*sigh*", "*clears throat*", "spn", "&=laughs", "&+fr", "xxx", "yyy", "www",
     "【笑】", "（笑）", "</s>"],
)  # fmt: skip
def test_a_noise_is_no_word_of_a_transcript_nor_of_a_label(noise: str) -> None:
    assert tokens(f"so {noise} what {noise}") == ["so", "what"]
    assert label_words(noise) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(well) I (don't know)", ["well", "i", "don't", "know"]),
        ("talkin(g) (be)cause kid(s)", ["talking", "because", "kids"]),
        ("yes(he said) *really*", ["yes", "he", "said", "really"]),
        ("<laugh>I know</laugh>", ["i", "know"]),
        ("I laughed (and then you told me to laugh)", "i laughed and then you told me to laugh"),
        ("1+1+1 a < b 50% of 60%", ["1", "1", "1", "a", "b", "50", "of", "60"]),
        ("&-uh woof@o (unclosed [also", ["uh", "woof", "unclosed", "also"]),
    ],
)
def test_words_in_parentheses_are_kept(text: str, words: list[str] | str) -> None:
    assert tokens(text) == (words.split() if isinstance(words, str) else words)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("ผมไปโรงเรียนแล้วกลับบ้าน", "Thai"),
        ("ผมไปโรงเรียน แล้วกลับบ้าน", "Thai"),  # blanks between phrases only
        ("ຂ້ອຍໄປໂຮງຮຽນແລ້ວ", "Lao"),
        ("ខ្ញុំទៅសាលារៀន", "Khmer"),
        ("ကျွန်တော်ကျောင်းသွားတယ်", "Myanmar"),
    ],
)
def test_text_without_blanks_between_words_is_refused_and_counted(text: str, script: str) -> None:
    assert unsegmented(text) == script
    assert tokens(text) == []
    (note,) = text_notes([text, "Hello there", None, text, ""])
    assert note.startswith(f"2 of 3 transcripts are in {script} script without blanks")
    assert "write blanks (or U+200B) between the words" in note


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("kids,", ["kids"]),
        ("talking.", ["talking"]),
        ("¿qué?", ["qué"]),
        ("«mot»", ["mot"]),
        ("WHAT(2)", ["what"]),
        ("DOGS'(2)", ["dogs'"]),
        ("'em", ["'em"]),
        ("’s", ["'s"]),
        ("'kids'", ["kids"]),
        ("twenty-one", ["twenty-one"]),
        ("a.m.", ["a.m."]),
        ("(kids)", ["kids"]),
        ("de\u0301ja\u0300", ["déjà"]),
        ("今天", ["今天"]),
        ("kids are talking", ["kids", "are", "talking"]),
        ("[door] hi", ["hi"]),
        ("我们今天去学校学习汉语", list("我们今天去学校学习汉语")),
        ("sil", []), ("SP", []), ("h#", []), ("!SIL", []), ("SENT-START", []), ("...", []),
        ("''", []), ("_", []), ("+", []), ("♪", []), ("ผมไปโรงเรียนแล้วกลับบ้าน", []),
    ],
)  # fmt: skip
def test_labels_are_one_word_a_few_or_none(label: str, words: list[str]) -> None:
    assert label_words(label) == words


def test_the_first_version_of_the_rules_still_reads_as_it_did() -> None:
    text = "Don’t (laugh) 3.5 de\u0301ja\u0300 [X] 我们 İ"
    first = ["don't", "laugh", "3", "5", "de", "ja", "我们", "i̇"]
    assert tokens(text, 1) == first
    assert tokens(text) == ["don't", "3.5", "déjà", "我", "们", "i"]


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=60) | st.text("aÉ'’ʼ(.[]<>*+&%#{}2,-_ \u200b\u200d\u0301ก我", max_size=30))
def test_every_word_is_one_and_stays_one(text: str) -> None:
    for word in tokens(text):
        assert any(map(str.isalnum, word))
        assert not any(map(str.isspace, word))
    for word in label_words(text):
        assert word in ("sil", "sp") or not is_special(word)
        assert plain_word(word) == word


@pytest.mark.parametrize("part", ["<", "(", "[", "*a", "+a", "%a", "'a", "a.", "ก", "&=", "((a)"])
def test_long_damaged_text_takes_no_longer_than_its_length(part: str) -> None:
    def seconds(size: int) -> float:
        begin = time.process_time()
        tokens(part * size)
        label_words(part * size)
        return time.process_time() - begin

    seconds(10)
    assert seconds(100_000) < 5.0  # a second at most on an idle machine; quadratic: minutes
