"""Posteriors of a part of a fold, by a model as it is.

Shapes: N utterances, K classes.
"""

from __future__ import annotations

import numpy as np
import torch

from serplatform.arrays import DoubleArray, IntArray
from serplatform.datasets.batching import batches
from serplatform.datasets.fold_data import FoldData
from serplatform.models.base import SerModel
from serplatform.training.data_parallel import Workers
from serplatform.training.loader import load_batches

#: padded frames in a batch of evaluation, where no activations are kept
EVALUATION_FRAMES = 16_384


def evaluation_cut(data: FoldData, part: str) -> list[IntArray]:
    """Batches of a part, of like length, in an order of its own."""
    lengths = data.lengths(part)
    return batches(lengths, batch_size=None, frames_per_batch=EVALUATION_FRAMES, rng=None)


def posteriors_of(
    model: SerModel, data: FoldData, part: str, device: torch.device, workers: Workers | None = None
) -> DoubleArray:
    """(N, K) posteriors of a model's present weights, in full precision, rows in the order of
    ``data.rows(part)``; ``workers`` share the work."""
    workers = workers or Workers(distributed=False)
    rows = np.asarray(data.rows(part))
    own = evaluation_cut(data, part)[workers.rank :: workers.count]
    gathered = torch.zeros((len(rows), data.input_spec.num_classes), dtype=torch.float64)
    model.eval()
    with torch.inference_mode():
        shards = [rows[positions] for positions in own]
        outputs = [
            model(batch).log_posteriors.double() for batch in load_batches(data, shards, device)
        ]
        if outputs:
            positions = torch.from_numpy(np.concatenate(own))
            gathered[positions] = torch.cat(outputs).softmax(dim=1).cpu()
        gathered = workers.total(gathered.to(device)).cpu()
    return gathered.numpy()
