"""Attention by word and by phone across emotions."""

import csv

import numpy as np
import pytest

from serplatform.artifacts.files import read_json
from serplatform.corpora.base import Span
from serplatform.explanations.attention import FrameGrid, autocorrelation, total_variation
from serplatform.explanations.attention_by_label import (
    SpokenLabels,
    measure_labels,
    relative_to_count,
    relative_to_time,
    spoken_phones,
    spoken_words,
    write_labels,
)

GRID = FrameGrid(first=0, count=10, shift=0.01, length=0.025)


def spans(*entries):
    return [Span(tier="word", label=w, start=a, end=b) for w, a, b in entries]


def test_silence_is_cut_out_and_a_word_said_twice_is_one():
    said = spans(("a", 0.0, 0.03), ("b", 0.03, 0.06), ("a", 0.07, 0.09))
    share = np.array([1, 1, 3, 3, 3, 50, 4, 6, 20, 9]) / 100
    # centres at 12.5, 22.5, …: a has frames 0, 1, 6, 7, b has 2, 3, 4; the rest is silence
    found = relative_to_time(share, GRID, said)
    assert found == pytest.approx({"a": (12 / 21) / (4 / 7), "b": (9 / 21) / (3 / 7)})


def test_one_word_alone_and_attention_elsewhere_say_nothing():
    assert relative_to_time(np.full(10, 0.1), GRID, spans(("a", 0.0, 0.1))) == {}
    assert relative_to_time(np.eye(10)[9], GRID, spans(("a", 0, 0.03), ("b", 0.03, 0.06))) == {}
    assert relative_to_time(np.full(10, 0.1), GRID, []) == {}


def test_weights_of_words_are_over_an_even_one():
    said = spans(("a", 0, 1), ("b", 1, 2), ("a", 2, 3), ("c", 3, 4))
    assert relative_to_count(np.array([0.1, 0.2, 0.3, 0.4]), said) == pytest.approx(
        {"a": 0.8, "b": 0.8, "c": 1.6}
    )


def test_words_and_phones_are_written_alike():
    words = spans(("WHAT(2)", 0, 1), ("<sil>", 1, 2), ("++NOISE++", 2, 3))
    assert [s.label for s in spoken_words(words)] == ["what"]
    phones = spans(("AO1", 0, 1), ("SIL", 1, 2), ("k", 2, 3), ("+SPN+", 3, 4))
    assert [s.label for s in spoken_phones(phones, "arpabet")] == ["AO", "K"]


def test_curves_that_move_and_curves_that_do_not():
    share = np.random.default_rng(0).dirichlet(np.ones(40))
    steps = sum(abs(share[t + 1] - share[t]) for t in range(39))
    assert total_variation(share) == pytest.approx(steps / 2)
    smooth = np.convolve(share, np.ones(9) / 9, mode="same")
    assert total_variation(smooth / smooth.sum()) < total_variation(share) / 2
    assert autocorrelation(smooth, 3) > 0.4 > autocorrelation(share, 3)
    assert autocorrelation(np.full(9, 1 / 9), 2) is None
    assert autocorrelation(np.array([0.4, 0.6]), 5) is None


@pytest.fixture(scope="module")
def said():
    """Speakers differ in "no"; emotions in "know" alone; "rare" is said four times a class."""
    rng = np.random.default_rng(2)
    found = []
    for n in range(240):
        speaker, emotion = n // 20, ("sad", "happy", "calm")[n % 3]
        relative = {
            "no": 1 + speaker / 5 + 0.1 * rng.normal(),
            "know": 1 + 0.3 * (emotion == "sad") + 0.2 * rng.normal(),
        }
        if n < 12:
            relative["rare"] = 2.0
        found.append(
            SpokenLabels(fold=0, speaker_id=f"s{speaker}", emotion=emotion, relative=relative)
        )
    return found


def test_the_word_that_differs_is_found_and_means_are_those_of_its_emotion(said):
    no, know = sorted(measure_labels(said, ["sad", "happy", "calm"], seed=0), key=str)[::-1]
    known = {entry["label"]: entry for entry in (no, know)}
    assert known["know"]["corrected"] < 0.005 < 0.05 < known["no"]["corrected"]
    assert known["no"]["speakers"] == 12
    own = [one.relative["know"] for one in said if one.emotion == "sad"]
    mean = known["know"]["emotions"]["sad"]
    assert mean["value"] == pytest.approx(np.mean(own))
    assert mean["low"] < mean["value"] < mean["high"]
    assert mean["utterances"] == 80


def test_a_word_of_few_utterances_is_left_out(said):
    assert {x["label"] for x in measure_labels(said, ["sad", "happy", "calm"], seed=0)} == {
        "no",
        "know",
    }
    assert measure_labels(said[:12], ["sad", "happy", "calm"], seed=0) == []


def test_json_and_csv_hold_the_same(said, tmp_path):
    labels = measure_labels(said, ["sad", "happy", "calm"], seed=0)
    whose = {"trial": 3, "architecture": "moma", "map": "layer1", "tier": "word"}
    names = write_labels(tmp_path, [{**whose, "utterances": len(said), "labels": labels}])
    assert names == ["attention_by_label.json", "attention_by_label.csv"]
    (found,) = read_json(tmp_path / names[0])["maps"]
    with (tmp_path / names[1]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for row in rows:
        (entry,) = (x for x in found["labels"] if x["label"] == row["label"])
        assert float(row["value"]) == entry["emotions"][row["emotion"]]["value"]
        assert float(row["corrected"]) == entry["corrected"]
        assert (row["trial"], row["map"], row["tier"]) == ("3", "layer1", "word")
