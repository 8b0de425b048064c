"""``serplatform train``: one configuration over the folds of a protocol."""

from __future__ import annotations

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
from serplatform.cli.run_opening import open_or_create, seconds_left
from serplatform.cli.run_search import describe, finish, run_search


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
    run, num_trials = open_or_create(
        resume=resume,
        out=out,
        architectures=architectures or [],
        data=data,
        protocol=protocol,
        trials=None,
        repeats=repeats,
        exact=True,
        small=False,
        spaces=[],
        settings=setting or [],
        seed=seed,
        objective="uar",
        sampler="random",
        pruner="none",
        storage=None,
        combiner="mean" if repeats > 1 else "none",
    )
    outcome = run_search(
        run,
        num_trials,
        begun=begun,
        seconds=seconds_left(run, num_trials, None),
        workers=workers,
        gpus_per_trial=gpus_per_trial,
        concurrent=concurrent,
        retries=1,
        address=address,
    )
    summary = finish(run, outcome)
    summary["seconds"] = round(time.monotonic() - begun, 1)
    result(describe(summary), summary, as_json=as_json)
