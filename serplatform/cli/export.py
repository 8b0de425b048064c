"""``serplatform export``: a system in one directory that needs nothing else."""

from __future__ import annotations

import shlex
from pathlib import Path, PurePath
from typing import Annotated

import typer

from serplatform.artifacts.layout import no_system
from serplatform.cli.options import AsJson
from serplatform.cli.output import result
from serplatform.console import say
from serplatform.errors import BadInputError
from serplatform.storage.location import parse


def command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|ENS",
            help="What `search --out`, `train --out` or `ensemble --out` wrote, path or URI.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="A new or empty directory, or a URI.  \\[with --onnx: default RUN-onnx]",
            show_default=False,
        ),
    ] = None,
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx",
            help="Write ONNX graphs instead, features in and posteriors out, each compared with "
            "its model on utterances of the dataset.",
        ),
    ] = False,
    trial: Annotated[
        int | None, typer.Option(help="Trial of a run; default: the best on dev.")
    ] = None,
    with_encoder: Annotated[
        bool,
        typer.Option(
            "--with-encoder", help="Pack the pretrained encoders that the models need, too."
        ),
    ] = False,
    encoder_licence: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Licence of the encoders, where neither their files nor their names tell it.",
        ),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="Train each member once on all rows: one model, not tested."),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="With --refit or --onnx: where the dataset lies now, if it has moved.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a bundle: models (safetensors), JSON, and a model card with data and metrics.

    It predicts the same as RUN|ENS on a machine that has neither the run nor the dataset; a
    pretrained encoder must be there too, unless --with-encoder packs it.

    With --refit each member becomes one model, trained on all rows of the dataset: on more
    speakers, and faster to use. No row is left to test it; the numbers that it comes with are
    those of its cross-validated twin, one model a fold.

    Examples:

        serplatform export runs/ravdess --out bundles/best

        serplatform export ensembles/ravdess --out bundles/ravdess

        serplatform export runs/whisper --out bundles/whisper --with-encoder

        serplatform export ensembles/ravdess --out bundles/final --refit

        serplatform export runs/ravdess --onnx --out graphs/ravdess
    """
    if onnx:
        if refit or with_encoder or encoder_licence is not None:
            raise BadInputError(
                "--onnx writes graphs, and --refit, --with-encoder and --encoder-licence are for "
                "bundles: leave them out, or export a bundle first and give it with --onnx"
            )
        _graphs(source, out or f"{source.rstrip('/')}-onnx", trial, data, as_json=as_json)
        return
    if out is None:
        if isinstance(place := parse(source), Path) and not place.exists():
            raise no_system(place)
        bundle_name = PurePath(source).name or "mine"
        raise BadInputError(
            "--out is missing: name a new directory for the bundle, for example\n  "
            + shlex.join(["serplatform", "export", source, "--out", f"bundles/{bundle_name}"])
        )
    from serplatform.api.write import write_bundle
    from serplatform.artifacts.looks import SEALED, LookCount
    from serplatform.prediction.system import not_tested, with_interval

    bundle, size = write_bundle(
        source,
        out,
        trial=trial,
        with_encoder=with_encoder,
        encoder_licence=encoder_licence,
        refit=refit,
        data=data,
    )
    models = len({m["directory"] for fold in bundle["folds"] for m in fold["members"]})
    uar = bundle["description"]["metrics"]["uar"]
    encoders = bundle.get("encoders", [])
    for encoder in encoders:
        if encoder["directory"] is None:
            say(
                f"Note: the pretrained encoder {encoder['name']} is not in the bundle and must be "
                "on the machine that predicts; --with-encoder packs it."
            )
    if refit:
        say(f"Note: {not_tested(bundle['description'])}")
    look = bundle["description"].get("look")
    measured = f"pooled dev UAR {with_interval(uar)}, {SEALED}"
    if look is not None:
        measured = f"pooled test UAR {with_interval(uar)}, {LookCount(**look).short}"
    if refit:
        measured = "not tested"
    result(
        f"Wrote {out}: {models} model{'s' * (models != 1)} ({size / 1e6:.1f} MB), "
        f"{bundle['title']}, {measured}; next: serplatform predict {out} AUDIO",
        {
            "bundle": out,
            "kind": bundle["kind"],
            "models": models,
            "bytes": size,
            "classes": bundle["classes"],
            "synthetic": bundle["synthetic"],
            "uar": None if refit or look is None else uar,
            "look": look,
            "refit": bundle["description"].get("refit"),
            "twin_uar": uar if refit else None,
            "encoders": encoders,
        },
        as_json=as_json,
    )


def _graphs(source: str, out: str, trial: int | None, data: str | None, *, as_json: bool) -> None:
    """``--onnx``."""
    from serplatform.api.write import write_onnx

    found = write_onnx(source, out, trial, data)
    models = found["models"]
    worst = max(model["largest_difference"] for model in models)
    result(
        f"Wrote {out}: {len(models)} graph{'s' * (len(models) != 1)} and their combiner, equal to "
        f"the models of {found['title']} within {worst:.1g} on {found['checked']['utterances']} "
        "utterances; onnx.json says what they read",
        {"directory": out, **found},
        as_json=as_json,
    )
