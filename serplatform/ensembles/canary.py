"""Canaries of the ensemble: fits that are offered test rows, and numbers where chance puts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from serplatform.artifacts.ensemble import read_ensemble
from serplatform.artifacts.files import read_parquet
from serplatform.ensembles.base import COMBINERS
from serplatform.ensembles.calibration import fit_temperatures
from serplatform.ensembles.posteriors import Library
from serplatform.errors import LeakError
from serplatform.statistics.chance import chance_interval
from serplatform.statistics.intervals import Interval


def fits_that_take_test_rows(library: Library) -> list[str]:
    """Names of the fits that do not refuse test rows; empty when all refuse them."""
    test = library.take(library.folds[0], "test")
    fits: dict[str, Callable[[], object]] = {
        f"combiner '{name}'": lambda name=name: COMBINERS.get(name)().fit(test)  # type: ignore[misc]
        for name in COMBINERS.names()
    }
    fits["temperature scaling"] = lambda: fit_temperatures(test)
    taken = []
    for name, fit in fits.items():
        try:
            fit()
        except LeakError:
            continue
        taken.append(name)
    return taken


def chance_of_ensemble(
    path: Path,
    groups: Mapping[str, str] | None = None,
    *,
    level: float = 0.99,
    seed: int = 0,
) -> Interval:
    """An ensemble's pooled test UAR, with the ends of its values when the truth is permuted;
    utterances of one group (its name, by utterance id) keep one."""
    classes = read_ensemble(path)["classes"]
    rows = [r for r in read_parquet(path / "posteriors.parquet").to_pylist() if r["part"] == "test"]
    truth = np.array([classes.index(row["truth"]) for row in rows])
    posteriors = np.array([[row[f"p_{name}"] for name in classes] for row in rows])
    of_rows = (
        None if groups is None else [groups.get(name := row["utterance_id"], name) for row in rows]
    )
    return chance_interval(truth, posteriors, groups=of_rows, level=level, seed=seed)
