"""``serplatform search``: find the best configuration of each architecture."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serplatform.cli.explain_at_end import explain_at_end
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
    TimeBudget,
    Workers,
)
from serplatform.cli.output import format_duration, parse_duration, result, say
from serplatform.errors import BadInputError, InterruptedRunError, SerplatformError

if TYPE_CHECKING:
    from serplatform.search.setup import OpenRun

#: trials when the user names neither a number nor a time budget
DEFAULT_TRIALS = 20
#: the same for the built-in demo corpus, a run of minutes on two cores
DEMO_TRIALS = 8


def command(
    architectures: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARCH...", help="Architectures to search, or `all`."),
    ] = None,
    data: Data = None,
    protocol: Protocol = None,
    trials: Annotated[
        str | None,
        typer.Option(
            help="Trials over all architectures and the life of the run; with --resume, `+N` adds "
            "N to what the run was last asked for (where that was a time: to the trials begun)."
        ),
    ] = None,
    time_budget: TimeBudget = None,
    out: RunOut = None,
    resume: Resume = False,
    space: Annotated[
        list[str] | None,
        typer.Option(help="Search space: a YAML file or a packaged name; may be repeated."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, held in every trial; may be repeated."),
    ] = None,
    small: Annotated[
        bool | None,
        typer.Option(
            "--small/--full",
            help="Packaged spaces of reduced sizes or of the papers' own; default: reduced for "
            "the demo corpus only.",
        ),
    ] = None,
    workers: Workers = 1,
    gpus_per_trial: GpusPerTrial = None,
    concurrent: Concurrent = None,
    seed: Seed = 0,
    objective: Annotated[
        str,
        typer.Option(help="Dev metric to optimise; several, e.g. `uar,parameters`, for a front."),
    ] = "uar",
    sampler: Annotated[str, typer.Option(help="tpe, random or gp.")] = "tpe",
    pruner: Annotated[str, typer.Option(help="asha, median, hyperband or none.")] = "asha",
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
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Search hyperparameters of one or several architectures.

    The first trial of each architecture is its paper's own configuration. Trials are chosen,
    stopped and compared by dev rows only; at the end an ensemble of all finished trials, what
    the best models attend to and a report are written into the run.

    Examples:

        serplatform search moma

        serplatform search moma blstmatt csa --data data/ravdess --trials 60 --out runs/ravdess

        serplatform search moma --data data/ravdess --time-budget 2h --set model.hidden_dim=128

        serplatform search all --small --data data/ravdess --time-budget 1h

        serplatform search --resume --out runs/ravdess --trials +20
    """
    begun = time.monotonic()
    budget_seconds = parse_duration(time_budget) if time_budget is not None else None
    timeout = None
    if trial_timeout is not None:
        timeout = 0.0 if trial_timeout == "never" else parse_duration(trial_timeout)
    run, num_trials = open_or_create(
        resume=resume,
        out=out,
        architectures=architectures or [],
        data=data,
        protocol=protocol,
        trials=trials,
        budget_seconds=budget_seconds,
        spaces=space or [],
        settings=setting or [],
        small=small,
        seed=seed,
        objective=objective,
        sampler=sampler,
        pruner=pruner,
        storage=storage,
        combiner=combiner,
    )
    outcome = run_search(
        run,
        num_trials,
        begun=begun,
        seconds=seconds_left(run, num_trials, budget_seconds),
        workers=workers,
        gpus_per_trial=gpus_per_trial,
        concurrent=concurrent,
        retries=retries,
        trial_timeout=timeout,
        address=address,
    )
    summary = finish(run, outcome, explain=explain, audio=audio)
    summary["seconds"] = round(time.monotonic() - begun, 1)
    result(describe(summary), summary, as_json=as_json)


def open_or_create(
    *,
    resume: bool,
    out: str | Path | None,
    architectures: list[str],
    data: str | Path | None,
    trials: str | None,
    budget_seconds: float | None = None,
    combiner: str | None,
    exact: bool = False,
    repeats: int = 1,
    **request: Any,
) -> tuple[OpenRun, int | None]:
    """Open or create the run; return it with the number of trials over its whole life."""
    from serplatform.distributed.search import default_run_path
    from serplatform.ensemble.base import COMBINERS
    from serplatform.search.salvage import mend_run
    from serplatform.search.setup import (
        SearchRequest,
        choose_architectures,
        create_run,
        reopen_run,
    )
    from serplatform.storage.mirror import local_path

    if combiner is not None and combiner != "none":
        COMBINERS.get(combiner)
    if resume:
        if out is None:
            raise BadInputError("--resume needs --out: the directory of the run to go on with")
        run = reopen_run(local_path(out), dataset=data)
        for note in mend_run(run.directory, run.description):
            say(f"Damaged: {note}")
        if "roster" in run.description:
            raise BadInputError(
                f"{out}: holds the trainings of a paper's table, where nothing is searched; go on "
                "with `serplatform reproduce`"
            )
        given = choose_architectures(architectures) if architectures else None
        if given is not None and set(given) != set(run.spaces):
            raise BadInputError(
                f"{run.directory} searches {', '.join(run.spaces)}, not {', '.join(given)}; leave "
                "the architectures out, or start another run"
            )
        _check_unchanged(run, request)
        have = len(run.directory.records())
        planned = None if budget_seconds is not None else run.description.get("trials")
        count = _count_trials(trials, have=_trials_begun(run), default=planned)
        if count is not None and have >= count:
            say(f"All {have} trials of {run.directory} have ended; add more with --trials +N.")
        run.description["trials"] = count
        if combiner is not None:
            run.description["combiner"] = combiner
        if budget_seconds is not None or trials is not None:
            spent = float(run.description.get("seconds") or 0.0)
            run.description["time_budget"] = budget_seconds and spent + budget_seconds
        return run, count
    names = choose_architectures(architectures)
    demo = data is None
    if data is None:
        from serplatform.distributed.prepare import ensure_demo

        say("No --data given: using the built-in demo corpus (synthetic speech).")
        data = ensure_demo()
    default = (
        None
        if budget_seconds is not None
        else max(DEMO_TRIALS if demo else DEFAULT_TRIALS, len(names))
    )
    if exact:
        default = repeats * len(names)
    count = _count_trials(trials, have=0, default=default)
    run = create_run(
        default_run_path(names) if out is None else local_path(out),
        SearchRequest(
            architectures=names,
            dataset=data,
            protocol=request["protocol"],
            spaces=tuple(request["spaces"]),
            settings=tuple(request["settings"]),
            exact=exact,
            small=(demo if request["small"] is None else request["small"]) and not exact,
            seed=request["seed"],
            objectives=tuple(request["objective"].split(",")),
            sampler=request["sampler"],
            pruner=request["pruner"],
            storage=request["storage"],
        ),
        ["serplatform", *sys.argv[1:]],
    )
    run.set_status(
        "running", trials=count, time_budget=budget_seconds, combiner=combiner or "product"
    )
    for note in run.description["notes"]:
        say(f"Note: {note}")
    for name, chosen in run.spaces.items():
        if chosen.fixed:
            fixed = ", ".join(f"{k}={v}" for k, v in chosen.fixed.items())
            say(f"Note: in every trial of {name}, the paper's included: {fixed}")
    return run, count


def _check_unchanged(run: OpenRun, request: dict[str, Any]) -> None:
    """Refuse options that a run has from its beginning on, where they would change it."""
    have = run.description
    faults = [
        f"--{name} {request[name]}: the run has {have[name]}"
        for name, default in (("seed", 0), ("sampler", "tpe"), ("pruner", "asha"))
        if request[name] not in (default, have[name])
    ]
    if request["objective"] not in ("uar", ",".join(have["objective"])):
        faults.append(f"--objective {request['objective']}: the run has {have['objective']}")
    if request["protocol"] not in (None, have["protocol"]["name"]):
        faults.append(f"--protocol {request['protocol']}: the run has {have['protocol']['name']}")
    if request["storage"] not in (None, have["storage"]):
        faults.append("--storage: the run has its own")
    if request["spaces"]:
        faults.append("--space: the run has its own, in run.json")
    if request["settings"] and list(request["settings"]) != have["settings"]:
        faults.append(f"--set {' '.join(request['settings'])}: the run has {have['settings']}")
    if faults:
        raise BadInputError(
            f"{run.directory}: these cannot change once a run has begun; leave them out, "
            "or start another run",
            faults,
        )


def seconds_left(run: OpenRun, num_trials: int | None, given: float | None) -> float | None:
    """The time budget of this process: as given, or what an interrupted search had left."""
    if given is not None:
        return given
    budget = run.description.get("time_budget")
    if budget is not None:
        left = float(budget) - float(run.description.get("seconds") or 0.0)
        if left <= 1 or run.description["status"] == "complete":
            left = 0.0
            say(
                f"The time budget of {run.directory} is spent; add more with --trials +N or "
                "--time-budget."
            )
        return left
    if num_trials is None:
        raise BadInputError(
            f"{run.directory}: say how far to go on, with --trials +N or --time-budget"
        )
    return None


def _trials_begun(run: OpenRun) -> int:
    """What ``--trials +N`` adds to: the trials last asked for, and at least those begun."""
    numbers = set(run.directory.records())
    for state in (run.directory.path / "state").glob("trial-*"):
        numbers.add(int(state.name.rpartition("-")[2]))
    return max(len(numbers), int(run.description.get("trials") or 0))


def _count_trials(text: str | None, *, have: int, default: int | None) -> int | None:
    """``--trials``: a number over the run's life, or ``+N`` more than ``have``."""
    if text is None:
        return default
    more = text.startswith("+")
    digits = text[1:] if more else text
    if not digits.isdigit() or int(digits) < 1:
        raise BadInputError(f"--trials {text}: must be a whole number of at least 1, or +N")
    return have + int(digits) if more else int(digits)


def run_search(run: OpenRun, num_trials: int | None, **limits: Any) -> Any:
    from serplatform.cli.search_display import SearchDisplay
    from serplatform.distributed.search import SearchLimits, search

    objective = shown_metric(run)
    seconds = limits["seconds"]
    display = SearchDisplay(
        budget=num_trials,
        deadline=None if seconds is None else limits["begun"] + seconds,
        records=run.directory.records(),
        objective=objective,
    )
    what = ", ".join(run.spaces)
    say(
        f"Searching {what} on {run.description['dataset']['title']} with protocol "
        f"{run.plan.protocol} ({len(run.plan.folds)} folds); run directory {run.directory}"
    )
    again = resume_command(run, limits)
    try:
        with display:
            outcome = search(run, SearchLimits(trials=num_trials, **limits), display)
    except KeyboardInterrupt:
        raise InterruptedRunError(f"Interrupted. Go on with:\n  {again}") from None
    except BadInputError:
        raise
    except SerplatformError as error:
        if not run.directory.run_file.exists():  # it could not even begin
            raise
        raise SerplatformError(
            f"{error}\nNothing finished is lost; go on with:\n  {again}"
        ) from error
    if outcome.status == "interrupted":
        raise InterruptedRunError(f"Interrupted. Go on with:\n  {again}")
    return outcome


def shown_metric(run: OpenRun) -> str:
    """The dev metric that tells the best trial: the first objective, or UAR beside sizes."""
    from serplatform.run_directory import DEV_METRICS

    objective = str(run.description["objective"][0])
    return objective if objective in DEV_METRICS else "uar"


def resume_command(run: OpenRun, limits: Mapping[str, Any] | None = None) -> str:
    """The command that goes on with a run on the same resources."""
    words = ["serplatform", "search", "--resume", "--out", str(run.directory)]
    usual = {
        "workers": 1,
        "gpus_per_trial": None,
        "concurrent": None,
        "retries": 1,
        "trial_timeout": None,
        "address": None,
    }
    for name, default in usual.items():
        value = (limits or {}).get(name, default)
        if name == "trial_timeout" and value == 0.0:
            value = "never"
        if value != default:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def finish(
    run: OpenRun, outcome: Any, *, explain: bool = True, audio: bool | None = None
) -> dict[str, Any]:
    """Make the ensemble, the explanations and the report of a run that has ended."""
    try:
        return _finish(run, outcome, explain, audio)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Interrupted; all trials are kept. Go on with:\n  {resume_command(run)}"
        ) from None


def _finish(run: OpenRun, outcome: Any, explain: bool, audio: bool | None) -> dict[str, Any]:
    from serplatform.report.build import build_report
    from serplatform.storage.mirror import publish, shown

    combiner = str(run.description.get("combiner") or "product")
    seed = int(run.description["seed"])
    directory = run.directory
    objective = shown_metric(run)
    summary: dict[str, Any] = {
        "run": str(directory),
        "status": outcome.status,
        "trials": outcome.counts,
        "best_trial": None,
        "ensemble": None,
        "explained": None,
        "report": None,
    }
    directory.fetch_posteriors()
    if outcome.best is None:
        reasons = sorted({str(r["error"]) for r in directory.records().values() if r["error"]})
        hint = (
            f"; give it more time:\n  {resume_command(run)} --time-budget 10m"
            if outcome.status == "time"
            else ""
        )
        raise SerplatformError(
            f"no trial of {directory} is complete, so there is nothing to report{hint}"
            + "".join(f"\n  - {reason}" for reason in reasons)
        )
    warning = run.note_result(outcome.best)
    if warning is not None:
        say(f"Warning: {warning}")
    summary["best_trial"] = {
        "trial": outcome.best["trial"],
        "architecture": outcome.best["architecture"],
        f"dev_{objective}": outcome.best["dev"][objective],
        "params": outcome.best["params"],
    }
    if combiner != "none":
        from serplatform.ensemble.build import build_ensemble

        say("Combining the finished trials …")
        summary["ensemble"] = _brief(
            build_ensemble(
                [directory.path], directory.ensemble_directory, combiner=combiner, seed=seed
            )
        )
    if explain:
        found = explain_at_end(directory.path, audio=audio, seed=seed)
        keys = ("shown", "asked", "seconds")
        summary["explained"] = None if found is None else {key: found[key] for key in keys}
    say("Writing the report …")
    summary["report"] = shown(build_report(directory.path, directory.report_file))
    try:
        publish(directory.path)
    except SerplatformError as error:
        raise SerplatformError(f"{error}; go on with:\n  {resume_command(run)}") from error
    return summary


def _brief(ensemble: dict[str, Any]) -> dict[str, Any]:
    """The pooled test numbers of an ensemble and of what it is compared with."""
    return {name: ensemble[name] for name in ("combiner", "pooled", "comparison")}


def _test_line(name: str, metrics: dict[str, Any]) -> str:
    uar = metrics["uar"]
    return (
        f"  {name:<12} test UAR {uar['value']:.3f} (95 % interval {uar['low']:.3f} to "
        f"{uar['high']:.3f}), accuracy {metrics['accuracy']['value']:.3f}"
    )


def describe(summary: dict[str, Any]) -> str:
    """The result in words."""
    counts = summary["trials"]
    best = summary["best_trial"]
    metric = next(key for key in best if key.startswith("dev_"))
    lines = [
        f"{sum(counts.values())} trials in {format_duration(summary['seconds'])}: "
        f"{counts['complete']} complete, {counts['pruned']} pruned, {counts['failed']} failed",
        f"Best single by dev: trial {best['trial']} ({best['architecture']}), "
        f"{metric.replace('_', ' ')} {best[metric]:.4f}",
    ]
    ensemble = summary["ensemble"]
    if ensemble is not None:
        lines.append("On test rows, opened now, pooled over folds:")
        lines.append(_test_line("ensemble", ensemble["pooled"]["ensemble"]))
        lines.append(_test_line("best single", ensemble["pooled"]["best_single"]))
    lines.append(f"Report: {summary['report']}")
    return "\n".join(lines)
