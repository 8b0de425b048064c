"""VRNN, Algorithms 1 and 2 in plain loops, its loss, its samplings, and the paper's settings."""

import dataclasses

import numpy as np
import pytest
import torch

from serplatform.models.base import ARCHITECTURES, Batch, Criterion, InputSpec, count_parameters
from serplatform.models.vrnn import VrnnConfig
from serplatform.testing.batches import random_batch
from tests.support.plain_loops import array, sigmoid, softmax

build = ARCHITECTURES.get("vrnn").build

SPEC = InputSpec(feature_dim=5, num_classes=4)
LENGTHS = (4, 1, 2, 6)
SMALL = VrnnConfig(
    encoder_dim=6,
    generator_dim=4,
    classifier_dim=7,
    latent_dim=3,
    encoder_dropout=0.0,
    generator_dropout=0.0,
    classifier_dropout=0.0,
)


def lstm_cell(values, state, layer):
    """One step of an LSTM."""
    w_ih, w_hh, b_ih, b_hh = (array(part) for part in layer.all_weights[0])
    entering, kept, proposed, leaving = np.split(w_ih @ values + b_ih + w_hh @ state[0] + b_hh, 4)
    cell = sigmoid(kept) * state[1] + sigmoid(entering) * np.tanh(proposed)
    return sigmoid(leaving) * np.tanh(cell), cell


def affine(layer, values):
    return array(layer.weight) @ values + array(layer.bias)


def plain_vrnn(model, windows, noise):
    """One utterance: posteriors, generation error, divergence and the samplings."""
    encoder, generator, decoder = (
        (np.zeros(part.hidden_size),) * 2
        for part in (model.encoder, model.generator, model.decoder)
    )
    observed, generation, divergence, samplings = windows[0], 0.0, 0.0, []
    for t in range(len(windows)):
        encoder = lstm_cell(observed, encoder, model.encoder)
        mean, log_std = np.split(affine(model.code, encoder[0]), 2)
        z = mean + noise[t] * np.exp(log_std)
        variance = np.exp(2 * log_std)
        divergence += 0.5 * np.sum(mean**2 + variance - 1 - np.log(variance))
        decoder = lstm_cell(z, decoder, model.decoder)
        if t + 1 == len(windows):
            break
        generator = lstm_cell(z, generator, model.generator)
        predicted, log_s = np.split(affine(model.next_window, generator[0]), 2)
        following = windows[t + 1]
        for element in range(len(following)):
            s = np.exp(log_s[element])
            density = np.exp(-0.5 * ((following[element] - predicted[element]) / s) ** 2)
            generation -= np.log(density / (s * np.sqrt(2 * np.pi)))
        saliency = np.abs(following - predicted)  # Eq. (2)
        chosen = (saliency >= saliency.mean()).astype(float)  # Eq. (3)
        if model.salient:
            worst = sorted(range(len(saliency)), key=lambda element: -saliency[element])
            chosen = np.isin(np.arange(len(saliency)), worst[: model.salient]).astype(float)
        if not model.attention:
            chosen = np.ones_like(chosen)
        observed = chosen * following + (1 - chosen) * predicted  # Eq. (4)
        samplings.append(chosen)
    return softmax(affine(model.classifier, decoder[0])), generation, divergence, samplings


@pytest.mark.parametrize(("attention", "salient"), [(True, 0), (False, 0), (True, 2), (True, 9)])
@pytest.mark.parametrize("training", [True, False])
def test_model_equals_the_algorithms_in_plain_loops(attention, salient, training):
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, attention=attention, lambda_1=0.7, lambda_2=3.0, beta=0.4)
    config = dataclasses.replace(config, salient=salient)
    model = build(config, SPEC).double().train(training)
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    state = torch.random.get_rng_state()
    output = model(batch, Criterion())
    torch.random.set_rng_state(state)
    noise = torch.zeros(6, 4, 3, dtype=torch.float64)
    if training:
        noise.normal_()  # what the model drew
    for row, length in enumerate(LENGTHS):
        posteriors, generation, divergence, samplings = plain_vrnn(
            model, array(batch.frames[row, :length]), array(noise[:, row])
        )
        np.testing.assert_allclose(array(output.log_posteriors[row].exp()), posteriors, atol=1e-12)
        loss = 0.7 * generation - 3.0 * np.log(posteriors[int(batch.labels[row])])
        np.testing.assert_allclose(array(output.losses[row]), loss + 0.4 * divergence, rtol=1e-10)
        elements = array(output.attention["elements"][row])
        assert (elements[0] == 1).all()
        for t, chosen in enumerate(samplings, start=1):
            np.testing.assert_array_equal(elements[t], chosen)
        assert not elements[length:].any()
        share = np.mean(samplings) if samplings else 1.0
        np.testing.assert_allclose(array(output.statistics["sampled_share"][row]), share)
        assert output.statistics["num_windows"][row] == length


def plain_prefixes(model, windows):
    """(T, K) posteriors after each window, every prefix run from its start."""
    quiet = np.zeros((len(windows), model.generator.input_size))
    return np.stack([plain_vrnn(model, windows[: t + 1], quiet)[0] for t in range(len(windows))])


@pytest.mark.parametrize("attention", [True, False])
def test_the_class_at_each_window_is_that_of_the_windows_up_to_it(attention):
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, attention=attention)
    model = build(config, SPEC).double().eval()
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    with torch.inference_mode():
        found, whole = model.framewise(batch), model(batch).log_posteriors
    assert torch.equal(found.lengths, batch.lengths)
    for row, length in enumerate(LENGTHS):
        expected = plain_prefixes(model, array(batch.frames[row, :length]))
        np.testing.assert_allclose(array(found.log_posteriors[row, :length].exp()), expected)
        assert torch.equal(found.spans[row, :length, 0], torch.arange(length))
        torch.testing.assert_close(found.log_posteriors[row, length - 1], whole[row])


@pytest.mark.parametrize("attention", [True, False])
def test_what_is_generated_gives_the_generation_error_of_the_loss(attention):
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, attention=attention, lambda_1=1.0, lambda_2=0.0, beta=0.0)
    model = build(config, SPEC).double().eval()
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    with torch.inference_mode():
        found, output = model.generate(batch), model(batch, Criterion())
    for row, length in enumerate(LENGTHS):
        windows = array(batch.frames[row, :length])
        predicted, log_std, sampled = (array(v[row, : length - 1]) for v in found)
        error = (windows[1:] - predicted) / np.exp(log_std)
        density = np.exp(-0.5 * error**2) / (np.exp(log_std) * np.sqrt(2 * np.pi))
        np.testing.assert_allclose(array(output.losses[row]), -np.log(density).sum())
        np.testing.assert_array_equal(
            sampled, array(model(batch).attention["elements"][row, 1:length])
        )


def test_every_later_window_is_sampled_in_part():
    torch.manual_seed(0)
    model = build(SMALL, SPEC).train()
    elements = model(random_batch((9,) * 64, SPEC), Criterion()).attention["elements"][:, 1:]
    sampled = elements.sum(dim=2)
    assert (sampled >= 1).all()
    assert (sampled <= 4).all()


@pytest.mark.parametrize("salient", [0, 2])
def test_gradient_by_hand_equals_autograd_of_the_whole_model(salient):
    """Frames that need a gradient take the path of autograd."""
    torch.manual_seed(0)
    model = build(dataclasses.replace(SMALL, salient=salient), SPEC).double().train()
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    found = []
    for needs_gradient in (False, True):
        frames = batch.frames.clone().requires_grad_(needs_gradient)
        torch.manual_seed(1)
        changed = Batch(frames=frames, lengths=batch.lengths, labels=batch.labels)
        loss = model(changed, Criterion()).losses.mean()
        found.append(torch.autograd.grad(loss, list(model.parameters())))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("attention", [True, False])
def test_dropout_and_sampling_of_z_act_in_training_only(attention):
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, attention=attention, encoder_dropout=0.5)
    model = build(config, SPEC).train()
    batch = random_batch(LENGTHS, SPEC)
    first, second = (model(batch, Criterion()).losses for _ in range(2))
    assert not torch.equal(first, second)
    model.eval()
    first, second = (model(batch).log_posteriors for _ in range(2))
    assert torch.equal(first, second)


def test_defaults_are_the_papers():
    architecture = ARCHITECTURES.get("vrnn")
    config = architecture.config()
    assert (config.encoder_dim, config.generator_dim, config.classifier_dim) == (512, 256, 512)
    assert config.latent_dim == 20
    dropouts = (config.encoder_dropout, config.generator_dropout, config.classifier_dropout)
    assert dropouts == (0.3, 0.3, 0.1)
    assert (config.lambda_1, config.lambda_2, config.beta) == (1.0, 50.0, 1.0)
    assert config.attention is True
    training = architecture.training
    assert (training["optimizer"], training["learning_rate"]) == ("rmsprop", 1e-3)
    assert (training["batch_size"], training["beta_2"]) == (256, 0.99)
    assert architecture.data == {"feature": "mfcc_40_window"}


@pytest.mark.parametrize(
    ("sizes", "num_classes"), [((512, 256, 512, 20), 8), ((64, 64, 64, 10), 4)]
)
def test_number_of_parameters_follows_from_the_papers_sizes(sizes, num_classes):
    e, g, c, z = sizes
    d, k = 40, num_classes
    expected = 4 * e * (d + e + 2) + 4 * g * (z + g + 2) + 4 * c * (z + c + 2)
    expected += 2 * z * (e + 1) + 2 * d * (g + 1) + k * (c + 1)
    config = VrnnConfig(encoder_dim=e, generator_dim=g, classifier_dim=c, latent_dim=z)
    model = build(config, InputSpec(feature_dim=d, num_classes=k))
    assert count_parameters(model) == expected
    assert expected == {512: 2_558_080, 64: 72_808}.get(e)
