"""New audio takes the way that training's took: stored posteriors come out again."""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from serplatform.artifacts.files import read_json, read_parquet
from serplatform.corpora.audio import read_audio
from serplatform.corpora.base import Span
from serplatform.errors import ArtifactError, BadInputError
from serplatform.inputs.new_audio import ExtractedClip, SpeakerMoments, new_audio
from serplatform.inputs.pipeline import InputPipeline
from serplatform.prediction import predict as predict_module
from serplatform.prediction.open import open_system
from serplatform.prediction.predict import predict
from serplatform.prediction.predictor import Predictor, average
from serplatform.prediction.recordings import find_recordings
from serplatform.prediction.rows import PredictionTally
from serplatform.prediction.windows import WindowPlan
from tests.support.audio_run import TRIALS, make_audio_run, write_tone


def stored_tests(path: Path, classes: tuple[str, ...]) -> dict[int, dict[str, np.ndarray]]:
    """Fold to utterance id to the posteriors of the test rows, in the order of ``classes``."""
    found: dict[int, dict[str, np.ndarray]] = defaultdict(dict)
    for row in read_parquet(path).to_pylist():
        if row["part"] == "test":
            found[row["fold"]][row["utterance_id"]] = np.array([row[f"p_{c}"] for c in classes])
    return found


def fold_posteriors(predictor: Predictor, dataset: Path, audio: Path) -> dict[str, np.ndarray]:
    """Utterance id to (F, K), each speaker's utterances together as in the dataset."""
    by_speaker = defaultdict(list)
    for row in read_parquet(dataset / "utterances.parquet").to_pylist():
        by_speaker[row["speaker_id"]].append(row)
    found = {}
    for rows in by_speaker.values():
        clips = [
            predictor.read(read_audio(audio / row["path"]).samples, text=row["text"])
            for row in rows
        ]
        values = predictor.fold_posteriors(clips)
        found |= {row["utterance_id"]: values[:, n] for n, row in enumerate(rows)}
    return found


@pytest.mark.parametrize("trial", range(len(TRIALS)))
def test_a_run_gives_the_posteriors_it_stored(audio_run, trial):
    system = open_system(audio_run.run, trial)
    predictor = Predictor(system)
    table = audio_run.run / "posteriors" / f"trial-{trial:05d}.parquet"
    stored = stored_tests(table, predictor.classes)
    found = fold_posteriors(predictor, audio_run.dataset, audio_run.audio)
    assert sum(map(len, stored.values())) == 24
    for fold, rows in stored.items():
        for name, posteriors in rows.items():
            np.testing.assert_allclose(found[name][fold], posteriors, atol=1e-6)


@pytest.mark.parametrize("combiner", ["mean", "product", "stacking", "greedy"])
def test_an_ensemble_gives_the_posteriors_it_stored(audio_run, ensembles, combiner):
    predictor = Predictor(open_system(ensembles[combiner]))
    stored = stored_tests(ensembles[combiner] / "posteriors.parquet", predictor.classes)
    found = fold_posteriors(predictor, audio_run.dataset, audio_run.audio)
    for fold, rows in stored.items():
        for name, posteriors in rows.items():
            np.testing.assert_allclose(found[name][fold], posteriors, atol=1e-6)


def test_posteriors_are_the_mean_over_folds(audio_run):
    predictor = Predictor(open_system(audio_run.run, 0))
    clip = predictor.read(read_audio(audio_run.audio / "s0/u1.wav").samples)
    by_fold = predictor.fold_posteriors([clip])
    assert by_fold.shape == (2, 1, 3)
    assert np.abs(by_fold[0] - by_fold[1]).max() > 1e-4
    np.testing.assert_allclose(predictor.posteriors([clip]), by_fold.mean(axis=0), atol=1e-12)


def test_the_best_trial_by_dev_is_taken(audio_run):
    dev = [
        read_json(audio_run.run / "trials" / f"trial-{n:05d}.json")["dev"]
        for n in range(len(TRIALS))
    ]
    best = max(range(len(dev)), key=lambda n: (dev[n]["uar"], -dev[n]["nll"]))
    assert open_system(audio_run.run).folds[0].members[0].name == f"trial-{best:05d}"


@pytest.mark.parametrize(
    ("trial", "message"), [(7, "--trial 7: does not exist in .*complete trials: 0, 1, 2")]
)
def test_a_trial_that_is_not_there_is_refused(audio_run, trial, message):
    with pytest.raises(BadInputError, match=message):
        open_system(audio_run.run, trial)


def test_a_trial_is_for_runs_only(ensembles):
    with pytest.raises(BadInputError, match="--trial 1: is for runs"):
        open_system(ensembles["mean"], 1)


def test_moments_of_clips_are_those_of_all_their_frames(audio_run):
    predictor = Predictor(open_system(audio_run.run, 1))
    pipelines = predictor.speaker_pipelines
    assert len(pipelines) == 2  # both folds normalize by speaker, on trimmed frames
    paths = sorted((audio_run.audio / "s2").iterdir())
    clips = [predictor.read(read_audio(path).samples) for path in paths]
    moments = SpeakerMoments()
    for clip in clips:
        moments.add(clip, pipelines)
    together = predictor.fold_posteriors(clips)
    alone = [predictor.fold_posteriors([clip], moments)[:, 0] for clip in clips]
    np.testing.assert_allclose(np.stack(alone, axis=1), together, atol=1e-6)


def rows_of(predictor, paths, **settings):
    tally = PredictionTally()
    found, refused = find_recordings([str(p) for p in paths])
    assert not refused
    return list(predict(predictor, found, tally, **settings)), tally


def test_each_window_is_classified_as_a_clip_and_the_whole_is_their_mean(audio_run, tmp_path):
    path = write_tone(tmp_path / "long.wav", seconds=5.2)
    predictor = Predictor(open_system(audio_run.run, 0))
    rows, tally = rows_of(predictor, [path], plan=WindowPlan(window=2.0, hop=1.5))
    assert [(r.part, r.start, r.end) for r in rows] == [
        ("window", 0.0, 2.0),
        ("window", 1.5, 3.5),
        ("window", 3.0, 5.0),
        ("window", 3.2, 5.2),
        ("whole", 0.0, 5.2),
    ]
    samples = read_audio(path).samples
    for row in rows[:4]:
        clip = predictor.read(samples[round(row.start * 16_000) : round(row.end * 16_000)])
        np.testing.assert_allclose(row.posteriors, predictor.posteriors([clip])[0], atol=1e-6)
    mean = np.mean([row.posteriors for row in rows[:4]], axis=0)
    np.testing.assert_allclose(rows[4].posteriors, mean, atol=1e-12)
    assert (tally.recordings, tally.rows, tally.audio_seconds) == (1, 5, 5.2)


def test_what_lies_in_a_batch_beside_a_recording_changes_nothing(audio_run):
    predictor = Predictor(open_system(audio_run.run, 0))
    together, _ = rows_of(predictor, [audio_run.audio])
    assert len(together) == 24
    for row in together[::5]:
        (alone,), _ = rows_of(predictor, [row.file])
        np.testing.assert_allclose(alone.posteriors, row.posteriors, atol=1e-6)


def test_a_folder_is_one_speaker_unless_told_otherwise(audio_run):
    predictor = Predictor(open_system(audio_run.run, 1))
    by_folder, _ = rows_of(predictor, [audio_run.audio])
    one, _ = rows_of(predictor, [audio_run.audio / "s1"])
    part = [row for row in by_folder if "/s1/" in row.file]
    np.testing.assert_allclose([r.posteriors for r in one], [r.posteriors for r in part], atol=1e-6)
    by_file, _ = rows_of(predictor, [audio_run.audio / "s1"], speaker="file")
    (alone,), _ = rows_of(predictor, [audio_run.audio / "s1/u0.wav"])
    np.testing.assert_allclose(by_file[0].posteriors, alone.posteriors, atol=1e-6)
    assert np.abs(by_file[0].posteriors - one[0].posteriors).max() > 1e-5


def test_what_is_read_of_a_speaker_is_read_once_unless_it_is_long(audio_run, monkeypatch):
    predictor = Predictor(open_system(audio_run.run, 1))
    read = mock.Mock(side_effect=predictor.read)
    monkeypatch.setattr(predictor, "read", read)
    once, _ = rows_of(predictor, [audio_run.audio])
    assert read.call_count == len(once) == 24
    monkeypatch.setattr(predict_module, "_KEPT_BYTES", 0)
    twice, _ = rows_of(predictor, [audio_run.audio])
    assert read.call_count == 24 + 48
    for one, other in zip(once, twice, strict=True):
        assert one.file == other.file
        assert np.array_equal(one.posteriors, other.posteriors)


def test_it_is_told_how_far_reading_is(audio_run, monkeypatch, capsys):
    monkeypatch.setattr(predict_module, "_LINE_EVERY", 0.0)
    rows_of(Predictor(open_system(audio_run.run, 1)), [audio_run.audio])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 24
    assert lines[-1] == "recording 24 of 24, 1 s of it read"


def test_a_speaker_of_a_single_vector_is_named(audio_run, tmp_path):
    short = write_tone(tmp_path / "alone" / "short.wav", seconds=0.03)  # one frame
    write_tone(tmp_path / "more" / "1.wav", seconds=1.0)
    predictor = Predictor(open_system(audio_run.run, 1))
    _, tally = rows_of(predictor, [tmp_path])
    note, few = tally.notes
    assert few.startswith("2 speaker(s) with fewer than 20 clips (fewest: 1)")
    assert note.startswith(f"{short}: is all that there is of its speaker")
    assert "is 0 whatever is said" in note
    _, together = rows_of(predictor, [tmp_path], speaker="all")
    (few,) = together.notes
    assert few.startswith("1 speaker(s) with fewer than 20 clips (fewest: 2)")


def test_a_damaged_recording_is_named_and_the_others_go_on(audio_run, tmp_path):
    good = write_tone(tmp_path / "1.wav", seconds=1.0)
    (tmp_path / "2.wav").write_bytes(b"")
    (tmp_path / "3.wav").write_bytes(good.read_bytes()[:60])
    shutil.copy(good, tmp_path / "4.wav")
    rows, tally = rows_of(Predictor(open_system(audio_run.run, 0)), [tmp_path])
    assert [Path(r.file).name for r in rows] == ["1.wav", "4.wav"]
    assert [Path(r.name).name for r in tally.refused] == ["2.wav", "3.wav"]
    assert "0 bytes" in tally.refused[0].reason


@pytest.fixture
def copied_run(audio_run, tmp_path):
    return shutil.copytree(audio_run.run, tmp_path / "run")


def test_truncated_weights_are_named(copied_run):
    file = copied_run / "models/trial-00000/fold-1/model.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match=r"fold-1/model\.safetensors.*truncated or altered"):
        Predictor(open_system(copied_run, 0))


def test_a_feature_of_another_version_is_refused(copied_run):
    file = copied_run / "models/trial-00000/fold-0/config.json"
    config = read_json(file)
    config["preprocessing"]["spec"]["hop_length"] = 200
    file.write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=r"fold-0: .*than this version's \(hop_length\)"):
        Predictor(open_system(copied_run, 0))


def test_a_model_of_other_classes_is_refused(copied_run):
    file = copied_run / "models/trial-00000/fold-0/config.json"
    config = read_json(file)
    config["classes"] = config["classes"][::-1]
    file.write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="its classes are angry, sad, neutral, where"):
        Predictor(open_system(copied_run, 0))


def test_missing_models_are_named(copied_run):
    shutil.rmtree(copied_run / "models/trial-00000/fold-1")
    with pytest.raises(ArtifactError, match="fold-1: no such model"):
        open_system(copied_run, 0)


def test_a_directory_that_is_nothing_of_ours_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="is neither a run"):
        open_system(tmp_path)
    with pytest.raises(BadInputError, match="no such directory"):
        open_system(tmp_path / "gone")


def test_an_ensemble_that_moved_with_its_run_is_found(copied_run, ensembles):
    """Its members' runs are looked for around it when they are not where they were."""
    inside = shutil.copytree(ensembles["mean"], copied_run / "ensemble")
    file = inside / "ensemble.json"
    content = read_json(file)
    for fold in content["folds"]:
        for row in fold["members"]:
            row["run"] = "/nowhere/run"
    file.write_text(json.dumps(content))
    assert open_system(inside).folds[0].members[0].directory.is_relative_to(copied_run)
    moved = shutil.copytree(inside, copied_run.parent / "elsewhere" / "ensemble")
    with pytest.raises(ArtifactError, match=r"in the run /nowhere/run, which is not there"):
        open_system(moved)


def test_a_damaged_ensemble_is_refused(ensembles, tmp_path):
    copied = shutil.copytree(ensembles["product"], tmp_path / "ens")
    file = copied / "ensemble.json"
    content = read_json(file)
    del content["folds"][0]["parameters"]["weights"]
    file.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="fold 0: the combiner is damaged: lacks weights"):
        Predictor(open_system(copied))
    del content["folds"][0]["parameters"]
    file.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=r"ensemble\.json: .*: lacks folds\.0\.parameters"):
        open_system(copied)


def test_a_device_that_is_not_there_is_refused(audio_run):
    with pytest.raises(BadInputError, match="--device mars: cannot be used"):
        Predictor(open_system(audio_run.run, 0), device="mars")


def test_a_model_that_reads_words_gives_the_posteriors_it_stored(tmp_path):
    """Without alignments training shares the time equally between the transcript's words."""
    trial = ("can", {"training.max_epochs": 1, "model.hidden_dim": 4, "model.embedding_dim": 5})
    made = make_audio_run(tmp_path, trials=[trial])
    predictor = Predictor(open_system(made.run))
    stored = stored_tests(made.run / "posteriors/trial-00000.parquet", predictor.classes)
    found = fold_posteriors(predictor, made.dataset, made.audio)
    for fold, rows in stored.items():
        for name, posteriors in rows.items():
            np.testing.assert_allclose(found[name][fold], posteriors, atol=1e-6)


def test_statistics_of_a_speaker_are_taken_over_what_words_divide(tmp_path):
    """A speaker's moments see the words that the pooling sees, as in training."""
    values = {"data.pooling": "words", "data.normalization": "speaker", "training.max_epochs": 1}
    made = make_audio_run(tmp_path, trials=[("functionals_mlp", values)])
    predictor = Predictor(open_system(made.run))
    rows = read_parquet(made.dataset / "utterances.parquet").to_pylist()
    texts = {(made.audio / row["path"]).resolve(): row["text"] for row in rows}
    words = mock.Mock(counts=Counter(), notes=list)
    words.words = lambda path, _: ((), texts[Path(path).resolve()])
    expected = fold_posteriors(predictor, made.dataset, made.audio)
    for speaker in {row["speaker_id"] for row in rows}:
        own = {row["path"]: row["utterance_id"] for row in rows if row["speaker_id"] == speaker}
        found, _ = rows_of(predictor, [made.audio / p for p in own], speaker="all", words=words)
        for row in found:
            name = next(own[path] for path in own if Path(row.file).name == Path(path).name)
            np.testing.assert_allclose(
                row.posteriors, average(expected[name][:, None])[0], atol=1e-6
            )


def test_words_are_counted_from_the_first_frame_kept():
    """Speech from 0.2 to 0.8 s keeps frames 20 to 79; a word at 0.3 to 0.5 s is 10 to 29 there."""
    words = {
        "vocabulary": ["door"],
        "segmentation": "aligned",
        "silence": "drop",
        "overlap": 0.0,
        "min_count": 1,
    }
    pipeline = InputPipeline.load(
        {
            "feature": "f",
            "spec": {},
            "dim": 2,
            "trim": True,
            "frame_shift": 0.01,
            "normalization": "none",
            "mean": [0.0, 0.0],
            "deviation": [1.0, 1.0],
            "deviation_floor": [0.1, 0.1],
            "words": words,
        }
    )
    spans = (
        Span(tier="word", label="door", start=0.3, end=0.5),
        Span(tier="word", label="xyzzy", start=0.5, end=0.9),
    )
    frames = {"f": np.zeros((100, 2), np.float32)}
    clips = [
        ExtractedClip(frames=frames, speech=(0.2, 0.8), spans=spans[:1]),
        ExtractedClip(frames=frames, speech=(0.2, 0.8), spans=spans),
    ]
    batch = pipeline.apply(new_audio(clips)).collate(np.arange(2))
    assert batch.lengths.tolist() == [60, 60]
    assert batch.num_words.tolist() == [1, 2]
    assert batch.word_ids.tolist() == [[2, 0], [2, 1]]  # 0 is padding, 1 an unknown word
    assert batch.word_spans.tolist() == [[[10, 30], [0, 0]], [[10, 30], [30, 60]]]
