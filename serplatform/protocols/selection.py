"""The utterances that a protocol keeps, and which of them must stay together.

Shapes: N utterances kept, K classes.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from serplatform.arrays import IntArray
from serplatform.artifacts.dataset import SOURCE_COLUMN
from serplatform.errors import BadInputError
from serplatform.labels import class_order
from serplatform.seeding import derive_seed

#: spans of one file that share less than one analysis window share nothing, in seconds
_SHARED = 0.025
_SHOWN = 5  # groups in a sentence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """The utterances of a protocol (its name with parameters), whose choices ``seed`` decides.

    ``labels``: (N,) class indices; ``rows``: (N,) of the utterance table; ``groups``: (N,) numbers,
    equal where two utterances share a recording, see :func:`recording_groups`. A gender or session
    is empty where unknown, and so is a corpus (of a joined dataset). ``notes``: what was left out
    and what is kept together.
    """

    protocol: str
    seed: int
    utterance_ids: tuple[str, ...]
    labels: IntArray
    speakers: tuple[str, ...]
    genders: tuple[str, ...]
    sessions: tuple[str, ...]
    rows: IntArray
    groups: IntArray
    classes: tuple[str, ...]
    label_map: Mapping[str, str]
    notes: tuple[str, ...]
    corpora: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.utterance_ids)

    @functools.cached_property
    def speaker_units(self) -> IntArray:
        """(N,) numbers; equal where two utterances share a speaker or a recording."""
        return components(
            [("speaker", s) for s in self.speakers], [("group", int(g)) for g in self.groups]
        )

    def rng(self, *purpose: str | int) -> np.random.Generator:
        """A generator that depends on the seed and on its purpose, and on nothing else."""
        return np.random.default_rng(derive_seed(self.seed, "protocol", *purpose))

    def without(self, *taken: IntArray) -> IntArray:
        """Positions that are in none of some arrays of positions, sorted."""
        free = np.ones(len(self), dtype=bool)
        for positions in taken:
            free[positions] = False
        return np.flatnonzero(free)

    @functools.cached_property
    def tied(self) -> dict[str, str]:
        """Speakers who share a recording, and so a part, to the names of all who do."""
        speakers: dict[int, set[str]] = defaultdict(set)
        for unit, speaker in zip(self.speaker_units.tolist(), self.speakers, strict=True):
            speakers[unit].add(speaker)
        groups = [sorted(names) for names in speakers.values() if len(names) > 1]
        return {name: " + ".join(names) for names in groups for name in names}

    def tied_speakers(self) -> str:
        """The same for people; empty where none do."""
        tied = [*dict.fromkeys(self.tied.values())]
        return "; ".join(tied[:_SHOWN]) + ("; …" if len(tied) > _SHOWN else "")


@dataclasses.dataclass(frozen=True)
class Parts:
    """One fold as positions in a selection."""

    train: IntArray
    dev: IntArray
    test: IntArray


def components(*keys: Sequence[Hashable | None], pairs: Iterable[tuple[int, int]] = ()) -> IntArray:
    """(N,) numbers of the connected components of items that share a key, or are one of ``pairs``.

    Example:
        >>> components(["a", "a", "b", "c"], [1, 2, 2, 3])
        array([0, 0, 0, 1])
    """
    edges = list(pairs)
    for column in keys:
        first: dict[Hashable, int] = {}
        named = ((item, key) for item, key in enumerate(column) if key is not None)
        edges += [(first.setdefault(key, item), item) for item, key in named]
    above = list(range(len(keys[0])))  # each item's parent; the first of a component is its root

    def root(item: int) -> int:
        while above[item] != item:
            above[item] = item = above[above[item]]
        return item

    for pair in edges:
        first_root, other_root = sorted(map(root, pair))
        above[other_root] = first_root
    return np.unique(list(map(root, above)), return_inverse=True)[1].astype(np.int64)


def recording_groups(utterances: pa.Table) -> IntArray:
    """(N,) numbers of the utterances by recording: what may never be in two parts of a fold.

    Utterances belong together whose audio hash, ``parent_id`` or ``group_id`` (of copies, found
    by ``prepare``) is the same, or whose spans of one file overlap.
    """
    names = [column(utterances, name) for name in ("audio_hash", "parent_id", "group_id")]
    times = (utterances.column(name).to_pylist() for name in ("start", "end"))
    return components(
        *([name or None for name in each] for each in names),
        overlapping_spans(column(utterances, "path"), *times),
    )


def overlapping_spans(
    files: Sequence[Hashable], starts: Sequence[float], ends: Sequence[float]
) -> list[Hashable]:
    """A key for each span, equal where spans of one file overlap, directly or by way of others.

    Example:
        >>> keys = overlapping_spans(["a", "a", "b", "a"], [0, 1, 1, 2], [1.5, 2, 9, 3])
        >>> [keys[0] == key for key in keys]  # the last begins where the second ends
        [True, True, False, False]
    """
    places: dict[Hashable, list[int]] = defaultdict(list)
    for i, file in enumerate(files):
        places[file].append(i)
    keys: list[Hashable] = [None] * len(files)
    for file, rows in places.items():
        reach, first = -math.inf, 0
        for i in sorted(rows, key=lambda i: starts[i]):
            if starts[i] > reach - _SHARED:
                first = i
            reach = max(reach, ends[i])
            keys[i] = (file, first)
    return keys


def column(utterances: pa.Table, name: str) -> list[str]:
    """A text column of the utterance table, empty text where a value is missing."""
    if name not in utterances.column_names:
        return [""] * utterances.num_rows
    return ["" if value is None else str(value) for value in utterances.column(name).to_pylist()]


def select(
    utterances: pa.Table,
    *,
    protocol: str,
    seed: int,
    label_map: Mapping[str, str] | None = None,
    keep: Sequence[bool] | None = None,
) -> Selection:
    """Keep the utterances whose label the protocol (its name with parameters) uses.

    ``label_map``: corpus label to class; None keeps every label as its own class. ``keep``: a flag
    per row, whether the protocol considers it at all.

    Raises:
        BadInputError: a class has no utterance, there are fewer than two classes, or an
            utterance id occurs twice.
    """
    emotions = column(utterances, "emotion")
    flags = [True] * len(emotions) if keep is None else keep
    if label_map is None:
        kept = (e for e, flag in zip(emotions, flags, strict=True) if flag)
        label_map = {name: name for name in class_order(set(kept))}
    classes = class_order(set(label_map.values()))
    rows = [i for i, e in enumerate(emotions) if flags[i] and e in label_map]
    present = {label_map[emotions[i]] for i in rows}
    missing = [name for name in classes if name not in present]
    if missing:
        raise BadInputError(
            f"protocol '{protocol}' needs utterances labelled {', '.join(missing)}, and the "
            f"dataset has none; its labels are {', '.join(class_order(set(emotions)))}"
        )
    if len(classes) < 2:
        raise BadInputError(
            f"protocol '{protocol}' needs at least two classes; the dataset's labels are "
            f"{', '.join(class_order(set(emotions))) or 'none'}"
        )

    def of_rows(name: str) -> tuple[str, ...]:
        values = column(utterances, name)
        return tuple(values[i] for i in rows)

    twice = [name for name, n in Counter(of_rows("utterance_id")).items() if n > 1]
    if twice:
        raise BadInputError("utterance ids must be unique; these occur more than once:", twice[:20])
    left_out = Counter(e for i, e in enumerate(emotions) if flags[i] and e not in label_map)
    notes = []
    if sum(not flag for flag in flags):
        notes.append(f"{sum(not f for f in flags)} utterances are not part of the protocol.")
    if left_out:
        listed = ", ".join(f"{left_out[name]} {name}" for name in class_order(set(left_out)))
        notes.append(f"Left out because the protocol has no class for them: {listed}.")
    merged = [f"{raw} as {to}" for raw, to in label_map.items() if raw != to and raw in emotions]
    if merged:
        notes.append(f"Labels merged: {', '.join(merged)}.")
    groups = components(recording_groups(utterances)[rows].tolist())
    notes += _together_notes(of_rows("audio_hash"), of_rows("parent_id"), groups)
    return Selection(
        protocol=protocol,
        seed=seed,
        utterance_ids=of_rows("utterance_id"),
        labels=np.array([classes.index(label_map[emotions[i]]) for i in rows], np.int64),
        speakers=of_rows("speaker_id"),
        genders=of_rows("gender"),
        sessions=of_rows("session"),
        rows=np.array(rows, np.int64),
        groups=groups,
        classes=classes,
        label_map=dict(label_map),
        notes=tuple(notes),
        corpora=of_rows(SOURCE_COLUMN),
    )


def _together_notes(hashes: Sequence[str], parents: Sequence[str], groups: IntArray) -> list[str]:
    """Say how many utterances are kept together, and why."""
    numbers = groups.tolist()
    several = [
        {group for group, count in Counter(group for group, _ in held).items() if count > 1}
        for held in (set(zip(numbers, names, strict=True)) for names in (hashes, parents))
    ]  # groups with more than one hash, with more than one parent
    mixed = several[0] & several[1]
    notes = []
    for kind, values in (
        ("are identical recordings (same audio hash)", hashes),
        ("are segments of a common recording (same parent)", parents),
        (
            "share sound otherwise (copies that differ in level, place, noise or codec, a file and "
            "its segments, spans that overlap)",
            [str(group) if group in mixed else "" for group in numbers],
        ),
    ):
        shared = [n for value, n in Counter(values).items() if value and n > 1]
        if shared:
            notes.append(
                f"{sum(shared)} utterances in {len(shared)} group(s) {kind}; each group is "
                "kept in one part."
            )
    return notes
