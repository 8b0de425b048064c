"""Saying "not sure" about new recordings: calibrated confidence against a threshold of dev rows.

Each fold's posterior is brought to the temperature that was fitted on the fold's dev rows; their
mean over folds is the calibrated posterior, and that of the emotion named is the confidence.

Shapes: F folds, N clips, K classes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.artifacts.ensemble import BundledConfidences, read_ensemble
from serplatform.console import percent
from serplatform.ensembles.calibration import apply_temperature, fit_temperature
from serplatform.ensembles.rejection import Operating, Wish, coverage_accuracy_curve, grant, trusted
from serplatform.errors import ArtifactError, BadInputError
from serplatform.prediction.system import ENSEMBLE_FILE, PredictionSystem, trial_posteriors

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
        told = "" if accuracy is None else f"; {percent(accuracy)} of these answers were right"
        return (
            f"answers where the calibrated posterior is at least "
            f"{percent(self.chosen.threshold)} ({self.wish}), else says {NOT_SURE!r}. On dev rows "
            f"it answered {percent(self.chosen.coverage)} of the clips{told}. "
            "Results on dev rows are too good, and the mean over folds was not measured"
        )


def rejection_data(system: PredictionSystem) -> BundledConfidences:
    """What thresholds are chosen from, as bundles keep it: the dev rows of all folds.

    Raises:
        ArtifactError: the system was made by an earlier version, or a file is damaged.
    """
    if system.rejection is not None:
        return system.rejection
    again = f"{system.source}: the bundle holds no confidences of dev rows; export it again"
    if system.kind == "ensemble":
        file = system.source / ENSEMBLE_FILE
        if not file.is_file():
            raise ArtifactError(again)
        found = read_ensemble(system.source).get("rejection")
        if found is None or "dev" not in found:
            raise ArtifactError(
                f"{file}: holds no confidences of dev rows; combine again with "
                "`serplatform ensemble`"
            )
        return {"temperatures": [fold["temperature"] for fold in found["folds"]], **found["dev"]}
    if not (system.source / "run.json").is_file():
        raise ArtifactError(again)
    return _of_trial(system)


def _of_trial(system: PredictionSystem) -> BundledConfidences:
    table, truth, values = trial_posteriors(system, "dev")
    folds = table.column("fold").to_numpy()
    temperatures, confidences, hits = [], [], []
    for fold in system.folds:
        own = folds == fold.fold
        if not own.any():
            raise ArtifactError(
                f"{system.source}: trial {system.trial} has no dev posteriors of fold {fold.fold}"
            )
        temperature = fit_temperature(truth[own], values[own])
        scaled = apply_temperature(values[own], temperature)
        temperatures.append(temperature)
        confidences.append(scaled.max(axis=1))
        hits.append(scaled.argmax(axis=1) == truth[own])
    confidence = np.concatenate(confidences)
    return {
        "temperatures": temperatures,
        "rows": len(confidence),
        "curve": coverage_accuracy_curve(confidence, np.concatenate(hits), num_points=401),
    }


def make_rejector(system: PredictionSystem, wish: Wish) -> Rejector:
    """Choose the threshold; where none grants the wish, the error names the best accuracy."""
    data = rejection_data(system)
    rows, curve = data["rows"], data["curve"]
    temperatures = np.array(data["temperatures"], dtype=np.float64)
    if len(temperatures) != len(system.folds):
        raise ArtifactError(
            f"{system.source}: the confidences of dev rows are damaged (they hold "
            f"{len(temperatures)} temperatures for {len(system.folds)} folds); combine or export "
            "again"
        )
    chosen = grant(curve, wish, rows=rows)
    if chosen is None:
        best = max((point.accuracy or 0.0 for point in trusted(curve, rows)), default=0.0)
        raise BadInputError(
            f"--reject {wish}: no threshold reaches this on the {rows} dev rows. The highest "
            f"accuracy at which enough of them are answered is {percent(best)}: ask for less"
        )
    return Rejector(wish=wish, temperatures=temperatures, chosen=chosen)
