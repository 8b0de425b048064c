"""Phone labels of the alignments that the platform reads, sorted into classes."""

from collections import Counter

import pytest

from serplatform.alignment.phone_classes import PHONE_CLASSES, phone_class, phone_notation

#: pocketsphinx's English model, with the marks of the CMU dictionary on some
POCKETSPHINX = {
    "vowel": "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW AH0 IY1 ER2",
    "consonant": "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH",
    "silence": "SIL <sil> <s> </s>",
    "other": "+SPN+ +NSN+ ++NOISE++ [LAUGHTER] +BREATHING+",
}
#: what the demo corpus (espeak-ng, American voices) holds
ESPEAK = {
    "vowel": "'0 @2 'eI I 'a 3 'E I# 'aa ,aU O2 'O@ ,i@3 'oU aI 'o@ @L i: A: V 0# u:",
    "consonant": "t n s d g D z p r h b l k T S Z N tS dZ j w v f m ? t# n-",
    "silence": "_: _ ",
    "other": "",
}
#: the Montreal Forced Aligner's english_mfa and polish_mfa models
IPA = {
    "vowel": "ɪ iː æ ə ɚ ɝ aj aw ej ow ɔj ʉː ɛ̃ ɨ ˈa ɔ",
    "consonant": "tʰ pʲ ɹ ŋ n̩ θ ð tʃ dʒ ʂ ɕ t͡s ʎ ɾ",
    "silence": "sil",
    "other": "spn",
}
#: SAMPA as BAS WebMAUS writes it, German and English
SAMPA = {
    "vowel": "a: E: 9 2: 6 @ Y I U { V Q 3: aI OY",
    "consonant": "b d g t S z R N C x ? T D pf",
    "silence": "<p:>",
    "other": "<nib>",
}


@pytest.mark.parametrize(
    ("labels", "notation"),
    [(POCKETSPHINX, "arpabet"), (ESPEAK, "ascii"), (IPA, "ipa"), (SAMPA, "ascii")],
)
def test_every_label_of_an_alphabet_is_sorted_and_its_notation_told(labels, notation):
    counts = Counter(label for text in labels.values() for label in text.split(" ") if label)
    assert phone_notation(counts) == notation
    for expected, text in labels.items():
        assert expected in PHONE_CLASSES
        for label in filter(None, text.split(" ")):
            assert phone_class(label, notation) == expected, label


def test_timit_labels_in_lower_case_are_arpabet():
    text = "h# sh ix hv eh dcl jh ih dcl d ah kcl k s ux q en gcl g axr pau"
    counts = Counter(text.split(" "))
    assert phone_notation(counts) == "arpabet"
    classes = [phone_class(x, "arpabet") for x in ("axr", "ux", "en", "kcl", "q", "pau", "h#")]
    assert classes == ["vowel", "vowel", "consonant", "consonant", "consonant"] + 2 * ["silence"]


def test_what_means_two_things_is_told_by_the_company_it_keeps():
    assert phone_class("V", "arpabet") == "consonant"
    assert phone_class("V", "ascii") == "vowel"
    assert phone_notation({"V": 5, "T": 3, "UW1": 4}) == "arpabet"
    assert phone_notation({"V": 5, "t": 3, "u:": 4}) == "ascii"


def test_a_gap_is_silence_and_nothing_is_not_a_notation_to_fail_on():
    assert phone_class("", "arpabet") == "silence"
    assert phone_class("  sp ", "ipa") == "silence"
    assert phone_notation({}) == "ascii"
    assert phone_class("'", "ascii") == "other"
