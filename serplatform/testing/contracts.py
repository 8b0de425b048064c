"""What every registered architecture must keep; a new one gets these tests by existing.

Use it in a test module::

    @pytest.mark.parametrize("name", ARCHITECTURES.names())
    class TestArchitectures(ArchitectureContract):
        pass
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from serplatform.config import config_faults
from serplatform.models.base import (
    ARCHITECTURES,
    Batch,
    ClosedFormModel,
    Criterion,
    ModelOutput,
    SerModel,
    count_parameters,
)
from serplatform.studies.own_space import own_space
from serplatform.studies.space import make_space, packaged_spaces, read_space_file
from serplatform.testing.batches import input_spec, pad, pick, random_batch
from serplatform.testing.tiny_encoder import shared_encoder
from serplatform.training.trial_config import paper_values

#: parameters that a model may have in these tests
LARGEST_SMALL_MODEL = 100_000

LENGTHS = (61, 3, 40, 30, 1, 47)


def small_model(name: str, *, seed: int = 0, **settings: Any) -> SerModel:
    """Build an architecture at a small size, with the paper's other settings.

    A model that is fitted in closed form is fitted to random utterances of four speakers.

    Args:
        name: a registered name.
        seed: of the first weights.
        **settings: configuration fields; those that the architecture lacks are ignored, and
            ``dropout`` sets every field that has it in its name.

    Raises:
        AssertionError: the model is too large to be trained in a test.
    """
    architecture = ARCHITECTURES.get(name)
    fields = {field.name for field in dataclasses.fields(architecture.config)}
    dropouts = {f: settings["dropout"] for f in fields if "dropout" in f and "dropout" in settings}
    chosen = {**architecture.small, **dropouts, **settings}
    if architecture.encoder is not None:
        chosen.setdefault(architecture.encoder, str(shared_encoder()))
    config = architecture.config(**{k: v for k, v in chosen.items() if k in fields})
    torch.manual_seed(seed)
    model = architecture.build(config, input_spec(architecture))
    if isinstance(model, ClosedFormModel):
        lengths = [20 + 3 * (row % 8) for row in range(32)]
        fit_closed_form(model, random_batch(lengths, input_spec(architecture), seed=seed + 3))
    size = count_parameters(model)
    assert size <= LARGEST_SMALL_MODEL, (
        f"architecture '{name}' has {size:,} parameters at its small size; tests train at most "
        f"{LARGEST_SMALL_MODEL:,}. Declare small={{field: value}} in its Architecture, with the "
        "settings that shrink it"
    )
    return model


def fit_closed_form(
    model: ClosedFormModel, batch: Batch, class_weights: Tensor | None = None
) -> None:
    """Fit to one batch, whose utterances are of four speakers."""
    model.fit([batch], np.arange(len(batch)) // 4 % 4, class_weights)


def training_losses(output: ModelOutput, criterion: Criterion, labels: Tensor) -> Tensor:
    """(B,) losses, as the training loop takes them from a model."""
    if output.losses is not None:
        return output.losses
    assert output.logits is not None, "a model gives logits or losses"
    return criterion(output.logits, labels)


class ArchitectureContract:
    """Tests of one architecture, whose registered ``name`` each test is given."""

    def test_every_parameter_gets_a_finite_gradient(self, name: str) -> None:
        model = small_model(name).train()
        batch = random_batch((35, 22), input_spec(ARCHITECTURES.get(name)))
        criterion = Criterion()
        losses = training_losses(model(batch, criterion), criterion, batch.labels)
        assert losses.shape == (2,)
        assert torch.isfinite(losses).all()
        if isinstance(model, ClosedFormModel):
            assert not list(model.parameters()), "what is fitted in closed form are buffers"
            return
        losses.mean().backward()  # type: ignore[no-untyped-call]
        for parameter_name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"{parameter_name} gets no gradient"
            assert torch.isfinite(parameter.grad).all(), f"{parameter_name}: gradient not finite"

    def test_posteriors_sum_to_one(self, name: str) -> None:
        model = small_model(name).eval()
        batch = random_batch(LENGTHS, input_spec(ARCHITECTURES.get(name)))
        with torch.inference_mode():
            posteriors = model(batch).log_posteriors.double().exp()
        assert posteriors.shape == (len(LENGTHS), 4)
        torch.testing.assert_close(
            posteriors.sum(dim=1), torch.ones(len(LENGTHS), dtype=torch.float64), rtol=0, atol=1e-6
        )

    def test_padding_changes_nothing(self, name: str) -> None:
        """Each utterance of a padded batch has the result that it has alone."""
        for dtype, tolerance in ((torch.float32, 2e-6), (torch.float64, 1e-10)):
            model = _awake(small_model(name)).to(dtype).eval()
            batch = random_batch(LENGTHS, input_spec(ARCHITECTURES.get(name)), dtype=dtype)
            with torch.inference_mode():
                together = model(batch)
                longer = model(pad(batch, extra=9, value=3.0))
                alone = [model(pick(batch, [row])) for row in range(len(LENGTHS))]
            single = torch.cat([output.log_posteriors for output in alone])
            for result in (together, longer):
                torch.testing.assert_close(result.log_posteriors, single, rtol=0, atol=tolerance)
                for key, values in result.statistics.items():
                    expected = torch.cat([output.statistics[key] for output in alone])
                    torch.testing.assert_close(values, expected, rtol=0, atol=tolerance)
            for key, maps in together.attention.items():
                for row, output in enumerate(alone):
                    own = output.attention[key][0]
                    within = maps[row][tuple(slice(0, size) for size in own.shape)]
                    torch.testing.assert_close(within, own, rtol=0, atol=tolerance)
                    rest = maps[row].abs().sum() - within.abs().sum()
                    assert abs(rest.item()) <= tolerance, f"attention '{key}' lies on padding"

    def test_an_utterance_without_words_reads_as_one_unknown_word(self, name: str) -> None:
        """No words, one unknown word over all frames, and no word columns at all: the same."""
        spec = input_spec(ARCHITECTURES.get(name))
        if not spec.vocabulary_size:
            return  # reads no words
        model = _awake(small_model(name)).eval()
        batch = random_batch(LENGTHS, spec)
        assert batch.word_ids is not None
        assert batch.word_spans is not None
        assert batch.num_words is not None
        batch.word_ids[2], batch.word_spans[2], batch.num_words[2] = 0, 0, 0
        explicit = copy.deepcopy(batch)
        assert explicit.word_ids is not None
        assert explicit.word_spans is not None
        assert explicit.num_words is not None
        explicit.word_ids[2, 0], explicit.num_words[2] = 1, 1
        explicit.word_spans[2, 0] = torch.tensor([0, LENGTHS[2]])
        with torch.inference_mode():
            result = model(batch).log_posteriors
            expected = model(explicit).log_posteriors
            alone = model(pick(batch, [2])).log_posteriors  # (1, K), of a batch of no words
        assert torch.isfinite(result).all()
        torch.testing.assert_close(result, expected, rtol=0, atol=2e-6)
        torch.testing.assert_close(alone[0], expected[2], rtol=0, atol=2e-6)

    def test_order_of_a_batch_changes_nothing(self, name: str) -> None:
        model = _awake(small_model(name)).eval()
        batch = random_batch(LENGTHS, input_spec(ARCHITECTURES.get(name)))
        order = [4, 2, 0, 5, 1, 3]
        with torch.inference_mode():
            expected = model(batch).log_posteriors[order]
            result = model(pick(batch, order)).log_posteriors
        torch.testing.assert_close(result, expected, rtol=0, atol=2e-6)

    def test_evaluation_is_deterministic_and_leaves_random_state_alone(self, name: str) -> None:
        model = _awake(small_model(name)).eval()
        batch = random_batch(LENGTHS, input_spec(ARCHITECTURES.get(name)))
        state = torch.random.get_rng_state()
        with torch.inference_mode():
            results = [model(batch).log_posteriors for _ in range(2)]
        assert torch.equal(results[0], results[1])
        assert torch.equal(state, torch.random.get_rng_state())

    def test_steps_of_a_stream_give_what_the_whole_gives(self, name: str) -> None:
        model = _awake(small_model(name)).eval()
        if not model.carries:
            return
        batch, state = random_batch((9, 9, 9), input_spec(ARCHITECTURES.get(name))), None
        with torch.inference_mode():
            for first, last in ((0, 1), (1, 4), (4, 5), (5, 9)):
                lengths = torch.full((3,), last - first)
                stretch = Batch(batch.frames[:, first:last], lengths, batch.labels)
                found, state = model.step(stretch, state)
                until = Batch(batch.frames[:, :last], torch.full((3,), last), batch.labels)
                expected = model(until).log_posteriors
                torch.testing.assert_close(found.log_posteriors, expected, rtol=0, atol=1e-5)

    def test_inputs_are_left_as_they_are(self, name: str) -> None:
        model = small_model(name).train()
        batch = random_batch((35, 22), input_spec(ARCHITECTURES.get(name)))
        before = copy.deepcopy(batch)
        model(batch, Criterion())
        for field in dataclasses.fields(batch):
            value = getattr(batch, field.name)
            if value is not None:
                assert torch.equal(value, getattr(before, field.name)), f"{field.name} was changed"

    def test_class_weights_reach_the_loss(self, name: str) -> None:
        """A smaller weight of the true class makes the loss smaller, in every utterance.

        Of a model that is fitted in closed form: the posterior of a class of greater weight grows.
        """
        if ARCHITECTURES.get(name).closed_form:
            _posteriors_follow_class_weights(name)
            return
        batch = random_batch((40, 40), input_spec(ARCHITECTURES.get(name)))
        batch.labels = torch.tensor([1, 1])
        losses = {}
        for weight in (0.5, 1.0):
            model = small_model(name, dropout=0.0).train()
            torch.manual_seed(1)
            criterion = Criterion(torch.tensor([1.0, weight, 1.0, 1.0]))
            output = model(batch, criterion)
            losses[weight] = training_losses(output, criterion, batch.labels)
        assert (losses[0.5] < losses[1.0]).all()

    def test_every_dropout_setting_acts_by_itself_and_in_training_only(self, name: str) -> None:
        """Each alone changes a training step, another seed changes it again; no evaluation does."""
        batch = random_batch(LENGTHS, input_spec(ARCHITECTURES.get(name)))
        criterion = Criterion()

        def values(train: bool, seed: int, **rate: float) -> Tensor:
            settings: dict[str, Any] = {"dropout": 0.0, "num_layers": 2, **rate}
            model = _awake(small_model(name, **settings)).train(train)
            torch.manual_seed(seed)
            with torch.no_grad():
                output = model(batch, criterion if train else None)
                losses = training_losses(output, criterion, batch.labels) if train else None
            parts = [output.log_posteriors, *([] if losses is None else [losses.unsqueeze(1)])]
            return torch.cat(parts, dim=1)

        fields = dataclasses.fields(ARCHITECTURES.get(name).config)
        for setting in [field.name for field in fields if "dropout" in field.name]:
            rate = {setting: 0.9}
            dropped = values(True, 1, **rate)
            assert not torch.equal(dropped, values(True, 1)), f"{setting} changes no training"
            assert not torch.equal(dropped, values(True, 2, **rate)), f"{setting} is not random"
            assert torch.equal(values(False, 1, **rate), values(False, 2)), (
                f"{setting} changes evaluation"
            )

    def test_state_dict_rebuilds_the_model(self, name: str) -> None:
        model = _awake(small_model(name, seed=1)).eval()
        other = small_model(name, seed=2).eval()
        other.load_state_dict(model.state_dict())
        batch = random_batch(LENGTHS, input_spec(ARCHITECTURES.get(name)))
        with torch.inference_mode():
            assert torch.equal(model(batch).log_posteriors, other(batch).log_posteriors)

    def test_a_fit_in_closed_form_is_repeated_bit_for_bit(self, name: str) -> None:
        if not ARCHITECTURES.get(name).closed_form:
            return
        one, other = small_model(name).state_dict(), small_model(name).state_dict()
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in one.items())

    def test_paper_settings_are_a_valid_configuration(self, name: str) -> None:
        architecture = ARCHITECTURES.get(name)
        assert architecture.name == name
        assert config_faults(architecture.config, architecture.small) == []
        values = paper_values(name)
        defaults = dataclasses.asdict(architecture.config())
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()}
        assert {k: values[f"model.{k}"] for k in plain} == plain
        assert config_faults(architecture.config, defaults) == []
        for section, settings in (("training", architecture.training), ("data", architecture.data)):
            for key, value in settings.items():
                assert values[f"{section}.{key}"] == value
        for field in dataclasses.fields(architecture.config):
            assert field.metadata.get("help"), f"{field.name} has no help"

    def test_it_has_a_sound_search_space(self, name: str) -> None:
        space = make_space(
            *(read_space_file(name) if name in packaged_spaces() else own_space(name))
        )
        assert space.architecture == name
        assert space.parameters

    def test_overfits_thirty_two_utterances(self, name: str) -> None:
        spec = input_spec(ARCHITECTURES.get(name))
        lengths = [20 + 3 * (row % 8) for row in range(32)]
        batch = random_batch(lengths, spec, seed=3, separation=0.0)
        model = small_model(name, dropout=0.0)
        if isinstance(model, ClosedFormModel):
            _separates(model, name)
            return
        criterion = Criterion()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        accuracy = 0.0
        for step in range(300):
            model.train()
            optimizer.zero_grad()
            loss = training_losses(model(batch, criterion), criterion, batch.labels).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step % 10 == 9:
                model.eval()
                with torch.inference_mode():
                    prediction = model(batch).log_posteriors.argmax(dim=1)
                accuracy = float((prediction == batch.labels).float().mean())
                if accuracy == 1.0:
                    return
        raise AssertionError(f"{name}: accuracy on its own training batch is {accuracy:.3f}")


def _separates(model: ClosedFormModel, name: str) -> None:
    """Fitted to utterances of classes that lie apart, it names each of them."""
    lengths = [20 + 3 * (row % 8) for row in range(32)]
    batch = random_batch(lengths, input_spec(ARCHITECTURES.get(name)), seed=3, separation=1.0)
    fit_closed_form(model, batch)
    prediction = model.eval()(batch).log_posteriors.argmax(dim=1)
    assert torch.equal(prediction, batch.labels), f"{name} does not learn classes that lie apart"


def _posteriors_follow_class_weights(name: str) -> None:
    spec = input_spec(ARCHITECTURES.get(name))
    batch = random_batch([30] * 32, spec, seed=3, separation=0.05)
    posteriors = {}
    for weight in (0.25, 1.0, 4.0):
        model = small_model(name)
        assert isinstance(model, ClosedFormModel)
        fit_closed_form(model, batch, torch.tensor([1.0, weight, 1.0, 1.0]))
        posteriors[weight] = float(model.eval()(batch).log_posteriors[:, 1].exp().mean())
    assert posteriors[0.25] < posteriors[1.0] < posteriors[4.0]


def _awake(model: SerModel) -> SerModel:
    """Move parameters that start at zero (a learned proportion, biases) off zero."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.5)
    return model
