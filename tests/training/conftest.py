"""A small fold of random features, and a model that trains in milliseconds."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from serplatform.config import setting
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.models.base import ARCHITECTURES, Architecture, ModelOutput, SerModel
from serplatform.protocols.plan import make_plan
from serplatform.registry import temporary
from serplatform.testing.synthetic import make_dataset
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import resolve


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def dataset_path(tmp_path_factory):
    return make_dataset(
        tmp_path_factory.mktemp("dataset"),
        num_speakers=6,
        per_speaker=12,
        seconds=(0.2, 0.6),
        features={"log_mel_23": 23, "log_mel_40": 40},
    )


@pytest.fixture(scope="session")
def dataset(dataset_path):
    return Dataset.open(dataset_path)


@pytest.fixture(scope="session")
def plan(dataset):
    return make_plan(dataset.utterances, "speaker-kfold:3", 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig:
    hidden_dim: int = setting(16, "units", low=1)
    dropout: float = setting(0.0, "share", low=0.0, high=0.9)
    own_losses: bool = setting(False, "the model applies the criterion itself")
    explode: bool = setting(False, "losses are infinite")


class Toy(SerModel):
    def __init__(self, config, spec):
        super().__init__()
        self.config = config
        self.hidden = nn.Linear(spec.feature_dim, config.hidden_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden_dim, spec.num_classes)

    def forward(self, batch, criterion=None):
        mean = batch.frames.sum(dim=1) / batch.lengths.unsqueeze(1)
        logits = self.head(self.dropout(self.hidden(mean).tanh()))
        output = ModelOutput(log_posteriors=logits.log_softmax(dim=-1), logits=logits)
        if criterion is not None and self.config.own_losses:
            output.losses = criterion(logits, batch.labels)
        if criterion is not None and self.config.explode:
            output.losses = logits.sum(dim=1) * float("inf")
        return output


TOY = Architecture(
    name="toy",
    config=ToyConfig,
    build=Toy,
    training={"learning_rate": 0.01, "max_epochs": 8, "scheduler": "plateau"},
)


@pytest.fixture(autouse=True)
def toy():
    with temporary():
        ARCHITECTURES.register("toy")(TOY)
        yield


@pytest.fixture
def make_trainer(dataset, plan):
    """Trainer of an architecture with dotted settings on fold 0."""

    def make(architecture="toy", *, seed=0, device="cpu", fold=0, **values):
        dotted = {name.replace("__", "."): value for name, value in values.items()}
        config = resolve(architecture, dotted, "test")
        return FoldTrainer(
            config, FoldData(dataset, plan, fold, config.data), seed=seed, device=device
        )

    return make
