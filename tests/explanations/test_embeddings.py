"""Vectors before the last layer and their picture."""

import numpy as np
import pytest
import torch
from torch import nn

from serplatform.explanations.embeddings import neighbour_purity, picture, watch_classifier


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(2 * x)


def test_what_the_classifier_reads_is_seen_once():
    model, x = Toy(), torch.arange(6.0).view(2, 3)
    with watch_classifier(model) as seen:
        model(x)
        np.testing.assert_allclose(seen.take(2), 2 * x)
        assert seen.take(2) is None
        model(x)
        assert seen.take(3) is None  # two pieces for three utterances: no vector an utterance
    model(x)
    assert seen.vectors is None


def test_a_model_without_the_layer_gives_no_vectors():
    with watch_classifier(nn.Linear(2, 2)) as seen:
        assert seen.take(1) is None


def test_purity_agrees_with_plain_loops():
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(40, 6)) * [1, 1, 1, 1, 1, 100], rng.integers(0, 3, 40)
    scaled = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    same = pairs = 0.0
    for i in range(40):
        order = sorted(
            (j for j in range(40) if j != i), key=lambda j: np.linalg.norm(scaled[i] - scaled[j])
        )
        same += sum(labels[j] == labels[i] for j in order[:5]) / 5 / 40
        pairs += sum(labels[j] == labels[i] for j in order) / (40 * 39)
    assert neighbour_purity(vectors, labels) == pytest.approx((same, pairs))


def test_clusters_stay_apart_in_the_picture_and_it_can_be_made_again():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], 20)
    vectors = rng.normal(size=(60, 10)) + 8 * np.eye(10)[labels]
    points, method = picture(vectors, seed=3)
    assert method == "t-SNE"
    assert points.shape == (60, 2)
    purity, chance = neighbour_purity(points, labels)
    assert purity > 0.95 > 0.5 > chance
    np.testing.assert_array_equal(points, picture(vectors, seed=3)[0])


@pytest.mark.parametrize(
    "vectors", [np.ones((5, 3)), np.arange(8.0).reshape(8, 1), np.ones((20, 2))]
)
def test_few_or_equal_vectors_are_drawn_all_the_same(vectors):
    points, method = picture(vectors)
    assert method == "PCA"
    assert points.shape == (len(vectors), 2)
    assert np.isfinite(points).all()
