"""The complete trials of runs, ranked by dev rows, with what each is worth on test rows.

Shapes: N test rows, M trials.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serplatform.artifacts.trial import DEV_METRICS, merit
from serplatform.errors import ArtifactError
from serplatform.report.load import Posteriors, ReportedRun, ReportTrial
from serplatform.statistics.intervals import Interval, uar_intervals
from serplatform.storage.mirror import shown

#: what the mark at the name of an architecture means
BY_SPEAKER = "* normalised within each speaker: {}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankedTrial:
    """One complete trial.

    Attributes:
        rank: from 1, by the mean dev objective alone.
        run: directory or URI.
        trial: its number in the run.
        architecture: registered name.
        dev: mean dev UAR over the folds.
        test: pooled test UAR, for reporting and not for choosing; None where it was not asked
            for, or the trial's posteriors are missing or damaged.
        seconds: of training.
        num_parameters: trainable values; None where the record does not say.
        by_speaker: features are normalised within each speaker, see :data:`BY_SPEAKER`.
        fold: the only one that it was trained for, in a nested search.
    """

    rank: int
    run: str
    trial: int
    architecture: str
    dev: float | None
    test: Interval | None
    seconds: float
    num_parameters: int | None
    by_speaker: bool = False
    fold: int | None = None

    @property
    def name(self) -> str:
        """The architecture, marked where it reads a test speaker's unlabelled audio."""
        name = f"{self.architecture}*" if self.by_speaker else self.architecture
        return name if self.fold is None else f"{name}, fold {self.fold}"


def objective_of(runs: Sequence[ReportedRun]) -> str:
    """The dev metric that ranks trials: what the first run optimised, or UAR beside sizes."""
    objective = runs[0].info.get("objective", ["uar"])[0] if runs else "uar"
    return objective if objective in DEV_METRICS else "uar"


def ranked_trials(runs: Sequence[ReportedRun]) -> list[tuple[ReportedRun, ReportTrial]]:
    """Complete trials, the best by mean dev objective first, see ``artifacts.trial.ranked``; of a
    nested search the best of every fold, then the second of each."""
    objective = objective_of(runs)
    found = [(run, t) for run in runs for t in run.trials if t.state == "complete"]
    found.sort(key=lambda item: item[1].number)
    found.sort(key=lambda item: merit(item[1].record.get("dev", {}), objective), reverse=True)
    place: Counter[tuple[Path, int | None]] = Counter()
    places = []
    for _, trial in found:
        key = trial.run_path, trial.fold
        places.append((place[key] if trial.fold is not None else 0, trial.fold or 0))
        place[key] += 1
    return [found[n] for n in sorted(range(len(found)), key=places.__getitem__)]


def rank_trials(
    runs: Sequence[ReportedRun], *, tested: int | None = None
) -> tuple[RankedTrial, ...]:
    """The leaderboard: ranks are of dev rows alone; all trials of a fold have its test rows.

    Only the first ``tested`` are measured on test rows; None: all.
    """
    found = ranked_trials(runs)
    rows: dict[int | None, Posteriors] = {}
    answers: dict[int | None, dict[int, np.ndarray]] = {}
    for place, (run, trial) in enumerate(found[:tested]):
        try:
            test = run.posteriors(trial.number).where(part="test").ordered()
        except (ArtifactError, OSError):
            continue
        if rows.setdefault(trial.fold, test).same_rows(test):
            answers.setdefault(trial.fold, {})[place] = test.prediction
    intervals: dict[int, Interval] = {}
    for fold, of_place in answers.items():
        if len(own := rows[fold]):
            measured = uar_intervals(
                own.truth,
                np.stack(list(of_place.values())),
                own.speaker_ids.tolist(),
                num_classes=own.values.shape[1],
            )
            intervals |= dict(zip(of_place, measured, strict=True))
    return tuple(
        RankedTrial(
            rank=place + 1,
            run=shown(run.path),
            trial=trial.number,
            architecture=trial.architecture,
            dev=trial.objective,
            test=intervals.get(place),
            seconds=trial.seconds,
            num_parameters=trial.num_parameters,
            by_speaker=trial.by_speaker,
            fold=trial.fold,
        )
        for place, (run, trial) in enumerate(found)
    )


def first_shown(board: Sequence[RankedTrial], most: int) -> list[RankedTrial]:
    """The first ranks, and the best trial of every architecture."""
    best: dict[str, int] = {}
    for row in board:
        best.setdefault(row.architecture, row.rank)
    return [row for row in board if row.rank <= most or best[row.architecture] == row.rank]
