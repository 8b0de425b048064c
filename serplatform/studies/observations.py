"""Trials of an earlier run as a sampler's observations in a study that did not run them.

They are finished trials of the Optuna study under an attribute of their own. They have no number
in the run, so nothing counts, shows or resumes them; and they have no rungs, which Optuna's
``SuccessiveHalvingPruner`` keeps with each trial, so no trial is pruned against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from serplatform.artifacts.run import ObservationRecord

if TYPE_CHECKING:
    from serplatform.studies.space import SearchSpace

#: user attribute of such an Optuna trial: the run it is of, and its number there
OBSERVATION = "serplatform_warm_start"


def add_observations(
    study: optuna.Study, space: SearchSpace, observations: Sequence[ObservationRecord]
) -> None:
    """Add those that the study does not have; a second time changes nothing."""
    have = {
        tuple(frozen.user_attrs[OBSERVATION])
        for frozen in study.get_trials(deepcopy=False)
        if OBSERVATION in frozen.user_attrs
    }
    for observation in observations:
        if (observation["run"], observation["trial"]) in have:
            continue
        replay = optuna.trial.FixedTrial(space.encode(observation["values"]))
        space.suggest(replay)
        complete = observation["objectives"] is not None
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if complete else TrialState.PRUNED,
                params=replay.params,
                distributions=replay.distributions,
                values=observation["objectives"],
                intermediate_values=None
                if complete
                else {observation["step"]: observation["reached"]},
                user_attrs={OBSERVATION: [observation["run"], observation["trial"]]},
            )
        )
