"""A weighted sum of layers and a projection in front of any architecture."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import BadInputError
from serplatform.explanations.embeddings import watch_classifier
from serplatform.inputs.config import DataConfig
from serplatform.models.base import ARCHITECTURES, Criterion, InputSpec
from serplatform.models.front import Front, FrontedModel, build_model
from serplatform.protocols.plan import make_plan
from serplatform.testing.batches import input_spec, pad, random_batch
from serplatform.testing.synthetic import make_dataset
from serplatform.training.bundle import load_model
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import resolve

LENGTHS = (35, 22, 9)


def small(name: str) -> object:
    architecture = ARCHITECTURES.get(name)
    return architecture.config(**architecture.small)


def test_layers_are_weighed_by_a_softmax_and_projected() -> None:
    front = Front(6, layers=3, projection=4)
    with torch.no_grad():
        front.layer_weights.copy_(torch.tensor([0.1, -0.2, 0.05]))
    frames = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    assert front.projection is not None
    weights = np.exp([1.0, -2.0, 0.5]) / np.exp([1.0, -2.0, 0.5]).sum()
    values = frames.double().numpy()
    summed = sum(w * values[..., 2 * k : 2 * k + 2] for k, w in enumerate(weights))
    wanted = summed @ front.projection.weight.detach().double().numpy().T
    found = front(frames).detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)


CLOSED_FORM = [n for n in ARCHITECTURES.names() if ARCHITECTURES.get(n).closed_form]
#: those that read frames, and are trained by gradients
GRADIENTS = [
    n for n in ARCHITECTURES.names() if n not in CLOSED_FORM and not ARCHITECTURES.get(n).encoder
]


@pytest.mark.parametrize("name", GRADIENTS)
def test_every_architecture_trains_behind_a_front(name: str) -> None:
    architecture = ARCHITECTURES.get(name)
    spec = dataclasses.replace(input_spec(architecture, feature_dim=600), layers=3, projection=32)
    torch.manual_seed(0)
    model = build_model(architecture, small(name), spec)
    if "audio" not in architecture.inputs:
        assert not isinstance(model, FrontedModel)
        return
    assert isinstance(model, FrontedModel)
    batch = random_batch(LENGTHS, spec)
    output = model(batch, Criterion())
    losses = output.losses
    if losses is None:
        assert output.logits is not None
        losses = Criterion()(output.logits, batch.labels)
    losses.sum().backward()
    assert model.front.projection is not None
    for weights in (model.front.layer_weights, model.front.projection.weight):
        assert weights.grad is not None
        assert float(weights.grad.abs().sum()) > 0


@pytest.mark.parametrize("name", GRADIENTS)
def test_padding_changes_nothing_behind_a_front(name: str) -> None:
    architecture = ARCHITECTURES.get(name)
    spec = dataclasses.replace(input_spec(architecture, feature_dim=90), layers=3, projection=32)
    torch.manual_seed(0)
    model = build_model(architecture, small(name), spec).eval()
    batch = random_batch(LENGTHS, spec)
    with torch.inference_mode():
        one, other = model(batch), model(pad(batch, 13))
    torch.testing.assert_close(one.log_posteriors, other.log_posteriors, atol=2e-5, rtol=0)


def test_without_a_front_the_module_is_the_architecture_itself() -> None:
    spec = InputSpec(feature_dim=23, num_classes=4)
    torch.manual_seed(0)
    one = build_model(ARCHITECTURES.get("moma"), small("moma"), spec)
    torch.manual_seed(0)
    other = ARCHITECTURES.get("moma").build(small("moma"), spec)
    assert list(one.state_dict()) == list(other.state_dict())
    for name, values in one.state_dict().items():
        assert torch.equal(values, other.state_dict()[name])


def test_attention_and_classified_vectors_are_seen_through_the_front() -> None:
    spec = InputSpec(feature_dim=30, num_classes=4, layers=2, projection=8)
    model = build_model(ARCHITECTURES.get("blstmatt"), small("blstmatt"), spec).eval()
    with torch.inference_mode(), watch_classifier(model) as seen:
        output = model(random_batch(LENGTHS, spec))
        vectors = seen.take(len(LENGTHS))
    assert vectors is not None
    assert all(m.shape[:2] == (3, 35) for m in output.attention.values())
    assert output.attention


# -- with a dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    features = {f"pretrained:fake@{k}": (300, 0.02, 0.025) for k in (1, 2, 3)}
    small_one = {"log_mel_23": 23, "pretrained:fake@3:pooled": (600, 86_400.0, 86_400.0)}
    path = tmp_path_factory.mktemp("front") / "set"
    return Dataset.open(
        make_dataset(path, num_speakers=3, per_speaker=8, features=features | small_one)
    )


def fold(dataset: Dataset, **settings: object) -> FoldData:
    plan = make_plan(dataset.utterances, "speaker-kfold:3", seed=0, classes=dataset.classes)
    return FoldData(dataset, plan, 0, DataConfig(**settings))


@pytest.mark.parametrize(
    ("settings", "layers", "projection"),
    [
        ({"feature": "pretrained:fake@2"}, 1, 128),
        ({"feature": "pretrained:fake@2", "projection": 0}, 1, 0),
        ({"feature": "pretrained:fake@1,2"}, 1, 128),
        ({"feature": "pretrained:fake@1,2", "layers": "weighted_sum", "projection": 40}, 2, 40),
        ({"feature": "pretrained:fake@3:pooled"}, 1, 0),
        ({"feature": "pretrained:fake@1", "pooling": "time"}, 1, 0),
        ({"feature": "log_mel_23"}, 1, 0),
        ({"feature": "log_mel_23", "projection": 12}, 1, 12),
        ({"feature": "log_mel_23", "layers": "weighted_sum"}, 1, 0),
    ],
)
def test_which_front_a_model_gets(
    dataset: Dataset, settings: dict[str, object], layers: int, projection: int
) -> None:
    data = fold(dataset, **settings)
    assert (data.input_spec.layers, data.input_spec.projection) == (layers, projection)
    said = " ".join(data.notes)
    assert (f"sum of {layers} layers" in said) == (layers > 1)
    assert (f"makes {projection} values of the" in said) == (projection > 0)


def test_only_layers_of_one_size_can_be_summed(dataset: Dataset) -> None:
    with pytest.raises(BadInputError, match=r"log_mel_23 23, pretrained:fake@1 300"):
        fold(dataset, feature="log_mel_23+pretrained:fake@1", layers="weighted_sum")


@pytest.mark.parametrize("setting", ["data.deltas=1", "data.pooling=time"])
def test_layers_are_summed_after_everything_else(setting: str) -> None:
    name, _, value = setting.partition("=")
    values = {"data.feature": "pretrained:m@1,2", "data.layers": "weighted_sum"}
    values[name] = int(value) if value.isdecimal() else value
    with pytest.raises(BadInputError, match="layers are summed in the model, after data"):
        resolve("csa", values, "test")
    resolve("csa", values | {"data.feature": "pretrained:m@1"}, "test")


@pytest.mark.parametrize("name", CLOSED_FORM)
@pytest.mark.parametrize(
    ("setting", "off"), [("projection=64", "0"), ("layers='weighted_sum'", "joined")]
)
def test_what_is_fitted_in_closed_form_has_no_front(name: str, setting: str, off: str) -> None:
    key, _, text = setting.partition("=")
    value: object = text.strip("'") if "'" in text else int(text)
    feature = {"data.feature": "pretrained:fake@1,2"}
    with pytest.raises(BadInputError, match=f"{name} is fitted in closed form; set .*= {off}"):
        resolve(name, feature | {f"data.{key}": value}, "test")
    assert resolve(name, feature, "test").data.projection == 0


def test_a_model_that_reads_the_waveform_has_no_projection() -> None:
    values = {"model.encoder": "tiny", "data.projection": 64}
    with pytest.raises(BadInputError, match="encoder_lora reads the waveform"):
        resolve("encoder_lora", values, "test")


def test_a_model_with_a_front_learns_is_stored_and_read_back(
    dataset: Dataset, tmp_path: Path
) -> None:
    values = {
        "data.feature": "pretrained:/models/fake@1,2,3",
        "data.layers": "weighted_sum",
        "data.projection": 16,
        "model.hidden_dim": 8,
        "training.learning_rate": 0.01,
        "training.batch_size": 8,
        "training.max_epochs": 3,
    }
    config = resolve("lstm_attn_audio", values, "test")
    assert config.data.feature == "pretrained:fake@1,2,3"
    data = fold(dataset, **dataclasses.asdict(config.data))
    trainer = FoldTrainer(config, data, seed=0)
    while not trainer.finished:
        trainer.run_epoch()
    shares = trainer.layer_weights
    assert list(shares) == [f"pretrained:fake@{k}" for k in (1, 2, 3)]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert len({round(share, 9) for share in shares.values()}) > 1  # they were trained
    trainer.save_model(tmp_path)
    loaded = load_model(tmp_path)
    rows = data.rows("dev")
    with torch.inference_mode():
        again = loaded.model(data.collate(rows)).log_posteriors.double().softmax(dim=1).numpy()
    np.testing.assert_allclose(again, trainer.posteriors("dev"), atol=1e-6)
