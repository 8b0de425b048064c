"""What is publicly known of a pretrained encoder, by its name: training data, source, licence.

``known_encoders.yaml`` holds it. A name is all that is looked up, and anybody may give any name to
any weights; so each sentence says that it goes by the name, and gives the hash of the weights.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path

from serplatform.strict_yaml import read_yaml

_FILE = Path(__file__).with_name("known_encoders.yaml")


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownEncoder:
    """One entry of the file, whose head says what each value means."""

    title: str
    kind: str
    layers: Mapping[str, int | None]
    data: str
    source: str
    unpublished: str = ""
    emotion: tuple[str, ...] = ()
    labels: bool = False
    licence: str | None = None


@functools.cache
def known_encoders() -> dict[str, KnownEncoder]:
    """Every encoder of the file by its name, in lower case."""
    found: dict[str, KnownEncoder] = {}
    for entry in read_yaml(_FILE)["encoders"]:
        known = KnownEncoder(**{**entry, "emotion": tuple(entry.get("emotion", ()))})
        found |= {name.lower(): known for name in known.layers}
    return found


@functools.cache
def _corpora() -> dict[str, str]:
    return dict(read_yaml(_FILE)["corpora"])


def find_known(encoder: Mapping[str, object]) -> KnownEncoder | None:
    """The entry of an encoder's name, unless its kind or its number of layers is another's.

    Args:
        encoder: its specification: ``name``, and where they are known ``kind``, ``num_layers``.

    Example:
        >>> found = find_known({"name": "whisper-base", "kind": "whisper", "num_layers": 6})
        >>> None if found is None else found.title
        'Whisper'
        >>> find_known({"name": "whisper-base", "kind": "whisper", "num_layers": 2}) is None
        True
    """
    name, kind = str(encoder.get("name", "")).lower(), encoder.get("kind")
    known = known_encoders().get(name)
    if known is None or (known.kind != "text" and kind not in (known.kind, "onnx", None)):
        return None
    expected = next(n for key, n in known.layers.items() if key.lower() == name)
    layers = None if kind == "onnx" else encoder.get("num_layers")
    return known if None in (expected, layers) or expected == layers else None


def trained_on(encoder: Mapping[str, object], corpus: str) -> bool:
    """Whether a corpus (its name in ``prepare``) is among the data that an encoder names."""
    known = find_known(encoder)
    return known is not None and _corpora().get(corpus) in known.emotion


def about_training_data(encoder: Mapping[str, object], corpus: str) -> str:
    """Whether the test rows of a corpus were in an encoder's training data, as far as is known.

    Args:
        encoder: its specification, see :func:`find_known`, with ``sha256``.
        corpus: its name in ``prepare``.
    """
    called = encoder.get("name", "an encoder without a name")
    if encoder.get("sha256"):
        called = f"{called} (SHA-256 {str(encoder['sha256'])[:12]}…)"
    known = find_known(encoder)
    if known is None:
        return (
            f"{called}: what this encoder was trained on is not known here; so it is not known "
            "whether the test rows were in its training data."
        )
    title, where = _corpora().get(corpus), ""
    if title in known.emotion:
        labels = ", with its labels" if known.labels else ", without its labels"
        where = (
            f"{title} is among these data{labels}: the test rows may have been in them, and the "
            "numbers may be too good."
        )
    else:
        hidden = f"; what {known.unpublished} held is not published" if known.unpublished else ""
        if title:
            where = f"{title} is not among the data that its authors name{hidden}."
        else:
            named = ", ".join(known.emotion) or "no corpus of emotion"
            where = (
                f"Its authors name {named}{hidden}. Whether recordings of this dataset were among "
                "these data is not known here."
            )
    return (
        f"{called}, by its name {known.title}, was trained on {known.data} ({known.source}). "
        f"{where} A name can be wrong: only the hash says which weights these are."
    )
