"""What is said of an encoder's training data follows from its name, and claims no more."""

from __future__ import annotations

import pytest

from serplatform.corpora.base import CORPORA
from serplatform.papers.known_encoders import (
    _corpora,
    about_training_data,
    find_known,
    known_encoders,
    trained_on,
)

HASH = "3f" * 32
WHISPER = {"name": "whisper-base", "kind": "whisper", "num_layers": 6, "sha256": HASH}
SUPERB = {"name": "hubert-large-superb-er", "kind": "hubert", "num_layers": 24, "sha256": HASH}


def test_every_entry_has_a_source_and_every_corpus_is_one_of_ours():
    assert len(known_encoders()) > 60
    for known in known_encoders().values():
        assert known.source
        assert known.data
        assert bool(known.emotion) or not known.labels
    for name, title in _corpora().items():
        assert CORPORA.get(name).title.partition(",")[0] == title


def test_a_corpus_that_is_not_named_is_not_cleared():
    said = about_training_data(WHISPER, "ravdess")
    assert "whisper-base (SHA-256 3f3f3f3f3f3f…), by its name Whisper" in said
    assert "RAVDESS is not among the data that its authors name" in said
    assert "what that audio held is not published" in said
    assert "A name can be wrong" in said
    assert not trained_on(WHISPER, "ravdess")


def test_a_corpus_that_is_named_is_a_warning():
    said = about_training_data(SUPERB, "iemocap")
    assert "IEMOCAP is among these data, with its labels" in said
    assert "the numbers may be too good" in said
    assert trained_on(SUPERB, "iemocap")
    assert not trained_on(SUPERB, "ravdess")
    assert "RAVDESS is not among the data that its authors name." in about_training_data(
        SUPERB, "ravdess"
    )


def test_of_a_dataset_of_ones_own_nothing_is_claimed():
    said = about_training_data(SUPERB, "csv")
    assert "Its authors name IEMOCAP." in said
    assert "Whether recordings of this dataset were among these data is not known here" in said


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "whisper-base-finetuned"},
        {"num_layers": 2},  # somebody's own model of this name
        {"kind": "wavlm"},
        {"name": ""},
    ],
)
def test_what_is_not_known_is_said_to_be_unknown(changed):
    encoder = {**WHISPER, **changed}
    assert find_known(encoder) is None
    assert "is not known" in about_training_data(encoder, "ravdess")
    assert not trained_on(encoder, "ravdess")


def test_a_name_without_a_hash_is_enough_to_look_it_up():
    assert "Radford" in about_training_data({"name": "Whisper-Base"}, "ravdess")
    assert "SHA-256" not in about_training_data({"name": "whisper-base"}, "ravdess")
