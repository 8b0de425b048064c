"""A bundle: one directory with everything a system needs, checked when it is read.

``bundle.json`` lists classes, folds, members, combiners and what is known of data, protocol and
metrics; ``models/<member>/fold-<k>/`` hold the models. The SHA-256 of every file is in
``bundle.json``, and that of its own contents too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from serplatform.artifacts import SCHEMA_VERSION, file_sha256, read_json
from serplatform.config import digest
from serplatform.errors import ArtifactError
from serplatform.prediction.system import FoldSystem, Member, System

BUNDLE_FILE = "bundle.json"
CARD_FILE = "README.md"
KINDS = ("run", "ensemble")


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
    bundle = read_json(file, "bundle description")
    version = bundle.get("schema_version") if isinstance(bundle, dict) else None
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{file}: schema version {version}, but this version of serplatform reads "
            f"{SCHEMA_VERSION}; export again"
        )
    if bundle.get("sha256") != contents_digest(bundle):
        raise ArtifactError(f"{file}: its contents were altered; copy the bundle or export again")
    try:
        faults = _file_faults(path, bundle["files"])
        if faults:
            raise ArtifactError(
                f"{path}: the bundle is not whole; copy it or export it again:", faults
            )
        return _system(path, bundle)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{file}: the bundle is incomplete ({type(error).__name__}: {error}); export again"
        ) from None


def _system(path: Path, bundle: Mapping[str, Any]) -> System:
    listed = {str(PurePosixPath(name).parent) for name in bundle["files"]}
    folds = []
    for entry in bundle["folds"]:
        members = []
        for row in entry["members"]:
            if row["directory"] not in listed:
                raise ValueError(f"no files are listed for {row['directory']}")
            members.append(
                Member(
                    name=str(row["member"]),
                    architecture=str(row["architecture"]),
                    directory=path / row["directory"],
                    position=int(row["position"]),
                    temperature=row["temperature"],
                    share=float(row["share"]),
                )
            )
        folds.append(
            FoldSystem(
                fold=int(entry["fold"]),
                members=tuple(members),
                parameters=entry["parameters"],
                num_candidates=int(entry["num_candidates"]),
            )
        )
    if bundle["kind"] not in KINDS:
        raise ValueError(f"kind is '{bundle['kind']}'")
    return System(
        kind=str(bundle["kind"]),
        source=path,
        title=str(bundle["title"]),
        classes=tuple(bundle["classes"]),
        folds=tuple(folds),
        synthetic=bool(bundle["synthetic"]),
        description=dict(bundle["description"]),
        rejection=bundle.get("rejection"),
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
