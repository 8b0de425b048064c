"""What the intervals of NLL and Brier score cover, on simulated corpora.

A system gives an utterance logits: noise of unit variance, more for the true class by an ability
that is normal over speakers, all times a sharpness (1: about calibrated where the ability is 1;
3: overconfident). Unbalanced corpora draw the utterances of a speaker (log-normal, σ = 0.7). What
is true of speakers not yet drawn is measured on 200,000 more utterances of 20,000 speakers.

    python benchmarks/loss_coverage.py --corpora 1000 --out FILE

Shapes: S speakers, N utterances, K classes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
from pathlib import Path

import numpy as np
from portfolio import commit
from scipy.special import softmax

from serplatform.environment import now, versions
from serplatform.metrics import brier_scores, negative_log_likelihoods
from serplatform.statistics.intervals import jackknife_interval, leave_one_out

CLASSES, CLIPS, SPEAKERS = 6, 60, (4, 6, 9, 10, 24, 50)
#: standard deviation of the ability over speakers
SPREADS = (0.0, 0.5, 1.0)
SHARPNESS = (1.0, 3.0)


def losses(spoken: np.ndarray, spread: float, sharp: float, rng: np.random.Generator) -> np.ndarray:
    """(S, 2) each speaker's sums of NLL and Brier scores; ``spoken`` (S,) utterances."""
    speaker = np.repeat(np.arange(len(spoken)), spoken)  # (N,)
    truth = rng.integers(CLASSES, size=len(speaker))
    logits = rng.normal(size=(len(speaker), CLASSES))
    logits[np.arange(len(truth)), truth] += rng.normal(1.5, spread, len(spoken))[speaker]
    posteriors = softmax(sharp * logits, axis=1)
    found = negative_log_likelihoods(truth, posteriors), brier_scores(truth, posteriors)
    return np.stack([np.bincount(speaker, one, len(spoken)) for one in found], axis=1)


def main() -> None:
    """Write the share of corpora whose interval holds the truth, in every case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--corpora", type=int, default=1000)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = []
    for seed, (spread, sharp, balanced, speakers) in enumerate(
        itertools.product(SPREADS, SHARPNESS, (True, False), SPEAKERS)
    ):
        rng = np.random.default_rng(seed)
        truth = losses(np.full(20_000, 10), spread, sharp, rng).sum(axis=0) / 200_000
        covered = np.zeros(2)
        for _ in range(given.corpora):
            size = np.zeros(speakers) if balanced else rng.normal(-0.245, 0.7, speakers)
            spoken = np.maximum(1, np.round(CLIPS * np.exp(size)).astype(np.int64))
            times = leave_one_out(speakers)
            means = times @ losses(spoken, spread, sharp, rng) / (times @ spoken)[:, None]
            for which in range(2):
                found = jackknife_interval(means[:, which], "loss", utterances=spoken)
                assert found.low is not None
                assert found.high is not None
                covered[which] += found.low <= truth[which] <= found.high
        nll, brier = (covered / given.corpora).round(4).tolist()
        case = {"speakers": speakers, "spread": spread, "sharpness": sharp, "balanced": balanced}
        rows.append({**case, "true": truth.round(4).tolist(), "nll": nll, "brier": brier})
        print(json.dumps(rows[-1]), flush=True)
    content = {
        "command": shlex.join(["python", "benchmarks/loss_coverage.py", *sys.argv[1:]]),
        "written": now(),
        "commit": commit(),
        "versions": versions(),
        "covered_least_mean_most": {
            name: [round(float(at([row[name] for row in rows])), 4) for at in (min, np.mean, max)]
            for name in ("nll", "brier")
        },
        "covered": rows,
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
