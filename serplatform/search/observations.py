"""Trials of an earlier run as a sampler's observations in a study that did not run them.

They are finished trials of the Optuna study under an attribute of their own. They have no number
in the run, so nothing counts, shows or resumes them; and they have no rungs, which Optuna's
``SuccessiveHalvingPruner`` keeps with each trial, so no trial is pruned against them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import TrialState

from serplatform.artifacts.run import ObservationRecord

if TYPE_CHECKING:
    from serplatform.search.space import SearchSpace

#: user attribute of such an Optuna trial: the run it is of, and its number there
OBSERVATION = "serplatform_warm_start"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observation:
    """What a finished trial of an earlier run says of this one's space.

    Attributes:
        run: the earlier run.
        trial: its number there.
        values: the searched parameters that are active, in this run's space.
        objectives: of a complete trial; None of a pruned one.
        step: epochs over all folds after which it was pruned.
        reached: its first objective then.
    """

    run: str
    trial: int
    values: Mapping[str, Any]
    objectives: Sequence[float] | None = None
    step: int = 0
    reached: float = 0.0

    @classmethod
    def from_json(cls, found: ObservationRecord) -> Observation:
        """What :meth:`as_json` gave."""
        return cls(
            run=found["run"],
            trial=found["trial"],
            values=found["values"],
            objectives=found["objectives"],
            step=found["step"],
            reached=found["reached"],
        )

    def as_json(self) -> ObservationRecord:
        """For ``run.json``."""
        return {
            "run": self.run,
            "trial": self.trial,
            "values": dict(self.values),
            "objectives": None if self.objectives is None else list(self.objectives),
            "step": self.step,
            "reached": self.reached,
        }


def add_observations(
    study: optuna.Study, space: SearchSpace, observations: Sequence[Observation]
) -> None:
    """Add those that the study does not have; a second time changes nothing."""
    have = {
        tuple(frozen.user_attrs[OBSERVATION])
        for frozen in study.get_trials(deepcopy=False)
        if OBSERVATION in frozen.user_attrs
    }
    for observation in observations:
        if (observation.run, observation.trial) in have:
            continue
        replay = optuna.trial.FixedTrial(space.encode(observation.values))
        space.suggest(replay)
        complete = observation.objectives is not None
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if complete else TrialState.PRUNED,
                params=replay.params,
                distributions=replay.distributions,
                values=observation.objectives,
                intermediate_values=None if complete else {observation.step: observation.reached},
                user_attrs={OBSERVATION: [observation.run, observation.trial]},
            )
        )
