"""``serplatform train``: one configuration over the folds of a protocol."""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated

import typer

from serplatform.cli.options import (
    Address,
    AsJson,
    Concurrent,
    Data,
    GpusPerTrial,
    Protocol,
    Resume,
    RunOut,
    Seed,
    Workers,
)
from serplatform.cli.output import result
from serplatform.cli.search import describe
from serplatform.console import say


def command(
    architectures: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARCH...", help="Architectures to train, or `all`."),
    ] = None,
    data: Data = None,
    protocol: Protocol = None,
    out: RunOut = None,
    resume: Resume = False,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE instead of the paper's; may be repeated."),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Times to train each, with seeds of their own.")
    ] = 1,
    workers: Workers = 1,
    gpus_per_trial: GpusPerTrial = None,
    concurrent: Concurrent = None,
    seed: Seed = 0,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Train one configuration, the paper's by default, over all folds.

    Models, posteriors and the report are written as by a search.

    Examples:

        serplatform train csa --data data/ravdess

        serplatform train moma --data data/ravdess --set hidden_dim=128 --repeats 5
    """
    begun = time.monotonic()
    say("Reading the request …")
    from serplatform.api.execute import carry_out
    from serplatform.distributed.tune.placement import SearchLimits
    from serplatform.studies.setup import SearchRequest

    request = SearchRequest.of_training(
        architectures=tuple(architectures or ()),
        dataset=data,
        protocol=protocol,
        settings=tuple(setting or ()),
        repeats=repeats,
        seed=seed,
    )
    limits = SearchLimits(
        begun=begun,
        workers=workers,
        gpus_per_trial=gpus_per_trial,
        concurrent=concurrent,
        address=address,
    )
    summary = carry_out(request, limits, out, resume=resume)
    result(describe(summary), dataclasses.asdict(summary), as_json=as_json)
