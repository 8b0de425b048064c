"""Text of unknown encoding, and names that systems write in different forms of Unicode."""

from __future__ import annotations

import codecs
import unicodedata

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode_text(content: bytes, errors: str = "replace") -> tuple[str, str]:
    """Decode a text file of unknown encoding; ``errors`` is as for :meth:`bytes.decode`.

    Returns:
        The text without a byte order mark, and its encoding: the one of the mark, UTF-16 (seen by
        its zero bytes), else UTF-8, Windows-1252 or Latin-1, which reads any byte.

    Raises:
        UnicodeDecodeError: UTF-16, or what a mark names, is damaged and ``errors`` is "strict".
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "")
    zeros = [content[start:64:2].count(0) for start in (0, 1)]
    if not encoding and max(zeros) > 4 and not min(zeros):
        encoding = "utf-16-be" if zeros[0] else "utf-16-le"
    if encoding:
        return content.decode(encoding, errors), encoding
    for encoding in ("utf-8", "cp1252"):
        try:
            return content.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1"), "latin-1"


def composed(name: str) -> str:
    """A name with its letters and marks composed (NFC), as most systems write it."""
    return unicodedata.normalize("NFC", name)
