"""CAN, equation by equation in plain loops, its stopped gradients and its ablations."""

import numpy as np
import pytest
import torch

from serplatform.errors import BadInputError
from serplatform.models.base import ARCHITECTURES, Criterion, InputSpec, count_parameters
from serplatform.models.can import CanConfig
from serplatform.testing.batches import pick, random_batch
from tests.support.odd_words import ODD_FRAMES, odd_word_ids, odd_words_batch
from tests.support.plain_loops import array, bilstm, softmax

build = ARCHITECTURES.get("can").build

SPEC = InputSpec(feature_dim=3, num_classes=4, vocabulary_size=9)
SMALL = {"embedding_dim": 5, "hidden_dim": 4, "num_heads": 3}


def small_can(*, seed=0, spec=SPEC, **settings):
    torch.manual_seed(seed)
    return build(CanConfig(**{**SMALL, **settings}), spec).double()


def word_vector(model, word):
    return array(model.embedding.unknown if word == 1 else model.embedding.vectors[word - 2])


def attend(query, steps):
    """Eq. (4) or (5) for one head."""
    return softmax(np.array([query @ step for step in steps]))


def aggregate(weights, steps):
    """Eqs. (6)-(9) for one head."""
    total = np.zeros(steps.shape[1])
    for weight, step in zip(weights, steps, strict=True):
        total = total + weight * step
    return total


def linear(layer, vector):
    return array(layer.weight) @ vector + array(layer.bias)


def plain_can(model, batch, row, cross_attention=True):
    """Eqs. (1)-(12) of one utterance: posteriors of the three classifiers, and both weights."""
    vectors = np.array([word_vector(model, word) for word in odd_word_ids(batch, row)])
    text = bilstm(vectors, model.text_encoder.lstm)  # Eqs. (1)-(3)
    segments = []
    for first, last in ODD_FRAMES[row]:
        outputs = bilstm(array(batch.frames[row, first:last]), model.segment_encoder.encoder.lstm)
        segments.append(sum(outputs) / len(outputs))
    audio = bilstm(np.array(segments), model.audio_encoder.lstm)
    by_text = [attend(query, text) for query in array(model.attention.text_query.weight)]
    by_audio = [attend(query, audio) for query in array(model.attention.audio_query.weight)]
    tt = np.concatenate([aggregate(weights, text) for weights in by_text])
    ta = np.concatenate([aggregate(weights, audio) for weights in by_text])
    aa = np.concatenate([aggregate(weights, audio) for weights in by_audio])
    at = np.concatenate([aggregate(weights, text) for weights in by_audio])
    contexts = [tt, ta, aa, at] if cross_attention else [tt, aa]
    joint = softmax(linear(model.classifier, np.concatenate(contexts)))  # Eq. (10)
    if model.text_classifier is None:
        return (joint, None, None), by_text, by_audio
    by_one = softmax(linear(model.text_classifier, tt)), softmax(linear(model.audio_classifier, aa))
    return (joint, *by_one), by_text, by_audio  # Eqs. (11)-(12)


@pytest.mark.parametrize("num_heads", [1, 3])
@pytest.mark.parametrize("stop_gradient", [True, False])
def test_model_equals_the_equations_in_plain_loops(num_heads, stop_gradient):
    model = small_can(num_heads=num_heads, stop_gradient=stop_gradient, alpha=0.7).eval()
    batch = odd_words_batch(SPEC)
    output = model(batch, Criterion())
    for row, label in enumerate(batch.labels.tolist()):
        (joint, text, audio), by_text, by_audio = plain_can(model, batch, row)
        final = joint * text**0.7 * audio**0.7  # Eq. (15)
        np.testing.assert_allclose(
            array(output.log_posteriors[row].exp()), final / final.sum(), atol=1e-12
        )
        align = -np.log(text[label]) - np.log(audio[label])  # Eq. (13)
        total = -np.log(joint[label]) + 0.7 * align  # Eq. (14)
        np.testing.assert_allclose(array(output.losses[row]), total, atol=1e-12)
        for key, heads in (("text_words", by_text), ("audio_words", by_audio)):
            weights = array(output.attention[key][row])
            count = len(ODD_FRAMES[row])
            np.testing.assert_allclose(weights[:count], np.mean(heads, axis=0), atol=1e-12)
            assert not weights[count:].any()


def test_without_cross_attention_each_modality_is_weighed_by_itself_alone():
    model = small_can(cross_attention=False, alpha=0.7).eval()
    batch = odd_words_batch(SPEC)
    output = model(batch, Criterion())
    assert output.losses is None, "L_align is not used without cross attention"
    for row in range(len(batch)):
        (joint, _, _), _, _ = plain_can(model, batch, row, cross_attention=False)
        np.testing.assert_allclose(array(output.log_posteriors[row].exp()), joint, atol=1e-12)


def test_odd_words_are_the_same_alone_and_in_a_batch():
    model = small_can().eval()
    batch = odd_words_batch(SPEC)
    together = model(batch).log_posteriors
    for row in range(len(batch)):
        alone = model(pick(batch, [row])).log_posteriors[0]
        torch.testing.assert_close(together[row], alone, rtol=0, atol=1e-12)


def test_alpha_zero_is_the_plain_model_in_posteriors_losses_and_gradients():
    batch = odd_words_batch(SPEC)
    full, plain = small_can(alpha=0.1, dropout=0.0), small_can(alpha=0.0, dropout=0.0)
    for name, values in plain.state_dict().items():
        assert torch.equal(values, full.state_dict()[name]), f"{name} starts otherwise"
    output = plain(batch, Criterion())
    assert output.losses is None, "the loop then applies plain cross-entropy to the logits"
    logits = full(batch, Criterion()).logits
    assert torch.equal(output.logits, logits)
    assert torch.equal(output.log_posteriors, logits.log_softmax(dim=1))
    Criterion()(output.logits, batch.labels).sum().backward()
    Criterion()(logits, batch.labels).sum().backward()
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter.grad, full.get_parameter(name).grad), name


def queries_gradients(model, weight_columns):
    """Gradients of both queries where the joint classifier sees some contexts only."""
    size = model.classifier.in_features // 4
    with torch.no_grad():
        kept = torch.zeros_like(model.classifier.weight)
        for position in weight_columns:
            kept[:, size * position : size * (position + 1)] = 1.0
        model.classifier.weight.mul_(kept)
    batch = odd_words_batch(SPEC)
    Criterion()(model(batch).logits, batch.labels).sum().backward()
    return model.attention.text_query.weight.grad, model.attention.audio_query.weight.grad


TT, TA, AA, AT = range(4)


def test_no_gradient_passes_the_stopped_weights():
    """From c(TA) and c(AT) alone, not one bit reaches the queries."""
    for gradient in queries_gradients(small_can(alpha=0.0, dropout=0.0), [TA, AT]):
        assert not gradient.any()


def test_gradient_passes_where_it_is_not_stopped():
    model = small_can(alpha=0.0, dropout=0.0, stop_gradient=False)
    for gradient in queries_gradients(model, [TA, AT]):
        assert gradient.abs().max() > 1e-6
    for gradient in queries_gradients(small_can(alpha=0.0, dropout=0.0), [TT, AA]):
        assert gradient.abs().max() > 1e-6


def test_the_crossed_values_still_learn():
    """sg stops the weights, not the aggregated hidden states: c(TA) alone trains the audio side."""
    model = small_can(alpha=0.0, dropout=0.0)
    queries_gradients(model, [TA])
    assert model.audio_encoder.lstm.weight_ih_l0.grad.abs().max() > 1e-6
    assert model.segment_encoder.encoder.lstm.weight_ih_l0.grad.abs().max() > 1e-6
    assert not model.text_encoder.lstm.weight_ih_l0.grad.any(), "the text gave the weights only"
    assert not model.embedding.vectors.grad.any()


def test_single_classifiers_see_their_own_modality_only():
    model = small_can(dropout=0.0)
    seen = {"text": [], "audio": []}
    model.text_classifier.register_forward_hook(lambda _m, _i, o: seen["text"].append(o))
    model.audio_classifier.register_forward_hook(lambda _m, _i, o: seen["audio"].append(o))
    batch, other_audio, other_text = (odd_words_batch(SPEC) for _ in range(3))
    other_audio.frames = other_audio.frames.flip(2)
    other_text.word_ids = torch.where(batch.word_ids > 1, 1, batch.word_ids)
    for each in (batch, other_audio, other_text):
        model(each)
    assert torch.equal(seen["text"][0], seen["text"][1])
    assert torch.equal(seen["audio"][0], seen["audio"][2])
    assert not torch.equal(seen["text"][0], seen["text"][2])
    assert not torch.equal(seen["audio"][0], seen["audio"][1])


def test_words_are_encoded_at_once_not_one_by_one():
    model = small_can().eval()
    calls = []
    model.segment_encoder.encoder.register_forward_hook(
        lambda _m, i, _o: calls.append(i[1].numel())
    )
    batch = random_batch([60] * 40, SPEC, dtype=torch.float64)
    model(batch)
    assert sum(calls) == int(batch.num_words.sum()) > 100
    assert len(calls) <= 4, "one call for words of like length"


def test_defaults_are_the_papers():
    architecture = ARCHITECTURES.get("can")
    config = architecture.config()
    assert (config.hidden_dim, config.num_heads, config.embedding_dim) == (128, 4, 300)
    assert (config.dropout, config.alpha) == (0.3, 0.1)
    assert (config.stop_gradient, config.cross_attention) == (True, True)
    assert architecture.training == {
        "learning_rate": 1e-3,
        "batch_size": 64,
        "gradient_clip": 1.0,
        "patience": 10,
    }
    assert architecture.data == {
        "feature": "mfcc_40",
        "word_silence": "divide",
        "word_overlap": 0.1,
    }
    assert architecture.inputs == {"audio", "text", "words"}


def test_number_of_parameters_at_the_papers_size():
    h, e, d, k, m, v = 128, 300, 40, 7, 4, 1001

    def lstm(inputs):
        return 2 * 4 * h * (inputs + h + 2)

    context = m * 2 * h
    classifiers = 4 * context * k + k + 2 * (context * k + k)
    words = e * (v - 1)  # padding has none
    expected = words + lstm(e) + lstm(d) + lstm(2 * h) + 2 * m * 2 * h + classifiers
    spec = InputSpec(feature_dim=d, num_classes=k, vocabulary_size=v)
    model = build(CanConfig(), spec)
    assert count_parameters(model) - words == expected - words == 1_054_741


def test_given_word_vectors_are_used_and_may_be_kept():
    vectors = torch.arange(18.0).reshape(9, 2)
    spec = InputSpec(feature_dim=3, num_classes=4, vocabulary_size=9, word_vectors=vectors)
    kept = small_can(spec=spec, train_word_vectors=False)
    trained = small_can(spec=spec)
    assert kept.embedding.vectors.tolist() == vectors[2:].tolist()
    assert kept.text_encoder.lstm.input_size == 2
    assert count_parameters(trained) - count_parameters(kept) == 14


def test_data_without_words_are_refused():
    with pytest.raises(BadInputError, match=r"reads words.*leave data\.words out"):
        build(CanConfig(), InputSpec(feature_dim=3, num_classes=4))
