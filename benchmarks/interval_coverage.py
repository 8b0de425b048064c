"""What the intervals of ``serplatform.statistics.intervals`` cover, on simulated corpora.

A speaker has an ability, one in each class, and each again with each of two systems, all normal; an
utterance is hard, usual or easy for both systems. They add up with noise of unit variance, and an
answer is right where the sum is positive, so that the UAR of speakers not yet drawn is known in
closed form. Unbalanced corpora draw the utterances of a speaker (log-normal, σ = 0.7: the largest
of ten has about nine times as many as the smallest) and the mixture of classes (Dirichlet, α = 2).
Beside what the package gives: the same with S - 1 degrees of freedom for values too, Student's t
without a scale, percentiles of resampled speakers (what the package gave before), studentised
bootstrap of pseudo-values, and their test by random signs, whose inversion would be an interval.

    python benchmarks/interval_coverage.py --corpora 2000 --out FILE

Shapes: R corpora, S speakers, K classes, B resamples.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from portfolio import commit
from scipy.optimize import brentq
from scipy.special import ndtr, stdtrit
from scipy.stats import norm

from serplatform.environment import now, versions
from serplatform.statistics.intervals import Interval, Scale, jackknife_interval, leave_one_out

CLASSES, CLIPS = 6, 60
SPEAKERS = (4, 6, 9, 10, 24, 50)
#: standard deviations of speaker, speaker × class, speaker × system, and all three
EFFECTS = {
    "none": (0.0, 0.0, 0.0, 0.0),
    "usual": (0.35, 0.35, 0.2, 0.2),
    "large": (0.8, 0.5, 0.4, 0.4),
}
#: how easy utterances are, and how many
EASE, SHARES = np.array([-1.0, 0.0, 1.0]), np.array([0.25, 0.5, 0.25])
#: the expected UAR of two systems: of the first a value, and the difference
UARS = ((0.3, 0.3), (0.6, 0.6), (0.65, 0.6), (0.9, 0.9))
RESAMPLES = 300


def class_means(uar: float, effects: tuple[float, ...], turn: int) -> np.ndarray:
    """(K,) means of classes that differ, in an order of the system's own, and give this UAR."""
    places = np.roll(np.linspace(-0.5, 0.5, CLASSES), turn)
    scale, moved = np.sqrt(1 + np.square(effects).sum()), places[:, None] + EASE  # (K, 3)
    return places + brentq(lambda m: (norm.cdf((m + moved) / scale) @ SHARES).mean() - uar, -9, 9)


def simulate(
    speakers: int,
    uars: tuple[float, float],
    effects: tuple[float, ...],
    balanced: bool,
    corpora: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """(R, S, K) utterances, and (2, R, S, K) those that each system has right."""
    cells = (corpora, speakers, CLASSES)
    spoken = np.full(cells, CLIPS // CLASSES)
    if not balanced:
        size = CLIPS * np.exp(rng.normal(-0.245, 0.7, (corpora, speakers, 1)))
        spoken = rng.poisson(size * rng.dirichlet(np.full(CLASSES, 2.0), cells[:2]))
    by_ease = rng.multinomial(spoken, SHARES)  # (R, S, K, 3)
    one, of_class, of_system, of_all = effects
    shared = rng.normal(0, one, (corpora, speakers, 1)) + rng.normal(0, of_class, cells)
    ability = [
        class_means(uar, effects, turn)
        + shared
        + rng.normal(0, of_system, (corpora, speakers, 1))
        + rng.normal(0, of_all, cells)
        for turn, uar in enumerate(uars)
    ]
    right = [rng.binomial(by_ease, ndtr(one[..., None] + EASE)).sum(axis=-1) for one in ability]
    return spoken.astype(np.float64), np.array(right, dtype=np.float64)


def uar_of(times: np.ndarray, right: np.ndarray, spoken: np.ndarray) -> np.ndarray:
    """(B, S) times a speaker counts to (B, R) UAR over the classes that occur."""
    total = np.tensordot(times, spoken, (1, 1))  # (B, R, K)
    recall = np.tensordot(times, right, (1, 1)) / np.maximum(total, 1)
    return (recall * (total > 0)).sum(axis=-1) / np.maximum((total > 0).sum(axis=-1), 1)


def others(left: np.ndarray, drawn: np.ndarray, times: np.ndarray, truth: float) -> dict[str, Any]:
    """(R, 2) ends of other intervals; by signs, (R,) whether the truth is not rejected.

    ``left`` is (1 + S, R), see ``leave_one_out``; ``drawn`` (B, R) of the (B, S) resamples.
    """
    count = len(left) - 1
    pseudo = count * left[0] - (count - 1) * left[1:]  # (S, R)
    error = np.sqrt(pseudo.var(axis=0, ddof=1) / count)
    away = stdtrit(count - 1, 0.975) * error
    moved = pseudo - pseudo.mean(axis=0)
    means = times @ moved / count  # (B, R)
    spread = np.maximum(times @ moved**2 / count - means**2, 0) / (count - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn_t = np.nan_to_num(means / np.sqrt(spread))
    low, high = np.quantile(drawn_t, [0.025, 0.975], axis=0)
    signs = np.random.default_rng(0).choice([-1, 1], (999, count))
    if count < 10:
        signs = np.array(list(itertools.product([-1, 1], repeat=count)))
    off = pseudo - truth
    extreme = np.abs(signs @ off) >= np.abs(off.sum(axis=0)) - 1e-9
    return {
        "Student's t, no scale": np.stack([left[0] - away, left[0] + away], axis=1),
        "percentiles": np.quantile(drawn, [0.025, 0.975], axis=0).T,
        "studentised bootstrap": np.stack([left[0] - high * error, left[0] - low * error], axis=1),
        "signs": extreme.mean(axis=0) > 0.05,
    }


def count_cell(
    speakers: int,
    uars: tuple[float, float],
    effects: tuple[float, ...],
    balanced: bool,
    corpora: int,
    rng: np.random.Generator,
) -> Iterator[tuple[str, str, list[float]]]:
    """Kind, method, and the shares of intervals that cover, lie below and lie above the truth."""
    spoken, right = simulate(speakers, uars, effects, balanced, corpora, rng)
    once = leave_one_out(speakers)
    drawn_times = rng.multinomial(speakers, np.full(speakers, 1 / speakers), RESAMPLES)
    times = drawn_times.astype(np.float64)
    left = [uar_of(once, one, spoken) for one in right]
    drawn = [uar_of(times, one, spoken) for one in right]
    utterances = spoken.sum(axis=2)
    cases: list[tuple[str, Scale, np.ndarray, np.ndarray, float]] = [
        ("value", "share", left[0], drawn[0], uars[0]),
        ("difference", "difference", left[0] - left[1], drawn[0] - drawn[1], uars[0] - uars[1]),
    ]
    for kind, scale, values, resampled, truth in cases:
        found = others(values, resampled, times, truth)
        given: list[Interval] = [
            jackknife_interval(values[:, r], scale, utterances=utterances[r])
            for r in range(corpora)
        ]
        same = [(one.low or 0.0, one.high or 0.0) for one in given]
        found["the package's"] = np.array(same)
        if kind == "value":
            plain = [jackknife_interval(values[:, r], scale) for r in range(corpora)]
            found["S - 1"] = np.array([(one.low or 0.0, one.high or 0.0) for one in plain])
        else:
            rejected = np.array([(one.p_value or 0.0) < 0.05 for one in given])
            excluded = np.array([low > 0 or high < 0 for low, high in same])
            assert (rejected == excluded).all()
        for method, ends in found.items():
            if ends.ndim == 1:
                yield kind, method, [float(ends.mean())]
                continue
            below, above = ends[:, 1] < truth, ends[:, 0] > truth
            yield kind, method, [float(x.mean()) for x in (~(below | above), below, above)]


def main() -> None:
    """Write what is covered, in each cell and by number of speakers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--corpora", type=int, default=2000)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = []
    covered = collections.defaultdict(list)
    cells = itertools.product(SPEAKERS, EFFECTS, UARS, (True, False))
    for seed, (speakers, name, uars, balanced) in enumerate(cells):
        rng = np.random.default_rng(seed)
        row: dict[str, Any] = {"speakers": speakers, "effects": name, "uars": uars}
        row["balanced"] = balanced
        found = count_cell(speakers, uars, EFFECTS[name], balanced, given.corpora, rng)
        for kind, method, shares in found:
            row.setdefault(kind, {})[method] = [round(share, 4) for share in shares]
            group = f"{kind}, {'balanced' if balanced else 'unbalanced'}, {speakers} speakers"
            covered[group, method].append(shares[0])
        rows.append(row)
        print(json.dumps({k: row[k] for k in ("speakers", "effects", "uars")}), flush=True)
    summary: dict[str, dict[str, list[float]]] = {}
    for (group, method), shares in covered.items():
        ends = min(shares), float(np.mean(shares)), max(shares)
        summary.setdefault(group, {})[method] = [round(share, 4) for share in ends]
    content = {
        "command": shlex.join(["python", "benchmarks/interval_coverage.py", *sys.argv[1:]]),
        "written": now(),
        "commit": commit(),
        "versions": versions(),
        "covered_least_mean_most": summary,
        "covered_below_above": rows,
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
