"""Architectures that read audio and words, trained on a fold, written and read back."""

import numpy as np
import pytest
import torch

from serplatform.training.bundle import load_model
from serplatform.training.loop import FoldTrainer

SIZES = {
    "can": {"model__hidden_dim": 8, "model__embedding_dim": 6},
    "fgcme": {"model__hidden_dim": 8, "model__embedding_dim": 6, "model__text_dim": 8},
}
ABLATIONS = [
    ("can", {}),
    ("can", {"model__cross_attention": False, "data__word_segmentation": "equal"}),
    ("can", {"data__trim": True, "data__speed": 0.2, "data__normalization": "utterance"}),
    ("fgcme", {}),
    ("fgcme", {"model__alignment": "ctc", "model__max_words": 4}),
    ("fgcme", {"data__word_silence": "divide", "training__class_weights": "balanced"}),
]


@pytest.fixture
def make_word_trainer(make_trainer):
    def make(name, **values):
        rate = {"training__learning_rate": 0.005, "data__feature": "log_mel_23"}
        return make_trainer(name, **{**SIZES[name], **rate, **values})

    return make


@pytest.mark.parametrize(("name", "values"), ABLATIONS)
def test_learns_a_fold_and_is_the_same_when_read_back(make_word_trainer, tmp_path, name, values):
    trainer = make_word_trainer(name, **values)
    losses = [trainer.run_epoch().train_loss for _ in range(3)]
    assert losses[2] < losses[0]
    trainer.save_model(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    data = trainer.data
    with torch.inference_mode():
        posteriors = loaded.model(data.collate(data.rows("test"))).log_posteriors.exp()
    np.testing.assert_allclose(posteriors.numpy(), trainer.posteriors("test"), atol=1e-6)


@pytest.mark.parametrize("name", ["can", "fgcme"])
def test_continues_bit_for_bit(make_word_trainer, tmp_path, name):
    straight, stopped = make_word_trainer(name), make_word_trainer(name)
    for _ in range(2):
        straight.run_epoch()
    stopped.run_epoch()
    stopped.save_state(tmp_path)
    resumed: FoldTrainer = make_word_trainer(name)
    resumed.load_state(tmp_path)
    resumed.run_epoch()
    assert np.array_equal(resumed.posteriors("dev"), straight.posteriors("dev"))


def test_can_gets_words_that_overlap_and_leave_no_silence_out(make_word_trainer):
    """By its own defaults, from the data; the model adds nothing to them."""
    data = make_word_trainer("can").data
    batch = data.collate(data.rows("dev"))
    first, last = batch.word_spans[..., 0], batch.word_spans[..., 1]
    assert not first[:, 0].any()
    assert torch.equal(last[:, -1], batch.lengths)
    overlap = last[:, :-1] - first[:, 1:]
    assert (overlap >= 0).all()
    assert (overlap.double().mean() / (last - first).double().mean()).item() == pytest.approx(
        0.1, abs=0.03
    )


def test_equal_segmentation_cuts_the_audio_otherwise_and_leaves_the_text(make_word_trainer):
    aligned = make_word_trainer("can").data
    equal = make_word_trainer("can", data__word_segmentation="equal", data__word_overlap=0.0).data
    rows = aligned.rows("dev")
    one, other = aligned.collate(rows), equal.collate(rows)
    assert torch.equal(one.word_ids, other.word_ids)
    frames = other.word_spans[..., 1] - other.word_spans[..., 0]
    assert (frames - other.lengths.unsqueeze(1) / 3).abs().max() < 1
    assert not torch.equal(one.word_spans, other.word_spans)
