"""Pretrained encoders in a bundle: what it says of them, and whether it may hold them."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from serplatform.artifacts.bundle import BundledEncoder
from serplatform.artifacts.files import atomic_path, file_sha256
from serplatform.encoders.base import Encoder
from serplatform.encoders.open import find_encoder
from serplatform.encoders.text import KINDS, TextEncoder, find_text_encoder
from serplatform.errors import BadInputError
from serplatform.papers.known_encoders import about_training_data, find_known

#: where a bundle keeps encoders
ENCODERS_FOLDER = "encoders"

#: licences that let anybody pass the weights on, unchanged
_FREE = re.compile(r"(mit|isc|apache-2\.0|bsd-.+|cc0-1\.0|cc-by-.+)", re.IGNORECASE)
_LICENCE_LINE = re.compile(r"^licen[sc]e:\s*['\"]?([\w.+-]+)", re.MULTILINE | re.IGNORECASE)


def bundle_encoder(
    spec: Mapping[str, object],
    folder: Path,
    *,
    corpus: str,
    pack: bool,
    licence: str | None,
) -> tuple[BundledEncoder, dict[str, str]]:
    """Describe an encoder for a bundle, and copy its files into it where they are asked for.

    Args:
        spec: of the encoder.
        folder: of the bundle.
        corpus: that the models were trained on.
        pack: copy it.
        licence: that the user states; None: see :func:`find_licence`.

    Returns:
        what the bundle says of it, and the SHA-256 of each file copied.

    Raises:
        BadInputError: it is to be copied and is not here, or nothing says that it may be.
    """
    name, sha256 = str(spec["name"]), str(spec["sha256"])
    encoder: Encoder | TextEncoder | None = None
    find = find_text_encoder if spec.get("kind") in KINDS else find_encoder
    with contextlib.nullcontext() if pack else contextlib.suppress(BadInputError):
        encoder = find(name, sha256, (), spec)
    licence = licence or find_licence(spec, encoder)
    described: BundledEncoder = {
        "name": name,
        "sha256": sha256,
        "directory": None,
        "licence": licence,
        "bytes": None if encoder is None else sum(f.stat().st_size for f in encoder.files),
        "about": about_training_data(spec, corpus),
    }
    if not pack or encoder is None:
        return described, {}
    if licence is None:
        raise BadInputError(
            f"--with-encoder: no licence is known for {name} ({encoder.path}), so it is not known "
            "whether it may be passed on; put its LICENSE file into its directory, name the "
            "licence with --encoder-licence TEXT, or leave --with-encoder out"
        )
    place = f"{ENCODERS_FOLDER}/{name}"
    if (folder / place).exists():  # of another encoder of this name
        place += f"-{sha256[:8]}"
    described["directory"] = place
    files = {}
    for file in encoder.files:
        with atomic_path(folder / place / file.name) as temporary:
            shutil.copyfile(file, temporary)
        files[f"{place}/{file.name}"] = file_sha256(folder / place / file.name)
    return described, files


def find_licence(spec: Mapping[str, object], encoder: Encoder | TextEncoder | None) -> str | None:
    """The licence that an encoder's own files state, else what is known by its name."""
    for file in () if encoder is None else encoder.files:
        if file.name.startswith("LICENSE"):
            return f"as stated in its file {file.name}"
        if file.name == "README.md":
            found = _LICENCE_LINE.search(file.read_text(encoding="utf-8", errors="replace"))
            if found and _FREE.fullmatch(found[1]):
                return found[1]
    known = find_known(spec)
    if known is None or known.licence is None:
        return None
    return f"{known.licence}, as known by its name"
