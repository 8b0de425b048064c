"""Open or create the run that a command works on, and say how far it goes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serplatform import stopping
from serplatform.cli.output import say
from serplatform.environment import now
from serplatform.errors import BadInputError
from serplatform.storage.location import redact

if TYPE_CHECKING:
    from serplatform.search.setup import OpenRun

#: trials when the user names neither a number nor a time budget
DEFAULT_TRIALS = 20
#: the same for the built-in demo corpus, a run of minutes on two cores
DEMO_TRIALS = 8


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
    from serplatform.models.base import ARCHITECTURES
    from serplatform.search.recovery import repair_run
    from serplatform.search.setup import (
        SearchRequest,
        choose_architectures,
        create_run,
        reopen_run,
        with_space,
    )
    from serplatform.search.space import paper_point
    from serplatform.search.study_storage import check_storage
    from serplatform.search.warm_start import sentences
    from serplatform.storage.destination import RUN, check_directory
    from serplatform.storage.mirror import local_path

    if out is not None and not resume:
        check_directory(out, RUN)
    if request["storage"] is not None and not resume:
        check_storage(request["storage"])
    if combiner is not None and combiner != "none":
        COMBINERS.get(combiner)
    if resume:
        if out is None:
            raise BadInputError("--resume needs --out: the directory of the run to go on with")
        run = reopen_run(local_path(out), dataset=data)
        for note in repair_run(run.directory, run.description):
            say(f"Damaged: {note}")
        if "roster" in run.description:
            raise BadInputError(
                f"{out}: holds the trainings of a paper's table, where nothing is searched; go on "
                "with `serplatform reproduce`"
            )
        searched = None if exact else with_space(()) | set(run.spaces)
        given = choose_architectures(architectures, searched) if architectures else None
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
    names = choose_architectures(architectures, None if exact else with_space(request["spaces"]))
    if "all" in architectures and (left := set(ARCHITECTURES.names()) - set(names)):
        say(f"Left out of `all`, having no search space: {', '.join(sorted(left))}; see --space.")
    path = default_run_path(names) if out is None else local_path(out)
    if out is None:
        check_directory(path, RUN)
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
        path,
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
            warm_start=tuple(request.get("warm_start", ())),
        ),
        ["serplatform", *sys.argv[1:]],
    )
    stopping.on_stop(record=lambda: run.set_status("interrupted", ended=now()))
    run.set_status(
        "running", trials=count, time_budget=budget_seconds, combiner=combiner or "product"
    )
    for note in [*([run.replaced] if run.replaced else []), *run.description["notes"]]:
        say(f"Note: {note}")
    for start in run.description.get("warm_start", []):
        for sentence in sentences(start):
            say(sentence)
    for name, chosen in run.spaces.items():
        if chosen.fixed:
            fixed = ", ".join(f"{k}={v}" for k, v in chosen.fixed.items())
            paper = ", the paper's included" if paper_point(chosen) is not None else ""
            say(f"Note: in every trial of {name}{paper}: {fixed}")
    return run, count


def _check_unchanged(run: OpenRun, request: dict[str, Any]) -> None:
    """Refuse options that a run has from its beginning on, where they would change it."""
    from serplatform.search.study_storage import check_storage

    have: dict[str, Any] = {**run.description}
    faults = [
        f"--{name} {request[name]}: the run has {have[name]}"
        for name, default in (("seed", 0), ("sampler", "tpe"), ("pruner", "asha"))
        if request[name] not in (default, have[name])
    ]
    if request["objective"] not in ("uar", ",".join(have["objective"])):
        faults.append(f"--objective {request['objective']}: the run has {have['objective']}")
    if request["protocol"] not in (None, have["protocol"]["name"]):
        faults.append(f"--protocol {request['protocol']}: the run has {have['protocol']['name']}")
    storage = request["storage"]  # as it is recorded: whole, and without its password
    if storage is not None and have["storage"] not in (storage, redact(check_storage(storage))):
        faults.append("--storage: the run has its own")
    if request.get("warm_start"):
        faults.append("--warm-start: a run has one from its beginning on, or none; see run.json")
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
        have = run.description
        if left <= 1 or have["status"] == "complete" or have.get("searched"):
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
    numbers = {*run.directory.records(), *run.directory.unfinished()}
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
