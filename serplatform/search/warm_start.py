"""What an earlier run knows, as a start for a new one (``search --warm-start``).

Always *points*: the best configurations of the earlier run are tried first, after the paper's.
Where the earlier run has the same dataset (by fingerprint), folds (by hash) and objectives, its
trials are *observations* too: the sampler learns from them as from its own. Elsewhere the values
of its trials are not comparable, and the sampler does not see them.

Only dev values are read, never test rows. Observations cannot carry test rows into the search:
with the same folds, every dev row that they were measured on is a dev row of the same fold here.
Points hold no values, only settings that did well on the earlier run's dev rows; where that run
has the same data but other folds, these rows may be test rows here, so the settings were chosen
with a look at them, and a note in the run says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from serplatform.artifacts.run import RunDescription, WarmStartRecord
from serplatform.artifacts.trial import HistoryEntry, TrialRecord
from serplatform.config import plain
from serplatform.errors import BadInputError
from serplatform.run_directory import DEV_METRICS, RunDirectory
from serplatform.search.observations import Observation
from serplatform.search.parameter import alike, same
from serplatform.search.space import SearchSpace, complete_point
from serplatform.search.study import OBJECTIVES, objective_values
from serplatform.storage.location import redact
from serplatform.storage.mirror import local_path
from serplatform.training.trial_config import paper_values, resolve

#: points taken from an earlier run, an architecture
POINTS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmStart:
    """What was taken from one earlier run; ``run.json`` holds it.

    Attributes:
        run: where it lies.
        points: architecture to the configurations to try, best first.
        observations: architecture to what the sampler is told.
        why_no_observations: what makes its values incomparable; empty when they are comparable.
        remarks: sentences on what was left out.
        same_data: it has the same dataset.
    """

    run: str
    points: Mapping[str, Sequence[Mapping[str, Any]]]
    observations: Mapping[str, Sequence[Observation]]
    why_no_observations: Sequence[str] = ()
    remarks: Sequence[str] = ()
    same_data: bool = False

    @property
    def num_points(self) -> int:
        """Over all architectures."""
        return sum(map(len, self.points.values()))

    @property
    def num_observations(self) -> int:
        """Over all architectures."""
        return sum(map(len, self.observations.values()))

    def as_json(self) -> WarmStartRecord:
        """In ``run.json``; :func:`recorded_starts` reads it back."""
        return {
            "run": self.run,
            "num_points": self.num_points,
            "num_observations": self.num_observations,
            "why_no_observations": list(self.why_no_observations),
            "remarks": list(self.remarks),
            "same_data": self.same_data,
            "points": {name: [dict(p) for p in points] for name, points in self.points.items()},
            "observations": {
                name: [o.as_json() for o in known] for name, known in self.observations.items()
            },
        }

    def sentences(self) -> list[str]:
        """What the user is told."""
        told = (
            f"{self.num_observations} of its trials tell the sampler what to expect"
            if self.observations
            else "its trials are not comparable: " + ", ".join(self.why_no_observations)
        )
        first = f"Warm start from {self.run}: {self.num_points} of its configurations are tried"
        return [f"{first} first; {told}.", *self.remarks]

    def notes(self) -> list[str]:
        """What a reader of this run's numbers must know."""
        if not (self.same_data and self.num_points and "other folds" in self.why_no_observations):
            return []
        return [
            f"Configurations tried first were chosen on dev rows of {self.run}, which has other "
            "folds of this dataset: some of these rows may be test rows here."
        ]


def recorded_starts(description: RunDescription) -> list[WarmStart]:
    """The warm starts that a run was begun with."""
    return [
        WarmStart(
            run=entry["run"],
            points=entry["points"],
            observations={
                name: [Observation.from_json(known) for known in listed]
                for name, listed in entry["observations"].items()
            },
            why_no_observations=entry["why_no_observations"],
            remarks=entry["remarks"],
            same_data=entry["same_data"],
        )
        for entry in description.get("warm_start", [])
    ]


class Knowledge(TypedDict):
    """The arguments of ``study.Studies`` of these names."""

    points: dict[str, list[Mapping[str, Any]]]
    observations: dict[str, list[Observation]]


def knowledge(starts: Sequence[WarmStart]) -> Knowledge:
    """All warm starts of a run together, in their order."""
    names = list(dict.fromkeys(n for s in starts for n in [*s.points, *s.observations]))
    return {
        "points": {n: [p for s in starts for p in s.points.get(n, ())] for n in names},
        "observations": {n: [o for s in starts for o in s.observations.get(n, ())] for n in names},
    }


def collect(
    run: str,
    spaces: Mapping[str, SearchSpace],
    *,
    fingerprint: str,
    folds_hash: str,
    objectives: Sequence[str],
) -> WarmStart:
    """Read what an earlier run knows of the architectures that are searched.

    Args:
        run: its directory or URI.
        spaces: of the new run.
        fingerprint: of its dataset.
        folds_hash: of its folds.
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
    where = redact(directory.address)
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
    same_data = earlier["dataset"]["fingerprint"] == fingerprint
    why = [
        reason
        for reason, differs in (
            ("another dataset", not same_data),
            ("other folds", earlier["folds_hash"] != folds_hash),
            ("another objective", theirs != tuple(objectives)),
        )
        if differs
    ]
    remarks = [f"Left out: {fault}" for fault in damaged]
    points: dict[str, list[dict[str, Any]]] = {}
    observations: dict[str, list[Observation]] = {}
    for name, space in spaces.items():
        points[name], left = best_points(space, mine[name], theirs[0])
        remarks += left
        if not why:
            observations[name] = comparable_trials(where, space, mine[name], objectives)
    return WarmStart(
        run=where,
        points={name: found for name, found in points.items() if found},
        observations={name: found for name, found in observations.items() if found},
        why_no_observations=why,
        remarks=remarks,
        same_data=same_data,
    )


def best_points(
    space: SearchSpace, records: Sequence[TrialRecord], objective: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """The best configurations that differ in this space, and what of them does not lie in it."""
    sign = -1.0 if OBJECTIVES.get(objective) == "minimize" else 1.0
    rated = []
    for record in records:
        value = objective_values(record, [objective])
        if record["state"] == "complete" and value is not None:
            rated.append((-sign * value[0], record["trial"], record))
    paper = paper_values(space.architecture)
    seen = [complete_point(space, {}, paper)]
    found: list[dict[str, Any]] = []
    dropped: dict[str, None] = {}
    for _, _, record in sorted(rated, key=lambda entry: entry[:2]):
        if len(found) == POINTS:
            break
        known = {name: paper[name] for name in space.parameters} | record["params"]
        usable, left = _usable(space, known, {**paper, **space.fixed})
        chosen = complete_point(space, usable, paper)
        if any(alike(chosen, other) for other in seen) or not _sound(space, chosen):
            continue
        seen.append(chosen)
        found.append(chosen)
        dropped |= dict.fromkeys(left)
    if not dropped:
        return found, []
    what = f"Not taken over for {space.architecture}: {'; '.join(dropped)}."
    return found, [what]


def _usable(
    space: SearchSpace, known: Mapping[str, Any], held: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The values of a configuration that this space can take, and remarks on the others."""
    usable: dict[str, Any] = {}
    left = []
    for name, value in known.items():
        if name in space.parameters:
            if space.parameters[name].contains(value):
                usable[name] = value
            else:
                left.append(f"{name} = {plain(value)!r}, outside the space")
        elif name not in held:
            left.append(f"{name}, which is no parameter any more")
        elif not same(value, held[name]):
            left.append(f"{name} = {plain(value)!r}, here {plain(held[name])!r} in every trial")
    return usable, left


def _sound(space: SearchSpace, chosen: Mapping[str, Any]) -> bool:
    """Whether the values lie in the space and make a configuration."""
    if not all(space.parameters[name].contains(value) for name, value in chosen.items()):
        return False
    try:
        resolve(space.architecture, {**space.fixed, **chosen}, "warm start")
    except BadInputError:
        return False
    return True


def comparable_trials(
    run: str,
    space: SearchSpace,
    records: Sequence[TrialRecord],
    objectives: Sequence[str],
) -> list[Observation]:
    """The trials whose whole configuration is one of this space."""
    paper = paper_values(space.architecture)
    found = []
    for record in records:
        try:
            config = resolve(space.architecture, record["params"], "warm start").values()
        except BadInputError:
            continue
        usable, _ = _usable(space, {name: config[name] for name in space.parameters}, {})
        chosen = complete_point(space, usable, paper)
        if not _sound(space, chosen):
            continue
        here = resolve(space.architecture, {**space.fixed, **chosen}, "warm start").values()
        if here != config:
            continue
        number = int(record["trial"])
        values = objective_values(record, objectives)
        if record["state"] == "complete" and values is not None:
            found.append(Observation(run=run, trial=number, values=chosen, objectives=values))
        elif record["state"] == "pruned" and len(objectives) == 1:
            reached = _reached(record, objectives[0], config)
            if reached is not None:
                step, value = reached
                found.append(
                    Observation(run=run, trial=number, values=chosen, step=step, reached=value)
                )
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
