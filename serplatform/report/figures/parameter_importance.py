"""How much each parameter tells about a trial's dev UAR: permutation importance of a forest."""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.report import charts
from serplatform.report.data import NoDataError, ReportData
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette
from serplatform.report.parameters import varied_parameters
from serplatform.report.wording import decimal, listing

#: Fewest finished trials of an architecture from which importances are estimated.
MIN_TRIALS = 20
#: Below this held-out R² the forest has learned too little for its importances to mean anything.
MIN_R2 = 0.1
FOLDS = 5
REPEATS = 5
TREES = 100
#: of the forest, the folds and the shuffles
SEED = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Importance:
    """Loss of held-out R² when a parameter is shuffled: mean and std over folds and shuffles."""

    parameter: str
    mean: float
    std: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArchitectureImportance:
    """Importances of one architecture's parameters, largest first; none below :data:`MIN_R2`."""

    architecture: str
    trials: int
    r2: float
    importances: tuple[Importance, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Importances:
    """One entry an architecture; ``too_few`` names those with too few trials."""

    architectures: tuple[ArchitectureImportance, ...]
    too_few: tuple[str, ...]


def permutation_importance(codes: DoubleArray, target: DoubleArray) -> tuple[float, DoubleArray]:
    """Permutation importance of a forest on held-out rows: R², (P, FOLDS · REPEATS) losses.

    Breiman, "Random Forests", Machine Learning 45, 2001, section 10, with held-out folds in
    the place of out-of-bag rows. Parameters that go together share or hide importance.

    Args:
        codes: (N, P), NaN where missing.
        target: (N,).
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import KFold

    rng = np.random.default_rng(SEED)
    filled = np.where(np.isfinite(codes), codes, np.nanmin(codes, axis=0) - 1.0)
    spread = float(np.square(target - target.mean()).mean())
    losses = np.zeros((codes.shape[1], FOLDS * REPEATS))
    squared = np.zeros(len(target))
    for fold, (train, held) in enumerate(
        KFold(FOLDS, shuffle=True, random_state=SEED).split(filled)
    ):
        forest = RandomForestRegressor(
            TREES, min_samples_leaf=2, random_state=SEED, n_jobs=1, max_features=0.6
        )
        forest.fit(filled[train], target[train])
        squared[held] = np.square(forest.predict(filled[held]) - target[held])
        # every parameter and every shuffle in one prediction
        copies = np.repeat(filled[held][None], codes.shape[1] * REPEATS, axis=0)
        for i in range(len(copies)):
            column = i // REPEATS
            copies[i, :, column] = rng.permutation(copies[i, :, column])
        predicted = forest.predict(copies.reshape(-1, codes.shape[1])).reshape(len(copies), -1)
        error = np.square(predicted - target[held]).mean(axis=1)  # (P · REPEATS,)
        gain = (error - squared[held].mean()) / spread
        losses[:, fold * REPEATS : (fold + 1) * REPEATS] = gain.reshape(-1, REPEATS)
    return 1.0 - float(squared.mean()) / spread, losses


@FIGURES.register("parameter_importance")
class ParameterImportance(Figure[Importances]):
    title = "Importance of the parameters"
    section = "search"
    after = "parallel_coordinates"

    def compute(self, report: ReportData) -> Importances:
        found, too_few = [], []
        for architecture, trials in report.finished_by_architecture().items():
            parameters = varied_parameters(trials)
            target = np.array([t.objective for t in trials], dtype=np.float64)
            if len(trials) < MIN_TRIALS or not parameters or float(np.ptp(target)) == 0.0:
                too_few.append(f"{architecture} ({len(trials)})")
                continue
            codes = np.stack([p.codes for p in parameters], axis=1)
            r2, losses = permutation_importance(codes, target)
            importances = [
                Importance(parameter=p.name, mean=float(loss.mean()), std=float(loss.std(ddof=1)))
                for p, loss in zip(parameters, losses, strict=True)
            ]
            importances.sort(key=lambda item: -item.mean)
            found.append(
                ArchitectureImportance(
                    architecture=architecture,
                    trials=len(trials),
                    r2=r2,
                    importances=tuple(importances) if r2 >= MIN_R2 else (),
                )
            )
        if not found:
            counted = listing(too_few) if too_few else "none"
            raise NoDataError(
                f"an architecture needs at least {MIN_TRIALS} finished trials with varied "
                f"parameters; there are: {counted}"
            )
        return Importances(architectures=tuple(found), too_few=tuple(too_few))

    def draw(self, data: Importances, palette: Palette) -> Drawing:
        panels, sentences = [], []
        for entry in data.architectures:
            if not entry.importances:
                sentences.append(
                    f"{entry.architecture}: the forest does not predict dev UAR from the "
                    f"parameters (held-out R² {decimal(entry.r2, 2)}, at least {MIN_R2} is "
                    "wanted), so no importance is shown."
                )
                continue
            top, shown = entry.importances[0], entry.importances[:12]
            sentences.append(
                f"{entry.architecture}: {top.parameter} matters most (loss of R² "
                f"{decimal(top.mean, 2)}; the forest's held-out R² is {decimal(entry.r2, 2)}, from "
                f"{entry.trials} trials)."
            )
            bars = charts.bars(
                [item.parameter for item in shown],
                [item.mean for item in shown],
                [item.std for item in shown],
                palette.colour(entry.architecture),
            )
            panels.append(
                charts.panel(
                    [bars],
                    "loss of held-out R² when shuffled",
                    charts.axis(autorange="reversed"),
                    title=entry.architecture,
                    legend=False,
                    height=110 + 26 * len(shown),
                )
            )
        note = (
            f"Random forest ({TREES} trees) from parameters to mean dev UAR over finished trials, "
            f"{FOLDS}-fold; bars are mean ± sd over folds and {REPEATS} shuffles. It describes the "
            "trials that the sampler chose, not cause; parameters that go together share "
            "importance."
        )
        if data.too_few:
            note += f" Fewer than {MIN_TRIALS} finished trials: {listing(data.too_few)}."
        table = charts.table(
            "Permutation importance by architecture",
            ["architecture", "parameter", "loss of R²", "sd", "held-out R²", "trials"],
            [
                [e.architecture, item.parameter, item.mean, item.std, e.r2, e.trials]
                for e in data.architectures
                for item in e.importances
            ],
        )
        return Drawing(
            summary=" ".join(sentences),
            panels=panels,
            tables=[table] if table.rows else [],
            note=note,
        )
