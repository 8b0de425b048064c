"""Train one configuration on one fold, epoch by epoch.

What an epoch does depends on the weights, the optimiser and ``(seed, epoch)`` alone: the order of
batches, the augmentation and the dropout are drawn from seeds derived of these two, so that a
resumed training continues bit for bit and the global random states are left as they were.

Several processes may train together through ``torch.distributed``, see ``data_parallel.py``.

Shapes: N utterances, K classes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.trial import REFIT_NOTE
from serplatform.config import digest
from serplatform.datasets.batching import batches, padded_share
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import ArtifactError, BadInputError, SerplatformError
from serplatform.metrics import HIGHER_IS_BETTER, classification_metrics
from serplatform.models.base import (
    ARCHITECTURES,
    Batch,
    ClosedFormModel,
    Criterion,
    SerModel,
    count_parameters,
)
from serplatform.models.front import build_model, layer_shares
from serplatform.models.layers.global_sum import counting
from serplatform.seeding import derive_seed
from serplatform.training.averaging import EmaWeights, SwaWeights, renew_batch_statistics
from serplatform.training.bundle import write_model
from serplatform.training.checkpoint import (
    STATE_FILE,
    flatten_optimizer,
    read_state,
    restore_optimizer,
    write_state,
)
from serplatform.training.data_parallel import Workers
from serplatform.training.fine_tuning import check_device, with_pinned_encoder
from serplatform.training.loader import load_batches
from serplatform.training.losses import class_weights, denominator, mix
from serplatform.training.optim import LearningRate, build_optimizer
from serplatform.training.sam import perturbed
from serplatform.training.trial_config import TrialConfig

#: padded frames in a batch of evaluation, where no activations are kept
EVALUATION_FRAMES = 16_384

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TrainingDiverged(SerplatformError):  # noqa: N818 - an outcome of training, not a fault
    """The loss or the posteriors are no longer finite numbers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What one epoch gave.

    Attributes:
        epoch: from 1.
        train_loss: weighted mean of the per-utterance losses, dropout and augmentation on.
        learning_rate: of the epoch's first step; None for a fit in closed form.
        dev: every metric of ``metrics.classification_metrics`` on the dev rows.
        seconds: training and evaluation.
        padded_share: share of the padded training frames that are padding.
        averaged_dev: of the weights averaged over ``training.swa_epochs``, after the last epoch.
    """

    epoch: int
    train_loss: float
    learning_rate: float | None
    dev: dict[str, float]
    seconds: float
    padded_share: float
    averaged_dev: dict[str, float] | None = None


class FoldTrainer:
    """Train one model on the training rows of one fold, choosing its epoch by the dev rows.

    ``seed`` determines the first weights and everything random; the device is ``"cpu"``,
    ``"cuda"`` or ``"cuda:<index>"``; with ``distributed`` this process is one of several, and
    ``torch.distributed`` is initialised.

    Attributes:
        model: the network, with the weights of the last epoch.
        epoch: epochs trained.
        best_epoch: the epoch with the best monitored dev metric, the earliest among equals;
            0 before the first.
        best_metrics: its dev metrics.

    Raises:
        BadInputError: the device is missing, cannot do the precision, or a part is empty.
    """

    NEEDED_PARTS: ClassVar[tuple[str, ...]] = ("train", "dev")

    def __init__(
        self,
        config: TrialConfig,
        data: FoldData,
        *,
        seed: int,
        device: str = "cpu",
        distributed: bool = False,
    ) -> None:
        check_device(config, device)
        self.config = config = with_pinned_encoder(config)
        self.data = data
        self.seed = seed
        self.device = checked_device(device, config.training.precision)
        self.epoch = 0
        self.best_epoch = 0
        self.best_metrics: dict[str, float] = {}
        for part in self.NEEDED_PARTS:
            if len(data.rows(part)) == 0:
                raise BadInputError(f"the fold has no {part} rows; training needs some")

        self._workers = Workers(distributed)
        architecture = ARCHITECTURES.get(config.architecture)
        with self._seeded("weights"):
            self.model: SerModel = build_model(architecture, config.model, data.input_spec)
        self.model.to(self.device)
        self._parallel: nn.Module = self._workers.wrap(self.model)
        self._names = {p: name for name, p in self.model.named_parameters()}
        self._labels: IntArray = np.asarray(data.labels("train"))
        self._weights = class_weights(
            config.training.class_weights, self._labels, data.input_spec.num_classes
        )
        self._criterion = Criterion(
            None if self._weights is None else self._weights.to(self.device),
            config.training.label_smoothing,
        )
        self._optimizer = build_optimizer(config.training, self.model.parameters())
        self._learning_rate = LearningRate(
            config.training,
            self._optimizer,
            higher_is_better=HIGHER_IS_BETTER[config.training.monitor],
        )
        self._scaler = torch.amp.GradScaler(
            self.device.type, enabled=config.training.precision == "float16"
        )
        self._best_weights: dict[str, Tensor] = {}
        self._best_dev: DoubleArray | None = None  # posteriors; None: not at hand
        decay = config.training.ema_decay
        self._ema = EmaWeights(self.model, decay) if decay else None
        swa = config.training.swa_epochs
        self._swa = SwaWeights(swa) if swa else None
        self._judged = False  # the average of the last epochs was compared: training has ended
        self._best_is_swa = False
        self._refitted: tuple[ClosedFormModel, FoldData] | None = None

    @property
    def num_parameters(self) -> int:
        """Trainable values of the model, with ``refit`` of the kept one once it is fitted; see
        ``count_parameters``."""
        return count_parameters(self.model if self._refitted is None else self._refitted[0])

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong beside any number computed by this training."""
        notes = self.data.notes
        if isinstance(self.model, ClosedFormModel) and len(set(self.data.speaker_ids("train"))) < 2:
            notes += (
                "There is one training speaker: posteriors are calibrated on recordings that were "
                "held out of the fit, of the same speaker.",
            )
        return (*notes, REFIT_NOTE) if self.config.training.refit else notes

    @property
    def layer_weights(self) -> dict[str, float]:
        """Share of each layer in the best epoch's weighted sum; empty where there is none."""
        shares = layer_shares(self._best_weights)
        return {} if shares is None else dict(zip(self.data.parts, shares, strict=True))

    @property
    def finished(self) -> bool:
        """Whether ``max_epochs`` are done or the dev metric has not improved for ``patience``."""
        training = self.config.training
        waited = self.epoch > 0 and self.epoch - self.best_epoch >= training.patience
        return self._judged or waited or self.epoch >= training.max_epochs

    def run_epoch(self) -> EpochReport:
        """Train one epoch and evaluate it on the dev rows.

        Raises:
            TrainingDiverged: the loss or the dev posteriors are not finite.
            RuntimeError: training is finished.
        """
        if self.finished:
            raise RuntimeError(f"training is finished after epoch {self.epoch}")
        begun = time.perf_counter()
        epoch = self.epoch + 1
        cut = self._cut(epoch)
        self._learning_rate.before_step(self.epoch, 0, len(cut))
        rate = self._learning_rate.current
        if isinstance(self.model, ClosedFormModel):
            with self._seeded("epoch", epoch, self._workers.rank):
                train_loss = self._fit(self.model)
        else:
            train_loss = self.train_batches(epoch, cut)
        if not math.isfinite(train_loss):
            raise self._diverged("training loss", epoch, rate)
        self._workers.share_buffers(self.model)
        dev, averaged_dev = self._judge(epoch, rate)
        return EpochReport(
            epoch=epoch,
            train_loss=train_loss,
            learning_rate=None if isinstance(self.model, ClosedFormModel) else rate,
            dev=dev,
            seconds=time.perf_counter() - begun,
            padded_share=padded_share(self.data.lengths("train"), cut),
            averaged_dev=averaged_dev,
        )

    def train_batches(self, epoch: int, cut: list[IntArray]) -> float:
        """Take one step for each batch of positions among the training rows, all that is random
        drawn as for that epoch; return the mean loss."""
        with self._seeded("epoch", epoch, self._workers.rank):
            return self._train(epoch, cut)

    def posteriors(self, part: str) -> DoubleArray:
        """(N, K) posteriors of the best epoch's weights, rows in the order of ``data.rows(part)``.

        With ``training.refit``, those of test rows are of the model that :meth:`save_model`
        writes, fitted on training and dev rows; of other rows, of the fit on training rows alone.

        Raises:
            ValueError: no epoch has been trained.
            TrainingDiverged: a posterior is not finite.
        """
        self._require_epoch()
        if part == "dev" and self._best_dev is not None:
            return self._best_dev.copy()
        if part == "test" and self.config.training.refit:
            posteriors = self._predict(part, *self._refit())
        else:
            with self._with_weights(None if self._best_is_the_model else self._best_weights):
                posteriors = self._predict(part)
        if not np.isfinite(posteriors).all():
            raise self._diverged(f"{part} posteriors", self.best_epoch, self._learning_rate.current)
        return posteriors

    def fit_kept_model(self) -> None:
        """Fit what :meth:`save_model` writes, where it is not the best epoch's; every worker takes
        part."""
        if self.config.training.refit:
            self._refit()

    def save_model(self, directory: str | Path) -> None:
        """Write the best epoch's model, with ``training.refit`` the one fitted on training and
        dev rows; see ``bundle.write_model``.

        Where several workers train, one may once all have called :meth:`fit_kept_model`.
        """
        self._require_epoch()
        weights, data = self._best_weights, self.data
        if self.config.training.refit:
            model, data = self._refit()
            weights = model.state_dict()
        write_model(
            directory,
            weights=weights,
            config=self.config,
            input_spec=data.input_spec,
            classes=tuple(data.classes),
            preprocessing=data.preprocessing(),
            metrics={"epoch": self.best_epoch, "dev": self.best_metrics}
            | ({"speeds": sorted(self.data.speeds)} if len(self.data.speeds) > 1 else {})
            | ({"averaged_epochs": self.config.training.swa_epochs} if self._best_is_swa else {}),
        )

    def save_state(self, directory: str | Path) -> None:
        """Write all that :meth:`load_state` needs to continue bit for bit; any one worker may."""
        tensors = {f"model/{name}": t for name, t in self.model.state_dict().items()}
        if not self._best_is_the_model:
            tensors |= {f"best/{name}": t for name, t in self._best_weights.items()}
        if self._ema is not None:
            tensors |= {f"average/{name}": t for name, t in self._ema.weights.items()}
        if self._swa is not None:
            tensors |= {f"late/{name}": t for name, t in self._swa.tensors().items()}
        optimizer = flatten_optimizer(self._optimizer, self._names)
        tensors |= {f"optimizer/{name}": t for name, t in optimizer.items()}
        write_state(
            directory,
            tensors,
            {
                "identity": self._identity(),
                "epoch": self.epoch,
                "best_epoch": self.best_epoch,
                "best_metrics": self.best_metrics,
                "learning_rate": self._learning_rate.state(),
                "scaler": self._scaler.state_dict(),
                "averaged_steps": 0 if self._ema is None else self._ema.steps,
                "late": {"judged": self._judged, "best": self._best_is_swa},
            },
        )

    def load_state(self, directory: str | Path) -> None:
        """Continue from :meth:`save_state`; every worker reads the same directory.

        Raises:
            ArtifactError: a file is damaged, or of another configuration, seed or fold.
        """
        tensors, values = read_state(directory)
        path = Path(directory) / STATE_FILE
        if values["identity"] != self._identity():
            raise ArtifactError(
                f"{path}: the state is of another configuration, seed or fold "
                f"(architecture {values['identity'].get('architecture')}, seed "
                f"{values['identity'].get('seed')}); resume with its own, or train again"
            )
        names = ("model", "best", "average", "late", "optimizer")
        groups: dict[str, dict[str, Tensor]] = {name: {} for name in names}
        for key, tensor in tensors.items():
            group, _, name = key.partition("/")
            groups[group][name] = tensor
        self.model.load_state_dict(groups["model"])
        restore_optimizer(self._optimizer, self._names, groups["optimizer"])
        if self._ema is not None:
            self._ema.restore(groups["average"], values["averaged_steps"])
        if self._swa is not None:
            self._swa.restore(groups["late"], self.device)
        self._judged, self._best_is_swa = values["late"]["judged"], values["late"]["best"]
        self._learning_rate.restore(values["learning_rate"])
        self._scaler.load_state_dict(values["scaler"])
        self.epoch = values["epoch"]
        self.best_epoch = values["best_epoch"]
        self.best_metrics = values["best_metrics"]
        self._best_weights, self._best_dev = {}, None
        if self.best_epoch:
            best = groups["best"] or groups["model"]
            self._best_weights = {name: t.to(self.device) for name, t in best.items()}

    # -- one epoch

    def _cut(self, epoch: int) -> list[IntArray]:
        """The epoch's batches, positions among the training rows."""
        return batches(
            self.data.lengths("train"),
            batch_size=self.config.training.batch_size,
            frames_per_batch=self.config.training.frames_per_batch,
            rng=np.random.default_rng(derive_seed(self.seed, "order", epoch)),
        )

    def _batches(self, cut: list[IntArray], augment: int | None) -> Iterator[tuple[Batch, bool]]:
        """This worker's share of each batch, and whether it counts."""
        rows = np.asarray(self.data.rows("train"))
        positions, counts = zip(*map(self._workers.shard, cut), strict=True)
        loaded = load_batches(self.data, [rows[own] for own in positions], self.device, augment)
        return zip(loaded, counts, strict=True)

    def _fit_to(self, model: ClosedFormModel, data: FoldData) -> list[IntArray]:
        """Fit a model in closed form to the training rows, at all speeds; return the rows as they
        were cut."""
        cut = evaluation_cut(data, "train")
        shards = [np.asarray(data.rows("train"))[positions] for positions in cut]
        groups = data.groups("train")[np.concatenate(cut)]
        weights = class_weights(
            self.config.training.class_weights,
            np.asarray(data.labels("train")),
            data.input_spec.num_classes,
        )
        speeds = data.speeds
        given = (load_batches(data, shards, self.device, None, speed) for speed in speeds)
        model.fit(itertools.chain.from_iterable(given), np.tile(groups, len(speeds)), weights)
        self._workers.share_fitted(model)
        model.eval()
        return shards

    def _refit(self) -> tuple[ClosedFormModel, FoldData]:
        """The model that is kept with ``training.refit``, and what gives it its input.

        Everything is fitted again, on training and dev rows: normalisation, class weights, the
        model, and its calibration over inner folds of speakers of both. It depends on these rows,
        the configuration and the seed alone, so that a resumed trial fits the same one.

        Dev rows only ever choose by posteriors of the fit on training rows, and no test row or
        its label takes part in this one. So labels permuted at random (``distributed.canary``)
        give chance on test rows: dev labels then say as little of test labels as training labels
        do, and an utterance's other segments or copies are in the test part with it.
        """
        if self._refitted is None:
            given = self.data
            plan = given.plan.with_dev_in_training(given.fold)
            data = FoldData(given.dataset, plan, given.fold, self.config.data)
            architecture = ARCHITECTURES.get(self.config.architecture)
            with self._seeded("refit"):
                model = build_model(architecture, self.config.model, data.input_spec)
                assert isinstance(model, ClosedFormModel)  # noqa: S101 - resolve() sees to it
                try:
                    self._fit_to(model.to(self.device), data)
                except BadInputError as error:
                    raise BadInputError(
                        f"training.refit, on training and dev rows together: {error}; or set it "
                        "to false"
                    ) from None
            self._refitted = model, data
        return self._refitted

    def _fit(self, model: ClosedFormModel) -> float:
        """Fit a model in closed form; return its mean loss on the training rows."""
        shards = self._fit_to(model, self.data)
        with torch.inference_mode():
            losses = [
                self._losses(batch, self._criterion).double().sum()
                for batch in load_batches(self.data, shards, self.device, None)
            ]
        return float(torch.stack(losses).sum()) / denominator(self._weights, self._labels)

    def _train(self, epoch: int, cut: list[IntArray]) -> float:
        """Take one step a batch; return the epoch's mean loss."""
        training = self.config.training
        sums = torch.zeros((), device=self.device)
        total_weight = 0.0
        self.model.train()
        draws = self.config.data.augments or self.config.data.speeds
        augment = derive_seed(self.seed, "augment", epoch) if draws else None
        for step, (batch, counts) in enumerate(self._batches(cut, augment)):
            weight = denominator(self._weights, self._labels[cut[step]])
            self._learning_rate.before_step(epoch - 1, step, len(cut))
            criterion = self._criterion
            if training.mixup:
                num_classes = self.data.input_spec.num_classes
                batch, criterion = mix(batch, criterion, num_classes, training.mixup)
            rho = training.sharpness
            with self._forked(rho > 0):  # both passes of SAM draw the same
                summed = self._backward(batch, criterion, counts, weight)
            if rho:
                with perturbed(self.model, rho):
                    self._backward(batch, criterion, counts, weight)
            if training.gradient_clip is not None:
                self._scaler.unscale_(self._optimizer)
                nn.utils.clip_grad_norm_(self.model.parameters(), training.gradient_clip)
            self._scaler.step(self._optimizer)
            self._scaler.update()
            if self._ema is not None:
                self._ema.update(self.model)
            sums += summed  # no .item(): the device is not waited for
            total_weight += weight
        return float(self._workers.total(sums)) / total_weight

    def _backward(self, batch: Batch, criterion: Criterion, counts: bool, weight: float) -> Tensor:
        """Compute the gradients of a batch in the place of those before; return the summed loss."""
        with counting(counts):
            summed = self._losses(batch, criterion).sum() * counts
        self._optimizer.zero_grad(set_to_none=True)
        # workers' gradients are averaged: times their number is their sum
        torch.autograd.backward(self._scaler.scale(summed * (self._workers.count / weight)))
        return summed.detach()

    def _losses(self, batch: Batch, criterion: Criterion) -> Tensor:
        """(B,) losses of a batch, class weights included."""
        precision = self.config.training.precision
        with torch.autocast(
            self.device.type, dtype=_DTYPES[precision], enabled=precision != "float32"
        ):
            output = self._parallel(batch, criterion)
            if output.losses is not None:
                losses: Tensor = output.losses
            else:
                self._check_shape(output.logits, batch, "logits")
                losses = criterion(output.logits, batch.labels)
        self._check_shape(output.log_posteriors, batch, "log_posteriors")
        return losses.float()

    def _check_shape(self, values: Tensor | None, batch: Batch, name: str) -> None:
        """Refuse an output of another shape than (B, K) with a sentence that names the model."""
        wanted = len(batch), self.data.input_spec.num_classes
        shape = None if values is None else tuple(values.shape)
        if shape != wanted:
            raise BadInputError(
                f"{self.config.architecture}: its {name} are of shape {shape}, where a batch of "
                f"{wanted[0]} utterances and {wanted[1]} classes needs {wanted}"
            )

    def _predict(
        self, part: str, model: SerModel | None = None, data: FoldData | None = None
    ) -> DoubleArray:
        """(N, K) posteriors of a model's present weights, in full precision; None: the own one."""
        model, data = model or self.model, data or self.data
        rows = np.asarray(data.rows(part))
        own = evaluation_cut(data, part)[self._workers.rank :: self._workers.count]
        shape = (len(rows), data.input_spec.num_classes)
        gathered = torch.zeros(shape, dtype=torch.float64)
        model.eval()
        outputs = []
        with torch.inference_mode():
            for batch in load_batches(
                data, [rows[positions] for positions in own], self.device, None
            ):
                outputs.append(model(batch).log_posteriors.double())
            if outputs:
                positions = torch.from_numpy(np.concatenate(own))
                gathered[positions] = torch.cat(outputs).softmax(dim=1).cpu()
            gathered = self._workers.total(gathered.to(self.device)).cpu()
        return gathered.numpy()

    # -- the best epoch

    def _judge(self, epoch: int, rate: float) -> tuple[dict[str, float], dict[str, float] | None]:
        """Evaluate an epoch, and at the end the average of the last ones, on the dev rows; keep
        its weights where they are the best so far."""
        with self._with_weights(None if self._ema is None else self._ema.weights):
            posteriors = self._predict("dev")
        if not np.isfinite(posteriors).all():
            raise self._diverged("dev posteriors", epoch, rate)
        dev = classification_metrics(self.data.labels("dev"), posteriors)
        self.epoch = epoch
        value = dev[self.config.training.monitor]
        self._learning_rate.after_epoch(value)
        if self._improves(value):
            self._keep(dev, posteriors)
        if self._swa is None:
            return dev, None
        self._swa.take(self.model, epoch)
        return dev, self._judge_swa(self._swa) if self.finished else None

    def _improves(self, value: float) -> bool:
        name = self.config.training.monitor
        if not self.best_epoch:
            return True
        best = self.best_metrics[name]
        return value > best if HIGHER_IS_BETTER[name] else value < best

    def _keep(
        self,
        dev: dict[str, float],
        posteriors: DoubleArray | None = None,
        *,
        averaged: bool = False,
    ) -> None:
        """Keep the present weights, or with ``ema_decay`` their moving average; ``averaged``: the
        model has those of the last epochs."""
        self.best_epoch, self.best_metrics, self._best_is_swa = self.epoch, dev, averaged
        self._best_dev = posteriors
        ema = None if averaged else self._ema
        evaluated = self.model.state_dict() if ema is None else ema.weights
        for name, tensor in evaluated.items():
            if name in self._best_weights:
                self._best_weights[name].copy_(tensor)
            else:
                self._best_weights[name] = tensor.detach().clone()

    def _judge_swa(self, swa: SwaWeights) -> dict[str, float] | None:
        """Keep the average of the last epochs if it is better than every epoch; its metrics."""
        self._judged = True
        with self._averaged(swa):
            posteriors = self._predict("dev")
            if not np.isfinite(posteriors).all():
                return None
            dev = classification_metrics(self.data.labels("dev"), posteriors)
            if self._improves(dev[self.config.training.monitor]):
                self._keep(dev, posteriors, averaged=True)
        return dev

    @contextlib.contextmanager
    def _averaged(self, swa: SwaWeights) -> Iterator[None]:
        """Give the model the average of the last epochs for a while."""
        with self._with_weights(swa.weights(self.model)):
            with self._seeded("late", self._workers.rank):
                batches_of_epoch = self._batches(self._cut(self.epoch), None)
                renew_batch_statistics(self.model, batches_of_epoch)
            self._workers.share_buffers(self.model)
            yield

    @property
    def _best_is_the_model(self) -> bool:
        """Whether the best epoch's weights are those that the model has."""
        own = self._ema is None and not self._best_is_swa
        return own and self.best_epoch == self.epoch

    @contextlib.contextmanager
    def _with_weights(self, weights: Mapping[str, Tensor] | None) -> Iterator[None]:
        """Give the model other weights for a while; None leaves it as it is."""
        if weights is None:
            yield
            return
        last = {name: t.detach().clone() for name, t in self.model.state_dict().items()}
        self.model.load_state_dict(weights)
        try:
            yield
        finally:
            self.model.load_state_dict(last)

    def _require_epoch(self) -> None:
        if not self.best_epoch:
            raise ValueError("no epoch has been trained: there is no best epoch yet")

    # -- identity and randomness

    def _identity(self) -> dict[str, Any]:
        """What a state must share with the trainer that continues it."""
        ids = {part: list(self.data.utterance_ids(part)) for part in ("train", "dev")}
        return {
            "architecture": self.config.architecture,
            "config": digest(self.config.identity()),
            "seed": self.seed,
            "classes": list(self.data.classes),
            "fold": digest(ids),
        }

    def _forked(self, enabled: bool = True) -> contextlib.AbstractContextManager[None]:
        """Put torch's random states back after a block."""
        devices = [self.device] if self.device.type == "cuda" else []
        return torch.random.fork_rng(devices, enabled)

    @contextlib.contextmanager
    def _seeded(self, *path: str | int) -> Iterator[None]:
        """Seed every global random state for a while; then put the caller's states back."""
        seed = derive_seed(self.seed, *path)
        python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
        with self._forked():
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            try:
                yield
            finally:
                random.setstate(python_state)
                np.random.set_state(numpy_state)  # noqa: NPY002

    def _diverged(self, what: str, epoch: int, rate: float) -> TrainingDiverged:
        return TrainingDiverged(
            f"{self.config.architecture}: the {what} became infinite or not a number in epoch "
            f"{epoch} at learning rate {rate:g}; lower training.learning_rate or set "
            "training.gradient_clip"
        )


def evaluation_cut(data: FoldData, part: str) -> list[IntArray]:
    """Batches of a part, of like length, in an order of its own."""
    lengths = data.lengths(part)
    return batches(lengths, batch_size=None, frames_per_batch=EVALUATION_FRAMES, rng=None)


def checked_device(name: str, precision: str) -> torch.device:
    """The device; a BadInputError where it is not there or cannot do the precision."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadInputError(f"device '{name}' is unknown; give cpu or cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise BadInputError(f"device '{name}' is not supported; give cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadInputError(f"device '{name}': torch sees no CUDA device here; give cpu")
    if precision == "float16" and device.type != "cuda":
        raise BadInputError(
            "training.precision = 'float16' needs a CUDA device; on the CPU give float32 or "
            "bfloat16"
        )
    return device
