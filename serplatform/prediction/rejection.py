"""Saying "not sure" about new recordings: calibrated confidence against a threshold of dev rows.

Each fold's posterior is brought to the temperature that was fitted on the fold's dev rows; their
mean over folds is the calibrated posterior, and that of the emotion named is the confidence. The
threshold comes from the dev rows of all folds, each answered by the models of its own fold.

Shapes: F folds, N clips, K classes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.artifacts.ensemble import BundledConfidences, read_ensemble
from serplatform.ensembles.calibration import apply_temperature, fit_temperature
from serplatform.ensembles.rejection import Operating, Wish, coverage_accuracy_curve, grant, trusted
from serplatform.errors import ArtifactError, BadInputError
from serplatform.prediction.system import ENSEMBLE_FILE, PredictionSystem
from serplatform.run_directory import RunDirectory

NOT_SURE = "not sure"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rejector:
    """Answers or says "not sure".

    Attributes:
        wish: what the threshold was chosen for.
        temperatures: (F,), one a fold.
        chosen: the threshold, with its coverage and accuracy on dev rows.
    """

    wish: Wish
    temperatures: DoubleArray
    chosen: Operating

    def calibrated(self, fold_posteriors: DoubleArray) -> DoubleArray:
        """(F, N, K) posteriors of each fold to (N, K), their mean at the folds' temperatures."""
        scaled = apply_temperature(fold_posteriors, self.temperatures)
        return np.asarray(scaled.mean(axis=0), dtype=np.float64)

    def describe(self) -> str:
        """One sentence on what is answered."""
        accuracy = self.chosen.accuracy
        told = "" if accuracy is None else f", {100 * accuracy:.1f} % of them rightly"
        return (
            f"answers where the calibrated posterior is at least {self.chosen.threshold:.3f} "
            f"({self.wish}); on dev rows that answered {100 * self.chosen.coverage:.1f} %{told}. "
            "Dev rows flatter, and the mean over folds was not measured"
        )


def rejection_data(system: PredictionSystem) -> BundledConfidences:
    """What thresholds are chosen from, JSON-serialisable, as bundles keep it.

    Returns:
        ``temperatures`` of the folds, ``rows`` (dev) and their ``curve``: columns ``threshold``,
        ``coverage`` and ``accuracy``.

    Raises:
        ArtifactError: the system was made by an earlier version, or a file is damaged.
    """
    if system.rejection is not None:
        return system.rejection
    if system.kind == "ensemble":
        file = system.source / ENSEMBLE_FILE
        if not file.is_file():
            raise ArtifactError(
                f"{system.source}: the bundle holds no confidences of dev rows; export it again"
            )
        found = read_ensemble(system.source).get("rejection")
        if found is None or "dev" not in found:
            raise ArtifactError(
                f"{file}: holds no confidences of dev rows; combine again with "
                "`serplatform ensemble`"
            )
        temperatures = [fold["temperature"] for fold in found["folds"]]
        return {"temperatures": temperatures, **found["dev"]}
    if not (system.source / "run.json").is_file():
        raise ArtifactError(
            f"{system.source}: the bundle holds no confidences of dev rows; export it again"
        )
    return _of_trial(system)


def _of_trial(system: PredictionSystem) -> BundledConfidences:
    number = int(system.folds[0].members[0].name.rpartition("-")[2])
    table = RunDirectory(system.source).read_posteriors(number)
    rows = [row for row in table.to_pylist() if row["part"] == "dev"]
    temperatures, confidences, hits = [], [], []
    for fold in system.folds:
        own = [row for row in rows if row["fold"] == fold.fold]
        if not own:
            raise ArtifactError(
                f"{system.source}: trial {number} has no dev posteriors of fold {fold.fold}"
            )
        truth = np.array([system.classes.index(row["truth"]) for row in own], dtype=np.int64)
        values = np.array([[row[f"p_{c}"] for c in system.classes] for row in own])
        temperature = fit_temperature(truth, values)
        scaled = apply_temperature(values, temperature)
        temperatures.append(temperature)
        confidences.append(scaled.max(axis=1))
        hits.append(scaled.argmax(axis=1) == truth)
    confidence = np.concatenate(confidences)
    return {
        "temperatures": temperatures,
        "rows": len(confidence),
        "curve": coverage_accuracy_curve(confidence, np.concatenate(hits), num_points=401),
    }


def make_rejector(system: PredictionSystem, wish: Wish) -> Rejector:
    """Choose the threshold.

    Raises:
        BadInputError: no threshold grants the wish; the highest accuracy that can be had is named.
        ArtifactError: as for :func:`rejection_data`.
    """
    data = rejection_data(system)
    rows, curve = data["rows"], data["curve"]
    temperatures = np.array(data["temperatures"], dtype=np.float64)
    if len(temperatures) != len(system.folds):
        raise ArtifactError(
            f"{system.source}: the confidences of dev rows are damaged: they hold "
            f"{len(temperatures)} temperatures for {len(system.folds)} folds; combine or export "
            "again"
        )
    chosen = grant(curve, wish, rows=rows)
    if chosen is None:
        best = max((point.accuracy or 0.0 for point in trusted(curve, rows)), default=0.0)
        raise BadInputError(
            f"--reject {wish}: no threshold reaches that on the {rows} dev rows; the highest "
            f"accuracy that enough of them have is {best:.3f}"
        )
    return Rejector(wish=wish, temperatures=temperatures, chosen=chosen)
