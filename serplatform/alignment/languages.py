"""Codes of languages, however a corpus writes them."""

from __future__ import annotations

import re

#: ISO 639-3 and Whisper's code of each language that Whisper knows, in turn
_CODES = re.findall(
    r"\w+",
    """
    afr af amh am ara ar asm as aze az bak ba bel be ben bn bod bo bos bs bre br bul bg cat ca
    ces cs cym cy dan da deu de ell el eng en est et eus eu fao fo fas fa fin fi fra fr glg gl
    guj gu hat ht hau ha haw haw heb he hin hi hrv hr hun hu hye hy ind id isl is ita it jav
    jw jpn ja kan kn kat ka kaz kk khm km kor ko lao lo lat la lav lv lin ln lit lt ltz lb mal
    ml mar mr mkd mk mlg mg mlt mt mon mn mri mi msa ms mya my nep ne nld nl nno nn nor no nob
    no oci oc pan pa pol pl por pt pus ps ron ro rus ru san sa sin si slk sk slv sl sna sn snd
    sd som so spa es sqi sq srp sr sun su swa sw swe sv tam ta tat tt tel te tgk tg tgl tl tha
    th tuk tk tur tr ukr uk urd ur uzb uz vie vi yid yi yor yo yue yue zho zh cmn zh arb ar
    pes fa zsm ms ekk et lvs lv azj az
    """,
)
_OF_THREE_LETTERS = dict(zip(_CODES[::2], _CODES[1::2], strict=True))


def language_code(language: str) -> str:
    """Whisper's code of a language, from its name or code; what it does not know stays as it is.

    Example:
        >>> [language_code(name) for name in ("en-US", "English", "deu", "pl", "Klingon")]
        ['en', 'en', 'de', 'pl', 'klingon']
    """
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    name = language.strip().lower().replace("_", "-").split("-")[0]
    return _OF_THREE_LETTERS.get(name) or TO_LANGUAGE_CODE.get(name, name)
