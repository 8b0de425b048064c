"""Functionals of utterances and of their segments, by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from serplatform.corpora.base import Span
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import BadInputError
from serplatform.features.base import WHOLE_UTTERANCE
from serplatform.inputs.config import DataConfig
from serplatform.inputs.new_audio import ExtractedClip, SpeakerMoments, new_audio
from serplatform.inputs.pipeline import InputPipeline
from serplatform.inputs.pooling import Pooling
from serplatform.protocols.plan import make_plan
from serplatform.testing.synthetic import make_dataset
from serplatform.training.trial_config import resolve

SHIFT = 0.01


def config(unit="words", segments=3, statistics="dynamics", layout="vector"):
    return Pooling(unit, segments, statistics, layout)


def pool(frames, pooling, shift, words=None):
    return pooling.pool(frames, shift, words)


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)


def by_hand(part):
    steps = np.diff(part, axis=0)
    return [part.mean(0), part.std(0), steps.std(0), np.abs(steps).mean(0)]


def test_the_whole_and_equal_shares_of_time(frames):
    got = pool(frames, config("time", 2), SHIFT)
    whole = np.concatenate(
        [
            *by_hand(frames),
            np.diff(frames, axis=0).mean(0),
            *np.percentile(frames, (5, 25, 50, 75, 95), axis=0),
            [0.5],
        ]
    )
    halves = [np.concatenate([*by_hand(part), [0.25]]) for part in (frames[:25], frames[25:])]
    np.testing.assert_allclose(got[0], np.concatenate([whole, *halves]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        pool(frames, config("utterance"), SHIFT)[0], whole, rtol=1e-5, atol=1e-6
    )


def test_moments_of_the_whole_and_of_segments(frames):
    whole = [frames.mean(0), frames.std(0), [0.5]]
    got = pool(frames, Pooling("utterance", whole="moments"), SHIFT)
    np.testing.assert_allclose(got[0], np.concatenate(whole), rtol=1e-5, atol=1e-6)
    chosen = Pooling("time", 2, "moments", whole="moments")
    for part in (frames[:25], frames[25:]):
        whole += [part.mean(0), part.std(0), [0.25]]
    got = pool(frames, chosen, SHIFT)
    np.testing.assert_allclose(got[0], np.concatenate(whole), rtol=1e-5, atol=1e-6)
    assert got.shape == (1, chosen.dim(4))
    assert Pooling.load(json.loads(json.dumps(chosen.describe()))) == chosen


@pytest.mark.parametrize("unit", ["utterance", "time"])
def test_moments_leave_a_vector_an_utterance_as_it_is(unit):
    rows = np.arange(3)
    for shift, whole, taken in [
        (WHOLE_UTTERANCE, "moments", True),
        (WHOLE_UTTERANCE, "all", False),
        (SHIFT, "moments", False),
    ]:
        chosen = DataConfig(pooling=unit, pooling_whole=whole)
        made = Pooling.fit(chosen, SimpleNamespace(frame_shift=shift), rows)
        assert (made is None) == taken


def test_segments_follow_the_words(frames):
    words = np.array([[2, 6], [6, 9], [12, 20], [20, 30], [31, 44], [44, 48]])
    got = pool(frames, config(layout="sequence", statistics="moments"), SHIFT, words)
    for step, (first, last) in zip(got, [(2, 9), (12, 30), (31, 48)], strict=True):
        part = frames[first:last]
        expected = np.concatenate([part.mean(0), part.std(0), [(last - first) * SHIFT]])
        np.testing.assert_allclose(step, expected, rtol=1e-5, atol=1e-6)


def test_words_are_split_where_segments_do_not_divide_their_number(frames):
    words = np.array([[0, 10], [20, 40]])
    chosen = config(segments=4, layout="sequence", statistics="moments")
    got = pool(frames, chosen, SHIFT, words)
    for step, (first, last) in zip(got, [(0, 5), (5, 10), (20, 30), (30, 40)], strict=True):
        np.testing.assert_allclose(step[:4], frames[first:last].mean(0), rtol=1e-5, atol=1e-6)
    thirds = pool(frames, config(layout="sequence"), SHIFT, words)
    np.testing.assert_allclose(thirds[:, -1], [0.07, 0.20, 0.13], atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_every_frame_of_adjoining_words_is_in_one_segment(frames, count):
    edges = np.linspace(0, 50, count + 1).astype(int)
    words = np.stack([edges[:-1], edges[1:]], axis=1)
    steps = pool(frames, config(layout="sequence"), SHIFT, words)
    assert steps.shape == (3, 17)
    assert steps[:, -1].sum() / SHIFT == pytest.approx(50)


@pytest.mark.parametrize(
    ("unit", "layout"),
    [
        ("utterance", "vector"),
        ("time", "vector"),
        ("words", "vector"),
        ("time", "sequence"),
        ("words", "sequence"),
    ],
)
def test_one_frame_is_enough(unit, layout):
    chosen = config(unit, 4, layout=layout)
    got = pool(np.ones((1, 3), np.float32), chosen, SHIFT, np.array([[0, 1]]))
    assert got.shape == (chosen.num_steps, chosen.dim(3))
    assert np.isfinite(got).all()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    return Dataset.open(make_dataset(path, num_speakers=6, per_speaker=8))


def test_normalization_is_over_a_speakers_utterances(dataset):
    plan = make_plan(dataset.utterances, "speaker-kfold:3", seed=1, classes=dataset.classes)
    data = FoldData(
        dataset,
        plan,
        0,
        DataConfig(pooling="time", pooling_segments=2, normalization="speaker"),
    )
    rows = data.rows("test")
    batch = data.collate(rows)
    assert batch.lengths.tolist() == [1] * len(rows)
    chosen = data.pipeline.step(Pooling)
    raw = np.concatenate(
        [pool(dataset.frames("log_mel_23", int(r)), chosen, SHIFT) for r in rows]
    ).astype(np.float64)
    speakers = np.array(data.speaker_ids("test"))
    for name in set(speakers):
        own = raw[speakers == name]
        std = own.std(0)
        usable = std > 0.1 * raw.std(0)  # above the floor
        expected = (own - own.mean(0)) / np.where(usable, std, 1.0)
        got = batch.frames[speakers == name, 0].numpy()
        np.testing.assert_allclose(got[:, usable], expected[:, usable], rtol=1e-2, atol=2e-2)


@pytest.mark.parametrize("pooling", ["time", "words"])
@pytest.mark.parametrize("trim", [False, True])
def test_new_audio_is_summed_up_as_training_was(dataset, pooling, trim):
    plan = make_plan(dataset.utterances, "speaker-kfold:3", seed=1, classes=dataset.classes)
    data = FoldData(dataset, plan, 0, DataConfig(pooling=pooling, trim=trim))
    assert any("follow the words" in note for note in data.notes) == (pooling == "words")
    assert not any("vocabulary" in note for note in data.notes)
    pipeline = InputPipeline.load(json.loads(json.dumps(data.preprocessing())))
    table = dataset.utterances
    spans = dataset.alignment.to_pylist()
    row = int(data.rows("test")[0])
    own = tuple(
        Span(**{k: s[k] for k in ("tier", "label", "start", "end")})
        for s in spans
        if s["utterance_id"] == dataset.utterance_ids[row]
    )
    clip = ExtractedClip(
        frames={"log_mel_23": dataset.frames("log_mel_23", row)},
        speech=(table["speech_start"][row].as_py(), table["speech_end"][row].as_py()),
        spans=own,
        text=table["text"][row].as_py(),
    )
    (kept,) = pipeline.unnormalized(new_audio([clip])).frames(0, None)
    stored = data.pipeline.unnormalized(data._clips.source).frames(row, None)
    np.testing.assert_array_equal(kept, stored[0])
    moments = SpeakerMoments()
    moments.add(clip, [pipeline])
    assert moments.fewest == 1


def test_what_cannot_be_is_refused():
    with pytest.raises(BadInputError, match="masked or changed"):
        resolve("functionals_mlp", {"data.pooling": "time", "data.time_masks": 1}, "here")
    with pytest.raises(BadInputError, match="reads words needs the frames"):
        resolve("fgcme", {"data.pooling": "time"}, "here")
    with pytest.raises(BadInputError, match="needs segments"):
        resolve(
            "lstm_attn_audio",
            {"data.pooling": "utterance", "data.pooling_layout": "sequence"},
            "here",
        )
