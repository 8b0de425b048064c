"""Carry a search or a training out: its trials, then the ensemble, explanations and the page."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import math
import shlex
import threading
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from serplatform import stopping
from serplatform.api.open_run import open_or_create
from serplatform.artifacts.files import read_json
from serplatform.artifacts.looks import SEALED
from serplatform.artifacts.trial import best_by_fold
from serplatform.console import format_duration, percent, say, stage
from serplatform.distributed.tune.placement import SearchLimits
from serplatform.errors import ArtifactError, BadInputError, SerplatformError
from serplatform.storage.mirror import publish, shown
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import OpenRun
from serplatform.tracking.base import TrackedRun
from serplatform.tracking.watch import SearchWatch

if TYPE_CHECKING:
    from serplatform.api.display import SearchDisplay
    from serplatform.artifacts.explanations import ExplanationsRecord
    from serplatform.artifacts.trial import TrialRecord
    from serplatform.distributed.search import SearchOutcome
    from serplatform.ensembles.build import SealedEnsemble
    from serplatform.report.answer import Answer

#: trials that a complete search is offered to go on with
_MORE = 10
#: architectures whose costs are named where no trial ended, the cheapest
_FEW = 3
#: seconds after which no further model is asked
BUDGET = 20.0
#: test utterances that each model is asked about
LIMIT = 120
#: most confident errors, and right answers, that are shown whole
ERRORS, HITS = 2, 2


@dataclasses.dataclass(kw_only=True)
class SearchSummary:
    """What a search or a training came to; the object that ``--json`` prints.

    Attributes:
        run: directory or URI.
        status: ``complete`` or ``time``.
        trials: finished trials by state.
        best_trial: by its mean dev objective: number, architecture, parameters, dev value; of a
            nested search the fold's best ``by_fold``, and the mean of their values.
        ensemble: its combiner, and test numbers pooled over folds; None without one.
        sealed: what an ensemble is on dev rows, of a run whose test rows are not opened.
        explained: what is shown of the models' attention; None where nothing is.
        answer: what is told first: test UAR of the systems, of every trial, and what became of
            the trials that were asked for.
        report: the page.
        seconds: that the call took.
        resume: how to go on: the trials that were stopped half-way, and the command; empty where
            there is nothing to go on with.
    """

    run: str
    status: str
    trials: dict[str, int]
    best_trial: dict[str, Any] = dataclasses.field(repr=False)
    ensemble: dict[str, Any] | None = dataclasses.field(default=None, repr=False)
    sealed: SealedEnsemble | None = None
    explained: dict[str, Any] | None = None
    answer: Answer | None = dataclasses.field(default=None, repr=False)
    report: str = ""
    seconds: float = 0.0
    resume: str = ""


def carry_out(
    request: SearchRequest,
    limits: SearchLimits,
    out: str | Path | None,
    *,
    resume: bool = False,
    explain: bool = True,
    audio: bool | None = None,
) -> SearchSummary:
    """Open or create a run, train its trials, and write ensemble, explanations and page.

    Args:
        request: what is asked for.
        limits: on how much, from when on; trials and seconds are the request's.
        out: the run's directory or URI; None: a new one in `runs/`.
        resume: there is a run in ``out``.
        explain: ask the best models what they attend to.
        audio: put the sound of what is explained into the page.

    Raises:
        KeyboardInterrupt: it was stopped; the run can be resumed.
        SerplatformError: it could not go on; what is finished is kept.
    """
    run, limits = open_or_create(request, limits, out, resume=resume)
    tracked = TrackedRun(run.directory, run.description)
    with SearchWatch(tracked, run.trackers) as watch:
        outcome = _train(run, limits, watch)
        summary = _finish(run, outcome, limits, explain=explain, audio=audio)
        watch.results = [run.directory.trials_table, run.directory.report_file]
    return summary


def _train(run: OpenRun, limits: SearchLimits, watch: SearchWatch) -> SearchOutcome:
    """Run the trials with a display of their progress."""
    from serplatform.api.display import SearchDisplay
    from serplatform.distributed.search import search

    display = SearchDisplay(
        budget=limits.trials,
        deadline=None if limits.seconds is None else limits.begun + limits.seconds,
        records=run.directory.records(),
        objective=run.metric,
        chance=1 / len(run.plan.classes) if run.metric == "uar" else None,
        costs=run.description.setdefault("costs", {}),
        begun=limits.begun,
        spaces=run.spaces,
    )
    doing = "Training" if run.command == "train" else "Searching"
    say(
        f"{doing} {_some(list(run.spaces))} on {run.description['dataset']['title']} with "
        f"protocol {run.plan.protocol} ({len(run.plan.folds)} folds); run directory {run.directory}"
    )
    if limits.seconds:
        say(
            f"Time budget {format_duration(limits.seconds)}, counted from the start of this command"
            " to the end of training; the ensemble and the page come after it."
        )
    say(f"Learning curves, live: tensorboard --logdir {shlex.quote(str(run.directory.path))}")
    stage("preparing the first trials")
    watch.observer = display
    reference = _Reference(run, limits, display)
    again = resume_command(run, limits)
    stopping.on_stop(lambda: f"Interrupted. {half_way(run)}Resume with:\n  {again}")
    try:
        with display, reference:
            outcome = search(run, limits, watch)
    except BadInputError:
        raise
    except SerplatformError as error:
        if not run.directory.run_file.exists():  # it could not even begin
            raise
        raise SerplatformError(
            f"{error}\nNothing finished is lost; {half_way(run)}resume with:\n  {again}"
        ) from error
    if outcome.status == "interrupted":
        raise KeyboardInterrupt
    return outcome


def _some(names: list[str]) -> str:
    """Names, or where there are many, how many and the first."""
    few = ", ".join(names[:6])
    return few if len(names) <= 6 else f"{len(names)} architectures ({few}, …)"


class _Reference(contextlib.AbstractContextManager["_Reference"]):
    """Trains the reference beside the search, and tells at once what it reaches."""

    def __init__(self, run: OpenRun, limits: SearchLimits, display: SearchDisplay) -> None:
        self._run, self._display = run, display
        wanted = run.description.get("reference", False) and "roster" not in run.description
        over = limits.seconds is not None and limits.seconds <= 0
        self._thread = None
        if wanted and not over:
            self._thread = run.beside = threading.Thread(target=self._train, daemon=True)

    def __enter__(self) -> _Reference:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._thread is not None and kind is None:
            self._thread.join()

    def _train(self) -> None:
        from serplatform.studies.reference import ARCHITECTURE, read_reference, train_reference

        _finish_imports("pandas", "polars")
        try:
            dev = train_reference(self._run)["dev"]
            self._display.reference = ARCHITECTURE, dev[self._run.metric]
            found = read_reference(self._run.directory)
        except Exception as error:  # noqa: BLE001 - the search does not fail here
            known = isinstance(error, (SerplatformError, OSError))
            why = str(error) if known else f"{type(error).__name__}: {error}"
            say(f"Note: the reference could not be trained: {why}")
            return
        if found is not None and not stopping.is_asked():
            reached = f"dev UAR {percent(found.dev)}, {SEALED}"
            if found.test is not None:
                reached = f"UAR {found.test.in_percent()} on test rows"
            say(
                f"Reference, svm on {found.feature}: {reached}, chance {percent(found.chance)}; "
                "nothing was chosen for it."
            )


def _finish_imports(*names: str) -> None:
    """Wait for packages that another thread may be importing: scikit-learn takes them as whole
    wherever ``sys.modules`` has them. Those that are not installed are left out."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def resume_command(run: OpenRun, limits: SearchLimits | None = None) -> str:
    """The command that resumes a run, on the same resources where ``limits`` are given."""
    words = ["serplatform", run.command, "--resume", "--out", str(run.directory)]
    usual = SearchLimits()
    for name in ("workers", "gpus_per_trial", "concurrent", "retries", "trial_timeout", "address"):
        value = getattr(limits or usual, name)
        if value != getattr(usual, name):
            never = name == "trial_timeout" and value == 0.0
            words += [f"--{name.replace('_', '-')}", "never" if never else str(value)]
            if name in ("retries", "trial_timeout"):  # `train` has no such option
                words[1] = "search"
    return shlex.join(words)


def half_way(run: OpenRun) -> str:
    """A sentence on the trials that were stopped before their end; empty without any."""
    begun = run.directory.unfinished()
    number = sum(not run.directory.record_file(trial).exists() for trial in begun)
    if not number:
        return ""
    what = "1 trial was" if number == 1 else f"{number} trials were"
    them = "it" if number == 1 else "them"
    return f"{what} stopped half-way; resuming goes on with {them}. "


def _how_to_go_on(run: OpenRun, limits: SearchLimits, status: str) -> str:
    """What a search left when its trials ended, and the command that goes on."""
    again = resume_command(run, limits)
    if status == "time":
        least = min(run.description.get("costs", {}).values(), default=0.0)
        minutes = max(1, math.ceil((limits.seconds or 0.0) / 60), math.ceil(1.5 * least / 60))
        more = f"{again.replace(' train ', ' search ', 1)} --time-budget {minutes}m"
        return f"The time budget is over. {half_way(run)}Go on with:\n  {more}"
    if not any(space.parameters for space in run.spaces.values()):
        return ""  # one configuration, trained
    return f"{half_way(run)}For more trials:\n  {again} --trials +{_MORE}"


def _finish(
    run: OpenRun, outcome: SearchOutcome, limits: SearchLimits, *, explain: bool, audio: bool | None
) -> SearchSummary:
    """Make the ensemble, the explanations and the page of a run whose trials have ended."""
    from serplatform.distributed.local_ray import load
    from serplatform.ensembles.build import build_ensemble, fit_sealed
    from serplatform.report.answer import read_answer
    from serplatform.report.build import build_report

    again = resume_command(run)
    stopping.on_stop(
        f"Interrupted; all trials are kept. Resume with:\n  {again}",
        lambda: run.set_status("interrupted", searched=True),
    )
    directory = run.directory
    seed = run.description["seed"]
    directory.mirror.pull("posteriors")
    best = best_by_fold(directory.records().values(), run.metric)
    go_on = _how_to_go_on(run, limits, outcome.status)
    if len(best) < run.num_studies:
        reasons = sorted({str(r["error"]) for r in directory.records().values() if r["error"]})
        costs = run.description.get("costs", {})
        if outcome.status == "time":
            too_short = f"{format_duration(limits.seconds or 0.0)} were too short for a trial"
            reasons.append(f"{too_short} and what comes before it; {load()}")
            reasons += [
                f"a trial of {name} takes about {format_duration(costs[name])}"
                for name in sorted(costs, key=costs.__getitem__)[:_FEW]
            ]
        raise SerplatformError(
            "\n".join(
                [
                    f"no trial of {directory} is complete, so there is nothing to report"
                    if not best
                    else f"{run.num_studies - len(best)} of {run.num_studies} folds of {directory} "
                    "have no complete trial, so there is nothing to report",
                    *(f"- {reason}" for reason in reasons),
                    *filter(None, [go_on]),
                ]
            )
        )
    warning = run.note_result(outcome.best)
    if warning is not None:
        say(f"Warning: {warning}")
    summary = SearchSummary(
        run=str(directory),
        status=outcome.status,
        trials=outcome.counts,
        best_trial=_best_trial(best, run.metric),
        resume=go_on,
    )
    combiner = run.description.get("combiner") or "product"
    sealed = run.description.get("sealed", False)
    if sealed and combiner != "none":
        summary.sealed = fit_sealed(
            [directory.path], combiner=combiner, temperature=False, seed=seed, objective="uar"
        )
    elif combiner != "none":
        stage(f"combining {outcome.counts['complete']} trials")
        made = build_ensemble(
            [directory.path], directory.ensemble_directory, combiner=combiner, seed=seed
        )
        shown_of = ("combiner", "pooled", "chance", "comparison")
        summary.ensemble = {key: made[key] for key in shown_of}
    if explain and not sealed:
        found = explain_at_end(directory.path, audio=audio, seed=seed)
        summary.explained = found and {
            "shown": found["shown"],
            "asked": found["asked"],
            "seconds": found["seconds"],
        }
    stage("writing the page")
    summary.report = shown(build_report(directory.path, directory.report_file))
    summary.answer = read_answer(directory.path)
    try:
        publish(directory.path)
    except SerplatformError as error:
        raise SerplatformError(f"{error}; resume with:\n  {again}") from error
    summary.seconds = limits.elapsed()
    return summary


def _best_trial(best: Mapping[int | None, TrialRecord], metric: str) -> dict[str, Any]:
    """What ``--json`` says of the best trial, or of each fold's."""
    described = [
        {
            "trial": record["trial"],
            "architecture": record["architecture"],
            f"dev_{metric}": record["dev"][metric],
            "params": record["params"],
        }
        for record in best.values()
    ]
    if None in best:
        return described[0]
    mean = fmean(record["dev"][metric] for record in best.values())
    return {"by_fold": described, f"dev_{metric}": mean}


def explain_at_end(run: Path, *, audio: bool | None, seed: int) -> ExplanationsRecord | None:
    """Explain a run briefly, so that its page has the papers' figures; never the search's failure.

    Explanations of utterances that the user chose are left as they are.
    """
    from serplatform.explanations.explain_run import FOLDER, explain_run
    from serplatform.explanations.speaker_statistics import measure_speaker_statistics

    again = f"`serplatform explain {run}` explains it at any time"
    try:
        made = read_json(Path(run, FOLDER, "explanations.json"))
    except ArtifactError:
        made = {}
    if isinstance(made, dict) and made.get("chosen_by") == "user":
        say(f"The run's explanations are of utterances that were chosen, and are kept; {again}.")
        return None
    stage("asking the best models what they attend to")
    try:
        measure_speaker_statistics(run, seed=seed)
        found = explain_run(
            run, most=ERRORS, hits=HITS, limit=LIMIT, audio=audio, seed=seed, budget=BUDGET,
            look=False,
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - a search that succeeded does not fail here
        known = isinstance(error, (SerplatformError, OSError))
        why = f": {error}" if known else f" ({type(error).__name__}: {error})"
        say(f"Note: nothing is explained{why}; {again}.")
        return None
    if found["out_of_time"]:
        say(f"Note: {len(found['out_of_time'])} architecture(s) were left out for time; {again}.")
    return found
