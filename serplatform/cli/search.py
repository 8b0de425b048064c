"""``serplatform search``: find the best configuration of each architecture."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from serplatform.cli.answer import describe_answer
from serplatform.cli.options import AsJson, Resources, RunOptions, TimeBudget
from serplatform.cli.output import result
from serplatform.console import format_duration, parse_duration, parse_timeout, stage

if TYPE_CHECKING:
    from serplatform.api.execute import SearchSummary


def command(
    architectures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARCH...",
            help="Architectures to search, or `all`; none: the portfolio, strong and cheap "
            "systems first.",
        ),
    ] = None,
    *,
    of_run: RunOptions,
    trials: Annotated[
        str | None,
        typer.Option(
            help="Trials over all architectures and the life of the run; with --resume, `+N` adds "
            "N to what the run was last asked for (where that was a time: to the trials begun). "
            "With --nested, in each study."
        ),
    ] = None,
    time_budget: TimeBudget = None,
    space: Annotated[
        list[str] | None,
        typer.Option(help="Search space: a YAML file or a packaged name; may be repeated."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="KEY=VALUE, held in every trial; may be repeated; `help` lists the keys."
        ),
    ] = None,
    small: Annotated[
        bool | None,
        typer.Option(
            "--small/--full",
            help="Packaged spaces of reduced sizes or of the papers' own; default: the papers' "
            "where a trial of theirs takes at most a tenth of the time budget (two hours without "
            "one), reduced for the demo corpus.",
        ),
    ] = None,
    resources: Resources,
    objective: Annotated[
        str,
        typer.Option(help="Dev metric to optimise; several, e.g. `uar,parameters`, for a front."),
    ] = "uar",
    sampler: Annotated[str, typer.Option(help="tpe, random or gp.")] = "tpe",
    pruner: Annotated[str, typer.Option(help="folds, asha, median, hyperband or none.")] = "folds",
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN",
            help="An earlier run of the same architectures, path or URI: its best configurations "
            "are tried first; with the same dataset and folds, the sampler learns from all its "
            "trials. May be repeated.",
        ),
    ] = None,
    nested: Annotated[
        bool,
        typer.Option(
            "--nested",
            help="A study for each outer fold, steered by its dev rows alone; a trial trains one "
            "fold. Without it the mean over folds steers, whose dev rows other folds may test.",
        ),
    ] = False,
    storage: Annotated[
        str | None,
        typer.Option(help="Optuna storage URL; default: a journal file in the run."),
    ] = None,
    retries: Annotated[
        int,
        typer.Option(
            min=0,
            help="Times a trial is tried again, from its last saved epoch, when it raised, its "
            "process died or hung; one that became NaN would again, and is not.",
        ),
    ] = 1,
    trial_timeout: Annotated[
        str | None,
        typer.Option(
            help="An epoch that takes longer, e.g. `45m`, is taken to hang: its process is ended "
            "and the trial retried. Default: 30 times the slowest epoch of the architecture so "
            "far, at least 10 minutes, 1 hour before the first; `never`."
        ),
    ] = None,
    reference: Annotated[
        bool,
        typer.Option(
            "--reference/--no-reference",
            help="Also train an SVM of fixed settings, in seconds, and compare with it.",
        ),
    ] = True,
    combiner: Annotated[
        str | None,
        typer.Option(
            help="Ensemble made at the end, `product` by default; `none` leaves it to `ensemble`."
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain/--no-explain",
            help="At the end, ask the best models what they attend to, for at most half a minute.",
        ),
    ] = True,
    audio: Annotated[
        bool | None,
        typer.Option(
            "--audio/--no-audio",
            help="Put the sound of utterances so explained into the report; default: only where "
            "the corpus may be passed on without conditions.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search hyperparameters of one or several architectures.

    The first trial of each architecture is its paper's own configuration, unless a space of your
    own does not hold it. Trials are chosen, stopped and compared by dev rows only; at the end an
    ensemble of all finished trials, what the best models attend to and a report are written into
    the run.

    Examples:

        serplatform search --data data/mine

        serplatform search moma

        serplatform search moma blstmatt csa --data data/ravdess --trials 60 --out runs/ravdess

        serplatform search moma --data data/ravdess --time-budget 2h --set model.hidden_dim=128

        serplatform search moma --set help

        serplatform search all --small --data data/ravdess --time-budget 1h

        serplatform search moma --data data/emodb --warm-start runs/ravdess

        serplatform search svm --data data/ravdess --trials 20 --nested

        serplatform search --resume --out runs/ravdess --trials +20
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
        spaces=tuple(space or ()),
        settings=tuple(setting or ()),
        small=small,
        seed=of_run.seed,
        sealed=of_run.seal,
        log=tuple(of_run.log or ()),
        objectives=tuple(objective.split(",")),
        sampler=sampler,
        pruner=pruner,
        storage=storage,
        warm_start=tuple(warm_start or ()),
        trials=trials,
        time_budget=None if time_budget is None else parse_duration(time_budget),
        combiner=combiner,
        reference=reference,
        nested=nested,
    )
    limits = dataclasses.replace(
        resources.limits(begun), retries=retries, trial_timeout=parse_timeout(trial_timeout)
    )
    summary = carry_out(
        request, limits, of_run.out, resume=of_run.resume, explain=explain, audio=audio
    )
    result(describe(summary), dataclasses.asdict(summary), as_json=as_json)


def show_parameters(architectures: Sequence[str], *, as_json: bool) -> None:
    """Print what `--set` may hold fixed in architectures; none or `all`: in every one."""
    from serplatform.models.architectures import ARCHITECTURES
    from serplatform.training.trial_config import list_parameters

    chosen = architectures if architectures and "all" not in architectures else ()
    found = list_parameters(chosen or ARCHITECTURES.names())
    lines = []
    for name, parameters in found.items():
        lines.append(f"{name}, as in its paper:" if name else "every architecture, unless its own:")
        lines += [f"  {p.name}={json.dumps(p.value)}  {p.help}" for p in parameters]
    values = {n: {p.name: p.value for p in parameters} for n, parameters in found.items()}
    result("\n".join(lines), {"parameters": values}, as_json=as_json)


def describe(summary: SearchSummary) -> str:
    """The result in words, the answer first."""
    answer, run = summary.answer, shlex.quote(summary.run)
    lines = [] if answer is None else [describe_answer(answer)]
    lines += [] if summary.sealed is None else [f"Ensemble, {summary.sealed}."]
    if answer is not None and any(row.system == "ensemble" for row in answer.rows):
        lines.append(f"Use the ensemble: serplatform predict {run.rstrip('/')}/ensemble AUDIO")
    if "by_fold" not in summary.best_trial:
        lines.append(
            f"Use one trial: serplatform predict {run} AUDIO takes rank 1, --trial N another"
        )
    lines.append(f"Report, after {format_duration(summary.seconds)}: {summary.report}")
    return "\n".join(filter(None, [*lines, summary.resume]))
