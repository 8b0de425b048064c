"""Real clips, written in every format by its own library, are read as the direct reader has them:
the same labels and speakers, and features that are equal bit for bit."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from serplatform.corpora.audio import read_audio
from serplatform.corpora.base import CORPORA, Utterance
from serplatform.corpora.guess import guess
from serplatform.corpora.validate import validate
from serplatform.features.base import FEATURES
from serplatform.features.extract import extract_shard

pytestmark = pytest.mark.skipif(
    "SERPLATFORM_RAVDESS" not in os.environ, reason="SERPLATFORM_RAVDESS not set"
)
CLASSES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
Clip = tuple[Path, str, str]  # file, emotion, speaker
Read = dict[str, tuple[str, str, npt.NDArray[np.float32]]]


def read(corpus: str, source: Path) -> Read:
    """Label, speaker and frames of each utterance, by the name of its clip."""
    reader = CORPORA.get(corpus)()
    manifest = validate(reader.scan(source))
    assert manifest.rejections == ()
    shard = extract_shard(
        manifest.utterances,
        {"log_mel_23": FEATURES.make("log_mel_23")},
        corpus=reader,
        root=reader.root(source),
        extra_columns=sorted({key for u in manifest.utterances for key in u.extra}),
    )
    assert shard.rejections == []
    named = zip(manifest.utterances, shard.frames["log_mel_23"], strict=True)
    return {clip_of(u): (u.emotion, u.speaker_id, frames) for u, frames in named}


def clip_of(utterance: Utterance) -> str:
    return clip_stem(utterance.path)


def clip_stem(path: Path) -> str:
    name = Path(path.name).stem
    return name.partition("_")[2] if name[:1].isdigit() and "_" in name else name


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    found = []
    for speaker in ("01", "02", "03"):
        for emotion in ("01", "03", "05"):
            stem = f"03-01-{emotion}-01-01-01-{speaker}"
            original = Path(os.environ["SERPLATFORM_RAVDESS"]) / f"Actor_{speaker}"
            file = next(original.glob(f"{stem}.*"))
            shutil.copy(file, folder / file.name)
            label = CLASSES[int(emotion) - 1]
            found.append((folder / file.name, label, f"actor_{speaker}"))
    return found


@pytest.fixture(scope="module")
def direct(clips: list[Clip]) -> Read:
    return read("ravdess", clips[0][0].parent)


def copied(clips: list[Clip], folder: Path) -> list[Clip]:
    """The clips below a folder, by relative names."""
    (folder / "wav").mkdir(parents=True)
    return [
        (Path(shutil.copy(file, folder / "wav" / file.name)).relative_to(folder), label, speaker)
        for file, label, speaker in clips
    ]


def as_csv(clips: list[Clip], folder: Path) -> Path:
    rows = [f"{file},{label},{speaker}" for file, label, speaker in copied(clips, folder)]
    (folder / "labels.csv").write_text("\n".join(["file,emotion,speaker", *rows]))
    return folder / "labels.csv"


def as_folders(clips: list[Clip], folder: Path) -> Path:
    for file, label, speaker in clips:
        target = folder / speaker / label / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return folder


def as_audiofolder(clips: list[Clip], folder: Path) -> Path:
    rows = [
        json.dumps({"file_name": str(file), "label": label, "speaker_id": speaker})
        for file, label, speaker in copied(clips, folder)
    ]
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return folder


def as_nkululeko(clips: list[Clip], folder: Path) -> Path:
    rows = [f"{file},{speaker},,{label}" for file, label, speaker in copied(clips, folder)]
    for part, chosen in {"train": rows[:3], "dev": rows[3:6], "test": rows[6:]}.items():
        text = "\n".join(["file,speaker,gender,emotion", *chosen])
        (folder / f"ravdess_{part}.csv").write_text(text)
    return folder


def as_kaldi(clips: list[Clip], folder: Path) -> Path:
    found = copied(clips, folder)
    columns = {"wav.scp": 0, "utt2emo": 1, "utt2spk": 2}
    for name, place in columns.items():
        lines = [f"{clip[0].stem} {clip[place]}" for clip in found]
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def as_emobox(clips: list[Clip], folder: Path) -> Path:
    found = copied(clips, folder)
    for fold in ("01", "02", "03"):
        rows = [
            json.dumps(
                {
                    "key": file.stem,
                    "dataset": "ravdess",
                    "wav": str(file),
                    "sample_rate": 16_000,
                    "emo": label.capitalize(),
                    "speaker": speaker,
                }
            )
            for file, label, speaker in found
            if speaker.endswith(fold)
        ]
        target = folder / f"fold_{int(fold)}" / f"ravdess_test_fold_{int(fold)}.jsonl"
        target.parent.mkdir()
        target.write_text("\n".join(rows))
    return folder


def as_cuts(clips: list[Clip], folder: Path) -> Path:
    lhotse = pytest.importorskip("lhotse")
    recordings, supervisions = [], []
    for file, label, speaker in copied(clips, folder):
        recording = lhotse.Recording.from_file(folder / file)
        recording.sources[0].source = str(file)
        recordings.append(recording)
        supervisions.append(
            lhotse.SupervisionSegment(
                id=file.stem,
                recording_id=recording.id,
                start=0,
                duration=recording.duration,
                speaker=speaker,
                custom={"emotion": label},
            )
        )
    cuts = lhotse.CutSet.from_manifests(
        lhotse.RecordingSet.from_recordings(recordings),
        lhotse.SupervisionSet.from_segments(supervisions),
    )
    cuts.to_file(folder / "cuts.jsonl.gz")
    return folder / "cuts.jsonl.gz"


def as_saved_dataset(clips: list[Clip], folder: Path) -> Path:
    _hugging_face(clips).save_to_disk(folder)
    return folder


def as_parquet(clips: list[Clip], folder: Path) -> Path:
    from datasets.table import embed_table_storage

    whole = _hugging_face(clips).with_format("arrow").map(embed_table_storage, batched=True)
    folder.mkdir()
    for part, rows in {"train": range(6), "test": range(6, 9)}.items():
        name = folder / f"{part}-00000-of-00001.parquet"
        whole.select(rows).with_format(None).to_parquet(name, batch_size=2)
    return folder


def _hugging_face(clips: list[Clip]):  # type: ignore[no-untyped-def]
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features(
        audio=datasets.Value("string"),
        label=datasets.ClassLabel(names=list(CLASSES)),
        speaker_id=datasets.Value("string"),
    )
    rows = [{"audio": str(f), "label": label, "speaker_id": s} for f, label, s in clips]
    made = datasets.Dataset.from_list(rows, features=features)
    return made.cast_column("audio", datasets.Audio(decode=False))


def as_audformat(clips: list[Clip], folder: Path) -> Path:
    """Several tables and schemes: parts with emotions, and speakers in a table of all files."""
    audformat = pytest.importorskip("audformat")
    found = copied(clips, folder)
    db = audformat.Database("ravdess-part", license="CC BY-NC-SA 4.0", languages=["eng"])
    db.schemes["emotion"] = audformat.Scheme(labels=list(CLASSES))
    db.schemes["speaker"] = audformat.Scheme(labels={s: {"gender": "male"} for _, _, s in found})
    db.schemes["loudness"] = audformat.Scheme("float")
    for part, rows in {"train": found[:6], "test": found[6:]}.items():
        db.splits[part] = audformat.Split(type=part)
        index = audformat.filewise_index([str(file) for file, _, _ in rows])
        table = db[f"emotion.{part}"] = audformat.Table(index, split_id=part)
        table["emotion"] = audformat.Column(scheme_id="emotion")
        table["emotion"].set([label for _, label, _ in rows])
    table = db["files"] = audformat.Table(
        audformat.filewise_index([str(file) for file, _, _ in found])
    )
    for name, values in {
        "speaker": [speaker for _, _, speaker in found],
        "loudness": [0.5] * len(found),
    }.items():
        table[name] = audformat.Column(scheme_id=name)
        table[name].set(values)
    db.save(str(folder))
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("corpus", "write"),
    [
        ("csv", as_csv),
        ("folders", as_folders),
        ("audiofolder", as_audiofolder),
        ("nkululeko", as_nkululeko),
        ("kaldi", as_kaldi),
        ("emobox", as_emobox),
        ("lhotse", as_cuts),
        ("huggingface", as_saved_dataset),
        ("huggingface", as_parquet),
        ("audformat", as_audformat),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_clips_are_the_same_in_every_format(
    corpus: str,
    write: Callable[[list[Clip], Path], Path],
    clips: list[Clip],
    direct: Read,
    tmp_path: Path,
) -> None:
    source = write(clips, tmp_path / "source")
    found = read(corpus, source)
    assert found.keys() == direct.keys()
    for name, (emotion, speaker, frames) in direct.items():
        assert found[name][:2] == (emotion, speaker), name
        assert found[name][2].tobytes() == frames.tobytes(), name


@pytest.mark.filterwarnings("ignore")
def test_splits_and_folds_of_the_formats(clips: list[Clip], tmp_path: Path) -> None:
    for corpus, write in (("nkululeko", as_nkululeko), ("audformat", as_audformat)):
        source = write(clips, tmp_path / corpus)
        utterances = CORPORA.get(corpus)().scan(source).utterances
        assert {u.split for u in utterances if u.speaker_id == "actor_03"} == {"test"}
    source = as_emobox(clips, tmp_path / "emobox")
    utterances = CORPORA.get("emobox")().scan(source).utterances
    assert {(u.speaker_id, u.fold) for u in utterances} == {
        (f"actor_0{n}", str(n)) for n in (1, 2, 3)
    }


#: file-name corpora: a name for a clip of a speaker (0 to 2) and an emotion
NAMES: dict[str, Callable[[int, str], str]] = {
    "emodb": lambda s, e: f"0{3 + 5 * min(s, 1) + max(s - 1, 0)}a01{_LETTERS[e]}a",
    "cremad": lambda s, e: f"100{s + 1}_DFA_{e[:3].upper()}_XX",
    "savee": lambda s, e: f"{('DC', 'JE', 'JK')[s]}/{e[0]}01",
    "shemo": lambda s, e: f"M0{s + 1}{e[0].upper()}01",
    "jl-corpus": lambda s, e: f"{('male1', 'male2', 'female1')[s]}_{e}_1a_1",
    "esd": lambda s, e: f"001{s + 1}/{e.capitalize()}/001{s + 1}_{_NUMBERS[e]}",
    "tess": lambda s, e: f"{('OAF', 'YAF')[s]}_back_{e}",
    "ravdess": lambda s, e: f"01-01-{CLASSES.index(e) + 1:02d}-01-01-01-0{s + 1}",
}
_LETTERS = {"neutral": "N", "happy": "F", "angry": "W"}
_NUMBERS = {"neutral": "000001", "angry": "000351", "happy": "000701"}


@pytest.mark.parametrize("corpus", NAMES)
def test_clips_renamed_to_a_corpus_s_scheme(
    corpus: str, clips: list[Clip], direct: Read, tmp_path: Path
) -> None:
    renamed = {}
    clips = [clip for clip in clips if corpus != "tess" or clip[2] != "actor_03"]
    for file, label, speaker in clips:
        name = NAMES[corpus](int(speaker[-1]) - 1, label)
        target = tmp_path / f"{name}{file.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
        renamed[target.stem if "/" not in name else name] = file.stem
    assert guess(tmp_path).corpus == corpus
    reader = CORPORA.get(corpus)()
    utterances = reader.scan(tmp_path).utterances
    assert len(utterances) == len(clips)
    extractor = {"log_mel_23": FEATURES.make("log_mel_23")}
    extra = sorted({key for u in utterances for key in u.extra})
    shard = extract_shard(utterances, extractor, corpus=reader, root=tmp_path, extra_columns=extra)
    speakers: dict[str, set[str]] = {}
    for utterance, frames in zip(utterances, shard.frames["log_mel_23"], strict=True):
        place = utterance.path.relative_to(tmp_path).with_suffix("").as_posix()
        emotion, speaker, expected = direct[renamed[place]]
        assert utterance.emotion == emotion
        assert frames.tobytes() == expected.tobytes()
        speakers.setdefault(utterance.speaker_id, set()).add(speaker)
    assert len(speakers) == (2 if corpus == "tess" else 3)
    assert all(len(people) == 1 for people in speakers.values())


def test_compressed_lines_and_pairs_of_manifests(clips: list[Clip], tmp_path: Path) -> None:
    cuts = as_cuts(clips, tmp_path / "cuts")
    recordings, supervisions = [], []
    for line in gzip.decompress(cuts.read_bytes()).splitlines():
        cut = json.loads(line)
        recordings.append(json.dumps(cut["recording"]))
        supervisions += [json.dumps(supervision) for supervision in cut["supervisions"]]
    cuts.unlink()
    (cuts.parent / "recordings.jsonl").write_text("\n".join(recordings))
    (cuts.parent / "supervisions.jsonl").write_text("\n".join(supervisions))
    utterances = CORPORA.get("lhotse")().scan(cuts.parent).utterances
    assert {u.utterance_id for u in utterances} == {file.stem for file, _, _ in clips}


@pytest.mark.filterwarnings("ignore")
def test_a_recording_in_a_file_is_read_at_spans_and_for_explanations(
    clips: list[Clip], tmp_path: Path
) -> None:
    source = as_parquet(clips, tmp_path / "source")
    member = next(u.path for u in CORPORA.get("huggingface")().scan(source).utterances)
    plain = next(file for file, _, _ in clips if file.stem == clip_stem(member))
    for start, end in ((None, None), (1.0, 2.0)):
        expected = read_audio(plain, start=start, end=end)
        found = read_audio(member, start=start, end=end)
        assert found.samples.tobytes() == expected.samples.tobytes()
        assert (found.start, found.end) == (expected.start, expected.end)
