"""Open or create the run that a search or a training works on, and say how far it goes."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serplatform import stopping
from serplatform.console import say
from serplatform.distributed.tune.placement import SearchLimits
from serplatform.ensembles.base import COMBINERS
from serplatform.environment import now
from serplatform.errors import BadInputError
from serplatform.models.architectures import ARCHITECTURES
from serplatform.storage.destination import RUN, check_directory
from serplatform.storage.location import redact
from serplatform.storage.mirror import local_path
from serplatform.studies.setup import (
    OpenRun,
    SearchRequest,
    choose_architectures,
    create_run,
    lacking_encoder,
    reopen_run,
    with_space,
)
from serplatform.studies.space import paper_point
from serplatform.studies.study_storage import check_storage
from serplatform.studies.warm_start import sentences

#: trials when the user names neither a number nor a time budget
DEFAULT_TRIALS = 20
#: the same for the built-in demo corpus, a run of minutes on two cores
DEMO_TRIALS = 8


def open_or_create(
    request: SearchRequest, limits: SearchLimits, out: str | Path | None, *, resume: bool = False
) -> tuple[OpenRun, SearchLimits]:
    """Open or create the run; return it, and the limits with its trials and its seconds.

    No new run is written where something asked for is wrong. See ``execute.carry_out``.
    """
    if out is not None and not resume:
        check_directory(out, RUN)
    if request.storage is not None and not resume:
        check_storage(request.storage)
    if request.combiner not in (None, "none"):
        COMBINERS.get(str(request.combiner))
    run, trials = (_reopen if resume else _create)(request, out)
    limits = dataclasses.replace(limits, trials=trials)
    return run, dataclasses.replace(limits, seconds=_seconds_left(run, trials, request.time_budget))


def _reopen(request: SearchRequest, out: str | Path | None) -> tuple[OpenRun, int | None]:
    if out is None:
        raise BadInputError("--resume needs --out: the directory of the run to resume")
    from serplatform.studies.recovery import repair_run

    run = reopen_run(local_path(out), dataset=request.dataset)
    for note in repair_run(run.directory, run.description):
        say(f"Damaged: {note}")
    if "roster" in run.description:
        raise BadInputError(
            f"{out}: holds the trainings of a paper's table, where nothing is searched; resume it "
            "with `serplatform reproduce`"
        )
    if request.architectures:
        searched = _searched(request, ()) | set(run.spaces)
        given = choose_architectures(request.architectures, searched)
        if set(given) != set(run.spaces):
            raise BadInputError(
                f"{run.directory} searches {', '.join(run.spaces)}, not {', '.join(given)}; leave "
                "the architectures out, or start another run"
            )
    _check_unchanged(run, request)
    budget = request.time_budget
    have = len(run.directory.records())
    planned = None if budget is not None else run.description.get("trials")
    count = count_trials(request.trials, have=trials_begun(run), default=planned)
    if count is not None and have >= count:
        say(f"All {have} trials of {run.directory} have ended; add more with --trials +N.")
    run.description["trials"] = count
    if request.combiner is not None:
        run.description["combiner"] = request.combiner
    if budget is not None or request.trials is not None:
        spent = float(run.description.get("seconds") or 0.0)
        run.description["time_budget"] = budget and spent + budget
    return run, count


def _searched(request: SearchRequest, spaces: Sequence[str]) -> set[str]:
    """The architectures that ``all`` stands for; none where it is not asked for."""
    if "all" not in request.architectures:
        return set()
    every = set(ARCHITECTURES.names()) if request.exact else with_space(spaces)
    return every - lacking_encoder(request).keys()


def _create(request: SearchRequest, out: str | Path | None) -> tuple[OpenRun, int | None]:
    names = choose_architectures(request.architectures, _searched(request, request.spaces))
    if "all" in request.architectures:
        lacking = lacking_encoder(request)
        if left := set(ARCHITECTURES.names()) - set(names) - set(lacking):
            told = ", ".join(sorted(left))
            say(f"Left out of `all`, having no search space: {told}; see --space.")
        for name, parameter in lacking.items():
            say(
                f"Left out of `all`: {name} fine-tunes an encoder; name one with "
                f"--set {name}.{parameter}=DIRECTORY."
            )
    path = _new_run_path(names) if out is None else local_path(out)
    if out is None:
        check_directory(path, RUN)
    data = request.dataset
    if data is None:
        from serplatform.distributed.prepare import ensure_demo

        say("No --data given: using the built-in demo corpus (synthetic speech).")
        data = ensure_demo()
    default = None
    if request.exact:
        default = request.repeats * len(names)
    elif request.time_budget is None:
        default = max(DEMO_TRIALS if request.dataset is None else DEFAULT_TRIALS, len(names))
    count = count_trials(request.trials, have=0, default=default)
    small = (request.dataset is None if request.small is None else request.small) and not (
        request.exact
    )
    asked = dataclasses.replace(request, architectures=names, dataset=data, small=small)
    run = create_run(path, asked, command_line(request, out))
    stopping.on_stop(record=lambda: run.set_status("interrupted", ended=now()))
    run.set_status(
        "running",
        trials=count,
        time_budget=request.time_budget,
        combiner=request.combiner or "product",
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


def _new_run_path(architectures: tuple[str, ...]) -> Path:
    """``runs/<architectures>-<date>-<time>``, a name that does not exist yet."""
    names = "-".join(architectures) if len(architectures) <= 3 else f"{len(architectures)}-systems"
    base = Path("runs") / f"{names}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, count = base, 1
    while path.exists():
        count += 1
        path = base.with_name(f"{base.name}-{count}")
    return path


#: field of a request to the option that sets it, where that is of another name
_OPTIONS = {"dataset": "data", "spaces": "space", "settings": "set", "objectives": "objective"}
_NO_OPTIONS = {"architectures", "exact", "small", "max_folds"}
_NOT_OF_TRAINING = {"sampler", "pruner", "combiner"}


def command_line(request: SearchRequest, out: str | Path | None) -> list[str]:
    """The command that makes a run: this process's own, or one that does what was asked here."""
    if stopping.is_command():
        return ["serplatform", *sys.argv[1:]]
    words = ["serplatform", "train" if request.exact else "search", *request.architectures]
    left_out = _NO_OPTIONS | (_NOT_OF_TRAINING if request.exact else set())
    for field in dataclasses.fields(request):
        value = getattr(request, field.name)
        if field.name not in left_out and value != field.default:
            value = ",".join(value) if field.name == "objectives" else value
            option = "--" + _OPTIONS.get(field.name, field.name.replace("_", "-"))
            for one in value if isinstance(value, tuple) else (value,):
                words += [option, str(one)]
    if request.small is not None and not request.exact:
        words.append("--small" if request.small else "--full")
    return [*words, *([] if out is None else ["--out", str(out)])]


def _check_unchanged(run: OpenRun, request: SearchRequest) -> None:
    """Refuse options that a run has from its beginning on, where they would change it."""
    have: dict[str, Any] = {**run.description}
    usual = SearchRequest()
    faults = [
        f"--{name} {getattr(request, name)}: the run has {have[name]}"
        for name in ("seed", "sampler", "pruner")
        if getattr(request, name) not in (getattr(usual, name), have[name])
    ]
    if request.objectives not in (usual.objectives, tuple(have["objective"])):
        asked = ",".join(request.objectives)
        faults.append(f"--objective {asked}: the run has {have['objective']}")
    if request.protocol not in (None, have["protocol"]["name"]):
        faults.append(f"--protocol {request.protocol}: the run has {have['protocol']['name']}")
    storage = request.storage  # as it is recorded: whole, and without its password
    if storage is not None and have["storage"] not in (storage, redact(check_storage(storage))):
        faults.append("--storage: the run has its own")
    if request.warm_start:
        faults.append("--warm-start: a run has one from its beginning on, or none; see run.json")
    if request.spaces:
        faults.append("--space: the run has its own, in run.json")
    if request.settings and list(request.settings) != have["settings"]:
        faults.append(f"--set {' '.join(request.settings)}: the run has {have['settings']}")
    if faults:
        raise BadInputError(
            f"{run.directory}: these cannot change once a run has begun; leave them out, "
            "or start another run",
            faults,
        )


def _seconds_left(run: OpenRun, trials: int | None, given: float | None) -> float | None:
    """The time budget of this call: as given, or what an interrupted search had left."""
    have = run.description
    budget = have.get("time_budget")
    if given is not None:
        return given
    if budget is None and trials is None:
        raise BadInputError(
            f"{run.directory}: say how far to resume it, with --trials +N or --time-budget"
        )
    if budget is None:
        return None
    left = float(budget) - float(have.get("seconds") or 0.0)
    if left > 1 and have["status"] != "complete" and not have.get("searched"):
        return left
    say(f"The time budget of {run.directory} is spent; add more with --trials +N or --time-budget.")
    return 0.0


def trials_begun(run: OpenRun) -> int:
    """What ``--trials +N`` adds to: the trials last asked for, and at least those begun."""
    numbers = {*run.directory.records(), *run.directory.unfinished()}
    return max(len(numbers), int(run.description.get("trials") or 0))


def count_trials(text: str | None, *, have: int, default: int | None) -> int | None:
    """``--trials``: a number over the run's life, or ``+N`` more than ``have``."""
    if text is None:
        return default
    more = text.startswith("+")
    digits = text[1:] if more else text
    if not digits.isdigit() or int(digits) < 1:
        raise BadInputError(f"--trials {text}: must be a whole number of at least 1, or +N")
    return have + int(digits) if more else int(digits)
