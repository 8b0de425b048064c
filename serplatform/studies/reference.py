"""The reference system that every search is compared with, trained in seconds at its start.

An SVM on one vector an utterance: the middle layer of the dataset's pretrained encoder, else
descriptors or functionals, else mean and deviation of frames; its settings are fixed. It is a run
of its own in ``RUN/reference``, on the same folds, of one trial. Nothing is chosen for it, so its
test rows may be read at once.
"""

from __future__ import annotations

import dataclasses
import shutil

from serplatform.artifacts.files import write_bytes
from serplatform.artifacts.posteriors import rows_of_part
from serplatform.artifacts.run import RunDescription
from serplatform.artifacts.trial import TrialRecord
from serplatform.datasets.dataset import Dataset
from serplatform.environment import now
from serplatform.errors import SerplatformError
from serplatform.run_directory import RunDirectory
from serplatform.seeding import derive_seed
from serplatform.statistics.chance import chance_uar
from serplatform.statistics.intervals import Interval, metric_intervals
from serplatform.studies.feature_choice import FEATURE, feature_choices
from serplatform.studies.parameter import FeatureQuery
from serplatform.studies.setup import OpenRun
from serplatform.training.trial import TrialTask, TrialTraining

ARCHITECTURE = "svm"
#: what it is fitted on, the first that the dataset has
QUERY = FeatureQuery(pooled=True, functionals=True)
#: what a search may fix of the data for all its systems, and so for the reference
SHARED = ("data.normalization", "data.trim")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferenceResult:
    """What the reference reaches, pooled over folds; UAR as a fraction.

    Attributes:
        feature: that it is fitted on.
        dev: mean dev UAR over the folds.
        test: pooled test UAR with its interval by speaker; None while the run is sealed.
        chance: expected test UAR of guessing.
    """

    feature: str
    dev: float
    test: Interval | None
    chance: float


def train_reference(run: OpenRun) -> TrialRecord:
    """Train the reference on a run's folds, unless it was; return its record.

    Raises:
        SerplatformError: it cannot be trained on this dataset.
    """
    directory = RunDirectory(run.directory.reference_directory)
    if directory.record_file(0).exists():
        return directory.read_record(directory.record_file(0))
    shutil.rmtree(directory.path, ignore_errors=True)  # of a process that was killed
    dataset = Dataset.open(run.description["dataset"]["path"])
    found = feature_choices(dataset, QUERY)
    if not found:
        raise SerplatformError(
            f"{dataset.path}: has no feature that an {ARCHITECTURE} is fitted on"
        )
    values: dict[str, object] = {FEATURE: found[0]}
    fixed = run.spaces.values()
    for name in SHARED:  # where every space has one value of it
        alike = {str(space.fixed.get(name)): space.fixed.get(name) for space in fixed}
        if len(alike) == 1 and (value := next(iter(alike.values()))) is not None:
            values[name] = value
    seed = run.description["seed"]
    description: RunDescription = {
        **run.description,
        "architectures": [ARCHITECTURE],
        "spaces": {
            ARCHITECTURE: {
                "architecture": ARCHITECTURE,
                "description": "The reference: nothing is searched.",
                "fixed": values,
                "parameters": {},
            }
        },
        "roster": [{"architecture": ARCHITECTURE, "values": values, "repeat": 0}],
        "trials": 1,
        "time_budget": None,
        "warm_start": [],
        "portfolio": {},
        "sizes": {},
        "nested": False,
        "status": "complete",
        "ended": now(),
        "notes": [],
    }
    directory.write_run(description)
    write_bytes(directory.folds_file, run.directory.folds_file.read_bytes())
    training = TrialTraining(
        TrialTask(
            number=0,
            architecture=ARCHITECTURE,
            values=values,
            run=str(directory.path),
            dataset=run.description["dataset"]["path"],
            seed=derive_seed(seed, "reference"),
            sealed=run.description.get("sealed", False),
        )
    )
    while not training.finished:
        training.step()
    directory.write_trials_table()
    return directory.read_record(directory.record_file(0))


def read_reference(directory: RunDirectory) -> ReferenceResult | None:
    """What the reference of a run reaches; None where there is none."""
    place = RunDirectory(directory.reference_directory)
    if not place.record_file(0).exists():
        return None
    record, classes = place.read_record(place.record_file(0)), place.read_run()["classes"]
    test, truth, posteriors = rows_of_part(place.read_posteriors(0), "test", classes)
    sealed = not test.num_rows
    uar = None
    if not sealed:
        uar = metric_intervals(truth, posteriors, test["speaker_id"].to_pylist())["uar"]
    return ReferenceResult(
        feature=str(record["params"][FEATURE]),
        dev=record["dev"]["uar"],
        test=uar,
        chance=1 / len(classes) if sealed else chance_uar(truth),
    )
