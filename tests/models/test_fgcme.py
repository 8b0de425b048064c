"""FG-CME, line by line in plain loops, its excitements and its alignments."""

import numpy as np
import pytest
import torch

from serplatform.errors import BadInputError
from serplatform.models.base import ARCHITECTURES, Criterion, InputSpec, count_parameters
from serplatform.models.fgcme import FgcmeConfig
from serplatform.testing.batches import pick, random_batch
from tests.support.odd_words import ODD_FRAMES, ODD_LENGTHS, odd_word_ids, odd_words_batch
from tests.support.plain_loops import (
    array,
    bilstm,
    convolution,
    convolution_block,
    sigmoid,
    softmax,
)

build = ARCHITECTURES.get("fgcme").build

SPEC = InputSpec(feature_dim=3, num_classes=4, vocabulary_size=9)
SMALL = {
    "channels_1": 4,
    "channels_2": 5,
    "channels_3": 6,
    "embedding_dim": 5,
    "text_dim": 7,
    "hidden_dim": 4,
    "classifier_dim": 8,
    "max_words": 4,
}


def small_fgcme(*, seed=0, spec=SPEC, **settings):
    torch.manual_seed(seed)
    return build(FgcmeConfig(**{**SMALL, **settings}), spec).double()


def plain_convolutions(model, frames, kind):
    """(T, D) to (T, C)."""
    maps = frames.T
    for block in model.blocks:
        if kind == "norm_relu":
            maps = convolution_block(maps, block)
        else:
            bias = array(block.convolution.bias)
            maps = convolution(maps, array(block.convolution.weight)) + bias[:, None]
            maps = np.maximum(maps, 0.0) if kind == "relu" else maps
    return maps.T


def plain_lstm(frames, weights):
    """Both layers of a one-directional LSTM, cell by cell."""
    for layer in range(weights.num_layers):
        w_ih, w_hh, b_ih, b_hh = (
            array(getattr(weights, f"{kind}_l{layer}"))
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        hidden = cell = np.zeros(weights.hidden_size)
        outputs = []
        for frame in frames:
            gates = w_ih @ frame + b_ih + w_hh @ hidden + b_hh
            entering, kept, proposed, leaving = np.split(gates, 4)
            cell = sigmoid(kept) * cell + sigmoid(entering) * np.tanh(proposed)
            hidden = sigmoid(leaving) * np.tanh(cell)
            outputs.append(hidden)
        frames = np.array(outputs)
    return frames


def plain_audio(model, frames, row, pooling, alignment):
    """Z^a: (L, A), and the predicted weights, (L, T)."""
    if alignment == "ctc":
        shares = np.array([softmax(outputs) for outputs in plain_lstm(frames, model.ctc.lstm)])
        places = [min(word, model.ctc.max_words - 1) + 1 for word in range(len(ODD_FRAMES[row]))]
        return np.array([sum(shares[t, p] * frames[t] for t in range(len(frames))) for p in places])
    words = []
    for first, last in ODD_FRAMES[row]:
        mean = sum(frames[first:last]) / (last - first)
        largest = np.array([max(frames[t, c] for t in range(first, last)) for c in range(6)])
        kinds = {"mean_max": [mean, largest], "mean": [mean], "max": [largest]}
        words.append(np.concatenate(kinds[pooling]))
    return np.array(words)


def plain_fgcme(model, batch, row, *, convolution="linear", pooling="mean_max", alignment="forced"):
    """Posteriors of one utterance."""
    frames = array(batch.frames[row, : ODD_LENGTHS[row]])
    frames = plain_convolutions(model, frames, convolution)
    audio = plain_audio(model, frames, row, pooling, alignment)
    table = [array(model.embedding.unknown), *array(model.embedding.vectors)]
    projection = array(model.text_projection.weight)
    text = np.array([projection @ table[word - 1] for word in odd_word_ids(batch, row)])
    excited = []
    for z_a, z_s in zip(audio, text, strict=True):
        gated = {"a": z_a, "s": z_s}
        gates = model.excitement.audio_gate, model.excitement.text_gate
        for key, gate, other in (("a", gates[0], z_s), ("s", gates[1], z_a)):
            if gate is not None:
                excitation = sigmoid(array(gate.weight) @ other)
                own = gated[key] if model.excitement.residual else 0.0
                gated[key] = excitation * gated[key] + own
        excited.append(np.concatenate([gated["a"], gated["s"]]))
    hidden = bilstm(np.array(excited), model.encoder.lstm)
    utterance = np.array([max(step[unit] for step in hidden) for unit in range(hidden.shape[1])])
    first = array(model.hidden.weight) @ utterance + array(model.hidden.bias)
    logits = array(model.classifier.weight) @ np.maximum(first, 0) + array(model.classifier.bias)
    return softmax(logits), hidden


@pytest.mark.parametrize("excite", ["both", "audio", "text", "none"])
@pytest.mark.parametrize("residual", [False, True])
def test_model_equals_the_text_in_plain_loops(excite, residual):
    model = small_fgcme(excite=excite, residual=residual).eval()
    batch = odd_words_batch(SPEC)
    output = model(batch)
    for row in range(len(batch)):
        posteriors, hidden = plain_fgcme(model, batch, row)
        np.testing.assert_allclose(array(output.log_posteriors[row].exp()), posteriors, atol=1e-12)
        wins = np.bincount(hidden.argmax(axis=0), minlength=output.attention["words"].shape[1])
        np.testing.assert_allclose(array(output.attention["words"][row]), wins / 8, atol=1e-7)


def test_excite_names_what_is_gated():
    """ "w/o Excite^a" of the paper is ``text``: Z^a is left as it is and Z^s is gated."""
    audio, text = torch.randn(2, 3, 12).double(), torch.randn(2, 3, 7).double()
    gated = {"both": (True, True), "audio": (True, False), "text": (False, True)}
    for excite, expected in {**gated, "none": (False, False)}.items():
        after = small_fgcme(excite=excite).excitement(audio, text)
        changed = tuple(
            not torch.equal(one, other) for one, other in zip(after, (audio, text), strict=True)
        )
        assert changed == expected, excite


@pytest.mark.parametrize("pooling", ["mean", "max", "mean_max"])
@pytest.mark.parametrize("convolution", ["linear", "relu", "norm_relu"])
def test_poolings_and_convolutions_equal_plain_loops(pooling, convolution):
    model = small_fgcme(pooling=pooling, convolution=convolution)
    for _ in range(3):  # running statistics off their first values
        model.train()(random_batch((30, 20), SPEC, dtype=torch.float64))
    model.eval()
    batch = odd_words_batch(SPEC)
    output = model(batch)
    for row in range(len(batch)):
        posteriors, _ = plain_fgcme(model, batch, row, convolution=convolution, pooling=pooling)
        np.testing.assert_allclose(array(output.log_posteriors[row].exp()), posteriors, atol=1e-12)


@pytest.mark.parametrize("max_words", [2, 4])
def test_predicted_alignment_equals_plain_loops(max_words):
    model = small_fgcme(alignment="ctc", max_words=max_words).eval()
    batch = odd_words_batch(SPEC)
    output = model(batch)
    assert output.attention["alignment"].shape == (5, 4, 12)
    for row in range(len(batch)):
        posteriors, _ = plain_fgcme(model, batch, row, alignment="ctc")
        np.testing.assert_allclose(array(output.log_posteriors[row].exp()), posteriors, atol=1e-12)


def paths(num_frames, labels):
    """Every way to say blank or one of the labels in each frame that collapses to ``labels``."""
    from itertools import product

    for path in product([0, *labels], repeat=num_frames):
        collapsed = [p for i, p in enumerate(path) if i == 0 or path[i - 1] != p]
        if [p for p in collapsed if p] == labels:
            yield path


def test_loss_of_the_predicted_alignment_is_the_sum_over_all_paths():
    model = small_fgcme(alignment="ctc", ctc_weight=0.25, dropout=0.0)
    batch = odd_words_batch(SPEC)
    output = model(batch, Criterion())
    plain = Criterion()(output.logits, batch.labels)
    added = array((output.losses - plain) / 0.25)
    for row, length in enumerate(ODD_LENGTHS):
        if length > 9:
            continue
        frames = plain_convolutions(model, array(batch.frames[row, :length]), "linear")
        shares = np.array([softmax(step) for step in plain_lstm(frames, model.ctc.lstm)])
        labels = list(range(1, len(ODD_FRAMES[row]) + 1))
        total = sum(
            np.prod([shares[t, p] for t, p in enumerate(path)]) for path in paths(length, labels)
        )
        expected = -np.log(total) / len(labels) if total else 0.0
        assert added[row] == pytest.approx(expected, abs=1e-5)
    assert added[3] == pytest.approx(0.0, abs=1e-12), "two words in one frame cannot be aligned"


def test_class_weights_reach_both_terms_of_the_predicted_alignments_loss():
    model = small_fgcme(alignment="ctc", dropout=0.0)
    batch = odd_words_batch(SPEC)
    plain = model(batch, Criterion()).losses
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    weighted = model(batch, Criterion(weights)).losses
    torch.testing.assert_close(weighted, plain * weights[batch.labels])


def test_every_parameter_of_the_ablations_gets_a_gradient():
    batch = random_batch((35, 22), SPEC, dtype=torch.float64)
    for settings in (
        {"alignment": "ctc"},
        {"excite": "none", "pooling": "max"},
        {"excite": "audio", "convolution": "norm_relu"},
        {"excite": "text", "residual": True, "num_layers": 2},
    ):
        model = small_fgcme(**settings)
        output = model(batch, Criterion())
        losses = output.losses
        if losses is None:
            losses = Criterion()(output.logits, batch.labels)
        losses.mean().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"{settings}: {name}"
            assert torch.isfinite(parameter.grad).all(), f"{settings}: {name}"


@pytest.mark.parametrize(
    "settings", [{}, {"alignment": "ctc"}, {"convolution": "norm_relu", "pooling": "max"}]
)
def test_odd_words_are_the_same_alone_and_in_a_batch(settings):
    model = small_fgcme(**settings).eval()
    batch = odd_words_batch(SPEC)
    together = model(batch)
    for row in range(len(batch)):
        alone = model(pick(batch, [row]))
        torch.testing.assert_close(
            together.log_posteriors[row], alone.log_posteriors[0], rtol=0, atol=1e-12
        )
        if "alignment" in alone.attention:
            own = alone.attention["alignment"][0]
            within = together.attention["alignment"][row, : own.shape[0], : own.shape[1]]
            torch.testing.assert_close(within, own, rtol=0, atol=1e-12)
            assert together.attention["alignment"][row].sum().item() == pytest.approx(
                own.sum().item()
            )


def test_gates_see_the_other_modality_before_its_own_gate():
    """E^s is computed from Z^a, not from the gated one: closing the audio gate changes no text."""
    model = small_fgcme().eval()
    seen = []
    model.excitement.text_gate.register_forward_hook(lambda _m, i, _o: seen.append(i[0]))
    batch = odd_words_batch(SPEC)
    model(batch)
    with torch.no_grad():
        model.excitement.audio_gate.weight.fill_(-100.0)
    model(batch)
    assert torch.equal(seen[0], seen[1])


def test_predicted_alignment_reads_no_spans():
    model = small_fgcme(alignment="ctc").eval()
    batch = odd_words_batch(SPEC)
    before = model(batch).log_posteriors
    batch.word_spans = torch.zeros_like(batch.word_spans)
    assert torch.equal(model(batch).log_posteriors, before)
    assert not torch.equal(small_fgcme().eval()(batch).log_posteriors, before)


def test_learns_by_heart_with_a_predicted_alignment():
    spec = InputSpec(feature_dim=5, num_classes=4, vocabulary_size=30)
    batch = random_batch([20 + 3 * (row % 8) for row in range(32)], spec, seed=3)
    model = small_fgcme(spec=spec, alignment="ctc", max_words=6, hidden_dim=16).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(300):
        optimizer.zero_grad()
        model.train()(batch, Criterion()).losses.mean().backward()
        optimizer.step()
        if step % 10 == 9:
            with torch.inference_mode():
                prediction = model.eval()(batch).log_posteriors.argmax(dim=1)
            if torch.equal(prediction, batch.labels):
                return
    raise AssertionError("its own training batch is not learned")


def test_defaults_are_the_papers():
    architecture = ARCHITECTURES.get("fgcme")
    config = architecture.config()
    assert (config.channels_1, config.channels_2, config.channels_3) == (64, 128, 128)
    assert (config.kernel_1, config.kernel_2, config.kernel_3) == (5, 2, 2)
    assert (config.embedding_dim, config.text_dim) == (300, 256)
    assert (config.hidden_dim, config.num_layers, config.classifier_dim) == (256, 1, 128)
    assert (config.excite, config.residual, config.alignment) == ("both", False, "forced")
    assert config.pooling == "mean_max"
    assert architecture.training == {"learning_rate": 5e-4}
    assert architecture.data == {"feature": "log_mel_40"}
    assert architecture.inputs == {"audio", "text", "words"}


def test_number_of_parameters_at_the_papers_size():
    d, k, v, h = 40, 4, 1001, 256
    convolutions = (d * 5 + 1) * 64 + (64 * 2 + 1) * 128 + (128 * 2 + 1) * 128
    lstm = 2 * 4 * h * (256 + 256 + h + 2)
    last = (2 * h + 1) * 128 + (128 + 1) * k
    expected = convolutions + 300 * 256 + 2 * 256 * 256 + lstm + last
    spec = InputSpec(feature_dim=d, num_classes=k, vocabulary_size=v)
    words = 300 * (v - 1)  # padding has none
    assert count_parameters(build(FgcmeConfig(), spec)) - words == expected == 1_913_284
    ctc = build(FgcmeConfig(alignment="ctc"), spec)
    units = 129  # 128 positions and blank
    added = (128 * 2 + 1) * 128 + 4 * units * (256 + units + 2) + 4 * units * (2 * units + 2)
    assert count_parameters(ctc) - words == expected + added == 2_280_032


def test_data_without_words_are_refused():
    with pytest.raises(BadInputError, match=r"reads words.*leave data\.words out"):
        build(FgcmeConfig(), InputSpec(feature_dim=3, num_classes=4))
