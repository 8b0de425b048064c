"""``serplatform train``: one configuration over the folds of a protocol."""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated

import typer

from serplatform.cli.options import AsJson, Resources, RunOptions
from serplatform.cli.output import result
from serplatform.cli.search import describe, show_parameters
from serplatform.console import stage


def command(
    architectures: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARCH...", help="Architectures to train, or `all`."),
    ] = None,
    *,
    of_run: RunOptions,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="KEY=VALUE instead of the paper's; may be repeated; `help` lists the keys.",
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Times to train each, with seeds of their own.")
    ] = 1,
    resources: Resources,
    as_json: AsJson = False,
) -> None:
    """Train one configuration, the paper's by default, over all folds.

    Models, posteriors and the report are written as by a search.

    Examples:

        serplatform train csa --data data/ravdess

        serplatform train moma --data data/ravdess --set hidden_dim=128 --repeats 5
    """
    if "help" in (setting or ()):
        show_parameters(architectures or (), as_json=as_json)
        return
    begun = time.monotonic()
    stage("reading the request")
    from serplatform.api.execute import carry_out
    from serplatform.studies.request import SearchRequest

    request = SearchRequest(
        architectures=tuple(architectures or ()),
        dataset=of_run.dataset(),
        protocol=of_run.protocol,
        settings=tuple(setting or ()),
        repeats=repeats,
        seed=of_run.seed,
        sealed=of_run.seal,
        log=tuple(of_run.log or ()),
    )
    limits, request = resources.limits(begun), request.of_one_configuration()
    summary = carry_out(request, limits, of_run.out, resume=of_run.resume)
    result(describe(summary), dataclasses.asdict(summary), as_json=as_json)
