"""What a new search takes over from an earlier run (``search --warm-start``).

Always *points*: the best configurations of the earlier run are tried first, after the paper's.
If the earlier run has the same dataset (by fingerprint), folds (by hash) and objectives, its
trials are *observations* too: the sampler learns from them as from its own. Otherwise the values
of its trials are not comparable, and the sampler does not see them.

Only dev values are read, never test rows. Observations cannot carry test rows into the search:
with the same folds, every dev row that they were measured on is a dev row of the same fold here.
Points hold no values, only settings that did well on the earlier run's dev rows; where that run
has other folds, some of these rows may be test rows here, so that the settings were chosen with a
look at them: a note in the run says how many. Rows are the same by their ids, in whatever dataset,
and by their audio where the earlier dataset still lies there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from serplatform.artifacts.run import ObservationRecord, RunDescription, WarmStartRecord
from serplatform.artifacts.trial import DEV_METRICS, HistoryEntry, TrialRecord
from serplatform.config import plain
from serplatform.datasets.dataset import Dataset
from serplatform.errors import ArtifactError, BadInputError
from serplatform.protocols.base import FoldPlan
from serplatform.protocols.plan import plan_hash
from serplatform.protocols.selection import column
from serplatform.run_directory import RunDirectory
from serplatform.storage.mirror import local_path
from serplatform.studies.choices import OBJECTIVES
from serplatform.studies.parameter import value_in, values_equal
from serplatform.studies.space import SearchSpace, complete_point
from serplatform.training.trial_config import paper_values, resolve

#: points taken from an earlier run per architecture
POINTS = 3


def sentences(start: WarmStartRecord) -> list[str]:
    """What the user is told of a warm start."""
    num_points = sum(map(len, start["points"].values()))
    num_observations = sum(map(len, start["observations"].values()))
    told = (
        f"{num_observations} of its trials tell the sampler what to expect"
        if num_observations
        else "its trials are not comparable: " + ", ".join(start["why_no_observations"])
    )
    first = f"Warm start from {start['run']}: {num_points} of its configurations are tried first"
    return [f"{first}; {told}.", *start["remarks"]]


def notes(start: WarmStartRecord) -> list[str]:
    """What readers of the new run's numbers must know."""
    seen = start.get("test_rows_seen", 0)
    if not seen or not any(start["points"].values()):
        return []
    return [
        f"Configurations tried first were chosen on dev rows of {start['run']}: {seen} of the test "
        "rows are among these."
    ]


def collect(
    run: str,
    spaces: Mapping[str, SearchSpace],
    *,
    dataset: Dataset,
    plan: FoldPlan,
    objectives: Sequence[str],
) -> WarmStartRecord:
    """Read what an earlier run knows of the architectures that are searched.

    Args:
        run: its directory or URI.
        spaces: of the new run.
        dataset: its dataset.
        plan: its folds.
        objectives: of its search.

    Raises:
        BadInputError: the earlier run has no complete trial of any of the architectures.
        ArtifactError: it is no run, or damaged.
    """
    directory = RunDirectory(local_path(run))
    directory.fetch_study()
    earlier = directory.read_run()
    damaged: list[str] = []
    records = directory.records(damaged)
    where = directory.address
    mine = {
        name: [r for _, r in sorted(records.items()) if r["architecture"] == name]
        for name in spaces
    }
    if not any(r["state"] == "complete" for found in mine.values() for r in found):
        others = ", ".join(sorted({r["architecture"] for r in records.values()})) or "none at all"
        raise BadInputError(
            f"--warm-start {where}: it has no complete trial of {', '.join(spaces)} (its trials "
            f"are of: {others}); name a run of the same architecture, or leave it out",
            damaged,
        )
    theirs = tuple(earlier["objective"])
    other_folds = earlier["folds_hash"] != plan_hash(plan)
    why = [
        reason
        for reason, differs in (
            ("another dataset", earlier["dataset"]["fingerprint"] != dataset.fingerprint),
            ("other folds", other_folds),
            ("another objective", theirs != tuple(objectives)),
            ("trials of single folds", bool(earlier.get("nested"))),
        )
        if differs
    ]
    remarks = [f"Left out: {error}" for error in damaged]
    points: dict[str, list[dict[str, object]]] = {}
    observations: dict[str, list[ObservationRecord]] = {}
    for name, space in spaces.items():
        points[name], left = best_points(space, mine[name], theirs[0])
        remarks += left
        if not why:
            observations[name] = comparable_trials(where, space, mine[name], objectives)
    return {
        "run": where,
        "num_points": sum(map(len, points.values())),
        "num_observations": sum(map(len, observations.values())),
        "why_no_observations": why,
        "remarks": remarks,
        "test_rows_seen": (
            _test_rows_seen(directory, earlier, dataset, plan) if other_folds else 0
        ),
        "points": {name: found for name, found in points.items() if found},
        "observations": {name: found for name, found in observations.items() if found},
    }


def _test_rows_seen(
    directory: RunDirectory, earlier: RunDescription, dataset: Dataset, plan: FoldPlan
) -> int:
    """How many test rows of the new run are, or sound like, dev rows of the earlier one."""
    dev = {name for fold in directory.read_folds(earlier)["folds"] for name in fold["dev"]}
    known = dict(zip(dataset.utterance_ids, column(dataset.utterances, "audio_hash"), strict=True))
    sounds = {known[name] for name in dev & known.keys()}
    with contextlib.suppress(ArtifactError, BadInputError, OSError):  # it was moved or removed
        theirs = Dataset.open(earlier["dataset"]["path"]).utterances
        heard = zip(column(theirs, "utterance_id"), column(theirs, "audio_hash"), strict=True)
        sounds |= {sound for name, sound in heard if name in dev}
    test = {name for fold in plan.folds for name in fold.test}
    return sum(name in dev or known[name] in sounds - {""} for name in test)


def best_points(
    space: SearchSpace, records: Sequence[TrialRecord], objective: str
) -> tuple[list[dict[str, object]], list[str]]:
    """The best configurations that differ in this space, and remarks on what lies outside it."""
    from serplatform.studies.study import outcome

    sign = -1.0 if OBJECTIVES.get(objective) == "minimize" else 1.0
    rated = [
        (-sign * values[0], record["trial"], record)
        for record in records
        if (values := outcome(record, [objective])[1]) is not None
    ]
    paper = paper_values(space.architecture)
    seen = [complete_point(space, {}, paper)]
    found: list[dict[str, object]] = []
    dropped: dict[str, None] = {}
    for _, _, record in sorted(rated, key=lambda entry: entry[:2]):
        if len(found) == POINTS:
            break
        known = {name: paper[name] for name in space.parameters} | record["params"]
        usable, left = _usable(space, known, {**paper, **space.fixed})
        chosen = complete_point(space, usable, paper)
        if value_in(chosen, seen) or _configuration(space, chosen) is None:
            continue
        seen.append(chosen)
        found.append(chosen)
        dropped |= dict.fromkeys(left)
    if not dropped:
        return found, []
    what = f"Not taken over for {space.architecture}: {'; '.join(dropped)}."
    return found, [what]


def _usable(
    space: SearchSpace, known: Mapping[str, object], held: Mapping[str, object]
) -> tuple[dict[str, object], list[str]]:
    """The values of a configuration that this space can take, and remarks on the others."""
    usable: dict[str, object] = {}
    left = []
    for name, value in known.items():
        if name in space.parameters:
            if space.parameters[name].contains(value):
                usable[name] = value
            else:
                left.append(f"{name} = {plain(value)!r}, outside the space")
        elif name not in held:
            left.append(f"{name}, which is no parameter any more")
        elif not values_equal(value, held[name]):
            left.append(f"{name} = {plain(value)!r}, here {plain(held[name])!r} in every trial")
    return usable, left


def _configuration(space: SearchSpace, chosen: Mapping[str, object]) -> dict[str, object] | None:
    """The whole configuration of a point; None where it is none or not in the space."""
    if all(space.parameters[name].contains(value) for name, value in chosen.items()):
        with contextlib.suppress(BadInputError):
            return resolve(space.architecture, {**space.fixed, **chosen}, "warm start").values()
    return None


def comparable_trials(
    run: str,
    space: SearchSpace,
    records: Sequence[TrialRecord],
    objectives: Sequence[str],
) -> list[ObservationRecord]:
    """The trials whose whole configuration is one of this space."""
    from serplatform.studies.study import outcome

    paper = paper_values(space.architecture)
    found = []
    for record in records:
        try:
            config = resolve(space.architecture, record["params"], "warm start").values()
        except BadInputError:
            continue
        usable = {n: config[n] for n, p in space.parameters.items() if p.contains(config[n])}
        chosen = complete_point(space, usable, paper)
        if _configuration(space, chosen) != config:
            continue
        values = outcome(record, objectives)[1]
        observation: ObservationRecord = {
            "run": run,
            "trial": record["trial"],
            "values": chosen,
            "objectives": None,
            "step": 0,
            "reached": 0.0,
        }
        if values is not None:
            found.append(observation | {"objectives": values})
        elif record["state"] == "pruned" and len(objectives) == 1:
            reached = _reached(record, objectives[0], config)
            if reached is not None:
                found.append(observation | {"step": reached[0], "reached": reached[1]})
    return found


def _reached(
    record: TrialRecord, objective: str, config: Mapping[str, Any]
) -> tuple[int, float] | None:
    """The last step of a pruned trial and its objective there, as the trial reported them.

    The mean over the folds begun, each at its best epoch by the monitored metric; the step is
    ``fold * max_epochs + epoch``.
    """
    history = record.get("history", [])
    if objective not in DEV_METRICS or not history:
        return None
    monitor = config["training.monitor"]
    sign = -1.0 if OBJECTIVES.get(monitor) == "minimize" else 1.0
    folds: dict[int, list[HistoryEntry]] = {}
    for entry in history:
        folds.setdefault(entry["fold"], []).append(entry)
    if any(name not in entry["dev"] for entry in history for name in (monitor, objective)):
        return None  # written by an older program
    best = [
        max(f, key=lambda e: sign * e["dev"][monitor])["dev"][objective] for f in folds.values()
    ]
    last = max(folds)
    step = last * int(config["training.max_epochs"]) + max(e["epoch"] for e in folds[last])
    return step, sum(best) / len(best)
