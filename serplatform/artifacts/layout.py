"""Where each file of a run lies, in its directory and, by the same names, on object storage."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from serplatform.errors import BadInputError

#: file that makes a directory a dataset; a run, an ensemble or a bundle
DATASET, SYSTEMS = "dataset.json", ("run.json", "ensemble.json", "bundle.json")
#: levels of directories, and entries of each, that are looked through for such a file
_DEEPEST, _MOST = 2, 1000

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
        self.run_file = path / "run.json"
        self.folds_file = path / "folds.json"
        self.journal = path / "study.journal"
        self.trials_table = path / "trials.parquet"
        self.report_file = path / "report.html"
        self.ensemble_directory = path / "ensemble"
        #: the run of the reference system
        self.reference_directory = path / "reference"
        #: which looks were taken at test rows; see ``artifacts.looks``
        self.looks_directory = path / "looks"
        #: what Ray writes while a search runs
        self.scratch = path / ".scratch"

    @property
    def has_reference(self) -> bool:
        """Whether there is a reference system, trained."""
        return RunLayout(self.reference_directory).record_file(0).exists()

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


def holders(head: str, start: str, markers: Sequence[str], depth: int = _DEEPEST) -> Iterator[str]:
    """Directories that hold one of the files ``markers``: those in ``head`` whose names begin with
    ``start``, and what lies in them."""
    with contextlib.suppress(OSError):
        for entry in itertools.islice(os.scandir(os.path.expanduser(head) or "."), _MOST):
            if not entry.name.startswith(start) or (not start and entry.name[0] == "."):
                continue
            if entry.is_dir():
                path = os.path.join(head, entry.name)
                if any(Path(entry.path, marker).is_file() for marker in markers):
                    yield path
                elif depth > 1:
                    yield from holders(path, "", markers, depth - 1)


def did_you_mean(path: str | Path, *markers: str) -> str:
    """A question that names the directories with such a file whose names are nearest to that of
    ``path``, which is none; empty where nothing is near."""
    wrong = Path(path)
    here = {os.path.abspath(each): each for each in holders("", "", markers)}
    beside = {os.path.abspath(each): each for each in holders(str(wrong.parent), "", markers)}
    names = {each: Path(each).name for each in sorted({**beside, **here}.values())}
    near = difflib.get_close_matches(wrong.name, names.values(), n=2, cutoff=0.6)
    nearest = [each for name in dict.fromkeys(near) for each in names if names[each] == name][:2]
    return f". Did you mean {' or '.join(nearest)}?" if nearest else ""


def no_system(path: Path) -> BadInputError:
    """What is said where there is no run, ensemble or bundle at ``path``."""
    return BadInputError(
        f"{path}: no such directory; give a run, an ensemble or a bundle; `serplatform runs DIR` "
        f"lists those below a directory{did_you_mean(path, *SYSTEMS)}"
    )
