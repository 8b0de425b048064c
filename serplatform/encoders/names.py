"""What an encoder is called: the last part of the place it lies in."""

from __future__ import annotations

import re


def encoder_name(place: str) -> str:
    """The last part of a directory, ONNX file or id, without the file's ending.

    Of a snapshot in the hub's cache it is the model's name. Signs other than letters, digits,
    ``.``, ``_`` and ``-`` become ``-``.

    Example:
        >>> [encoder_name(place) for place in ("/models/whisper-base/", "a/hubert b", "e.onnx")]
        ['whisper-base', 'hubert-b', 'e']
        >>> encoder_name("hub/models--a--hubert/snapshots/5c4d")
        'hubert'
    """
    parts = re.split(r"[/\\]", place.rstrip("/\\"))
    if len(parts) > 2 and parts[-2] == "snapshots":
        parts = parts[-3].split("--")
    return re.sub(r"[^\w.-]", "-", parts[-1].removesuffix(".onnx"))
