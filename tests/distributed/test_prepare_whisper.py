"""Words of a local Whisper in a dataset, in the models that are trained on it, on new audio."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serplatform.alignment.base import get_aligner
from serplatform.artifacts.files import read_parquet
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import stored_clips
from serplatform.distributed import extraction
from serplatform.distributed import prepare as prepare_module
from serplatform.distributed.extraction import run_shard
from serplatform.distributed.prepare import PrepareSummary, prepare
from serplatform.errors import BadInputError
from serplatform.inputs.config import DataConfig
from serplatform.inputs.words import Words
from serplatform.prediction.transcripts import Transcripts, WordReader
from tests.support.speaking_whisper import expected, noise, speaking_whisper
from tests.support.tiny_encoders import edit_json

pytest.importorskip("transformers", reason="the extra 'pretrained' is not installed")

TEXT = "kids are talking by the door"
CLIP = noise(2.1)


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Shards are extracted here instead of in Ray tasks; what is remembered is forgotten."""
    monkeypatch.setattr(prepare_module, "connect", lambda **_: None)
    monkeypatch.setattr(extraction, "_run", lambda tasks, workers: map(run_shard, tasks))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    get_aligner.cache_clear()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speaking_whisper(tmp_path_factory.mktemp("w") / "tiny", TEXT)


def table(folder: Path) -> Path:
    folder.mkdir()
    rows = ["file,emotion,speaker,text,language"]
    for name, text in (("a", TEXT), ("b", ""), ("c", "")):
        soundfile.write(folder / f"{name}.wav", CLIP, 16_000)
        rows.append(f"{name}.wav,sad,{name},{text},pl")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder / "index.csv"


def run(source: Path, out: Path, model: Path) -> PrepareSummary:
    return prepare("csv", source, out, features=["log_mel_23"], align=f"whisper:{model}")


def test_words_are_stored_with_who_said_so_and_the_model_is_part_of_the_request(tmp_path, model):
    source, out = table(tmp_path / "in"), tmp_path / "out"
    summary = run(source, out, model)
    assert summary.meta["alignment"] == {"whisper-recognized": 2, "whisper": 1}
    spans = read_parquet(out / "alignment.parquet").to_pylist()
    found = [(s["label"], s["start"], s["end"]) for s in spans]
    assert found == expected(TEXT.split()) * 3
    texts = read_parquet(out / "utterances.parquet")["text"].to_pylist()
    assert texts == [TEXT, None, None]
    aligner = summary.meta["request"]["aligner"]
    assert aligner["model"] == "tiny"
    assert (len(aligner["sha256"]), aligner["languages"]) == (64, ["pl"])
    assert run(source, out, model).reused
    other = speaking_whisper(tmp_path / "other" / "tiny", "dogs are sitting by the door")
    with pytest.raises(BadInputError, match="holds another dataset"):
        run(source, out, other)


def test_new_audio_is_heard_by_the_model_that_heard_the_training_data(tmp_path, model, monkeypatch):
    out = tmp_path / "out"
    run(table(tmp_path / "in"), out, model)
    dataset = Dataset.open(out)
    rows = np.arange(3)
    source = stored_clips(dataset, [rows])
    words = Words.of_training(DataConfig(words=True), source, rows)
    stored = Words.of_stored(words.stored()).aligner
    assert stored == dataset.meta["request"]["aligner"]

    texts = tmp_path / "t.csv"
    texts.write_text(f"file,text\nknown.wav,{TEXT}\n")
    reader = WordReader([words.vocabulary.words], Transcripts.read(texts), aligner=stored)
    for name in ("known.wav", "new.wav"):
        spans, _ = reader.words(Path(name), CLIP)
        assert [(s.label, s.start, s.end) for s in spans] == expected(TEXT.split())
    assert reader.notes() == ["1 clip(s): words were recognized by tiny"]

    moved = tmp_path / "elsewhere" / "called-otherwise"
    shutil.copytree(model, moved)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    with pytest.raises(BadInputError, match=r"the encoder tiny with weights .* is not on this"):
        WordReader([["door"]], None, aligner=stored)
    assert WordReader([["door"]], None, aligner=stored, folders=[moved]).words(
        Path("new.wav"), CLIP
    )[0]
    monkeypatch.setenv("SERPLATFORM_ENCODERS", str(moved.parent))
    assert WordReader([["door"]], None, aligner=stored).words(Path("new.wav"), CLIP)[0]
    with pytest.raises(BadInputError, match=r"another version of serplatform.*\(tokens differ\)"):
        WordReader([["door"]], None, aligner={**stored, "tokens": 7})


def test_a_model_without_heads_is_refused_before_anything_is_computed(tmp_path, model):
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    edit_json(broken / "generation_config.json", alignment_heads=None)
    with pytest.raises(BadInputError, match="lacks alignment_heads"):
        run(table(tmp_path / "in"), tmp_path / "out", broken)
    assert not (tmp_path / "out").exists()
