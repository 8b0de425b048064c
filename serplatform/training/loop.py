"""Train one configuration on one fold, epoch by epoch.

What an epoch does depends on the weights, the optimiser and ``(seed, epoch)`` alone: the order of
batches, the augmentation and the dropout are drawn from seeds derived of these two, so that a
resumed training continues bit for bit and the global random states are left as they were.

Several processes may train together through ``torch.distributed``, see ``data_parallel.py``.

Shapes: N utterances, K classes.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.trial import REFIT_NOTE
from serplatform.datasets.batching import batches, padded_share
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import ArtifactError, BadInputError
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
from serplatform.training.averaging import (
    EmaWeights,
    SwaWeights,
    keep_copy,
    renew_batch_statistics,
    with_weights,
)
from serplatform.training.bundle import write_model
from serplatform.training.checkpoint import (
    STATE_FILE,
    flatten_optimizer,
    read_state,
    restore_optimizer,
    trainer_identity,
    write_state,
)
from serplatform.training.closed_form import fit_rows, refit
from serplatform.training.data_parallel import Workers
from serplatform.training.device import checked_device, forked, seeded
from serplatform.training.epoch import EpochReport, check_shape, diverged
from serplatform.training.fine_tuning import check_device, with_pinned_encoder
from serplatform.training.inference import posteriors_of
from serplatform.training.loader import load_batches
from serplatform.training.losses import class_weights, denominator, mix
from serplatform.training.optim import LearningRate, build_optimizer
from serplatform.training.sam import perturbed
from serplatform.training.trial_config import TrialConfig

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
        with seeded(self.device, self.seed, "weights"):
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
            with seeded(self.device, self.seed, "epoch", epoch, self._workers.rank):
                train_loss = self._fit(self.model)
        else:
            train_loss = self.train_batches(epoch, cut)
        if not math.isfinite(train_loss):
            raise diverged(self.config.architecture, "training loss", epoch, rate)
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
        with seeded(self.device, self.seed, "epoch", epoch, self._workers.rank):
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
            model, data = self._refit()
            posteriors = posteriors_of(model, data, part, self.device, self._workers)
        else:
            with with_weights(self.model, None if self._best_is_the_model else self._best_weights):
                posteriors = self._predict(part)
        if not np.isfinite(posteriors).all():
            rate = self._learning_rate.current
            raise diverged(self.config.architecture, f"{part} posteriors", self.best_epoch, rate)
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
                "identity": trainer_identity(self.config, self.data, self.seed),
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
        if values["identity"] != trainer_identity(self.config, self.data, self.seed):
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

    def _refit(self) -> tuple[ClosedFormModel, FoldData]:
        """The model that is kept with ``training.refit``, and what gives it its input."""
        if self._refitted is None:
            self._refitted = refit(self.config, self.data, self.device, self._workers, self.seed)
        return self._refitted

    def _fit(self, model: ClosedFormModel) -> float:
        """Fit a model in closed form; return its mean loss on the training rows."""
        shards = fit_rows(model, self.data, self.config, self.device, self._workers)
        with torch.inference_mode():
            losses = [
                self._losses(batch, self._criterion).double().sum()
                for batch in load_batches(self.data, shards, self.device)
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
            with forked(self.device, rho > 0):  # both passes of SAM draw the same
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
        wanted = len(batch), self.data.input_spec.num_classes
        with torch.autocast(
            self.device.type, dtype=_DTYPES[precision], enabled=precision != "float32"
        ):
            output = self._parallel(batch, criterion)
            if output.losses is not None:
                losses: Tensor = output.losses
            else:
                check_shape(self.config.architecture, "logits", output.logits, wanted)
                losses = criterion(output.logits, batch.labels)
        check_shape(self.config.architecture, "log_posteriors", output.log_posteriors, wanted)
        return losses.float()

    def _predict(self, part: str) -> DoubleArray:
        """(N, K) posteriors of the model's present weights, in full precision."""
        return posteriors_of(self.model, self.data, part, self.device, self._workers)

    # -- the best epoch

    def _judge(self, epoch: int, rate: float) -> tuple[dict[str, float], dict[str, float] | None]:
        """Evaluate an epoch, and at the end the average of the last ones, on the dev rows; keep
        its weights where they are the best so far."""
        with with_weights(self.model, None if self._ema is None else self._ema.weights):
            posteriors = self._predict("dev")
        if not np.isfinite(posteriors).all():
            raise diverged(self.config.architecture, "dev posteriors", epoch, rate)
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
        keep_copy(self._best_weights, self.model.state_dict() if ema is None else ema.weights)

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
        with with_weights(self.model, swa.weights(self.model)):
            with seeded(self.device, self.seed, "late", self._workers.rank):
                batches_of_epoch = self._batches(self._cut(self.epoch), None)
                renew_batch_statistics(self.model, batches_of_epoch)
            self._workers.share_buffers(self.model)
            yield

    @property
    def _best_is_the_model(self) -> bool:
        """Whether the best epoch's weights are those that the model has."""
        own = self._ema is None and not self._best_is_swa
        return own and self.best_epoch == self.epoch

    def _require_epoch(self) -> None:
        if not self.best_epoch:
            raise ValueError("no epoch has been trained: there is no best epoch yet")
