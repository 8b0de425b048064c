"""A bundle: one directory with everything a system needs, checked when it is read.

``bundle.json`` lists classes, folds, members, combiners and what is known of data, protocol and
metrics; ``models/<member>/fold-<k>/`` hold the models. The SHA-256 of every file is in
``bundle.json``, and that of its own contents too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from serplatform import plugins
from serplatform.artifacts.bundle import BundleDescription, BundledMember
from serplatform.artifacts.files import file_sha256
from serplatform.artifacts.records import read_record
from serplatform.config import digest
from serplatform.errors import ArtifactError
from serplatform.prediction.system import FoldSystem, Member, System

BUNDLE_FILE = "bundle.json"
CARD_FILE = "README.md"


def contents_digest(bundle: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of everything in ``bundle.json`` but this digest itself."""
    return digest({key: value for key, value in bundle.items() if key != "sha256"})


def read_bundle(path: Path) -> System:
    """Open a bundle and verify every file that prediction uses.

    Raises:
        ArtifactError: a file is missing, truncated or altered, or the bundle is of another
            schema version; every such file is named.
    """
    file = path / BUNDLE_FILE
    bundle = read_record(BundleDescription, file, "bundle description", "export again")
    if bundle["sha256"] != contents_digest(bundle):
        raise ArtifactError(f"{file}: its contents were altered; copy the bundle or export again")
    if faults := _file_faults(path, bundle["files"]):
        raise ArtifactError(f"{path}: the bundle is not whole; copy it or export it again:", faults)
    listed = {str(PurePosixPath(name).parent) for name in bundle["files"]}
    for row in (row for entry in bundle["folds"] for row in entry["members"]):
        if row["directory"] not in listed:
            raise ArtifactError(
                f"{file}: the bundle is incomplete: no files are listed for {row['directory']}; "
                "export again"
            )
    plugins.restore(path, bundle.get("plugins", []), foreign=True)
    return System(
        kind=bundle["kind"],
        source=path,
        title=bundle["title"],
        classes=tuple(bundle["classes"]),
        folds=tuple(
            FoldSystem(
                fold=entry["fold"],
                members=tuple(_member(path, row) for row in entry["members"]),
                parameters=entry["parameters"],
                num_candidates=entry["num_candidates"],
            )
            for entry in bundle["folds"]
        ),
        synthetic=bundle["synthetic"],
        description=bundle["description"],
        rejection=bundle.get("rejection"),
    )


def _member(path: Path, row: BundledMember) -> Member:
    return Member(
        name=row["member"],
        architecture=row["architecture"],
        directory=path / row["directory"],
        position=row["position"],
        temperature=row["temperature"],
        share=row["share"],
    )


def _file_faults(path: Path, files: Mapping[str, str]) -> list[str]:
    faults = []
    for name, expected in files.items():
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or ".." in parts:
            faults.append(f"{name}: leads out of the bundle")
            continue
        file = path / name
        if not file.is_file():
            faults.append(f"{name}: is missing")
        elif file_sha256(file) != expected:
            faults.append(f"{name}: is truncated or altered (its checksum does not match)")
    return faults
