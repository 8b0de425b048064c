"""Every registered combiner keeps the contract; each does what its paper says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from serplatform.ensembles.auto import Auto, choices
from serplatform.ensembles.base import COMBINERS, Combiner, find_combiner
from serplatform.ensembles.mean import Mean
from serplatform.ensembles.product import Product, log_linear_pool, minimise_nll
from serplatform.ensembles.single import Single
from serplatform.ensembles.stacking import Stacking, centred_log_posteriors
from serplatform.errors import BadInputError
from serplatform.metrics import classification_metrics
from serplatform.registry import temporary
from serplatform.testing.combiner_contract import CombinerContract, make_posterior_set


@pytest.mark.parametrize("combiner_name", sorted({*COMBINERS.names()} - {"syscomb"}))
class TestEveryCombiner(CombinerContract):
    pass


@pytest.mark.parametrize("combiner_name", ["syscomb"])
class TestSysComb(CombinerContract):
    """Two architectures at least, so what the contract asks of a lone member is asked of two."""

    @pytest.mark.parametrize("num_members", [2, 5, 14])
    def test_answers_are_posteriors(self, combiner_name: str, num_members: int) -> None:
        super().test_answers_are_posteriors(combiner_name, num_members)

    def test_identical_members_agree_with_the_member(self, combiner_name: str) -> None:
        one = make_posterior_set(num_members=1)
        dev = dataclasses.replace(
            one,
            posteriors=one.posteriors.repeat(2, axis=0),
            members=("a", "b"),
            architectures=("csa", "blstmatt"),
        )
        combined = self.fitted(combiner_name, dev).combine(dev.posteriors)
        np.testing.assert_array_equal(combined.argmax(axis=1), one.posteriors[0].argmax(axis=1))


def test_syscomb_multiplies_the_best_trial_of_each_architecture_by_dev_rows() -> None:
    architectures = ("moma", "csa", "blstmatt", "csa", "blstmatt")
    dev = dataclasses.replace(make_posterior_set(), architectures=architectures)
    uar = [classification_metrics(dev.truth, member)["uar"] for member in dev.posteriors]
    csa, blstmatt = max((1, 3), key=uar.__getitem__), max((2, 4), key=uar.__getitem__)
    assert {uar[1] == uar[3], uar[2] == uar[4]} == {False}
    combiner = find_combiner("syscomb")()
    combiner.fit(dev)
    product = dev.posteriors[blstmatt] * dev.posteriors[csa] ** 0.4
    expected = product / product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(combiner.combine(dev.posteriors), expected, rtol=1e-9)
    assert combiner.weights()[[blstmatt, csa]].tolist() == [1.0, 0.4]
    assert combiner.used().tolist() == sorted([blstmatt, csa])
    named = find_combiner("syscomb:csa,moma")()
    named.fit(dev)
    assert named.weights()[[csa, 0]].tolist() == [1.0, 0.4]
    assert named.used().tolist() == [0, csa]


def test_syscomb_says_which_architecture_the_runs_lack_and_what_they_hold() -> None:
    dev = make_posterior_set()
    with pytest.raises(
        BadInputError, match=r"a finished trial of 'fgcme' .* the runs hold blstmatt, csa; give"
    ):
        find_combiner("syscomb:csa,fgcme")().fit(dev)
    with pytest.raises(BadInputError, match=r"csa; give a run of 'fgcme' too$"):
        find_combiner("syscomb:csa,fgcme")().fit(dev)
    with pytest.raises(
        BadInputError, match=r"Unknown architecture 'blstmat'; .* Did you mean 'blstmatt'\?"
    ):
        find_combiner("syscomb:csa,blstmat")().fit(dev)
    with pytest.raises(BadInputError, match=r"none that is known.*, or name others: syscomb:F"):
        find_combiner("syscomb")().fit(dataclasses.replace(dev, architectures=()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("syscomb:csa", "two or more different"),
        ("syscomb:csa,csa", "two or more different"),
        ("syscomb:csa,", "two or more different"),
        ("mean:csa", "combiner 'mean' takes no argument, and was given 'csa'"),
        ("sysconb:csa", "Did you mean 'syscomb'"),
    ],
)
def test_what_follows_a_combiners_colon_is_checked(text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        find_combiner(text)


def test_all_combiners_are_swept() -> None:
    expected = {"auto", "greedy", "mean", "product", "single", "stacking", "syscomb"}
    assert expected <= set(COMBINERS.names())


class Median(Combiner):
    """All that a simple combiner must write: no weights, no parameters."""

    name = "median"
    auto_rank = 10

    def combine(self, posteriors: np.ndarray) -> np.ndarray:
        found = np.median(posteriors[self.used()], axis=0) + 1e-12
        return found / found.sum(axis=1, keepdims=True)


@pytest.fixture
def median() -> Iterator[None]:
    with temporary():
        COMBINERS.register("median")(Median)
        yield


@pytest.mark.usefixtures("median")
@pytest.mark.parametrize("combiner_name", ["median"])
class TestACombinerFromOutside(CombinerContract):
    pass


def test_auto_chooses_from_these_in_this_order() -> None:
    assert choices() == ["single", "mean", "product", "greedy", "stacking"]


@pytest.mark.usefixtures("median")
def test_auto_tries_a_combiner_that_declares_it() -> None:
    assert choices()[-1] == "median"
    auto = Auto()
    auto.fit(make_posterior_set())
    assert list(auto.parameters()["held_out"]) == choices()


def test_unknown_combiner_lists_the_known_ones() -> None:
    with pytest.raises(BadInputError, match="Did you mean 'greedy'"):
        COMBINERS.get("greddy")


def test_unknown_objective_is_refused() -> None:
    with pytest.raises(BadInputError, match="Unknown ensemble objective 'f1'"):
        Mean(objective="f1")


def test_mean_is_the_plain_average() -> None:
    dev = make_posterior_set()
    mean = Mean()
    mean.fit(dev)
    np.testing.assert_allclose(
        mean.combine(dev.posteriors), dev.posteriors.mean(axis=0), atol=1e-15
    )


def test_single_is_the_member_with_the_best_dev_uar() -> None:
    dev = make_posterior_set()
    uars = [classification_metrics(dev.truth, p)["uar"] for p in dev.posteriors]
    single = Single()
    single.fit(dev)
    assert single.weights().tolist() == [float(i == int(np.argmax(uars))) for i in range(5)]


def test_log_linear_pool_is_the_product_of_powers() -> None:
    members = make_posterior_set(num_members=2).posteriors
    raw = members[0] ** 1.0 * members[1] ** 0.4
    np.testing.assert_allclose(
        log_linear_pool(members, np.array([1.0, 0.4])),
        raw / raw.sum(axis=1, keepdims=True),
        rtol=1e-12,
    )


def test_two_systems_keep_the_exponent_of_the_paper_unless_another_is_better() -> None:
    dev = make_posterior_set(num_members=2, skill=8.0)  # all right whatever the exponent
    product = Product()
    product.fit(dev)
    assert sorted(product.weights().tolist()) == [0.4, 1.0]


def test_a_better_likelihood_alone_does_not_move_the_exponent_of_the_paper() -> None:
    truth = np.array([0, 1] * 10)
    right = np.where(np.eye(2)[truth] > 0, 0.95, 0.05)
    misled = np.where(np.eye(2)[truth] > 0, 0.45, 0.55)  # never changes an answer
    dev = dataclasses.replace(
        make_posterior_set(num_members=2, num_speakers=2, per_speaker=10, num_classes=2),
        truth=truth,
        posteriors=np.stack([misled, right]),
    )
    product = Product()
    product.fit(dev)
    assert product.weights().tolist() == [0.4, 1.0]


def test_two_systems_search_the_exponent_on_dev_rows() -> None:
    dev = make_posterior_set(num_members=2, seed=5)
    product = Product()
    product.fit(dev)
    better = int(product.weights().argmax()) if product.weights().max() > 1 else None
    found = classification_metrics(dev.truth, product.combine(dev.posteriors))["uar"]
    uars = [classification_metrics(dev.truth, p)["uar"] for p in dev.posteriors]
    first = int(np.argmax(uars))
    for exponent in np.arange(0, 2.01, 0.05):
        weights = np.zeros(2)
        weights[first], weights[1 - first] = 1.0, exponent
        tried = log_linear_pool(dev.posteriors, weights)
        assert classification_metrics(dev.truth, tried)["uar"] <= found + 1e-9
    assert better is None or better == 1 - first


def test_product_keeps_the_heaviest_members_and_fits_them_again() -> None:
    dev = make_posterior_set(num_members=9, seed=4)
    whole, trimmed, alone = Product(), Product(max_members=4), Product()
    whole.fit(dev)
    trimmed.fit(dev)
    kept = np.flatnonzero(trimmed.weights())
    assert 0 < len(kept) <= 4
    assert set(kept) <= set(np.argsort(-whole.weights(), kind="stable")[:4].tolist())
    alone.fit(dev.take_members(kept))
    np.testing.assert_allclose(trimmed.weights()[kept], alone.weights(), atol=1e-4)
    rebuilt = Product.from_parameters(trimmed.parameters())
    assert rebuilt.parameters() == trimmed.parameters()


def test_product_of_many_does_not_follow_the_luck_of_the_two_best() -> None:
    for seed in range(5):
        dev = make_posterior_set(num_members=12, seed=seed)
        product = Product()
        product.fit(dev)
        assert np.count_nonzero(product.weights() > 0.01) > 2


def test_exponents_minimise_the_penalised_likelihood() -> None:
    dev = make_posterior_set(num_members=3)
    logs = np.log(dev.posteriors)
    share = np.full(dev.truth.size, 1.0 / dev.truth.size)
    found = minimise_nll(logs, dev.truth, share, np.full(3, 1 / 3))

    def loss(weights: np.ndarray) -> float:
        total = 0.0
        for n, true in enumerate(dev.truth):  # the docstring's formula, in plain loops
            z = [sum(weights[m] * logs[m, n, k] for m in range(3)) for k in range(3)]
            total += share[n] * (np.log(sum(np.exp(v) for v in z)) - z[true])
        return total + ((weights - 1 / 3) ** 2).sum() / (2 * dev.truth.size * (3.0 / 3) ** 2)

    best = loss(found)
    for m in range(3):
        for step in (-0.01, 0.01):
            moved = found.copy()
            moved[m] = max(0.0, moved[m] + step)
            assert loss(moved) >= best - 1e-8
    starts = minimise_nll(logs, dev.truth, share, np.array([2.0, 0.0, 0.0]))
    np.testing.assert_allclose(starts, found, atol=1e-3)


def test_stacking_learns_a_member_that_swaps_two_classes() -> None:
    dev = make_posterior_set(num_members=1, skill=10.0)
    swapped = dev.posteriors[:, :, [1, 0, 2]]
    dev.posteriors[:] = swapped
    stacking = Stacking()
    stacking.fit(dev)
    assert classification_metrics(dev.truth, swapped[0])["uar"] < 0.5
    combined = stacking.combine(dev.posteriors)
    assert classification_metrics(dev.truth, combined)["uar"] > 0.9


def test_a_member_without_opinion_gives_stacking_nothing() -> None:
    features = centred_log_posteriors(np.full((1, 4, 3), 1 / 3))
    np.testing.assert_allclose(features, 0.0, atol=1e-15)
    doubled = centred_log_posteriors(np.array([[[0.2, 0.8]]]))
    np.testing.assert_allclose(doubled, [[-np.log(2), np.log(2)]], atol=1e-12)


def test_stacking_uses_the_best_members_only() -> None:
    dev = make_posterior_set(num_members=8, skill=2.0)
    stacking = Stacking(max_members=3)
    stacking.fit(dev)
    uars = [classification_metrics(dev.truth, p)["uar"] for p in dev.posteriors]
    used = np.flatnonzero(stacking.weights())
    assert len(used) == 3
    assert min(uars[m] for m in used) >= sorted(uars)[-3]


def test_auto_takes_stacking_where_only_stacking_can_work() -> None:
    dev = make_posterior_set(num_members=3, skill=4.0)
    dev.posteriors[:] = dev.posteriors[:, :, [1, 0, 2]]
    auto = Auto()
    auto.fit(dev)
    assert auto.parameters()["chosen"]["combiner"] == "stacking"
    assert auto.parameters()["held_out_by"] == "speaker"


def test_auto_takes_the_best_single_member_when_the_others_are_chance() -> None:
    dev = make_posterior_set(num_members=4, num_speakers=6, skill=6.0)
    chance = make_posterior_set(num_members=4, num_speakers=6, skill=0.0, seed=9)
    dev.posteriors[:3] = chance.posteriors[:3]
    auto = Auto()
    auto.fit(dev)
    assert auto.parameters()["held_out"]["single"][0] > 0.9
    assert auto.parameters()["held_out"]["mean"][0] < auto.parameters()["held_out"]["single"][0]


def test_auto_holds_out_whole_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    dev = make_posterior_set(num_speakers=4)
    seen: list[set[str]] = []
    original = Mean._fit

    def spy(self: Mean, part: object) -> None:
        seen.append(set(part.speaker_ids))  # type: ignore[attr-defined]
        original(self, part)  # type: ignore[arg-type]

    monkeypatch.setattr(Mean, "_fit", spy)
    Auto().fit(dev)
    inner = [speakers for speakers in seen if len(speakers) < 4]
    assert sorted(map(len, inner)) == [3, 3, 3, 3]
