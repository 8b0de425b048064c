"""``sp.evaluate``: a trained system on another dataset, with its numbers as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from serplatform.api.arguments import checked_arguments
from serplatform.api.results import Bundle, Ensemble, Run
from serplatform.api.session import session
from serplatform.datasets.dataset import Dataset
from serplatform.evaluation.evaluate import EvaluationRequest, EvaluationResult
from serplatform.evaluation.output import text
from serplatform.evaluation.record import write_evaluation


class Evaluation:
    """A system on another dataset.

    Attributes:
        info: what ``evaluate --json`` prints.
    """

    def __init__(self, found: EvaluationResult, info: dict[str, Any]) -> None:
        self.info = info
        self._found = found

    def metrics(self) -> pd.DataFrame:
        """One row per ``reading`` and ``metric``: ``value``, 95 % interval ``low`` to ``high``."""
        return pd.DataFrame(
            {"reading": name, "metric": metric, **interval}
            for name, reading in self.info["readings"].items()
            for metric, interval in reading["metrics"].items()
        )

    def recalls(self) -> pd.DataFrame:
        """One row per class that the data has, under the main reading."""
        found = self.info["readings"][self.info["reading"]]["recall"]
        return pd.DataFrame({"class": name, **recall} for name, recall in found.items())

    def posteriors(self) -> pd.DataFrame:
        """One row per utterance: ids, label, truth, prediction and posteriors."""
        return self._found.table().to_pandas()

    def __repr__(self) -> str:
        return text(self._found)


@checked_arguments
def evaluate(
    system: Run | Ensemble | Bundle | str | Path,
    data: Dataset | str | Path,
    *,
    label_map: Mapping[str, str] | None = None,
    classes: str = "all",
    out: str | Path | None = None,
    trial: int | None = None,
    trained_on: Dataset | str | Path | None = None,
    unchecked: bool = False,
    speakers_differ: bool = False,
    conditions: Sequence[str] | None = None,
    fairness: bool = False,
    seed: int = 0,
    device: str = "cpu",
    quiet: bool | None = None,
    plugins: str | Path | Sequence[str | Path] = (),
) -> Evaluation:
    """Evaluate a trained system on another dataset; rows that training has seen are left out.

    Args:
        system: a run, an ensemble or a bundle.
        data: to evaluate on.
        label_map: label of the data to class of the system; an empty class leaves it out.
        classes: ``all`` or ``shared``: the main reading where the data lacks classes.
        out: JSON to write, the posteriors beside it as Parquet; None: nothing is written.
        trial: of a run; None: the best on dev.
        trained_on: where the training data lies now; needed for a bundle.
        unchecked: go on although the training data is gone.
        speakers_differ: speakers of one name in both are different people.
        conditions: changes of the audio to measure under, too: some of ``noise, band, codec, gain,
            reverb``; an empty sequence: all; None: none.
        fairness: compare recalls between genders and between speakers.
        seed: of draws and permutations.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        quiet: tell nothing.
        plugins: files or modules that the system was made with.

    Raises:
        BadInputError: the system or the data cannot be used, or training saw all of it.
    """
    request = EvaluationRequest(
        system=_place(system),
        data=_place(data),
        label_map=dict(label_map or {}),
        reading=classes,
        trial=trial,
        trained_on=None if trained_on is None else _place(trained_on),
        unchecked=unchecked,
        speakers_differ=speakers_differ,
        device=device,
        conditions=None if conditions is None else tuple(conditions),
        fairness=fairness,
        seed=seed,
    )
    with session(quiet, plugins):
        return Evaluation(*write_evaluation(request, out))


def _place(given: Any) -> str:
    """Path or URI."""
    return str(getattr(given, "address", None) or getattr(given, "path", given))
