"""Weights & Biases: a group for the search, a run for each trial.

``WANDB_MODE=offline`` writes below ``RUN/wandb``, for ``wandb sync``. Offline, nobody can be asked
what was sent, so it is noted in ``RUN/tracking/wandb.json``; a run that is continued offline is in
several directories, which `wandb sync` puts together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from serplatform.artifacts.files import read_json, write_json
from serplatform.errors import ArtifactError, BadInputError
from serplatform.tracking.base import TRACKERS, TrackedRun, TrackedTrial, Tracker

#: seconds that its server has to answer before a search begins, and to take a trial that ends
_ANSWER, _FINISH = 15, 30.0
_NOTES = Path("tracking", "wandb.json")


@TRACKERS.register("wandb")
class Wandb(Tracker):
    """A project, online or offline as its own variables and login say."""

    extra: ClassVar[str] = "wandb"
    default: ClassVar[str | None] = "serplatform"

    def __init__(self, target: str, run: TrackedRun) -> None:
        super().__init__(target, run)
        self._open: dict[int, Any] = {}
        self._file = run.directory.path / _NOTES
        self._sent: dict[str, int] = {}  # epochs of each trial
        self._ended: set[str] = set()
        try:
            notes = read_json(self._file, "notes of a tracker").get(target, {})
            self._sent = {str(name): int(count) for name, count in notes["sent"].items()}
            self._ended = set(map(str, notes["ended"]))
        except (ArtifactError, KeyError, ValueError, TypeError, AttributeError):
            pass  # nothing was sent to this project

    @classmethod
    def check(cls, target: str) -> str:
        """See that there is a client, and a server that knows the user."""
        wandb = _import()
        if os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled"):
            return target
        try:
            known = wandb.login(verify=True, prompt=False, timeout=_ANSWER)
            reason = "no API key is known"
        except Exception as error:  # noqa: BLE001 - its errors have no common class
            known, reason = False, str(error).strip().partition("\n")[0][:300]
        if not known:
            raise BadInputError(
                f"--log wandb: cannot be used ({reason}); give `wandb login`, or set "
                "WANDB_MODE=offline and send the run later with `wandb sync`"
            )
        return target

    def update(self, trial: TrackedTrial) -> None:
        """Send the epochs that are not sent, and how the trial ended."""
        points, name = trial.points(), str(trial.number)
        if name in self._ended or not (points or trial.record):
            return
        if trial.number not in self._open:
            told = trial.settings() | {"trial": trial.number}
            label = f"{trial.name}-{trial.architecture}"
            self._open[trial.number] = self._begin(label, trial.architecture, told)
        run = self._open[trial.number]
        sent = max(self._sent.get(name, 0), run.step)
        for step, _, numbers in points[sent:]:
            run.log(numbers, step=step - 1, commit=True)
        self._sent[name] = max(sent, len(points))  # a resumed trial repeats some
        if trial.record is not None:
            run.summary.update({**trial.outcome(), "state": trial.state, "ended": trial.why()})
            run.tags = (*(run.tags or ()), trial.state)
            run.finish(exit_code=int(trial.state == "failed"))
            del self._open[trial.number]
            self._ended.add(name)
        self._note()

    def finish(self, status: str, files: Sequence[Path]) -> None:
        """Close what did not end; send the results in a run of the search itself."""
        import wandb

        for number in list(self._open):
            self._open.pop(number).finish()
        run = self._begin(self.run.name, "search", self.run.settings())
        artifact = wandb.Artifact(f"{self.run.name}-results", type="results")
        for file in files:
            if file.is_file():
                artifact.add_file(str(file))
        if files:
            run.log_artifact(artifact)
        run.summary["state"] = status
        run.finish(exit_code=int(status == "failed"))
        self._note()

    def _begin(self, name: str, kind: str, told: Mapping[str, Any]) -> Any:
        import wandb

        return wandb.init(
            project=self.target,
            id=f"{self.run.identity}-{name}",
            name=name,
            group=self.run.name,
            job_type=kind,
            config=dict(told),
            dir=str(self.run.directory.path),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
                finish_timeout=_FINISH,
                finish_timeout_raises=True,
            ),
        )

    def _note(self) -> None:
        notes = {self.target: {"sent": self._sent, "ended": sorted(self._ended)}}
        write_json(self._file, notes)


def _import() -> Any:
    try:
        import wandb
    except ImportError:
        raise BadInputError(
            f"--log wandb: its client is not installed: pip install 'serplatform[{Wandb.extra}]'"
        ) from None
    return wandb
