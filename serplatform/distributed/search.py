"""A whole search: connect to Ray, ask and train until the budget is spent, record how it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from serplatform import plugins, stopping
from serplatform.artifacts.trial import TrialRecord, ranked
from serplatform.console import say, stage
from serplatform.datasets.dataset import Dataset
from serplatform.distributed.cluster import connect, largest_resources, node_sizes
from serplatform.distributed.tune.placement import SearchLimits, SearchPlan, plan_placement
from serplatform.environment import now
from serplatform.errors import BadInputError, SerplatformError
from serplatform.run_directory import RunDirectory, RunLock
from serplatform.seeding import derive_seed
from serplatform.storage.cache import local_dataset
from serplatform.storage.location import parse
from serplatform.storage.mirror import not_published
from serplatform.storage.publisher import Publisher
from serplatform.storage.remote import RemoteError
from serplatform.studies.order import TrialOrder
from serplatform.studies.setup import OpenRun, check_encoders
from serplatform.studies.sizes import Costs, Sized, Sizing, timed
from serplatform.studies.study_storage import full_storage
from serplatform.studies.trial_list import TrialList, TrialSource
from serplatform.training.trial_config import TrialConfig

if TYPE_CHECKING:
    from serplatform.distributed.tune.tracker import SearchObserver


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """How a search ended: ``complete``, ``time`` or ``interrupted``; its finished trials by state,
    and the record of the best by the first objective."""

    status: str
    counts: dict[str, int]
    best: TrialRecord | None


def search(
    run: OpenRun,
    limits: SearchLimits,
    observer: SearchObserver,
    trial_list: TrialList | None = None,
) -> SearchOutcome:
    """Run or continue a search, or train what a list of trials still lacks.

    Raises:
        BadInputError: another search uses the run, or a trial does not fit the cluster; a run
            that was made for this search is then removed.
        SerplatformError: Ray failed; the run can be resumed.
    """
    lock = RunLock(run.directory)
    publisher = Publisher(run.directory.mirror, lock.lease)
    ends = contextlib.ExitStack()
    try:
        try:
            with stopping.recording(lambda: run.set_status("interrupted", ended=now())):
                prepared = _prepare(run, limits, trial_list, ends)
            publisher.start()
        except KeyboardInterrupt:
            run.set_status("interrupted", ended=now())
            raise
        except BaseException:
            run.withdraw()
            raise
        with publisher:
            return _search(run, limits, observer, prepared)
    finally:
        ends.close()
        lock.release()


def _prepare(
    run: OpenRun, limits: SearchLimits, trial_list: TrialList | None, ends: contextlib.ExitStack
) -> tuple[TrialSource, dict[str, float]]:
    """What hands out trials, and the cluster's resources; none when nothing is left to train."""
    no_time = limits.seconds is not None and limits.seconds <= 0
    if trial_list is not None:
        return trial_list, _resources(run, limits) if trial_list.num_left and not no_time else {}
    description = run.description
    records = run.directory.records()
    portfolio = bool(description.get("portfolio"))
    asked = None if limits.trials is None else limits.trials // run.num_studies
    if asked is not None and asked < len(run.spaces) and not portfolio:
        raise BadInputError(
            f"--trials {asked}: fewer than the {len(run.spaces)} architectures searched; "
            "each needs at least one"
        )
    enough = limits.trials is not None and len(records) >= limits.trials
    resources = {} if enough or no_time else _resources(run, limits)
    sizing = None if enough or no_time else _sizing(run, limits, resources)
    if sizing is not None:
        ends.callback(sizing.stop)
    at_once = [name for name in run.spaces if sizing is None or name not in sizing.names]
    from serplatform.studies.nested import NestedStudies
    from serplatform.studies.study import Studies
    from serplatform.studies.trial_artifacts import TrialArtifacts

    def studies(fold: int | None, sizing: Sizing | None) -> Studies:
        order = TrialOrder(list(run.spaces), run.metric, portfolio=portfolio)
        for name in at_once:
            order.add(name, gains=run.gains(name))
        seed, prefix = description["seed"], description.get("study_prefix", "")
        return Studies(
            {name: run.spaces[name] for name in at_once},
            storage=full_storage(description["storage"] or str(run.directory.journal)),
            records={n: record for n, record in records.items() if record.get("fold") == fold},
            objectives=tuple(description["objective"]),
            sampler=description["sampler"],
            pruner=description["pruner"],
            max_epochs=run.max_epochs,
            num_folds=len(run.plan.folds) if fold is None else 1,
            seed=seed if fold is None else derive_seed(seed, "fold", fold),
            prefix=prefix if fold is None else f"{prefix}fold-{fold}/",
            warm_starts=description.get("warm_start", []),
            order=order,
            sizing=sizing,
            on_sized=on_sized,
            points_first=portfolio,
            fold=fold,
            numbers=(fold or 0, run.num_studies),
            attach=TrialArtifacts(run.directory, run.plan.classes).attach,
            about={
                "data": description["dataset"].get("title", ""),
                "protocol": description["protocol"]["name"],
                "run": str(run.directory),
                "page": "`serplatform report` of this run; test rows play no part in a study",
            },
        )

    on_sized = functools.partial(_sized, run)
    if not description.get("nested"):
        return studies(None, sizing), resources
    by_fold = [studies(fold, None) for fold in range(run.num_studies)]
    return NestedStudies(by_fold, sizing=sizing, on_sized=on_sized), resources


def _sizing(run: OpenRun, limits: SearchLimits, resources: dict[str, float]) -> Sizing | None:
    """Begin to time the architectures of which it matters what a trial takes; None without any."""
    matters = limits.seconds is not None or bool(run.description.get("portfolio"))
    names = [
        name
        for name in timed(run.spaces)
        if len(run.candidates[name]) > 1 or (matters and "given" not in run.candidates[name])
    ]
    if not names:
        return None
    dataset = Dataset.open(local_dataset(parse(run.description["dataset"]["path"])))
    costs = Costs(dataset.fingerprint, run.description["folds_hash"])

    def seconds(config: TrialConfig, check: Callable[[], None]) -> float:
        from serplatform.training.timing import epoch_seconds

        return costs.find(config, lambda: epoch_seconds(config, dataset, run.plan, check=check))

    budget = run.description.get("sized_for", limits.seconds)  # a resumed search decides alike
    sizing = Sizing(
        {name: run.candidates[name] for name in names},
        seconds,
        num_folds=len(run.plan.folds) // run.num_studies,
        budget=budget and budget / run.num_studies,
        measured=not resources.get("GPU"),
    )
    sizing.start()
    return sizing


def _sized(run: OpenRun, sized: Sized) -> list[float]:
    """Search an architecture in the space that was decided for, and say what was measured."""
    if sized.sentence:
        say(sized.sentence)
    return run.decide(sized)


def _resources(run: OpenRun, limits: SearchLimits) -> dict[str, float]:
    """Those of the cluster, on which a whole trial fits."""
    import ray

    threading.Thread(target=_import_beside, daemon=True).start()
    connect(limits.address, limits.num_cpus)

    resources: dict[str, float] = dict(ray.cluster_resources())
    if limits.address is not None:
        resources = largest_resources(resources)
    placement = plan_placement(resources, limits, node_sizes())
    check_encoders(run.spaces, placement.device)
    return resources


def _import_beside() -> None:
    """Import what is needed once Ray runs, nothing of Ray's own, while it starts."""
    with contextlib.suppress(Exception):  # whoever needs it meets the error
        import serplatform.distributed.tune.tuner
        import serplatform.studies.study  # noqa: F401


def _search(
    run: OpenRun,
    limits: SearchLimits,
    observer: SearchObserver,
    prepared: tuple[TrialSource, dict[str, float]],
) -> SearchOutcome:
    from serplatform.distributed.tune.tuner import run_trials

    studies, resources = prepared
    description = run.description
    objective = description["objective"][0]
    for number, record in run.directory.records().items():  # what killed processes left of them
        run.directory.remove_leftovers(number, record["state"])
    if not resources:
        run.directory.write_trials_table()
        run.set_status("complete", ended=description.get("ended") or now())
        return summarize(run.directory.records(), objective, "complete")
    spent_before = float(description.get("seconds") or 0.0)

    def spent() -> float:
        return spent_before + limits.elapsed()

    readable = {  # no addresses of machines
        name: float(value)
        for name, value in sorted(resources.items())
        if name in ("CPU", "GPU") or name.startswith("accelerator_type:")
    }
    run.set_status("running", ended=None, searched=False, resources=readable)
    plan = SearchPlan(
        dataset=description["dataset"]["path"],
        seed=description["seed"],
        objective=run.metric,
        limits=limits,
        plugins=plugins.packed(description),
        record_time=lambda: run.set_status("running", seconds=spent()),
        sealed=description.get("sealed", False),
    )

    def leave(status: str) -> None:
        run.set_status(status, ended=now(), seconds=spent())

    def lost(what: str) -> None:
        print(  # noqa: T201 - nothing else can be said any more
            f"Error: training had to stop: {what}; resume with:\n"
            f"  serplatform {run.command} --resume --out {run.directory}",
            file=sys.stderr,
        )
        leave("failed")

    stage("starting the first trials")
    try:
        with stopping.recording(lambda: leave("interrupted")):
            status = run_trials(
                run.directory, studies, plan, observer, resources=resources, on_lost=lost
            )
            publish_everywhere(run.directory)
    except BaseException as error:
        with contextlib.suppress(OSError):  # what stopped the search may stop this too
            leave("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            if not isinstance(error, KeyboardInterrupt):
                run.withdraw()
        raise
    leave("complete" if status == "time" else status)
    return summarize(run.directory.records(), objective, status)


def publish_everywhere(run: RunDirectory) -> None:
    """Publish trials of a run on object storage that lie on one node alone, and fetch all records.

    Raises:
        SerplatformError: a node cannot publish; the message says which, and where the work lies.
    """
    if not run.mirror.is_remote:
        return
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    nodes = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["NodeID"] != here]
    if not nodes:
        return
    publish = ray.remote(num_cpus=0, max_retries=0)(_publish_here)
    answers = [
        publish.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        ).remote(run.address)
        for node in nodes
    ]
    errors: list[str] = []
    for answer in answers:
        # a node that is gone has no recorded trials
        with contextlib.suppress(ray.exceptions.RayError):
            errors += ray.get(answer)
    if errors:
        raise SerplatformError("\n".join(errors))
    try:
        run.mirror.pull("trials")
    except RemoteError as error:
        raise not_published(run.mirror, error) from error


def _publish_here(address: str) -> list[str]:
    """Publish finished trials of this node's working copy; the error if that is not possible."""
    mirror = RunDirectory(address).mirror
    try:
        mirror.push_finished()
    except RemoteError as error:
        return [str(not_published(mirror, error))]
    return []


def summarize(records: Mapping[int, TrialRecord], objective: str, status: str) -> SearchOutcome:
    """Count the finished trials and find the best by its mean dev value."""
    counts = {"complete": 0, "pruned": 0, "failed": 0}
    for record in records.values():
        counts[record["state"]] += 1
    best = next(iter(ranked(records.values(), objective)), None)
    return SearchOutcome(status=status, counts=counts, best=best)
