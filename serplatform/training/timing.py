"""What an epoch of training will cost here, told by a few of its batches.

Seconds are the processor's, of one thread, as a worker of a search trains: other work on the
machine does not change them. On a GPU they are the clock's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from serplatform.arrays import IntArray
from serplatform.datasets.batching import batches
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import BadInputError
from serplatform.models.architectures import ARCHITECTURES
from serplatform.models.kernels.memory import give_back_memory, keep_freed_memory
from serplatform.protocols.base import FoldPlan
from serplatform.training.epoch import TrainingDiverged
from serplatform.training.inference import evaluation_cut
from serplatform.training.loader import load_batches
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import TrialConfig

#: where in the order of lengths the measured batches lie
SPREAD = (0.5, 0.25, 0.75, 0.125, 0.625, 0.375, 0.875)
#: an epoch, or a fit, that takes at most this share of the limit is measured whole
WHOLE = 0.1
#: shares of the training rows that a model in closed form is fitted to, one after another
FIT_SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)


def epoch_seconds(
    config: TrialConfig,
    dataset: Dataset,
    plan: FoldPlan,
    *,
    device: str = "cpu",
    limit: float = 3,
    check: Callable[[], None] = lambda: None,
) -> float:
    """Seconds of one epoch over fold 0: a step for each training batch, evaluation of the dev rows.

    Preparing the fold's data is neither counted nor limited; it is done once, whatever is trained.
    For a model in closed form it is its fit (with ``training.refit`` both), and the evaluation.
    Nothing is written, and no global random state is changed.

    Args:
        config: what would be trained.
        dataset: on which.
        plan: made from it.
        device: as :class:`FoldTrainer` has it.
        limit: seconds after which no further batch is measured; one always is.
        check: is called before each batch; what it raises ends the measurement.

    Raises:
        BadInputError: as :class:`FoldTrainer` and :class:`FoldData` raise it.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    keep_freed_memory()  # as a worker does; without, page faults take most of the time
    try:
        with threadpool_limits(1):
            if ARCHITECTURES.get(config.architecture).closed_form:
                return _fit_seconds(config, dataset, plan, device, limit)
            data = FoldData(dataset, plan, 0, config.data)
            trainer = FoldTrainer(config, data, seed=0, device=device)
            return _steps_seconds(trainer, limit, check)
    finally:
        give_back_memory()


def _steps_seconds(trainer: FoldTrainer, limit: float, check: Callable[[], None]) -> float:
    data, training = trainer.data, trainer.config.training
    clock = _clock(trainer.device)

    def train(positions: IntArray) -> None:
        check()
        trainer.train_batches(1, [positions])

    def evaluate(positions: IntArray) -> None:
        check()
        trainer.model.eval()
        with torch.inference_mode():
            for batch in load_batches(data, [data.rows("dev")[positions]], trainer.device, None):
                trainer.model(batch)

    cut = batches(
        data.lengths("train"),
        batch_size=training.batch_size,
        frames_per_batch=training.frames_per_batch,
        rng=np.random.default_rng(0),
    )
    share = limit / 2
    seconds = _extrapolated(train, cut, data.lengths("train"), clock, share)
    seconds += _extrapolated(
        evaluate, evaluation_cut(data, "dev"), data.lengths("dev"), clock, share
    )
    if seconds > limit * WHOLE:
        return seconds
    begun = clock()
    with contextlib.suppress(TrainingDiverged):  # it costs as much
        trainer.run_epoch()
    return clock() - begun


def _extrapolated(
    work: Callable[[IntArray], None],
    cut: Sequence[IntArray],
    lengths: IntArray,
    clock: Callable[[], float],
    limit: float,
) -> float:
    """Seconds of all batches, by those of a few: in proportion to their padded frames."""
    frames = {number: int(lengths[own].max()) * len(own) for number, own in enumerate(cut)}
    order = sorted(frames, key=lambda number: frames[number])
    chosen = list(dict.fromkeys(order[int(share * len(order))] for share in SPREAD))
    taken: dict[int, float] = {}
    spent = 0.0
    for number in [chosen[0], *chosen]:  # the first batch of all is slower: measured twice
        begun = clock()
        work(cut[number])
        taken[number] = clock() - begun
        spent += taken[number]
        if spent > limit:
            break
    return sum(taken.values()) / sum(map(frames.__getitem__, taken)) * sum(frames.values())


def _fit_seconds(
    config: TrialConfig, dataset: Dataset, plan: FoldPlan, device: str, limit: float
) -> float:
    """Fit to more and more of the training rows; extrapolate by the power of the last two."""
    fold = plan.folds[0]
    order = np.random.default_rng(0).permutation(len(fold.train)).tolist()

    def fit(share: float) -> float:
        train = tuple(sorted(fold.train[i] for i in order[: math.ceil(share * len(order))]))
        part = dataclasses.replace(plan, folds=(dataclasses.replace(fold, train=train),))
        data = FoldData(dataset, part, 0, config.data)
        trainer = FoldTrainer(config, data, seed=0, device=device)
        clock = _clock(trainer.device)
        begun = clock()
        trainer.run_epoch()
        return clock() - begun

    taken: dict[float, float] = {}
    spent = 0.0
    for share in FIT_SHARES:
        try:
            found = fit(share)
            if not taken and found < limit:
                found = fit(share)  # the first of all imports
        except BadInputError:  # too few rows, perhaps
            if share == 1.0:
                raise
            continue
        taken[share] = found
        spent += found
        if spent + _power_law(taken, 2 * share) > limit:
            break
    return _power_law(taken, 1.0) * (2 if config.training.refit else 1)


def _power_law(taken: Mapping[float, float], share: float) -> float:
    """Seconds at a share of the rows, by those at others: of a power from 1 to 3, or of 2."""
    last, power = max(taken), 2.0
    if len(taken) > 1:
        power = math.log2(taken[last] / taken[last / 2])
    return taken[last] * (share / last) ** min(max(power, 1.0), 3.0)


def _clock(device: torch.device) -> Callable[[], float]:
    if device.type != "cuda":
        return time.thread_time

    def waited() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return waited
