"""Write a system as a bundle: models, combiners and a model card, in one directory."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from serplatform import plugins
from serplatform.artifacts.bundle import (
    BundledEncoder,
    BundledFold,
    BundledMember,
    PackedEncoders,
    SystemDescription,
    WrittenBundle,
)
from serplatform.artifacts.files import (
    SCHEMA_VERSION,
    file_sha256,
    unfinished_folder,
    write_bytes,
    write_json,
    write_text,
)
from serplatform.artifacts.layout import CONFIG_FILE, WEIGHTS_FILE
from serplatform.artifacts.looks import SEALED, UNSEAL
from serplatform.artifacts.model import ModelDescription, encoder_specs, read_model
from serplatform.artifacts.records import MadeWith
from serplatform.environment import now, versions
from serplatform.errors import ArtifactError, BadInputError
from serplatform.features.names import canonical, family_of
from serplatform.prediction.encoders import bundle_encoder
from serplatform.prediction.model_card import describe, model_card
from serplatform.prediction.open import (
    BUNDLE_FILE,
    CARD_FILE,
    contents_digest,
    open_system,
    read_bundle,
)
from serplatform.prediction.rejection import rejection_data
from serplatform.prediction.system import MemberModel, PredictionSystem
from serplatform.storage.destination import NEW, check_directory


def export(
    source: Path,
    out: Path,
    *,
    trial: int | None = None,
    with_encoder: bool = False,
    encoder_licence: str | None = None,
    refit: bool = False,
    data: str | Path | None = None,
) -> WrittenBundle:
    """Write the bundle of a run or an ensemble; it appears whole or not at all.

    Args:
        source: a run or an ensemble.
        out: a directory that does not exist or is empty.
        trial: of a run; None: the best on dev.
        with_encoder: pack the pretrained encoders that the models need.
        encoder_licence: of them, which lets them be passed on; None: as their files state it, or
            as it is known by their names.
        refit: train each member once on all rows, see :func:`refit_system`.
        data: where the dataset for that lies now; None: where it lay when the run was begun.

    Returns:
        the content of ``bundle.json``.

    Raises:
        BadInputError: ``source`` is neither, ``out`` is in use, an encoder cannot be packed, or
            what ``refit`` needs is not there.
        ArtifactError: a model is missing or damaged, or the dataset is another.
    """
    if (source / BUNDLE_FILE).is_file():
        raise BadInputError(f"{source}: is a bundle already; copy the directory")
    if data is not None and not refit:
        raise BadInputError("--data is for --refit and --onnx, which read it; leave it out")
    check_directory(out, NEW)
    system = open_system(source, trial)
    with whole_folder(out) as temporary:
        description = describe(system)
        configs = [read_model(member.directory) for member in system.members]
        corpus = str(description["data"].get("corpus"))
        encoders, files = _bundle_encoders(
            configs, temporary, corpus=corpus, pack=with_encoder, licence=encoder_licence
        )
        if with_encoder and not encoders:
            raise BadInputError(
                f"--with-encoder: no model of {system.title} reads a pretrained encoder; leave it "
                "out"
            )
        if refit:
            from serplatform.prediction.refit import refit_system

            if "sealed" in description:
                raise BadInputError(f"{source}: {SEALED}, and --refit trains on them; {UNSEAL}")

            again = temporary / "again"
            system, description["refit"] = refit_system(system, again, data)
            description["title"] += ", trained again on all rows"
        bundle = _write(system, description, temporary, configs, encoders, files)
        if refit:
            shutil.rmtree(again)
        read_bundle(temporary)
    return bundle


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``out`` at the end of the block, or never does."""
    target = Path(os.path.realpath(out))
    with contextlib.ExitStack() as ends:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = ends.enter_context(unfinished_folder(target))
        except OSError as error:
            raise BadInputError(f"{out}: cannot be made ({error.strerror}); name another") from None
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        temporary.rename(target)  # an empty directory gives way


def _bundle_encoders(
    configs: list[ModelDescription], folder: Path, **options: Any
) -> tuple[list[BundledEncoder], dict[str, str]]:
    """Every encoder that models read, see :func:`bundle_encoder`."""
    encoders: list[BundledEncoder] = []
    files: dict[str, str] = {}
    for spec in encoder_specs(configs):
        described, packed = bundle_encoder(spec, folder, **options)
        encoders.append(described)
        files |= packed
    return encoders, files


def _write(
    system: PredictionSystem,
    description: SystemDescription,
    folder: Path,
    configs: list[ModelDescription],
    encoders: list[BundledEncoder],
    files: dict[str, str],
) -> WrittenBundle:
    names: dict[str, str] = {}
    folds: list[BundledFold] = []
    for fold in system.folds:
        members: list[BundledMember] = []
        for member in fold.members:
            place = f"models/{directory_name(member.name, names)}/{member.directory.name}"
            if f"{place}/{CONFIG_FILE}" not in files:
                files |= _copy_model(member, folder, place)
            members.append(
                {
                    "member": member.name,
                    "architecture": member.architecture,
                    "directory": place,
                    "position": member.position,
                    "temperature": member.temperature,
                    "share": member.share,
                }
            )
        folds.append(
            {
                "fold": fold.fold,
                "members": members,
                "num_candidates": fold.num_candidates,
                "parameters": None if fold.parameters is None else dict(fold.parameters),
            }
        )
    rejection = None
    with contextlib.suppress(ArtifactError):  # an ensemble of an earlier version has none
        rejection = rejection_data(system)
    recorded = _plugins(system, configs)
    files |= plugins.write(folder, recorded)
    packed: PackedEncoders = {"encoders": encoders} if encoders else {}
    bundle: WrittenBundle = {
        "schema_version": SCHEMA_VERSION,
        "kind": system.kind,
        "title": description["title"],
        "classes": list(system.classes),
        "synthetic": system.synthetic,
        "identity": "" if "refit" in description else system.identity,
        "folds": folds,
        "description": description,
        "rejection": rejection,
        "files": files,
        **recorded,
        **packed,
        "made": now(),
        "versions": versions(),
        "sha256": "",
    }
    bundle["sha256"] = contents_digest(bundle)
    write_text(folder / CARD_FILE, model_card(bundle))
    write_json(folder / BUNDLE_FILE, bundle)
    return bundle


def _plugins(system: PredictionSystem, configs: Sequence[ModelDescription]) -> MadeWith:
    """What was imported and is used by a model or a combiner of the system."""
    combiners = [str(fold.parameters["combiner"]) for fold in system.folds if fold.parameters]
    return plugins.made_with(
        architecture=[config["architecture"] for config in configs],
        feature=[f for config in configs for f in config["preprocessing"]["feature"].split("+")],
        combiner=combiners,
    )


def directory_name(member: str, names: dict[str, str]) -> str:
    """A directory name of its own for each member, made of plain characters."""
    if member not in names:
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in member)
        plain = plain.strip("-")[-60:] or "member"
        numbered = (f"{plain}-{count}" for count in itertools.count(2))
        free = (name for name in itertools.chain([plain], numbered) if name not in names.values())
        names[member] = next(free)
    return names[member]


def _copy_model(member: MemberModel, folder: Path, place: str) -> dict[str, str]:
    """Copy a model after reading it whole; return the checksums of its files."""
    from serplatform.training.bundle import load_model

    load_model(member.directory)
    target = folder / place
    write_bytes(target / WEIGHTS_FILE, (member.directory / WEIGHTS_FILE).read_bytes())
    config = read_model(member.directory)
    vectors = config["data"].get("word_vectors")
    if (
        isinstance(vectors, str) and vectors
    ):  # the vectors are in the weights; where the file lay is nobody's business
        named = canonical(vectors) if family_of(vectors) else Path(vectors).name
        config["data"]["word_vectors"] = named
    write_json(target / CONFIG_FILE, config)
    return {f"{place}/{name}": file_sha256(target / name) for name in (WEIGHTS_FILE, CONFIG_FILE)}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
