"""What another person's files may hold: one clear error, or a row left out with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serplatform.corpora.audio import AudioError, read_audio
from serplatform.corpora.base import CORPORA, Manifest
from serplatform.corpora.embedded import read_member
from serplatform.corpora.validate import validate
from serplatform.errors import BadInputError

CUT = {
    "id": "c",
    "type": "MonoCut",
    "start": 0,
    "duration": 1.0,
    "channel": 0,
    "recording": {
        "id": "r",
        "sampling_rate": 16_000,
        "num_samples": 16_000,
        "duration": 1.0,
        "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
    },
    "supervisions": [
        {"id": "u", "recording_id": "r", "start": 0, "duration": 1.0, "custom": {"emotion": "sad"}}
    ],
}


def scan(corpus: str, source: Path) -> Manifest:
    return validate(CORPORA.get(corpus)().scan(source))


def one_row(corpus: str, folder: Path, file: str) -> Path:
    """A source of one utterance whose file has a name."""
    folder.mkdir(parents=True)
    if corpus == "kaldi":
        for name, value in {"wav.scp": file, "utt2spk": "s", "utt2emo": "sad"}.items():
            (folder / name).write_text(f"u {value}\n", encoding="utf-8")
        return folder
    if corpus == "emobox":
        line = json.dumps({"key": "u", "wav": file, "emo": "Sad"})
        (folder / "x.jsonl").write_text(line, encoding="utf-8")
    elif corpus == "audiofolder":
        line = json.dumps({"file_name": file, "label": "sad"})
        (folder / "metadata.jsonl").write_text(line, encoding="utf-8")
    elif corpus == "lhotse":
        cut = json.loads(json.dumps(CUT))
        cut["recording"]["sources"][0]["source"] = file
        (folder / "cuts.jsonl").write_text(json.dumps(cut), encoding="utf-8")
    elif corpus == "nkululeko":
        for part in ("train", "test"):
            text = f'file,emotion\n"{file}",sad\n'
            (folder / f"{part}.csv").write_text(text, encoding="utf-8")
    else:
        pq.write_table(pa.table({"file": [file], "label": ["sad"]}), folder / "x.parquet")
    return folder


@pytest.mark.parametrize(
    "corpus", ["kaldi", "emobox", "audiofolder", "lhotse", "nkululeko", "huggingface"]
)
@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("../secret.wav", "leaves the table's directory"),
        ("/etc/passwd", "leaves the table's directory"),
        ("zip://a.wav::/data/x.zip", "lies in an archive"),
        ("https://example.org/a.wav", "is an address on the network"),
        ("C:\\x\\a.wav", "names a drive of another machine"),
    ],
)
def test_paths_stay_in_the_source(corpus: str, file: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "secret.wav").write_bytes(b"x")
    manifest = scan(corpus, one_row(corpus, tmp_path / "in", file))
    assert not manifest.utterances
    assert all(reason in r.reason for r in manifest.rejections), manifest.rejections
    assert len(manifest.rejections) == (2 if corpus == "nkululeko" else 1)


@pytest.mark.parametrize("file", ["sox x.wav -t wav - |", "| cat x.wav", "touch hacked |"])
def test_commands_of_kaldi_are_never_run(file: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="commands are not executed"):
        scan("kaldi", one_row("kaldi", tmp_path / "in", file))
    assert not (tmp_path / "hacked").exists()
    assert not Path("hacked").exists()


@pytest.mark.parametrize("kind", ["command", "url", "memory", None])
def test_only_files_of_lhotse_are_read(kind: str | None, tmp_path: Path) -> None:
    cut = json.loads(json.dumps(CUT))
    cut["recording"]["sources"][0] |= {"type": kind, "source": "touch hacked"}
    (tmp_path / "cuts.jsonl").write_text(f"{json.dumps(CUT)}\n{json.dumps({**cut, 'id': 'd'})}")
    reasons = [r.reason for r in scan("lhotse", tmp_path).rejections]
    assert len(reasons) == 1
    assert f"of the type '{kind}'" in reasons[0]


def change_cut(**values: object) -> dict[str, object]:
    return {**json.loads(json.dumps(CUT)), **values}


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        (change_cut(type="MixedCut"), "is a MixedCut"),
        (change_cut(start=10**400), "its start is too large"),
        (change_cut(start="0"), "its start is no number"),
        (change_cut(recording=None), "the recording 'r' is not there"),
        (change_cut(supervisions=[]), "has no supervision"),
        (change_cut(recording={**CUT["recording"], "transforms": [{}]}), "on the fly"),  # type: ignore[dict-item]
        (change_cut(recording={**CUT["recording"], "sources": []}), "one source"),  # type: ignore[dict-item]
    ],
)
def test_odd_cuts_are_left_out(cut: dict[str, object], reason: str, tmp_path: Path) -> None:
    (tmp_path / "cuts.jsonl").write_text(f"{json.dumps(CUT)}\n{json.dumps(cut)}")
    (left_out,) = scan("lhotse", tmp_path).rejections
    assert reason in left_out.reason


@pytest.mark.parametrize("corpus", ["emobox", "audiofolder", "lhotse"])
@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"nothing", b'{"key": 1}', b"\xff\xfe\x00", b"[" * 100_000, b"{}\n{}"],
)
def test_damaged_lines_are_one_error(corpus: str, content: bytes, tmp_path: Path) -> None:
    name = {"emobox": "x.jsonl", "audiofolder": "metadata.jsonl", "lhotse": "cuts.jsonl"}[corpus]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInputError, match=str(tmp_path)):
        scan(corpus, tmp_path)


def test_duplicates_are_left_out_or_refused(tmp_path: Path) -> None:
    (tmp_path / "cuts.jsonl").write_text(f"{json.dumps(CUT)}\n{json.dumps(CUT)}")
    (left_out,) = scan("lhotse", tmp_path).rejections
    assert "duplicate utterance id" in left_out.reason
    folder = one_row("kaldi", tmp_path / "k", "a.wav")
    (folder / "utt2emo").write_text("u sad\nu happy\n")
    with pytest.raises(BadInputError, match="something else of 'u'"):
        scan("kaldi", folder)
    folder = one_row("emobox", tmp_path / "e", "a.wav")
    (folder / "y.jsonl").write_text(json.dumps({"key": "u", "wav": "a.wav", "emo": "Happy"}))
    with pytest.raises(BadInputError, match="is 'Happy' here and 'Sad'"):
        scan("emobox", folder)


def parquet(folder: Path, **columns: list[object]) -> Path:
    pq.write_table(pa.table(columns), folder / "x.parquet")
    return folder


def test_labels_that_are_numbers_need_names(tmp_path: Path) -> None:
    source = parquet(tmp_path, file=["a.wav", "b.wav"], label=[0, 10**18])
    with pytest.raises(BadInputError, match=r"labels are numbers \(0, 1000000000000000000\)"):
        scan("huggingface", source)
    named = validate(CORPORA.get("huggingface")().scan(source), {"0": "sad", str(10**18): "happy"})
    assert [u.emotion for u in named.utterances] == ["sad", "happy"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 100, b"nothing" * 100])
def test_a_damaged_parquet_file_is_one_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(BadInputError, match=r"x\.parquet: is no Parquet"):
        scan("huggingface", tmp_path)


@pytest.mark.parametrize("name", ["../x.arrow", "/etc/passwd", "a/b.arrow", None, 7])
def test_a_saved_dataset_names_its_own_files_only(name: object, tmp_path: Path) -> None:
    (tmp_path / "x.arrow").write_bytes(b"")
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(BadInputError, match="names the file"):
        scan("huggingface", tmp_path)


def test_rows_without_recordings(tmp_path: Path) -> None:
    audio = [{"bytes": b"no audio", "path": "../../evil.wav"}, {"bytes": None, "path": "a.wav"}]
    source = parquet(tmp_path, audio=audio, label=["sad", "happy"])
    first, second = scan("huggingface", source).utterances
    assert first.path == tmp_path / "x.parquet" / "0_evil.wav"
    assert second.path.name == "1_a.wav"
    with pytest.raises(AudioError):
        read_audio(first.path)
    with pytest.raises(AudioError, match="row 1 of its file holds no recording"):
        read_audio(second.path)
    for name in ("9_a.wav", "x.wav", "-1_a.wav", f"{10**30}_a.wav"):
        assert read_member(tmp_path / "x.parquet" / name) is None


@pytest.mark.parametrize(
    ("segments", "reason"),
    [
        ("u r 0 1 2 3", "needs a recording, a start and an end"),
        ("u r", "needs a recording, a start and an end"),
        ("u other 0 1", "has no recording 'other'"),
    ],
)
def test_odd_segments_of_kaldi(segments: str, reason: str, tmp_path: Path) -> None:
    folder = one_row("kaldi", tmp_path / "k", "a.wav")
    (folder / "segments").write_text(f"{segments}\nv u 0.5 1.5\n")
    (folder / "utt2emo").write_text("u sad\nv sad\n")
    (folder / "utt2spk").write_text("u s\nv s\n")
    manifest = scan("kaldi", folder)
    assert [(u.utterance_id, u.start, u.end) for u in manifest.utterances] == [("v", 0.5, 1.5)]
    assert [reason in r.reason for r in manifest.rejections] == [True]


def test_tables_of_meld_need_their_clips(tmp_path: Path) -> None:
    table = tmp_path / "train_sent_emo.csv"
    head = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
    table.write_text(f"{head}1,Hi,Ross,joy,positive,0,0\n2,Hm,Ross,bliss,positive,0,1\n")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "dia0_utt0.mp4").write_bytes(b"x")
    with pytest.raises(BadInputError, match="holds 1 videos"):
        scan("meld", tmp_path)
    for name in ("dia0_utt0", "dia0_utt1", "dia7_utt7", "other"):
        (tmp_path / "train" / f"{name}.wav").write_bytes(b"x")
    manifest = scan("meld", tmp_path)
    assert [u.utterance_id for u in manifest.utterances] == ["train_dia0_utt0"]
    assert sorted(r.reason.split(":")[0].split(" (")[0] for r in manifest.rejections) == [
        "its name or folder is not one of MELD's",
        "the table of train does not name it",
        "unknown label",
    ]


@pytest.mark.parametrize(
    ("corpus", "good", "bad"),
    [
        ("tess", "OAF_back_angry.wav", ("XAF_back_angry.wav", "OAF_back_anger.wav")),
        ("savee", "DC/a15.wav", ("DC/a16.wav", "DC/x01.wav", "XX/a01.wav", "DC/a00.wav")),
        ("shemo", "F31A01.wav", ("F32A01.wav", "M57A01.wav", "F01X01.wav", "F01A1.wav")),
        (
            "esd",
            "0001/Angry/0001_000351.wav",
            (
                "0001/Angry/0001_000350.wav",
                "0021/Angry/0021_000351.wav",
                "0001/Sad/0002_001051.wav",
                "0001/Neutral/0001_000000.wav",
            ),
        ),
        ("jl-corpus", "male1_sad_1a_1.wav", ("male3_sad_1a_1.wav", "male1_concerned_1a_1.wav")),
    ],
)
def test_other_names_are_left_out(
    corpus: str, good: str, bad: tuple[str, ...], tmp_path: Path
) -> None:
    for name in (good, *bad):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\1" * 2000)
    manifest = scan(corpus, tmp_path)
    assert [u.path for u in manifest.utterances] == [tmp_path / good]
    assert {Path(r.path) for r in manifest.rejections} == {tmp_path / name for name in bad}
    assert all(r.reason for r in manifest.rejections)


def test_a_zero_byte_in_a_path(tmp_path: Path) -> None:
    (left_out,) = scan("kaldi", one_row("kaldi", tmp_path / "k", "wav/a\0.wav")).rejections
    assert "holds a zero byte" in left_out.reason


def test_an_arrow_file_with_wrong_offsets_is_an_error(tmp_path: Path) -> None:
    """Read without a check, it ends the process."""
    table = pa.table({"file": ["a.wav", "b.wav"], "label": ["sad", "happy"]})
    wrong = pa.Array.from_buffers(
        pa.string(),
        2,
        [None, pa.py_buffer(b"\0\0\0\0\xff\xff\xff\x7f\1\0\0\0"), pa.py_buffer(b"ab")],
    )
    table = table.set_column(1, "label", wrong)
    with pa.ipc.new_stream(tmp_path / "x.arrow", table.schema) as stream:
        stream.write_table(table)
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "x.arrow"}]}))
    with pytest.raises(BadInputError, match="is damaged"):
        scan("huggingface", tmp_path)
