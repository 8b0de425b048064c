"""A trained system on other data: what is measured, and what must not be."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import serplatform as sp
from serplatform.api.classify import Classification
from serplatform.cli.main import run as command
from serplatform.datasets.dataset import Dataset
from serplatform.errors import BadInputError
from serplatform.evaluation.evaluate import EvaluationRequest, EvaluationResult, evaluate
from serplatform.evaluation.label_names import match_labels
from serplatform.evaluation.measures import measure
from serplatform.metrics import classification_metrics
from tests.support.audio_run import AudioRun, make_audio_run, prepare_tones

BLSTM, BY_SPEAKER = 0, 1  # trials


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> AudioRun:
    return make_audio_run(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers that the run has not met."""
    return prepare_tones(tmp_path_factory.mktemp("others"), first_speaker=4)


def on(trained: AudioRun, data: Path, **options: object) -> EvaluationResult:
    values = {"trial": BLSTM, **options}
    return evaluate(EvaluationRequest(system=str(trained.run), data=str(data), **values))


@pytest.mark.parametrize("trial", [BLSTM, BY_SPEAKER])
def test_posteriors_are_those_of_predict(trained: AudioRun, others: Path, trial: int) -> None:
    found = on(trained, others, trial=trial)
    assert found.features == "stored"
    audio = others.parent / "audio"
    rows = Classification(trained.run, [str(audio)], trial=trial).rows
    said = {row.file: row.posteriors for row in rows}
    for name, values in zip(
        found.dataset.utterances["path"].to_pylist(), found.measured[0].posteriors, strict=True
    ):
        assert values == pytest.approx(said[str(audio / name)], abs=1e-6)


def test_features_that_are_missing_are_computed_from_the_audio(
    trained: AudioRun, others: Path, tmp_path: Path
) -> None:
    lacking = prepare_tones(tmp_path, first_speaker=4, features=["mfcc_40"])
    one, other = on(trained, others), on(trained, lacking)
    assert (one.features, other.features) == ("stored", "computed")
    assert np.allclose(one.measured[0].posteriors, other.measured[0].posteriors, atol=1e-6)


def test_audio_that_changed_since_is_left_out_and_named(trained: AudioRun, tmp_path: Path) -> None:
    data = prepare_tones(tmp_path, first_speaker=4, features=["mfcc_40"])
    shutil.copy(tmp_path / "audio/s4/u0.wav", tmp_path / "audio/s5/u1.wav")
    found = on(trained, data)
    assert found.left_out == {"unusable": 1}
    assert "is not the recording" in next(iter(found.unusable.values()))


def test_what_training_has_seen_is_never_in_a_number(trained: AudioRun) -> None:
    with pytest.raises(BadInputError, match=r"nothing is left.*24 row\(s\) are recordings"):
        on(trained, trained.dataset)


def test_copies_under_other_names_and_their_speakers_are_left_out(
    trained: AudioRun, tmp_path: Path
) -> None:
    audio = tmp_path / "audio"
    rows = []
    for name, speaker in (("s4", "s4"), ("s5", "s5")):
        made = prepare_tones(tmp_path / name, first_speaker=int(name[1]), num_speakers=1)
        for file in sorted((made.parent / "audio" / name).glob("*.wav")):
            shutil.copytree(file.parent, audio / name, dirs_exist_ok=True)
            emotion = ("angry", "neutral", "sad")[int(file.stem[1]) % 3]
            rows.append([f"{name}/{file.name}", emotion, speaker])
    shutil.copy(trained.audio / "s0/u2.wav", audio / "s5/new.wav")
    rows.append(["s5/new.wav", "sad", "s5"])
    with (tmp_path / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["file", "emotion", "speaker"], *rows])
    for row in rows:
        assert (audio / row[0]).is_file()
    shutil.copy(tmp_path / "labels.csv", audio / "labels.csv")
    data = _prepared(audio / "labels.csv", tmp_path / "data")
    found = on(trained, data)
    assert found.left_out == {"recording": 1, "speaker": 6}
    assert set(found.measured[0].speakers) == {"s4"}


def _prepared(table: Path, out: Path) -> Path:
    from serplatform.distributed.prepare import prepare
    from tests.support.audio_run import in_process

    with in_process():
        prepare("csv", table, out, features=["log_mel_23"])
    return out


def test_speakers_of_one_name_are_one_in_one_corpus_unless_said(
    trained: AudioRun, tmp_path: Path
) -> None:
    data = prepare_tones(tmp_path, first_speaker=3, num_speakers=2, per_speaker=9)
    assert on(trained, data).left_out == {"recording": 6, "speaker": 3}
    # whoever shares recordings with training is known, whatever is said of names
    assert on(trained, data, speakers_differ=True).left_out == {"recording": 6, "speaker": 3}


def test_test_rows_of_a_sealed_run_stay_sealed(tmp_path: Path) -> None:
    sealed = make_audio_run(tmp_path, trials=[("lda", {})], sealed=True)
    with pytest.raises(BadInputError, match="nothing is left"):
        evaluate(EvaluationRequest(system=str(sealed.run), data=str(sealed.dataset)))


def test_without_its_training_data_a_system_is_refused_or_marked(
    trained: AudioRun, others: Path, tmp_path: Path
) -> None:
    sp.load(trained.run).export(tmp_path / "bundle", trial=BLSTM)
    request = {"system": str(tmp_path / "bundle"), "data": str(others)}
    with pytest.raises(BadInputError, match="--trained-on DATA"):
        evaluate(EvaluationRequest(**request))
    with pytest.raises(BadInputError, match="its fingerprint is another"):
        evaluate(EvaluationRequest(**request, trained_on=str(others)))
    checked = evaluate(EvaluationRequest(**request, trained_on=str(trained.dataset)))
    unchecked = evaluate(EvaluationRequest(**request, unchecked=True))
    assert checked.checked
    assert not unchecked.checked
    assert unchecked.notes[0].startswith("NOT CHECKED")
    assert np.array_equal(checked.measured[0].posteriors, unchecked.measured[0].posteriors)


def test_labels_are_matched_by_name_merge_and_map() -> None:
    counts = {"joy": 5, "excited": 4, "calm": 3, "hot_anger": 2, "odd": 1, "never": 0}
    found = match_labels(
        counts,
        ["neutral", "happy", "angry"],
        merged={"happy": "happy", "excited": "happy"},
        given={"calm": "neutral", "odd": ""},
    )
    assert {row["theirs"]: row["ours"] for row in found} == {
        "joy": "happy",
        "excited": "happy",
        "calm": "neutral",
        "hot_anger": "angry",
        "odd": None,
    }
    with pytest.raises(BadInputError, match=r"(?s)'jo'.*Did you mean 'joy'.*'hapy'"):
        match_labels(counts, ["happy", "sad"], given={"jo": "happy", "joy": "hapy"})
    with pytest.raises(BadInputError, match="fewer than two are the same"):
        match_labels({"joy": 3, "odd": 3}, ["happy", "sad"])


def test_both_readings_of_classes_that_the_data_lacks() -> None:
    posteriors = np.array([[0.2, 0.1, 0.7], [0.1, 0.6, 0.3], [0.0, 0.0, 1.0]])
    truth, speakers = np.array([0, 1, 0]), ["a", "b", "b"]
    every = measure("all", ["x", "y", "z"], truth, posteriors, speakers)
    shared = measure("shared", ["x", "y", "z"], truth, posteriors, speakers)
    assert every.metrics["uar"].value == 0.5
    assert every.metrics["nll"].value == classification_metrics(truth, posteriors)["nll"]
    assert shared.classes == ("x", "y")
    told = np.array([[2 / 3, 1 / 3], [1 / 7, 6 / 7], [0.5, 0.5]])
    assert shared.posteriors == pytest.approx(told)
    assert shared.metrics["nll"].value == pytest.approx(-np.log([2 / 3, 6 / 7, 0.5]).mean())
    assert every.chance == shared.chance == 0.5


def test_the_command_writes_numbers_and_posteriors(
    trained: AudioRun, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.json"
    words = ["evaluate", str(trained.run), "--data", str(others), "--trial", "0", "--map", "sad="]
    assert command([*words, "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    written = json.loads(out.read_text())
    assert {**printed, "checksum": written["checksum"]} == written
    assert written["left_out"] == {"label": 4}
    assert written["classes_the_data_lacks"] == ["sad"]
    assert written["utterances"] == 8
    table = pq.read_table(tmp_path / "found.parquet")
    assert table.num_rows == 8
    right = np.array(table["truth"].to_pylist()) == np.array(table["prediction"].to_pylist())
    assert written["readings"]["all"]["metrics"]["accuracy"]["value"] == right.mean()
    assert command([*words, "--classes", "some"]) == 2
    page, shown = tmp_path / "page.html", ["report", str(trained.run), "--fairness"]
    assert command([*shown, "--evaluation", str(out), "--out", str(page)]) == 0
    assert 'id="evaluation_confusion"' in page.read_text(encoding="utf-8")
    bundle = tmp_path / "bundle"
    assert command(["export", str(trained.run), "--trial", "0", "--out", str(bundle)]) == 0
    again = ["evaluate", str(bundle), "--data", str(others), "--trained-on", str(trained.dataset)]
    assert command([*again, "--out", str(tmp_path / "again.json")]) == 0
    assert command([*shown, "--evaluation", str(tmp_path / "again.json"), "--out", str(page)]) == 0


def test_from_python(trained: AudioRun, others: Path) -> None:
    found = sp.evaluate(sp.load(trained.run), Dataset.open(others), classes="shared", trial=BLSTM)
    assert found.info["reading"] == "shared"
    assert set(found.metrics()["reading"]) == {"all", "shared"}
    assert len(found.posteriors()) == 12
    assert list(found.recalls()["class"]) == ["neutral", "sad", "angry"]
    assert "UAR" in repr(found)


def test_conditions_are_seeded_paired_and_leave_the_clean_number(
    trained: AudioRun, others: Path
) -> None:
    clean = on(trained, others)
    one, again = (on(trained, others, conditions=("noise", "gain")) for _ in range(2))
    assert np.array_equal(clean.measured[0].posteriors, one.measured[0].posteriors)
    assert one.robustness == again.robustness
    assert len(one.robustness) == 11
    for found in one.robustness:
        change = found["uar"]["value"] - clean.measured[0].metrics["uar"].value
        assert found["difference_to_clean"]["value"] == pytest.approx(change)
        assert found["utterances"] == 12
    with pytest.raises(BadInputError, match="Did you mean 'noise'"):
        on(trained, others, conditions=("nois",))


def test_babble_holds_no_voice_of_the_same_speaker(
    others: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serplatform.evaluation import conditions as module

    data = Dataset.open(others)
    read: list[int] = []
    real = module.read_recording
    monkeypatch.setattr(
        module, "read_recording", lambda data, row: read.append(row) or real(data, row)
    )
    babble = next(
        one for one in module.conditions(data, data.speaker_ids) if one.name.startswith("babble")
    )
    samples = real(data, 0)
    noisy = module.changed(babble, data, 0)(samples, 0)
    assert read
    assert {data.speaker_ids[row] for row in read} == {"s5"} != {data.speaker_ids[0]}
    noise = noisy - samples
    assert 10 * np.log10(np.mean(samples**2) / np.mean(noise**2)) == pytest.approx(20, abs=0.01)


def test_codecs_band_and_rooms_keep_length_and_do_what_they_say(others: Path) -> None:
    from serplatform.evaluation.conditions import changed, conditions, telephone

    data = Dataset.open(others)
    samples = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1
    for one in conditions(data, data.speaker_ids, ["codec", "band", "reverb"]):
        heard = changed(one, data, 0)(samples, 0)
        assert heard.shape == samples.shape
        assert heard.dtype == np.float32
        assert np.isfinite(heard).all()
        assert not np.array_equal(heard, samples)
    spectrum = np.abs(np.fft.rfft(telephone(samples))) ** 2
    inside = spectrum[300:3400].mean()
    assert spectrum[5000:].mean() < 1e-3 * inside
    assert spectrum[:100].mean() < 1e-2 * inside
