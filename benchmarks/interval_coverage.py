"""What the intervals of ``serplatform.statistics.intervals`` cover, on simulated corpora.

Each corpus draws speakers; a speaker has an ability, one for each class, and one for each class
and system, all normal on the logit scale; utterances are right or wrong by that chance. The truth
is the UAR of a speaker not yet drawn, in expectation. Beside them: percentiles of 1,000 resamples
of the speakers, which the package gave before.

    python benchmarks/interval_coverage.py --corpora 2000 --out FILE
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from portfolio import commit
from scipy.special import expit, logit

from serplatform.environment import now, versions
from serplatform.statistics.intervals import jackknife_interval, leave_one_out

CLASSES = 6
#: speakers and clips a class of each: small tables, EmoDB, nEMO, RAVDESS, CREMA-D's half
SIZES = ((4, 10), (6, 10), (9, 40), (10, 9), (24, 10), (50, 10))
LEVELS = (0.3, 0.6, 0.9)
SPEAKER, SPEAKER_CLASS, SPEAKER_SYSTEM = 0.5, 0.6, 0.4  # standard deviations, logits
RESAMPLES = 1000


def simulate(
    speakers: int, clips: int, level: float, gain: float, unbalanced: bool, corpora: int, seed: int
) -> dict[str, Any]:
    """Coverage of the UAR of one system and of the difference of two, shares of corpora."""
    rng = np.random.default_rng(seed)
    classes = rng.normal(0.0, 0.7, CLASSES)
    draws = rng.normal(0.0, 1.0, 100_000)
    spread = np.sqrt(SPEAKER**2 + SPEAKER_CLASS**2 + SPEAKER_SYSTEM**2)
    means = [
        float(np.mean([expit(logit(level) + c + g + spread * draws).mean() for c in classes]))
        for g in (0.0, gain)
    ]
    times = leave_one_out(speakers)
    found: dict[str, list[tuple[bool, bool, bool]]] = {}

    def count(name: str, low: float, high: float, truth: float) -> None:
        row = (low <= truth <= high, high < truth, low > truth)
        found.setdefault(name, []).append(row)

    for _ in range(corpora):
        size = (speakers, CLASSES)
        given = rng.integers(max(1, clips // 4), 2 * clips, size) if unbalanced else clips
        spoken = np.broadcast_to(given, size)
        shared = rng.normal(0.0, SPEAKER, (speakers, 1)) + rng.normal(0.0, SPEAKER_CLASS, size)
        hits = [
            rng.binomial(
                spoken,
                expit(
                    logit(level)
                    + classes
                    + g
                    + shared
                    + rng.normal(0.0, SPEAKER_SYSTEM, (speakers, 1))
                ),
            )
            for g in (0.0, gain)
        ]
        drawn = rng.multinomial(speakers, np.full(speakers, 1 / speakers), RESAMPLES)
        uar = [((times @ h) / (times @ spoken)).mean(axis=1) for h in hits]
        boot = [((drawn @ h) / (drawn @ spoken)).mean(axis=1) for h in hits]
        one = jackknife_interval(uar[0], "share")
        two = jackknife_interval(uar[1] - uar[0], "difference")
        assert one.low is not None
        assert one.high is not None
        assert two.low is not None
        assert two.high is not None
        count("value", one.low, one.high, means[0])
        count("difference", two.low, two.high, means[1] - means[0])
        count("value, percentiles", *np.quantile(boot[0], [0.025, 0.975]), means[0])
        count(
            "difference, percentiles",
            *np.quantile(boot[1] - boot[0], [0.025, 0.975]),
            means[1] - means[0],
        )
    return {
        name: dict(
            zip(("covered", "below", "above"), np.mean(rows, axis=0).round(4).tolist(), strict=True)
        )
        for name, rows in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpora", type=int, default=2000)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = []
    cells = itertools.product(SIZES, LEVELS, (0.0, 0.4), (False, True))
    for seed, ((speakers, clips), level, gain, unbalanced) in enumerate(cells):
        found = simulate(speakers, clips, level, gain, unbalanced, given.corpora, seed)
        setting = {"speakers": speakers, "clips_a_class": clips, "uar": level}
        rows.append({**setting, "gain": gain, "unbalanced": unbalanced, **found})
        print(rows[-1], flush=True)
    summary = {
        f"{speakers} speakers": {
            name: [
                round(
                    float(pick([r[name]["covered"] for r in rows if r["speakers"] == speakers])), 4
                )
                for pick in (np.min, np.mean, np.max)
            ]
            for name in ("value", "difference", "value, percentiles", "difference, percentiles")
        }
        for speakers, _ in SIZES
    }
    content = {
        "command": shlex.join(["python", "benchmarks/interval_coverage.py", *sys.argv[1:]]),
        "written": now(),
        "commit": commit(),
        "versions": versions(),
        "covered_least_mean_most": summary,
        "rows": rows,
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
