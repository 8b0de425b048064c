"""Every dropout setting of every architecture acts at its own place, at its own rate, alone.

The inputs of every weight matrix are watched in a forward pass of training: the share of them
that is zero is the rate of the setting that belongs there, and at all other places it is what it
is without any dropout.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import torch
from torch import nn

from serplatform.models.base import ARCHITECTURES, Criterion
from serplatform.models.kernels import VARIABLE, lstm, matmul, predictive_recurrence
from serplatform.testing.batches import input_spec, random_batch
from serplatform.testing.contracts import small_model

#: rates of an architecture's dropout settings, in their order
RATES = (0.3, 0.6, 0.8)

#: weight -> settings whose rates drop its inputs, and the share of its inputs that each may drop
PLACES = {
    "attn_fusion": {
        "audio_encoder.lstm.weight_ih_l1": {"dropout": 1},  # after every LSTM (Lee et al.)
        "audio_encoder.lstm.weight_ih_l1_reverse": {"dropout": 1},
        "text_encoder.lstm.weight_ih_l1": {"dropout": 1},
        "text_encoder.lstm.weight_ih_l1_reverse": {"dropout": 1},
        "alignment.word.weight": {"dropout": 1},
        "alignment.frame.weight": {"dropout": 1},
        "fusion.lstm.weight_ih_l0": {"dropout": 0.5},  # words; their frames are sums
        "fusion.lstm.weight_ih_l0_reverse": {"dropout": 0.5},
        "projection.weight": {"dropout": 1},
    },
    "attn_pool": {
        "projection.weight": {"input_dropout": 1},
        "hidden.weight": {"dropout": 1},
        "classifier.weight": {"dropout": 1},
    },
    "blstmatt": {
        "encoder.lstm.weight_ih_l1": {"dropout": 1},
        "encoder.lstm.weight_ih_l1_reverse": {"dropout": 1},
        "classifier.weight": {"dropout": 1},
    },
    "can": {  # after each of the three LSTMs (section 4.2)
        "audio_encoder.lstm.weight_ih_l0": {"dropout": 1},
        "audio_encoder.lstm.weight_ih_l0_reverse": {"dropout": 1},
        "attention.text_query.weight": {"dropout": 1},
        "attention.audio_query.weight": {"dropout": 1},
    },
    "cnn_blstm_asp": {
        "blocks.1.convolution.weight": {"dropout": 0.3},  # whole channels
        "blocks.2.convolution.weight": {"dropout": 0.3},
        "blocks.3.convolution.weight": {"dropout": 0.3},
        "encoder.lstm.weight_ih_l0": {"dropout": (0.3, 1)},
        "encoder.lstm.weight_ih_l0_reverse": {"dropout": (0.3, 1)},
        "encoder.lstm.weight_ih_l1": {"dropout": 1},
        "encoder.lstm.weight_ih_l1_reverse": {"dropout": 1},
        "classifier.weight": {"dropout": 1},
    },
    "cnn_lstm": {
        "encoder.lstm.weight_ih_l1": {"dropout": 1},
        "encoder.lstm.weight_ih_l1_reverse": {"dropout": 1},
        "classifier.weight": {"dropout": 1},
    },
    "csa": {"classifier.weight": {"dropout": 1}},
    "encoder_lora": {
        **{
            f"encoder.encoder.layers.{block}.attention.{name}.lora_A.default.weight": {
                "adapter_dropout": 1
            }
            for block in (0, 1)
            for name in ("q_proj", "v_proj")
        },
        "classifier.weight": {"dropout": 1},
    },
    "fgcme": {
        "encoder.lstm.weight_ih_l0": {"dropout": 1},
        "encoder.lstm.weight_ih_l0_reverse": {"dropout": 1},
        "encoder.lstm.weight_ih_l1": {"dropout": 1},
        "encoder.lstm.weight_ih_l1_reverse": {"dropout": 1},
        "hidden.weight": {"dropout": 1},
    },
    "functionals_mlp": {
        "hidden.0.weight": {"input_dropout": 1},
        "hidden.1.weight": {"dropout": 1},
        "classifier.weight": {"dropout": 1},
    },
    "lstm_attn_audio": {
        "encoder.lstm.weight_ih_l1": {"dropout": 1},
        "encoder.lstm.weight_ih_l1_reverse": {"dropout": 1},
        "classifier.weight": {"dropout": 1},
    },
    "lstm_attn_text": {
        "encoder.lstm.weight_ih_l1": {"dropout": 1},
        "encoder.lstm.weight_ih_l1_reverse": {"dropout": 1},
        "classifier.weight": {"dropout": 1},
    },
    "mha": {
        "audio_encoder.lstm.weight_ih_l1": {"dropout": 1},
        "audio_encoder.lstm.weight_ih_l1_reverse": {"dropout": 1},
        "text_encoder.lstm.weight_ih_l1": {"dropout": 1},
        "text_encoder.lstm.weight_ih_l1_reverse": {"dropout": 1},
        "classifier.weight": {"dropout": 1},
    },
    "moma": {
        "encoder.lstm.weight_ih_l1": {"dropout": 1},
        "encoder.lstm.weight_ih_l1_reverse": {"dropout": 1},
        "projection.weight": {"dropout": 1},
    },
    "utt_concat": {
        "audio_encoder.lstm.weight_ih_l1": {"dropout": 1},
        "audio_encoder.lstm.weight_ih_l1_reverse": {"dropout": 1},
        "text_encoder.lstm.weight_ih_l1": {"dropout": 1},
        "text_encoder.lstm.weight_ih_l1_reverse": {"dropout": 1},
        "classifier.weight": {"dropout": 1},
    },
    "vrnn": {  # on the hidden layers of the three LSTMs (section 4.1), before their linear layers
        "code.weight": {"encoder_dropout": 1},
        "next_window.weight": {"generator_dropout": 1},
        "classifier.weight": {"classifier_dropout": 1},
    },
}

#: other ways through a model: settings, and the kernels
WAYS = [(name, {}, "fast") for name in PLACES] + [
    ("vrnn", {}, "reference"),
    ("vrnn", {"attention": False}, "fast"),
    ("vrnn", {"attention": False}, "reference"),
    ("can", {"cross_attention": False}, "fast"),
    ("can", {"alpha": 0.0}, "fast"),
    ("csa", {"pooling": "mean"}, "fast"),
    ("fgcme", {"alignment": "ctc", "max_words": 8}, "fast"),
    ("utt_concat", {"pooling": "mean"}, "fast"),
]


def dropout_settings(name):
    fields = dataclasses.fields(ARCHITECTURES.get(name).config)
    return [field.name for field in fields if "dropout" in field.name]


def input_zeros(monkeypatch, model, batch):
    """Weight -> share of its inputs that is exactly zero, in one forward pass."""
    names = {p.untyped_storage().data_ptr(): name for name, p in model.named_parameters()}
    zeros, counts = Counter(), Counter()

    def watch(values, weight):
        name = names.get(weight.untyped_storage().data_ptr())
        if name is not None:
            zeros[name] += int((values == 0).sum())
            counts[name] += values.numel()

    def watched(function):
        def call(values, weight, *rest, **options):
            watch(values, weight)
            return function(values, weight, *rest, **options)

        return call

    def watched_lstm(sequence, state, weights, *rest):
        watch(sequence, weights[0])
        return run_lstm(sequence, state, weights, *rest)

    run_lstm = torch.lstm
    with monkeypatch.context() as patch:
        patch.setattr(torch, "lstm", watched_lstm)
        for place in ("linear", "conv1d", "conv2d"):
            patch.setattr(nn.functional, place, watched(getattr(nn.functional, place)))
        for module in (lstm, matmul, predictive_recurrence):
            patch.setattr(module, "product", watched(module.product))
        torch.manual_seed(11)
        model(batch, Criterion() if model.training else None)
    return {name: zeros[name] / counts[name] for name in counts}


def equal_batch(name):
    """Utterances of equal length and number of words, so that padding adds no zeros."""
    batch = random_batch([36] * 48, input_spec(ARCHITECTURES.get(name)))
    if batch.word_ids is not None:
        generator = torch.Generator().manual_seed(5)
        edges = torch.arange(7) * 6
        batch.word_ids = torch.randint(1, 30, (48, 6), generator=generator)
        batch.word_spans = torch.stack([edges[:-1], edges[1:]], dim=1).expand(48, -1, -1)
        batch.num_words = torch.full((48,), 6)
    return batch


def shares(monkeypatch, name, settings, rates, *, train=True):
    settings = {"num_layers": 2, **settings}
    model = small_model(name, **settings, **rates).train(train)
    return input_zeros(monkeypatch, model, equal_batch(name))


def kept(drops, rates):
    result = 1.0
    for setting, parts in drops.items():
        for part in parts if isinstance(parts, tuple) else (parts,):
            result *= 1 - part * rates[setting]
    return result


def test_the_table_knows_every_architecture_and_setting():
    expected = {name: set(dropout_settings(name)) for name in PLACES}
    trained = [name for name in ARCHITECTURES.names() if not ARCHITECTURES.get(name).closed_form]
    assert set(PLACES) == set(trained)
    for name, places in PLACES.items():
        assert {setting for drops in places.values() for setting in drops} == expected[name], name


@pytest.mark.parametrize(("name", "settings", "way"), WAYS)
def test_each_rate_drops_at_its_place_and_nowhere_else(monkeypatch, name, settings, way):
    monkeypatch.setenv(VARIABLE, way)
    fields = dropout_settings(name)
    rates = dict(zip(fields, RATES, strict=False))
    without = shares(monkeypatch, name, settings, dict.fromkeys(fields, 0.0))
    with_all = shares(monkeypatch, name, settings, rates)
    assert set(PLACES[name]) <= set(with_all) == set(without)
    for place, before in without.items():
        assert before < 0.9, f"{place}: hardly anything is left to drop"
        expected = 1 - (1 - before) * kept(PLACES[name].get(place, {}), rates)
        # zeros of a ReLU are not quite as many with as without dropout before it
        tolerance = 0.1 if before > 0.2 else 0.05
        assert with_all[place] == pytest.approx(expected, abs=tolerance), place


@pytest.mark.parametrize(("name", "settings", "way"), WAYS)
def test_nothing_is_dropped_in_evaluation(monkeypatch, name, settings, way):
    monkeypatch.setenv(VARIABLE, way)
    fields = dropout_settings(name)
    without = shares(monkeypatch, name, settings, dict.fromkeys(fields, 0.0), train=False)
    with_all = shares(monkeypatch, name, settings, dict.fromkeys(fields, 0.9), train=False)
    assert with_all == without


@pytest.mark.parametrize("name", sorted(set(PLACES) - {"vrnn"}))  # which draws its latent values
def test_without_dropout_training_draws_nothing(name):
    model = small_model(name, dropout=0.0, num_layers=2).train()
    state = torch.random.get_rng_state()
    model(equal_batch(name), Criterion())
    assert torch.equal(state, torch.random.get_rng_state())


def test_convolutions_of_spectrograms_drop_whole_channels():
    model = small_model("cnn_blstm_asp", dropout=0.9).train()
    seen = []
    model.blocks[1].register_forward_hook(lambda _module, _given, result: seen.append(result[0]))
    model(equal_batch("cnn_blstm_asp"), Criterion())
    zero = (seen[0] == 0).flatten(2).all(dim=2).float().mean()  # of (B, C, F, T)
    assert float(zero) == pytest.approx(0.27, abs=0.04)
