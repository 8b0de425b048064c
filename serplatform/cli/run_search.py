"""Run the trials of an opened run with a display, then make its ensemble and its report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from serplatform import stopping
from serplatform.cli.explain_at_end import explain_at_end
from serplatform.cli.output import format_duration, say
from serplatform.errors import BadInputError, SerplatformError

if TYPE_CHECKING:
    from serplatform.search.setup import OpenRun


def run_search(run: OpenRun, num_trials: int | None, **limits: Any) -> Any:
    """Search with a display of its progress.

    Args:
        run: opened or created.
        num_trials: over its whole life; None where time alone limits.
        **limits: the other fields of ``distributed.search.SearchLimits``.

    Raises:
        KeyboardInterrupt: it was stopped.
        SerplatformError: the search could not go on; what is finished is kept.
    """
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
    stopping.on_stop(f"Interrupted. Go on with:\n  {again}")
    try:
        with display:
            outcome = search(run, SearchLimits(trials=num_trials, **limits), display)
    except BadInputError:
        raise
    except SerplatformError as error:
        if not run.directory.run_file.exists():  # it could not even begin
            raise
        raise SerplatformError(
            f"{error}\nNothing finished is lost; go on with:\n  {again}"
        ) from error
    if outcome.status == "interrupted":
        raise KeyboardInterrupt
    return outcome


def shown_metric(run: OpenRun) -> str:
    """The dev metric that tells the best trial: the first objective, or UAR beside sizes."""
    from serplatform.artifacts.trial import DEV_METRICS

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
    stopping.on_stop(
        f"Interrupted; all trials are kept. Go on with:\n  {resume_command(run)}",
        lambda: run.set_status("interrupted", searched=True),
    )
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
    directory.mirror.pull("posteriors")
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
    """The pooled test numbers of an ensemble, of chance and of what it is compared with."""
    from serplatform.ensemble.evaluation import no_better_than_chance

    found = {name: ensemble[name] for name in ("combiner", "pooled", "chance", "comparison")}
    return {**found, "verdict": no_better_than_chance(ensemble)}


def _test_line(name: str, metrics: dict[str, Any]) -> str:
    uar = metrics["uar"]
    known = uar["low"] is not None  # one speaker has no interval by speaker
    interval = f" (95 % interval {uar['low']:.3f} to {uar['high']:.3f})" if known else ""
    return (
        f"  {name:<12} test UAR {uar['value']:.3f}{interval}, "
        f"accuracy {metrics['accuracy']['value']:.3f}"
    )


def describe(summary: dict[str, Any]) -> str:
    """The result in words."""
    counts = summary["trials"]
    best = summary["best_trial"]
    metric = next(key for key in best if key.startswith("dev_"))
    lines = [
        f"{sum(counts.values())} trials in {format_duration(summary['seconds'])}: "
        f"{counts['complete']} complete, {counts['pruned']} pruned, {counts['failed']} failed",
        f"Best trial by mean dev: trial {best['trial']} ({best['architecture']}), "
        f"{metric.replace('_', ' ')} {best[metric]:.4f}",
    ]
    ensemble = summary["ensemble"]
    if ensemble is not None:
        lines += filter(None, [ensemble.get("verdict")])
        lines.append(
            "On test rows, opened now, pooled over folds, each fold's choice by its own dev rows:"
        )
        lines.append(_test_line("ensemble", ensemble["pooled"]["ensemble"]))
        lines.append(_test_line("best single", ensemble["pooled"]["best_single"]))
    lines.append(f"Report: {summary['report']}")
    return "\n".join(lines)
