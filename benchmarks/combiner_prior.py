"""How far the exponents of the combiner ``product`` may stray from equal ones, told on dev rows.

In each outer fold one dev speaker after the other is left out: the exponents are fitted on the
fold's other dev speakers, and answer for that one. Test rows are not read. Random subsets of a
run's trials stand for shorter searches.

    python benchmarks/combiner_prior.py RUN... --out FILE
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from serplatform.ensembles import product
from serplatform.ensembles.base import COMBINERS, PosteriorSet
from serplatform.ensembles.posteriors import Library, read_library
from serplatform.environment import now, versions
from serplatform.metrics import classification_metrics

#: standard deviations of the prior, by name: the same for any number of members M, or c/M
PRIORS = {"0.3": 0.3, "1/M": "1", "2/M": "2", "3/M": "3", "5/M": "5", "10/M": "10"}
SIZES = (5, 10, 20, 40, 80)
SUBSETS = 2


def fitted(dev: PosteriorSet, prior: float | str) -> Any:
    """The combiner, fitted with a prior."""
    minimise = product.minimise_nll

    def with_prior(logs: Any, *others: Any) -> Any:
        std = float(prior) if isinstance(prior, str) else prior * len(logs)
        with mock.patch.object(product, "PRIOR_STD", std):
            return minimise(logs, *others)

    combiner = COMBINERS.get("product")()
    with mock.patch.object(product, "minimise_nll", with_prior):
        combiner.fit(dev)
    return combiner


def left_out(library: Library, members: Any, prior: float | str) -> dict[str, float]:
    """UAR and NLL of dev speakers that the exponents were not fitted on, folds pooled."""
    truth, answers = [], []
    for fold in library.folds:
        dev = library.take(fold, "dev").take_members(members)
        speakers = np.array(dev.speaker_ids)
        for speaker in np.unique(speakers) if len(set(dev.speaker_ids)) > 1 else []:
            combiner = fitted(dev.take_rows(np.flatnonzero(speakers != speaker)), prior)
            rows = np.flatnonzero(speakers == speaker)
            answers.append(combiner.combine(dev.posteriors[:, rows]))
            truth.append(dev.truth[rows])
    found = classification_metrics(np.concatenate(truth), np.concatenate(answers))
    return {"uar": found["uar"], "nll": found["nll"]}


def rows(runs: list[str]) -> Iterator[dict[str, Any]]:
    for run in runs:
        library, draws = read_library([run]), np.random.default_rng(0)
        total = len(library.take(library.folds[0], "dev").members)
        subsets = [
            np.sort(draws.permutation(total)[:size])
            for size in SIZES
            if size < total
            for _ in range(SUBSETS)
        ]
        for members in (*subsets, np.arange(total)):
            for name, prior in PRIORS.items():
                found = left_out(library, members, prior)
                yield {"run": run, "trials": len(members), "of": total, "prior": name, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    found = list(rows(given.runs))
    means = {
        f"{low}-{high} trials": {
            name: {
                key: round(
                    float(np.mean([row[key] for row in found if fits(row, name, low, high)])), 4
                )
                for key in ("uar", "nll")
            }
            for name in PRIORS
        }
        for low, high in ((1, 10), (11, 40), (41, 9999), (1, 9999))
    }
    content = {
        "command": shlex.join(["python", "benchmarks/combiner_prior.py", *sys.argv[1:]]),
        "written": now(),
        "versions": versions(),
        "means": means,
        "rows": found,
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(means, indent=1))


def fits(row: dict[str, Any], name: str, low: int, high: int) -> bool:
    """Whether a row is of a prior and of a number of trials."""
    return bool(row["prior"] == name and low <= row["trials"] <= high)


if __name__ == "__main__":
    main()
