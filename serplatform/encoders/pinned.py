"""An encoder named by its name and the checksum of its weights: ``whisper-base@sha256:3f2a…``.

Such a name says which encoder a trained model needs, and not where it lay.
"""

from __future__ import annotations

import re

from serplatform.encoders.base import Encoder
from serplatform.encoders.open import find_encoder, open_encoder
from serplatform.errors import BadInputError

_PINNED = re.compile(r"(?P<name>[\w.-]+)@sha256:(?P<sha256>[0-9a-f]{64})")


def pinned(encoder: Encoder) -> str:
    """The name by which :func:`locate` finds the same weights on any machine."""
    return f"{encoder.name}@sha256:{encoder.sha256}"


def locate(given: str | None) -> Encoder:
    """The encoder of a pinned name, wherever it lies, or of a place.

    Raises:
        BadInputError: none is given, or it is not there; the message says what to do.
    """
    if given is None:
        raise BadInputError(
            "no encoder is named; name the directory of one, or an id in the local cache, "
            "with --set model.encoder=DIRECTORY"
        )
    match = _PINNED.fullmatch(given)
    if match is None:
        return open_encoder(given)
    return find_encoder(match["name"], match["sha256"])
