"""Open or create the run that a search or a training works on, and say how far it goes."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serplatform import stopping
from serplatform.console import format_duration, note, say, stage
from serplatform.datasets.dataset import Dataset
from serplatform.distributed.tune.placement import SearchLimits, check_machine
from serplatform.ensembles.base import find_combiner
from serplatform.environment import now
from serplatform.errors import BadInputError
from serplatform.models.architectures import ARCHITECTURES
from serplatform.storage.destination import RUN, check_directory
from serplatform.storage.location import redact
from serplatform.storage.mirror import local_path
from serplatform.studies.advice import lacking_text
from serplatform.studies.portfolio import cheapest_first
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import (
    OpenRun,
    choose_architectures,
    create_run,
    lacking_encoder,
    reopen_run,
    with_space,
)
from serplatform.studies.space import paper_point
from serplatform.studies.study_storage import check_storage
from serplatform.studies.warm_start import sentences
from serplatform.tracking.choice import as_recorded, check_log

#: seconds of a search of no architecture by name that has neither
PORTFOLIO_SECONDS = 900.0
#: the same for the built-in demo corpus
DEMO_SECONDS = 180.0
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
    check_machine(limits)
    if request.storage is not None and not resume:
        check_storage(request.storage)
    if request.combiner not in (None, "none"):
        find_combiner(str(request.combiner))
    trackers = check_log(request.log)
    run, trials = (_reopen if resume else _create)(request, out)
    run.trackers = trackers or _recorded_trackers(run)
    if trackers:
        run.description["log"] = as_recorded(trackers)  # written when the search has the lock
    limits = dataclasses.replace(limits, trials=trials)
    return run, dataclasses.replace(limits, seconds=_seconds_left(run, trials, request.time_budget))


def _recorded_trackers(run: OpenRun) -> dict[str, str]:
    """Those that the run was sent to before, without those that cannot be used now."""
    found: dict[str, str] = {}
    for text in run.description.get("log", []):
        try:
            found |= check_log([text])
        except BadInputError as error:
            say(
                f"Note: {error}; the run goes on without, and a later --resume sends what it lacks."
            )
    return found


def _reopen(request: SearchRequest, out: str | Path | None) -> tuple[OpenRun, int | None]:
    if out is None:
        raise BadInputError("--resume needs --out: the directory of the run to resume")
    run = reopen_run(local_path(out), dataset=request.dataset)
    from serplatform.studies.recovery import repair_run  # Optuna and torch

    for damage in repair_run(run.directory, run.description):
        say(f"Damaged: {damage}")
    if "roster" in run.description:
        raise BadInputError(
            f"{out}: holds the trainings of a paper's table, where nothing is searched; resume it "
            "with `serplatform reproduce`"
        )
    if request.architectures:
        searched = _searched(request, ()) | set(run.spaces)
        searched -= run.description.get("left_out", {}).keys()
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
    count = count_trials(
        request.trials, have=trials_begun(run), default=planned, studies=run.num_studies
    )
    if count is not None and have >= count:
        say(f"All {have} trials of {run.directory} have ended; add more with --trials +N.")
    run.description["trials"] = count
    if request.combiner is not None and not request.exact:  # one that the user named
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


def _left_out(request: SearchRequest, names: Sequence[str], data: str | Path) -> dict[str, str]:
    """What ``all`` does not stand for here, with why; told in one line a reason."""
    wordless = lacking_text(Dataset.open(data), names)  # tells first whether there is a dataset
    lacking = lacking_encoder(request)
    spaceless = sorted(set(ARCHITECTURES.names()) - set(names) - set(lacking))
    if spaceless:
        say(f"Left out of `all`, having no search space: {', '.join(spaceless)}; see --space.")
    for name, parameter in lacking.items():
        say(
            f"Left out of `all`: {name} fine-tunes an encoder; name one with "
            f"--set {name}.{parameter}=DIRECTORY."
        )
    if wordless:
        say(
            f"Left out of `all`, because {next(iter(wordless.values()))}: {', '.join(wordless)}; "
            "`prepare` with --align pocketsphinx (English) or --align whisper:DIR gives them words."
        )
    return {
        **dict.fromkeys(spaceless, "it has no search space"),
        **{name: f"no encoder was named with --set {name}.{p}" for name, p in lacking.items()},
        **wordless,
    }


def _create(request: SearchRequest, out: str | Path | None) -> tuple[OpenRun, int | None]:
    command = command_line(request, out)
    count_trials(request.trials, have=0, default=None)  # said before anything is looked at
    portfolio = not request.architectures and not request.exact
    if portfolio:
        request = dataclasses.replace(request, architectures=("all",), portfolio=True)
    names = choose_architectures(request.architectures, _searched(request, request.spaces))
    path = _new_run_path(names, portfolio=portfolio) if out is None else local_path(out)
    if out is None:
        check_directory(path, RUN)
    data = request.dataset
    if data is None:
        from serplatform.distributed.prepare import ensure_demo

        say("No --data given: using the built-in demo corpus (synthetic speech).")
        data = ensure_demo()
    left_out = _left_out(request, names, data) if "all" in request.architectures else {}
    names = tuple(name for name in names if name not in left_out)
    if "all" in request.architectures:
        names = tuple(cheapest_first(names))
    default = None
    if request.exact:
        default = request.repeats * len(names)
    elif portfolio and request.time_budget is None and request.trials is None:
        seconds = DEMO_SECONDS if request.dataset is None else PORTFOLIO_SECONDS
        request = dataclasses.replace(request, time_budget=seconds)
        told = format_duration(seconds)
        say(f"No --time-budget given: searching for {told}; resume for longer at any time.")
    elif request.time_budget is None:
        default = max(DEMO_TRIALS if request.dataset is None else DEFAULT_TRIALS, len(names))
    count = count_trials(request.trials, have=0, default=default)
    small = True if request.small is None and request.dataset is None else request.small
    asked = dataclasses.replace(request, architectures=names, dataset=data, small=small)
    stage("looking at the data, making the folds")
    run = create_run(path, asked, command)
    stopping.on_stop(record=lambda: run.set_status("interrupted", ended=now()))
    if run.num_studies > 1:
        say(_nested(run.num_studies, count))
    count = count and count * run.num_studies
    run.set_status(
        "running",
        trials=count,
        time_budget=request.time_budget,
        sized_for=request.time_budget,
        combiner=request.combiner or "product",
        **({"left_out": left_out | run.description.get("left_out", {})} if left_out else {}),
    )
    for text in [*([run.replaced] if run.replaced else []), *run.description["notes"]]:
        note(text)
    for start in run.description.get("warm_start", []):
        for sentence in sentences(start):
            say(sentence)
    decided = run.description.get("sizes", {})
    fixed = {n: chosen for n, chosen in run.spaces.items() if chosen.fixed and n in decided}
    for name, chosen in fixed.items() if len(fixed) == 1 else ():
        values = ", ".join(f"{k}={v}" for k, v in chosen.fixed.items())
        has_paper = chosen.parameters and paper_point(chosen) is not None
        paper = ", the paper's included" if has_paper else ""
        note(f"In every trial of {name}{paper}: {values}")
    if len(fixed) > 1:
        note(f"{len(fixed)} architectures have fixed settings in all trials: `spaces` in run.json.")
    return run, count


def _nested(folds: int, trials: int | None) -> str:
    """What a nested search costs, beforehand."""
    told = f"--nested: {folds} studies, each trial trains one fold: "
    if trials is None:
        return f"{told}the folds take turns, and share the time."
    return (
        f"{told}{trials} trials a study, {trials * folds} in all, cost about as much as {trials} "
        "that train every fold."
    )


def _new_run_path(architectures: tuple[str, ...], *, portfolio: bool = False) -> Path:
    """``runs/<architectures>-<date>-<time>``, a name that does not exist yet."""
    if portfolio:
        architectures = ("portfolio",)
    names = "-".join(architectures) if len(architectures) <= 3 else f"{len(architectures)}-systems"
    base = Path("runs") / f"{names}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, count = base, 1
    while path.exists():
        count += 1
        path = base.with_name(f"{base.name}-{count}")
    return path


#: field of a request to the option that sets it, where that is of another name
_OPTIONS = {"dataset": "data", "spaces": "space", "settings": "set", "objectives": "objective"}
_NO_OPTIONS = {"architectures", "exact", "small", "max_folds", "portfolio", "reference"}
_NO_OPTIONS |= {"nested", "sealed"}
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
    if not request.reference and not request.exact:
        words.append("--no-reference")
    if request.nested:
        words.append("--nested")
    words += ["--seal"] if request.sealed else []
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
    if request.nested and not have.get("nested"):
        faults.append("--nested: a run is nested from its beginning on")
    if request.sealed and not have.get("sealed"):
        faults.append("--seal: the run's test rows are open from its beginning on")
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


def count_trials(
    text: str | None, *, have: int, default: int | None, studies: int = 1
) -> int | None:
    """``--trials``: a number over the run's life, or ``+N`` more than ``have``; in each study."""
    if text is None:
        return default
    more = text.startswith("+")
    digits = text[1:] if more else text
    if not digits.isdigit() or int(digits) < 1:
        raise BadInputError(f"--trials {text}: must be a whole number of at least 1, or +N")
    return have * more + int(digits) * studies
