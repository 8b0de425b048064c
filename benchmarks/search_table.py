"""A whole grid of configurations trained once, so that searches can be replayed without training.

``tabulate`` trains ``functionals_mlp`` on openSMILE's eGeMAPS functionals, every combination of
:data:`GRID` over the first three folds of a protocol, with the platform's own ``FoldTrainer``, and
keeps the dev UAR after every epoch. No early stopping: the table holds every epoch that any
replay may ask for. It saves as it goes, and goes on where it stopped.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.files import atomic_path
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.environment import hardware, versions
from serplatform.models.base import Batch
from serplatform.models.kernels.memory import keep_freed_memory
from serplatform.protocols.plan import make_plan, plan_hash
from serplatform.seeding import derive_seed
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import resolve

Point = tuple[Any, ...]

ARCHITECTURE = "functionals_mlp"
FOLDS = 3
EPOCHS = 20
#: the same in every configuration
FIXED: dict[str, Any] = {
    "data.feature": "egemaps_v02",
    "data.trim": False,
    "data.normalization": "speaker",
    "model.functionals": "mean",
    "model.deltas": False,
    "training.batch_size": 128,
    "training.max_epochs": EPOCHS,
    "training.patience": EPOCHS,
}
#: the paper's value of each is in it
GRID: dict[str, tuple[Any, ...]] = {
    "model.hidden_dim": (32, 128, 512),
    "model.input_dropout": (0.0, 0.25, 0.5, 0.75),
    "model.dropout": (0.1, 0.5, 0.9),
    "training.learning_rate": (1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2),
    "training.weight_decay": (0.01, 1.0),
    "training.mixup": (0.0, 0.4),
}
#: parts of the grid that are grids, smallest first, in the order in which they are trained
PARTS: tuple[dict[str, tuple[Any, ...]], ...] = (
    {
        **GRID,
        "model.hidden_dim": (32, 512),
        "model.input_dropout": (0.0, 0.5),
        "training.weight_decay": (0.01,),
        "training.mixup": (0.0,),
    },
    {**GRID, "model.input_dropout": (0.0, 0.5), "training.weight_decay": (0.01,)},
    {**GRID, "training.weight_decay": (0.01,)},
    GRID,
)
#: axes that are logarithmic
LOGS = ("model.hidden_dim", "training.learning_rate", "training.weight_decay")
#: axes between whose values there is nothing
CHOICES = ("model.hidden_dim", "training.mixup")
SAVE_EVERY = 30.0  # seconds


def _shares(name: str, known: Sequence[Any], value: Any) -> list[tuple[float, Any]]:
    """The neighbours of a value on one axis, with their weights."""
    if value in known:
        return [(1.0, value)]
    scale = math.log if name in LOGS else float
    above = next(place for place, k in enumerate(known) if k > value)
    low, high = scale(known[above - 1]), scale(known[above])
    share = (scale(value) - low) / (high - low)
    return [(1.0 - share, known[above - 1]), (share, known[above])]


class Table:
    """Dev UAR of every configuration, fold and epoch.

    Args:
        grid: parameter name to its values, in the order of a point.
        curves: point to its (folds, epochs) dev UAR after each epoch.
        meta: what it was made with.
    """

    def __init__(
        self,
        grid: Mapping[str, Sequence[Any]],
        curves: Mapping[Point, DoubleArray],
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self.grid = {name: tuple(values) for name, values in grid.items()}
        self.curves = dict(curves)
        self.meta = dict(meta or {})

    @property
    def complete(self) -> bool:
        """Whether every combination of the grid is in it."""
        return len(self.curves) == math.prod(len(values) for values in self.grid.values())

    def curve(self, values: Mapping[str, Any]) -> DoubleArray:
        """(folds, epochs): dev UAR of a configuration in the grid's extent.

        Between the grid's points it is interpolated linearly, in the logarithm of :data:`LOGS`.
        """
        corners: list[tuple[float, Point]] = [(1.0, ())]
        for name, known in self.grid.items():
            shares = _shares(name, known, values[name])
            corners = [(w * s, (*c, k)) for w, c in corners for s, k in shares]
        return np.sum([weight * self.curves[corner] for weight, corner in corners], axis=0)

    def final(self, point: Point) -> float:
        """The objective of the complete trial: mean over folds of the best epochs."""
        return float(self.curves[point].max(axis=1).mean())

    def write(self, path: str | Path) -> None:
        """One row a configuration and fold; ``meta`` as JSON in the schema."""
        columns: dict[str, list[Any]] = {name: [] for name in (*self.grid, "fold", "dev_uar")}
        for point, curve in sorted(self.curves.items()):
            for fold, values in enumerate(curve):
                for name, value in zip(self.grid, point, strict=True):
                    columns[name].append(value)
                columns["fold"].append(fold)
                columns["dev_uar"].append(values.astype(np.float32))
        table = pa.table(
            {
                name: pa.array(values, pa.list_(pa.float32()) if name == "dev_uar" else None)
                for name, values in columns.items()
            }
        )
        meta = {**self.meta, "grid": {name: list(values) for name, values in self.grid.items()}}
        table = table.replace_schema_metadata({"serplatform": json.dumps(meta)})
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    @classmethod
    def read(cls, path: str | Path) -> Table:
        """Read what :meth:`write` wrote."""
        table = pq.read_table(path)
        meta = json.loads(table.schema.metadata[b"serplatform"])
        grid = meta.pop("grid")
        rows: dict[Point, list[DoubleArray]] = {}
        for row in sorted(table.to_pylist(), key=lambda row: row["fold"]):
            curve = np.array(row["dev_uar"], dtype=np.float64)
            rows.setdefault(tuple(row[name] for name in grid), []).append(curve)
        return cls(grid, {point: np.array(folds) for point, folds in rows.items()}, meta)


class HeldFold(FoldData):
    """A fold whose utterances are one frame each, all held in memory as they are."""

    _held: Batch | None = None

    def collate(self, rows: IntArray, **how: Any) -> Batch:
        """What ``FoldData.collate`` gives where nothing is drawn, by selection."""
        if self._held is None:
            self._held = super().collate(np.arange(len(self._length)))
            assert self._held.frames.shape[1] == 1
        chosen = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        held = self._held
        return Batch(
            frames=held.frames[chosen],
            lengths=held.lengths[chosen],
            labels=held.labels[chosen],
            rows=chosen,
        )


def tabulate(data: str, protocol: str, out: Path, *, parts: int, seed: int, command: str) -> Table:
    """Train the grid, or what is missing of it in ``out``."""
    torch.set_num_threads(1)
    keep_freed_memory()
    dataset = Dataset.open(data)
    plan = make_plan(dataset.utterances, protocol, 0, classes=dataset.classes)
    grid = PARTS[parts - 1]
    settings = resolve(ARCHITECTURE, FIXED, "table").data
    folds = [HeldFold(dataset, plan, fold, settings) for fold in range(FOLDS)]
    meta = {
        "command": command,
        "architecture": ARCHITECTURE,
        "fixed": FIXED,
        "protocol": plan.protocol,
        "folds": FOLDS,
        "folds_hash": plan_hash(plan),
        "dataset_fingerprint": dataset.fingerprint,
        "corpus": dataset.meta["corpus"],
        "seed": seed,
        "versions": versions(),
        "hardware": hardware(),
    }
    table = Table(grid, {}, meta)
    seconds = 0.0
    if out.exists():
        earlier = Table.read(out)
        if any(earlier.meta[k] != meta[k] for k in ("dataset_fingerprint", "folds_hash", "fixed")):
            raise SystemExit(f"{out}: is the table of another dataset, protocol or setting")
        table.curves.update(earlier.curves)
        seconds = earlier.meta["processor_seconds"]
    everything = list(itertools.product(*GRID.values()))  # a point's seed is by its place here
    ordered = [point for part in PARTS[:parts] for point in itertools.product(*part.values())]
    points = list(dict.fromkeys(ordered))
    left = [point for point in points if point not in table.curves]
    begun = saved = time.monotonic()
    spent = time.process_time()
    for done, point in enumerate(left, 1):
        config = resolve(ARCHITECTURE, {**FIXED, **dict(zip(grid, point, strict=True))}, "table")
        curve = np.zeros((FOLDS, EPOCHS))
        for fold, part in enumerate(folds):
            trial_seed = derive_seed(seed, "trial", everything.index(point), "fold", fold)
            trainer = FoldTrainer(config, part, seed=trial_seed)
            curve[fold] = [trainer.run_epoch().dev["uar"] for _ in range(EPOCHS)]
        table.curves[point] = curve
        if time.monotonic() - saved > SAVE_EVERY or done == len(left):
            saved = time.monotonic()
            table.meta["processor_seconds"] = round(seconds + time.process_time() - spent, 1)
            table.write(out)
            rate = (saved - begun) / done
            print(
                f"{len(table.curves)} of {len(points)}; {rate:.2f} s a configuration, "
                f"{rate * (len(left) - done) / 60:.0f} min left",
                flush=True,
            )
    return table
