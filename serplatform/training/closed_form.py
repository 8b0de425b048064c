"""Fit a model in closed form, and again where ``training.refit`` asks for it."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from serplatform.arrays import IntArray
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import BadInputError
from serplatform.models.base import ARCHITECTURES, ClosedFormModel
from serplatform.models.front import build_model
from serplatform.training.data_parallel import Workers
from serplatform.training.device import seeded
from serplatform.training.inference import evaluation_cut
from serplatform.training.loader import load_batches
from serplatform.training.losses import class_weights
from serplatform.training.trial_config import TrialConfig


def fit_rows(
    model: ClosedFormModel,
    data: FoldData,
    config: TrialConfig,
    device: torch.device,
    workers: Workers,
) -> list[IntArray]:
    """Fit a model to the training rows, at all speeds; return the rows as they were cut."""
    cut = evaluation_cut(data, "train")
    shards = [np.asarray(data.rows("train"))[positions] for positions in cut]
    groups = data.groups("train")[np.concatenate(cut)]
    weights = class_weights(
        config.training.class_weights,
        np.asarray(data.labels("train")),
        data.input_spec.num_classes,
    )
    speeds = data.speeds
    given = (load_batches(data, shards, device, None, speed) for speed in speeds)
    model.fit(itertools.chain.from_iterable(given), np.tile(groups, len(speeds)), weights)
    workers.share_fitted(model)
    model.eval()
    return shards


def refit(
    config: TrialConfig, given: FoldData, device: torch.device, workers: Workers, seed: int
) -> tuple[ClosedFormModel, FoldData]:
    """The model that is kept with ``training.refit``, and what gives it its input.

    Everything is fitted again, on training and dev rows: normalisation, class weights, the
    model, and its calibration over inner folds of speakers of both. It depends on these rows,
    the configuration and the seed alone, so that a resumed trial fits the same one.

    Dev rows only ever choose by posteriors of the fit on training rows, and no test row or
    its label takes part in this one. So labels permuted at random (``distributed.canary``)
    give chance on test rows: dev labels then say as little of test labels as training labels
    do, and an utterance's other segments or copies are in the test part with it.
    """
    plan = given.plan.with_dev_in_training(given.fold)
    data = FoldData(given.dataset, plan, given.fold, config.data)
    with seeded(device, seed, "refit"):
        model = build_model(ARCHITECTURES.get(config.architecture), config.model, data.input_spec)
        assert isinstance(model, ClosedFormModel)  # noqa: S101 - resolve() sees to it
        try:
            fit_rows(model.to(device), data, config, device, workers)
        except BadInputError as error:
            raise BadInputError(
                f"training.refit, on training and dev rows together: {error}; or set it to false"
            ) from None
    return model, data
