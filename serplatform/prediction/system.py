"""What predicts: for each outer fold the models of some trials, and how they are combined.

A run is one trial's models; an ensemble is, for each fold, its members' models with the combiner
fitted on that fold's dev rows; a bundle is either. The posterior of new audio is the mean over
folds: the folds trained on different speakers, and their mean uses them all.

Shapes: M candidates, N clips, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.bundle import SystemDescription, SystemKind
from serplatform.artifacts.ensemble import BundledConfidences, IntervalRecord
from serplatform.artifacts.posteriors import rows_of_part
from serplatform.console import percent
from serplatform.ensembles.base import Combiner, combiner_from_parameters
from serplatform.ensembles.calibration import apply_temperature
from serplatform.errors import ArtifactError
from serplatform.run_directory import RunDirectory

ENSEMBLE_FILE = "ensemble.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemberModel:
    """One trial's model of one fold.

    Attributes:
        name: of the trial, unique in the system.
        architecture: registered name.
        directory: holds ``model.safetensors`` and ``config.json``.
        position: among the M candidates that the fold's combiner was fitted on.
        temperature: divides its log posteriors before combining; None: not calibrated.
        share: of the weights of its fold.
    """

    name: str
    architecture: str
    directory: Path
    position: int = 0
    temperature: float | None = None
    share: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldSystem:
    """What one outer fold contributes.

    Attributes:
        fold: its number.
        members: those with a weight.
        parameters: of the fitted combiner; None: the only member's posteriors are taken.
        num_candidates: M.
    """

    fold: int
    members: tuple[MemberModel, ...]
    parameters: Mapping[str, object] | None = None
    num_candidates: int = 1

    def combiner(self, num_classes: int) -> Combiner | None:
        """The combiner, ready to combine; damaged parameters and unknown combiners are errors."""
        if self.parameters is None:
            return None
        combiner = combiner_from_parameters(self.parameters, f"fold {self.fold}")
        if not combiner.fits(self.num_candidates, num_classes):
            raise ArtifactError(
                f"fold {self.fold}: the combiner's parameters do not fit {self.num_candidates} "
                f"candidates and {num_classes} classes; combine again"
            )
        return combiner

    def combine(
        self,
        combiner: Combiner | None,
        posteriors: Sequence[DoubleArray],
        shape: tuple[int, int],
    ) -> DoubleArray:
        """Combine the members' posteriors, each of ``shape`` (N, K), to (N, K).

        Candidates that are not members say 1/K for every class, which no combiner weighs; a
        fold may have no member at all.
        """
        if combiner is None:
            return posteriors[0]
        table = np.full((self.num_candidates, *shape), 1.0 / shape[1])  # (M, N, K)
        for member, values in zip(self.members, posteriors, strict=True):
            if member.temperature is not None:
                values = apply_temperature(values, member.temperature)
            table[member.position] = values
        return combiner.combine(table)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionSystem:
    """Everything that prediction needs, before any model is loaded.

    Attributes:
        kind: ``run`` or ``ensemble``.
        source: where it was opened.
        title: what it is, for people.
        classes: K names, the order of the posteriors.
        folds: at least one.
        synthetic: it was trained on machine-made speech.
        description: data, protocol, metrics and limits, as bundles keep them; empty unless the
            system came from a bundle.
        rejection: what thresholds of confidence are chosen from, as bundles keep it; None
            unless the system came from one that has it.
        identity: what tells it from others wherever it lies; empty where that is not known.
    """

    kind: SystemKind
    source: Path
    title: str
    classes: tuple[str, ...]
    folds: tuple[FoldSystem, ...]
    synthetic: bool
    description: SystemDescription = dataclasses.field(default_factory=lambda: SystemDescription())
    rejection: BundledConfidences | None = None
    identity: str = ""

    @property
    def members(self) -> list[MemberModel]:
        """Those of all folds."""
        return [member for fold in self.folds for member in fold.members]

    @property
    def num_models(self) -> int:
        return len({member.directory for member in self.members})

    @property
    def trial(self) -> int:
        """The trial of a run."""
        return int(self.folds[0].members[0].name.rpartition("-")[2])

    def describe(self) -> str:
        """One sentence on what is averaged."""
        folds = len(self.folds)
        if not self.num_models:
            return (
                f"{self.title}: has no member, for dev rows spoke against every trial; every class "
                "gets the same posterior, which is no better than chance"
            )
        again = "refit" in self.description
        if self.kind == "ensemble":
            whose = "they" if again else "those of each fold"
            how = "each fold's weights, fitted" if again else "the weights fitted"
            return (
                f"{self.title}: {self.num_models} models; {whose} are combined with {how} on its "
                f"dev rows, then the mean over {folds} folds is taken"
            )
        if again:
            return f"{self.title}: one model"
        return f"{self.title}: mean of the posteriors of its {folds} fold models"


def with_interval(found: IntervalRecord) -> str:
    """A proportion for people, with its interval where it has one.

    Example:
        >>> with_interval({"value": 0.524, "low": 0.451, "high": 0.608})
        '52.4 % (45.1–60.8)'
    """
    low, high = found.get("low"), found.get("high")
    span = "" if low is None or high is None else f" ({100 * low:.1f}–{100 * high:.1f})"
    return percent(found["value"]) + span


def not_tested(description: SystemDescription) -> str:
    """What is said wherever a system whose models were trained on all rows appears."""
    refit = description["refit"]
    return (
        f"this very model was not tested: it was trained once on all {refit['rows']} rows "
        f"({refit['speakers']} speakers), so that none is left. Its cross-validated twin, of the "
        "same settings and one model a fold, reached a pooled test UAR of "
        f"{with_interval(description['metrics']['uar'])}"
    )


def trial_posteriors(system: PredictionSystem, part: str) -> tuple[pa.Table, IntArray, DoubleArray]:
    """Rows of a part in a run's posterior table, their (N,) truth and (N, K) values."""
    table = RunDirectory(system.source).read_posteriors(system.trial)
    return rows_of_part(table, part, system.classes)
