"""Divide units (recordings, speakers, sessions) into parts that resemble one another.

Shapes: N utterances, U units, P parts, F counted properties.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from serplatform.arrays import DoubleArray, IntArray
from serplatform.errors import BadInputError
from serplatform.protocols.selection import Selection

#: share of the training speakers (or of a single training set) that becomes the dev part
DEV_SHARE = 0.2
#: share of all utterances that becomes dev under random protocols
RANDOM_DEV_SHARE = 0.1


def assign(
    units: IntArray, properties: DoubleArray, shares: Sequence[float], rng: np.random.Generator
) -> IntArray:
    """Give every unit to a part so that each property is spread as the shares say.

    Units are taken from the largest to the smallest, equals in random order; each goes where
    it keeps the sum of squared, share-weighted counts smallest.

    Args:
        units: (N,) unit numbers 0..U-1 of the utterances.
        properties: (N, F) non-negative, e.g. one-hot classes.
        shares: P positive shares, sum 1.
        rng: breaks ties.

    Returns:
        (N,) part numbers.
    """
    num_units = int(units.max()) + 1
    counts = np.zeros((num_units, properties.shape[1]))
    np.add.at(counts, units, properties)
    counts = counts[:, counts.sum(axis=0) > 0]
    counts /= counts.sum(axis=0)
    share = np.asarray(shares, np.float64)
    filled = np.zeros((len(share), counts.shape[1]))
    part_of = np.zeros(num_units, np.int64)
    order = rng.permutation(num_units)
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    for unit in order:
        vector = counts[unit]
        rise = (2 * filled @ vector + vector @ vector) / share
        best = int(np.argmin(rise))
        part_of[unit] = best
        filled[best] += vector
    return part_of[units]


def assign_stratified(
    groups: IntArray, labels: IntArray, shares: Sequence[float], rng: np.random.Generator
) -> IntArray:
    """Give every group to a part, class by class, as close to the shares as whole groups allow.

    A single utterance goes to the part that is furthest behind in its class (Webster's
    divisor rule: least (count + 1/2) / share), then in total. Groups of several utterances
    are placed first.

    Returns:
        (N,) part numbers, for (N,) group numbers and (N,) class indices.
    """
    parts = range(len(shares))
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(row)
    every = list(members.values())
    order = [every[i] for i in rng.permutation(len(every))]
    order.sort(key=len, reverse=True)
    filled = [[0] * (int(labels.max()) + 1) for _ in parts]
    total = [0] * len(shares)
    part_of = np.zeros(len(groups), np.int64)
    names = labels.tolist()
    for rows in order:
        wanted = [names[row] for row in rows]
        best = min(
            parts,
            key=lambda p: (
                sum(filled[p][c] + 0.5 for c in wanted) / shares[p],
                (total[p] + 0.5) / shares[p],
            ),
        )
        for row in rows:
            part_of[row] = best
            filled[best][names[row]] += 1
        total[best] += len(rows)
    return part_of


def speaker_properties(selection: Selection) -> DoubleArray:
    """(N, K + 4): classes, utterances, and the unit's weight, women and men.

    The last three sum to 1 (or less) over each speaker's utterances, so that parts get like
    numbers of speakers and of either gender whatever a speaker's number of utterances is. Of a
    joined dataset there is such a column for each of C corpora, too, (N, K + 4 + C).
    """
    classes = np.eye(len(selection.classes))[selection.labels]
    _, index, count = np.unique(selection.speakers, return_inverse=True, return_counts=True)
    weight = 1.0 / count[index]
    genders = np.array(selection.genders)
    extra = [np.ones(len(selection)), weight]
    extra += [np.where(genders == name, weight, 0.0) for name in ("female", "male")]
    if len(names := sorted(set(selection.corpora))) > 1:
        corpora = np.array(selection.corpora)
        extra += [np.where(corpora == name, weight, 0.0) for name in names]
    return np.column_stack([classes, *extra])


def tied(selection: Selection) -> str:
    """Which speakers count as one, for a message; empty where none do."""
    names = selection.tied_speakers()
    return f", where those who share recordings count as one ({names})" if names else ""


def carve_dev(selection: Selection, candidates: IntArray, rng: np.random.Generator) -> IntArray:
    """Choose whole speakers of a training part as its dev part, :data:`DEV_SHARE` of them.

    Of many drawn subsets the best is kept: first the one that leaves most classes in the
    training part and has most classes itself, then the one whose genders, classes and size
    are nearest to those of all candidates. (M,) positions in, positions out, sorted.

    Raises:
        BadInputError: there are fewer than two speakers to choose from.
    """
    names, local = np.unique(selection.speaker_units[candidates], return_inverse=True)
    if len(names) < 2:
        raise BadInputError(
            f"protocol '{selection.protocol}' needs at least two speakers besides the test "
            f"speakers, one to train and one for dev; it has {len(names)}{tied(selection)}. Use "
            "'random-kfold:K', which divides utterances"
        )
    size = max(round(DEV_SHARE * len(names)), min(2, len(names) // 3), min(3, len(names) // 4), 1)
    properties = speaker_properties(selection)[candidates]
    counts = np.zeros((len(names), properties.shape[1]))
    np.add.at(counts, local, properties)
    chosen = _subsets(len(names), size, rng)  # (S, U) of 0 and 1
    dev = chosen @ counts
    total = counts.sum(axis=0)
    num_classes = len(selection.classes)
    has = total[:num_classes] > 0
    untrained = (((total - dev)[:, :num_classes] <= 0) & has).sum(axis=1)
    unseen = ((dev[:, :num_classes] <= 0) & has).sum(axis=1)
    known = total > 0
    distance = np.square(dev[:, known] / total[known] - size / len(names)).sum(axis=1)
    best = np.lexsort((distance, unseen, untrained))[0]
    return np.sort(candidates[chosen[best][local] > 0])


def _subsets(count: int, size: int, rng: np.random.Generator, most: int = 500) -> DoubleArray:
    """Subsets of ``size`` of ``count`` units as rows of 0 and 1: all, or ``most`` at random."""
    if math.comb(count, size) <= most:
        picks = [list(pick) for pick in itertools.combinations(range(count), size)]
        picks = [picks[i] for i in rng.permutation(len(picks))]
    else:
        picks = [rng.permutation(count)[:size].tolist() for _ in range(most)]
    chosen = np.zeros((len(picks), count))
    for row, pick in enumerate(picks):
        chosen[row, pick] = 1.0
    return chosen


def carve_dev_at_random(
    selection: Selection, candidates: IntArray, rng: np.random.Generator, share: float
) -> IntArray:
    """Choose a stratified random share of a training part as its dev part; groups stay whole.

    Raises:
        BadInputError: all candidates are one group.
    """
    groups, labels = selection.groups[candidates], selection.labels[candidates]
    if len(np.unique(groups)) < 2:
        raise BadInputError(
            f"protocol '{selection.protocol}': too few utterances to train on and to select with "
            f"({len(candidates)} in one group); it needs more data"
        )
    part = assign_stratified(groups, labels, (1.0 - share, share), rng)
    if not part.any():  # too few of every class for a whole share: give one group of the largest
        largest = int(np.argmax(np.bincount(labels)))
        part[groups == rng.choice(groups[labels == largest])] = 1
    return np.sort(candidates[part == 1])
