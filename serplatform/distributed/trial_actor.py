"""A one-worker trial inside a reused Ray Tune actor: one epoch a step."""

from __future__ import annotations

from typing import Any

from ray import tune

from serplatform.distributed.task_codec import (
    CONFIG_KEY,
    failure_result,
    report_to_result,
    start_trial,
)
from serplatform.errors import SerplatformError


class TrialActor(tune.Trainable):
    """Trains trials one after another in one process.

    The process keeps the dataset open and torch imported between trials; a trial costs what
    its training costs.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first trial's configuration; nothing is computed yet."""
        self._packed = config[CONFIG_KEY]
        self._trial: Any = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial's configuration in the same process."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch.

        An error that training again would repeat ends the trial with its reason; any other
        exception is left to Tune, which retries the trial from its last saved epoch.
        """
        try:
            if self._trial is None:
                self._trial = start_trial(self._packed)
            report = self._trial.step()
        except (SerplatformError, OSError) as error:
            failure = failure_result(error)
            if failure is None:
                raise
            return failure
        result = report_to_result(report)
        return {**result, "done": result["finished"]}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The trial saves its own state in the run directory; Tune keeps nothing."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See :meth:`save_checkpoint`."""

    def cleanup(self) -> None:
        """Let go of the trial."""
        self._trial = None
