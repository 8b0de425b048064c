"""The support vector machine against scikit-learn's, its kernels, pairs, classes and sizes."""

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from serplatform.errors import BadInputError
from serplatform.features.base import WHOLE_UTTERANCE
from serplatform.models import svm
from serplatform.models.base import ARCHITECTURES, Batch, InputSpec, count_parameters
from serplatform.models.pooled_classifier import inner_folds

SKLEARN = {"rbf": {"kernel": "rbf"}, "linear": {"kernel": "poly", "degree": 1, "coef0": 0.0}}


def batch_of(vectors, labels):
    count = len(vectors)
    return Batch(
        frames=torch.from_numpy(vectors)[:, None],
        lengths=torch.ones(count, dtype=torch.int64),
        labels=torch.from_numpy(labels),
    )


def draw(classes, *, seed=0, count=120, dim=7, apart=1.2):
    """Vectors around a mean for each class that overlap, in float32, of eight speakers."""
    rng = np.random.default_rng(seed)
    labels = np.asarray(classes)[np.arange(count) % len(classes)]
    vectors = rng.normal(size=(count, dim)) + apart * rng.normal(size=(9, dim))[labels]
    return vectors.astype(np.float32), labels, rng.integers(0, 8, count)


def make(num_classes=9, dim=7, **settings):
    spec = InputSpec(feature_dim=dim, num_classes=num_classes, frame_shift=WHOLE_UTTERANCE)
    architecture = ARCHITECTURES.get("svm")
    return architecture.build(architecture.config(**settings), spec)


def fitted(vectors, labels, speakers, weights=None, **settings):
    model = make(dim=vectors.shape[1], **settings)
    model.fit([batch_of(vectors, labels)], speakers, weights)
    return model.eval()


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("classes", [(0, 1), (2, 5, 7), tuple(range(8))])
@pytest.mark.parametrize("weights", [None, "balanced"])
def test_pair_values_are_scikit_learns_decision_function(kernel, classes, weights):
    vectors, labels, speakers = draw(classes)
    vectors, labels, speakers = vectors[:101], labels[:101], speakers[:101]  # uneven classes
    new = draw(classes, seed=5)[0]
    counts = np.bincount(labels, minlength=9)
    balanced = np.divide(len(labels), len(classes) * counts, out=np.zeros(9), where=counts > 0)
    chosen = None if weights is None else torch.from_numpy(balanced)
    model = fitted(vectors, labels, speakers, chosen, kernel=kernel, C=3.0, gamma=0.7)
    wide = vectors.astype(np.float64)
    oracle = SVC(
        C=3.0,
        gamma=0.7 / (wide.shape[1] * wide.var()),
        class_weight=weights,
        decision_function_shape="ovo",
        **SKLEARN[kernel],
    ).fit(wide, labels)
    expected = oracle.decision_function(new.astype(np.float64)).reshape(len(new), -1)
    if len(classes) == 2:
        expected = -expected
    fit_on_kernel_values = model.pair_values(torch.from_numpy(new).double()).numpy()
    # libsvm rounds kernel values to float32, by which its last steps below its tolerance differ
    np.testing.assert_allclose(fit_on_kernel_values, expected, rtol=0, atol=3e-3)
    assert model.present.tolist() == list(classes)
    # the same machines, evaluated here and there
    coefficients, intercepts = map(torch.from_numpy, svm.machines(oracle, labels))
    values = {**model.state_dict(), "intercepts": intercepts}
    if kernel == "rbf":
        values |= {"support_vectors": torch.from_numpy(vectors), "coefficients": coefficients}
    else:
        values["weights"] = oracle._gamma * coefficients.T @ torch.from_numpy(wide)
    model.load_state_dict(values)
    got = model.pair_values(torch.from_numpy(new).double()).numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


def test_the_score_of_a_class_is_the_sum_of_its_pairs():
    vectors, labels, speakers = draw((0, 1, 2, 3))
    model = fitted(vectors, labels, speakers)
    pairs = model.pair_values(torch.from_numpy(vectors).double())
    expected = torch.zeros(len(vectors), 4, dtype=torch.float64)
    place = 0
    for i in range(4):
        for j in range(i + 1, 4):
            expected[:, i] += pairs[:, place]
            expected[:, j] -= pairs[:, place]
            place += 1
    torch.testing.assert_close(model.scores(torch.from_numpy(vectors).double()), expected)


@pytest.mark.parametrize("architecture", ["svm", "logistic"])
@pytest.mark.parametrize("calibration", ["logistic", "temperature"])
def test_a_class_without_a_training_row_gets_its_share_by_the_rule_of_succession(
    architecture, calibration
):
    vectors, labels, speakers = draw((0, 2, 3), count=90)
    registered = ARCHITECTURES.get(architecture)
    spec = InputSpec(feature_dim=7, num_classes=5, frame_shift=WHOLE_UTTERANCE)
    model = registered.build(registered.config(calibration=calibration), spec)
    model.fit([batch_of(vectors, labels)], speakers, None)
    posteriors = model(batch_of(vectors, labels)).log_posteriors.double().exp()
    torch.testing.assert_close(
        posteriors[:, [1, 4]], torch.full((90, 2), 1 / 95, dtype=torch.float64), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(posteriors.sum(dim=1), torch.ones(90, dtype=torch.float64))
    assert (posteriors.argmax(dim=1).numpy() == labels).mean() > 0.7


@pytest.mark.parametrize(("calibration", "most"), [("temperature", 0.05), ("logistic", 0.1)])
def test_posteriors_of_new_speakers_are_calibrated(calibration, most):
    """Of vectors on which a fit is right less often than on its own rows, which it separates."""
    vectors, labels, _ = draw((0, 1, 2), count=1200, dim=40, apart=0.3)
    train, new = np.arange(300), np.arange(300, 1200)
    model = fitted(vectors[train], labels[train], train % 6, calibration=calibration)
    own = model(batch_of(vectors[train], labels[train])).log_posteriors.argmax(dim=1).numpy()
    posteriors = model(batch_of(vectors[new], labels[new])).log_posteriors.exp()
    right = (posteriors.argmax(dim=1).numpy() == labels[new]).mean()
    assert (own == labels[train]).mean() == 1.0
    assert right < 0.97
    assert abs(float(posteriors.max(dim=1).values.mean()) - right) < most


def test_rows_of_a_speaker_are_held_out_together_and_folds_that_lack_a_class_are_left_out():
    labels, groups = np.array([0, 1, 0, 1, 0, 2]), np.array([0, 0, 1, 1, 2, 2])
    folds = inner_folds(labels, groups)
    for fit, out in folds:
        assert not set(groups[fit]) & set(groups[out])
        assert set(labels[fit]) == {0, 1, 2}
    assert len(folds) == 2  # without the third speaker there is no class 2
    assert inner_folds(labels, np.zeros(6, int)) == []


def test_one_speaker_gives_posteriors_too():
    vectors, labels, _ = draw((0, 1, 2), count=60)
    one = fitted(vectors, labels, np.zeros(60, int))  # one group: nothing to hold out
    several = fitted(vectors, labels, np.arange(60))  # of recordings
    for model in (one, several):
        assert torch.isfinite(model(batch_of(vectors, labels)).log_posteriors).all()
    assert torch.equal(one.calibration, torch.eye(3, dtype=torch.float64))
    assert not torch.equal(several.calibration, torch.eye(3, dtype=torch.float64))


def test_one_class_and_too_many_rows_are_refused(monkeypatch):
    vectors, labels, speakers = draw((4,), count=20)
    with pytest.raises(BadInputError, match="20 training rows are of one class only"):
        fitted(vectors, labels, speakers)
    monkeypatch.setattr(svm, "MOST_ROWS", 50)
    with pytest.raises(BadInputError, match=r"120 training rows.*train logistic"):
        fitted(*draw((0, 1)))


def test_values_of_another_fit_are_loaded_and_those_of_another_feature_refused():
    model = fitted(*draw((0, 1, 2), seed=1))
    other = fitted(*draw((0, 3), seed=2, count=40))
    for target in (make(), other):
        target.load_state_dict(model.state_dict())
        new = batch_of(*draw((0, 1, 2), seed=3)[:2])
        assert torch.equal(target.eval()(new).log_posteriors, model(new).log_posteriors)
    with pytest.raises(RuntimeError, match="size mismatch for support_vectors"):
        make(dim=6).load_state_dict(model.state_dict())
    broken = {**model.state_dict(), "intercepts": model.intercepts[:2]}
    with pytest.raises(RuntimeError, match="size mismatch for intercepts"):
        make().load_state_dict(broken)
    with pytest.raises(RuntimeError, match="not fitted yet"):
        make()(batch_of(*draw((0, 1))[:2]))


def test_its_size_is_what_it_stores():
    model = fitted(*draw((0, 1, 2)))
    support, pairs = len(model.support_vectors), 3
    sizes = [support * 7, support * pairs, pairs, 1, 3, 1, 9, 3]
    assert count_parameters(model) == sum(sizes)
    assert model.support_vectors.dtype == torch.float32


def test_frames_are_summed_up_and_vectors_taken_as_they_are():
    frames = torch.tensor([[[1.0], [3.0], [9.0]]])
    batch = Batch(frames=frames, lengths=torch.tensor([2]), labels=torch.tensor([0]))
    sequence = ARCHITECTURES.get("svm").build(
        ARCHITECTURES.get("svm").config(), InputSpec(feature_dim=1, num_classes=2)
    )
    assert sequence.vectors(batch).tolist() == [[2.0, 1.0]]
    assert make(dim=1).vectors(batch).tolist() == [[1.0]]
