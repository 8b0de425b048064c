"""Where each file of a run lies, in its directory and, by the same names, on object storage."""

from __future__ import annotations

import re
from pathlib import Path

#: of one model
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
#: what is written into the state of an unfinished trial, and into the models of one
STATE_FILES = re.compile(
    r"progress\.json|owner|fold-\d+\.parquet"
    r"|epoch-\d+(/(state\.json|state-[0-9a-f]{16}\.safetensors))?"
)
TRIAL_NAME = re.compile(r"trial-\d{5,}")
MODEL_FILES = re.compile(r"fold-\d+(/(model\.safetensors|config\.json))?")
#: what Ray writes of a search into ``.scratch``, and the groups that ``worker_groups`` notes there
SCRATCH_FILES = re.compile(
    r"tune|groups(/\d+(/[0-9a-f]+)?)?|(tune|ray_train_run-[\d_-]+)/\.validate_storage_marker"
    r"|ray_train_run-[\d_-]+(/\.?checkpoint_manager_snapshot\.json(\.tmp)?)?"
    r"|tune/(tuner|trainable)\.pkl|tune/\.tmp_\w+"
    r"|tune/(experiment_state|search_gen_state|searcher-state)-[\d_-]+\.(json|pkl)"
    r"|tune/(TrialActor|train_driver)_[0-9a-f]{8}_\d+_[^/]*"
    r"(/(params\.(json|pkl)|result\.json|progress\.csv|error\.(txt|pkl)))?"
)


class RunLayout:
    """The paths of a run.

    Args:
        path: the run's directory; an empty path gives names relative to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def run_file(self) -> Path:
        return self.path / "run.json"

    @property
    def folds_file(self) -> Path:
        return self.path / "folds.json"

    @property
    def journal(self) -> Path:
        return self.path / "study.journal"

    @property
    def trials_table(self) -> Path:
        return self.path / "trials.parquet"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    @property
    def ensemble_directory(self) -> Path:
        return self.path / "ensemble"

    @property
    def reference_directory(self) -> Path:
        """The run of the reference system."""
        return self.path / "reference"

    @property
    def has_reference(self) -> bool:
        """Whether there is one, trained."""
        return RunLayout(self.reference_directory).record_file(0).exists()

    @property
    def looks_directory(self) -> Path:
        """Which looks were taken at test rows; see ``artifacts.looks``."""
        return self.path / "looks"

    @property
    def scratch(self) -> Path:
        """What Ray writes while a search runs."""
        return self.path / ".scratch"

    def posteriors_file(self, trial: int) -> Path:
        return self.path / "posteriors" / f"trial-{trial:05d}.parquet"

    def models_directory(self, trial: int) -> Path:
        return self.path / "models" / f"trial-{trial:05d}"

    def model_directory(self, trial: int, fold: int) -> Path:
        return self.models_directory(trial) / f"fold-{fold}"

    def record_file(self, trial: int) -> Path:
        return self.path / "trials" / f"trial-{trial:05d}.json"

    def state_directory(self, trial: int) -> Path:
        """Where an unfinished trial keeps what it needs to go on; removed when it ends."""
        return self.path / "state" / f"trial-{trial:05d}"
