"""EmoBox's lists as a checkout has them: short labels, paths from its top."""

import json

import numpy as np
import pytest
import soundfile

from serplatform.corpora.base import CORPORA
from serplatform.errors import BadInputError


def line(name, emotion):
    return {
        "key": f"aesdd-{name}",
        "dataset": "aesdd",
        "wav": f"downloads/aesdd/{name} (5)b.wav",
        "type": "raw",
        "sample_rate": 44100,
        "num_frame": 4410.000000000001,
        "task": "category",
        "length": 0.1,
        "emo": emotion,
        "channel": 1,
    }


@pytest.fixture
def lists(tmp_path):
    folder = tmp_path / "checkout" / "data" / "aesdd"
    (folder / "fold_1").mkdir(parents=True)
    clips = tmp_path / "checkout" / "downloads" / "aesdd"
    clips.mkdir(parents=True)
    rows = [line("a06", "a"), line("h01", "h"), line("h02", "h")]
    for row in rows:
        soundfile.write(tmp_path / "checkout" / row["wav"], np.zeros(4410), 44100)
    for name, part in {
        "aesdd.jsonl": rows,
        "fold_1/aesdd_train_fold_1.jsonl": rows[:2],
        "fold_1/aesdd_test_fold_1.jsonl": rows[2:],
    }.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in part))
    (folder / "label_map.json").write_text(json.dumps({"a": "Angry", "h": "Happy"}))
    return folder


def test_a_checkout_is_read_with_its_names_of_labels(lists):
    corpus = CORPORA.get("emobox")()
    found = corpus.scan(lists)
    assert [u.emotion for u in found.utterances] == ["Angry", "Happy", "Happy"]
    assert [u.split for u in found.utterances] == ["train", "train", "test"]
    assert all((corpus.root(lists) / u.path).is_file() for u in found.utterances)
    assert not found.rejections


def test_labels_without_names_are_left_as_they_are(lists):
    (lists / "label_map.json").write_text("[]")
    with pytest.raises(BadInputError, match=r"label_map\.json: must be an object"):
        CORPORA.get("emobox")().scan(lists)
