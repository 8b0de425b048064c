"""Readers meet damaged and hostile files: they succeed or say what is wrong, quickly, in little
memory. Anything else than a ``SerplatformError`` is a fault of ours.

The default suite tries a few dozen cases of each; ``-m slow`` tries 500.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serplatform.errors import SerplatformError

CASES = [30, pytest.param(500, marks=pytest.mark.slow)]
#: seconds that one case may take on a busy machine
DEADLINE = 20.0
#: address space that one reader's cases together may add, in bytes
ROOM = 1 << 30

TOKENS = [
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xff" * 4,
    b"\xff\xff\xff\x7f",
    b"\r",
    b"\n\n",
    b"\x1a",
    b'"',
    b"'",
    b"NaN",
    b"inf",
    b"-1",
    b"0",
    b"1e999",
    b"1e308",
    b"99999999999999999999",
    b"../../etc/passwd",
    b"/dev/zero",
    b"a" * 300,
    b"[" * 3000,
    b"{" * 3000,
    b'{"a":' * 3000,
    b" " * 1000,
    b"\xe2\x80\xa8",
    b"<exists>",
    b"!!python/object/apply:os.system ['false']",
    b"&a [*a, *a]",
    b"<<: {}",
    "²٣".encode(),
]


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of some whole files, with a few changes anywhere."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(content)))
        size = draw(st.integers(0, 40))
        kind = draw(st.sampled_from(["set", "insert", "token", "delete", "cut", "copy", "number"]))
        if kind == "set":
            content[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "insert":
            content[at:at] = draw(st.binary(max_size=20))
        elif kind == "token":
            content[at : at + draw(st.sampled_from([0, size]))] = draw(st.sampled_from(TOKENS))
        elif kind == "delete":
            del content[at : at + size]
        elif kind == "cut":
            del content[at:]
        elif kind == "copy":
            content[at:at] = content[at : at + size] * draw(st.integers(1, 50))
        else:
            digits = [i for i, byte in enumerate(content) if 48 <= byte <= 57]
            if digits:
                where = draw(st.sampled_from(digits))
                content[where : where + 1] = draw(st.sampled_from(TOKENS[11:18]))
    return bytes(content)


ODD = st.sampled_from(
    [
        *(None, True, -1, 0, 3, 10**30, 1.5, 1e308, "", "x", "\ud800", "../..", "/"),
        *([], {}, [[]], [{}], [None], {"a": None}, ["angry"], [1, 2], "9" * 5000),
    ]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every position within a JSON value, that of the value itself included."""
    yield path
    inside = enumerate(value) if isinstance(value, list) else ()
    for key, child in value.items() if isinstance(value, dict) else inside:
        yield from places(child, (*path, key))


@st.composite
def changed_json(draw: st.DrawFn, value: Any) -> bytes:
    """A JSON value in which some parts are missing or of another kind."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        spots = list(places(value))
        depth = draw(st.integers(0, 4))
        near = [spot for spot in spots if len(spot) <= depth] or spots
        path = draw(st.sampled_from(near))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                value = draw(ODD)
            continue
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        if draw(st.booleans()):
            del holder[path[-1]]
        else:
            holder[path[-1]] = draw(ODD)
    return json.dumps(value).encode()


def json_files(value: Any) -> st.SearchStrategy[bytes]:
    """Changes of the content, and of the bytes."""
    value = {key: v for key, v in value.items() if key not in ("checksum", "hash")}
    return st.one_of(changed_json(value), mutated([json.dumps(value).encode()]))


@contextlib.contextmanager
def limited_memory() -> Iterator[None]:
    """Let this process take :data:`ROOM` more address space, and no more."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def attack(files: st.SearchStrategy[bytes], read: Callable[[bytes], Any], cases: int) -> None:
    """Give a reader many files; anything but success or a ``SerplatformError`` fails."""

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(files)
    def run(content: bytes) -> None:
        begun = time.process_time()
        with contextlib.suppress(SerplatformError):
            read(content)
        assert time.process_time() - begun < DEADLINE

    with limited_memory():
        run()


def audio_bytes(kind: str, subtype: str = "PCM_16", rate: int = 16_000, channels: int = 1) -> bytes:
    import soundfile

    stream = io.BytesIO()
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, (1600, channels))
    soundfile.write(stream, samples, rate, format=kind, subtype=subtype)
    return stream.getvalue()


def utterance(folder: Path) -> Any:
    from serplatform.corpora.base import Utterance

    return Utterance(
        utterance_id="u1", path=folder / "u1.wav", speaker_id="s", emotion="sad", start=0.0, end=2.0
    )


@pytest.mark.parametrize("cases", CASES)
def test_tables_of_utterances(tmp_path: Path, cases: int) -> None:
    import soundfile

    from serplatform.corpora.csv_table import CsvTable
    from serplatform.corpora.validate import validate

    seeds = [
        b"file,emotion,speaker,start,end\na.wav,angry,s1,0,1\nb.wav,sad,s2,0.5,2\n",
        b"path\tlabel\tgender\tsplit\na.wav\thappy\tm\ttrain\n",
        '\ufefffile;emotion;text\n"a;b.wav";neutral;"he said ""no"""\n'.encode(),
        "file,emotion\na.wav,sad\n".encode("utf-16"),
        "file;label;start;duration\nb.wav;sad;0,5;1\nb.wav;joy;0:01;500ms\n".encode("utf-16-le"),
        'sep=,\n# x\nid,Utterance,path,emotion\n1,"é\nz",C:\\a.wav,sad\n,,,\n'.encode("cp1252"),
        b"offset [samples],end_ms,File,Emotions,Speaker ID\n0,NaT,b,sad,01\n5,0 days,B.wav,sad,1\n",
    ]
    table = tmp_path / "table.csv"
    soundfile.write(tmp_path / "b.wav", np.zeros(8_000), 8_000)

    def read(content: bytes) -> None:
        table.write_bytes(content)
        corpus = CsvTable()
        found = validate(corpus.scan(table))
        assert found.listed == len(found.utterances) + len(found.rejections)
        for one in found.utterances:
            assert one.path.is_relative_to(tmp_path)
        corpus.choose_protocol(found.utterances)

    attack(mutated(seeds), read, cases)


@pytest.mark.parametrize("cases", CASES)
def test_segmentations(tmp_path: Path, cases: int) -> None:
    from serplatform.alignment.base import AlignmentError
    from serplatform.alignment.wdseg import WdsegAligner

    head = b"\tSFrm  EFrm    SegAScr Word\n"
    rows = b"   0    46  -109497 <s>\n  47    86  -203094 WHAT(2)\n  87 150 -1 </s>\n"
    words, phones = tmp_path / "u1.wdseg", tmp_path / "u1.phseg"
    words.write_bytes(b"")
    phones.write_bytes(b"")
    aligner = WdsegAligner(tmp_path)
    samples = np.zeros(32_000, np.float32)

    def read(content: bytes) -> None:
        words.write_bytes(content)
        phones.write_bytes(content)
        with contextlib.suppress(AlignmentError):
            aligner.align(utterance(tmp_path), samples, 16_000)

    attack(mutated([head + rows + b"Total score:  -5681\n", rows]), read, cases)


@pytest.mark.parametrize("cases", CASES)
def test_textgrids(tmp_path: Path, cases: int) -> None:
    from serplatform.alignment.base import AlignmentError
    from serplatform.alignment.textgrid import TextGridAligner

    short = (
        b'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2\n<exists>\n2\n'
        b'"IntervalTier"\n"words"\n0\n2\n2\n0\n1\n"so"\n1\n2\n""\n'
        b'"IntervalTier"\n"phones"\n0\n2\n1\n0\n2\n"S"\n'
    )
    long = (
        b'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0 \nxmax = 2 \n'
        b"tiers? <exists> \nsize = 1 \nitem []: \n    item [1]:\n"
        b'        class = "IntervalTier" \n        name = "s - words" \n        xmin = 0 \n'
        b"        xmax = 2 \n        intervals: size = 1 \n        intervals [1]:\n"
        b'            xmin = 0 \n            xmax = 2 \n            text = "so ""what""" \n'
    )
    path = tmp_path / "u1.TextGrid"
    path.write_bytes(b"")
    aligner = TextGridAligner(tmp_path)
    samples = np.zeros(32_000, np.float32)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with contextlib.suppress(AlignmentError):
            aligner.align(utterance(tmp_path), samples, 16_000)

    attack(mutated([short, long, long.decode().encode("utf-16")]), read, cases)


@pytest.mark.parametrize("cases", CASES)
def test_word_vectors(tmp_path: Path, cases: int) -> None:
    from serplatform.inputs.vocabulary import Vocabulary
    from serplatform.inputs.word_vectors import read_word_vectors

    rows = b"".join(b"w%d 0.1 -0.2 %d.5 1e-3\n" % (i, i) for i in range(30))
    path = tmp_path / "vectors.txt"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        found = read_word_vectors(path, [f"w{i}" for i in range(40)])
        assert np.isfinite(found.matrix(Vocabulary(("w1", "w39")))).all()

    attack(mutated([rows, b"30 4\n" + rows, b". . . 1 2 3 4\n" + rows]), read, cases)


def test_word_vectors_in_one_endless_line(tmp_path: Path) -> None:
    from serplatform.inputs.word_vectors import read_word_vectors

    path = tmp_path / "vectors.txt"
    with path.open("wb") as stream:
        stream.write(b"word 0.25 ")
        stream.seek(4_000_000_000)  # sparse: zeros, which are read before they are refused
        stream.write(b"1\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SerplatformError, match=r"line 1 of it is longer than"):
        read_word_vectors(path, ["word"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize("file", ["dataset.json", "utterances.parquet", "features"])
def test_datasets(tmp_path: Path, cases: int, file: str) -> None:
    from serplatform.datasets.dataset import Dataset
    from serplatform.testing.synthetic import make_dataset

    data = make_dataset(
        tmp_path / "data",
        num_speakers=2,
        per_speaker=2,
        num_shards=1,
        features={"tiny": 2},
        seconds=(0.1, 0.2),
    )
    meta = json.loads((data / "dataset.json").read_text())
    if file == "features":
        file = meta["features"]["tiny"]["shards"][0]["file"]
    path = data / file
    whole = path.read_bytes()

    def read(content: bytes) -> None:
        if path.suffix == ".arrow":  # of the same size: another size is seen at once
            content = content[: len(whole)].ljust(len(whole), b"\0")
        path.unlink()  # never change what may be mapped
        path.write_bytes(content)
        dataset = Dataset.open(data)
        dataset.class_counts()
        for name in dataset.feature_names:
            dataset.feature_info(name)
            dataset.num_frames(name)
            for row in range(len(dataset)):
                dataset.frames(name, row).sum()
        dataset.check()

    files = json_files(meta) if file == "dataset.json" else mutated([whole])
    attack(files, read, cases)


@pytest.mark.parametrize("cases", CASES)
def test_search_spaces(tmp_path: Path, cases: int) -> None:
    from serplatform.studies.space import load_space

    seeds = [
        b"architecture: moma\ndescription: one\nfixed: {training.max_epochs: 4}\nparameters:\n"
        b"  model.hidden_dim: {type: choice, values: [64, 128, 512]}\n"
        b"  training.learning_rate: {type: float, low: 1e-5, high: 3e-3, log: true}\n"
        b"  model.gamma_init: {type: choice, values: [uniform, constant]}\n"
        b"  model.gamma_scale: {type: float, low: 0.05, high: 2.0, log: true,\n"
        b"                      when: {model.gamma_init: [uniform]}}\n",
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
    ]
    path = tmp_path / "space.yaml"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        load_space(str(path)).sample(np.random.default_rng(0))

    attack(mutated(seeds), read, cases)


@pytest.mark.parametrize("cases", CASES)
def test_recordings(tmp_path: Path, cases: int) -> None:
    from serplatform.corpora.audio import AudioError, read_audio
    from serplatform.prediction.windows import WindowPlan, read_windows

    seeds = [
        audio_bytes("WAV"),
        audio_bytes("WAV", "FLOAT", 8000, 2),
        audio_bytes("FLAC"),
        audio_bytes("OGG", "VORBIS"),
        audio_bytes("MP3", "MPEG_LAYER_III"),
        audio_bytes("MP3", "MPEG_LAYER_III").replace(b"Info", b"Gone").replace(b"Xing", b"Gone"),
        *map(audio_bytes, ("RF64", "AIFF", "AU", "W64", "CAF", "NIST")),
        audio_bytes("WAV", rate=44_100).replace(b"\x44\xac\x00\x00", b"\xff\xff\xff\x7f", 1),
    ]
    claims = bytearray(seeds[0])
    claims[40:44] = (0xFFFFFFF0).to_bytes(4, "little")  # four gigabytes of samples
    heads = [bytes(claims), *seeds]
    path = tmp_path / "recording"

    @st.composite
    def files(draw: st.DrawFn) -> bytes:
        content = bytearray(draw(mutated(heads)))
        for _ in range(draw(st.integers(0, 4))):  # most of what matters is in the header
            at = draw(st.integers(0, 60))
            value = draw(st.sampled_from([0, 1, 2, 255, 65535, 2**31 - 1, 2**32 - 1]))
            content[at : at + 4] = value.to_bytes(4, "little")
        return bytes(content)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        for limit in (60.0, None):
            with contextlib.suppress(AudioError):
                assert np.isfinite(read_audio(path, max_duration=limit).samples).all()
        for clip in read_windows(path, WindowPlan(window=0.05, hop=0.02)):
            assert clip.end > clip.start

    attack(files(), read, cases)


@pytest.mark.parametrize("cases", CASES)
def test_fold_files(tmp_path: Path, cases: int) -> None:
    from serplatform.protocols.plan import check_plan, make_plan, plan_to_json, read_plan
    from tests.support.utterance_tables import grid, table

    utterances = table(grid(num_speakers=6, per_class=1, classes=("neutral", "sad")))
    plan = plan_to_json(make_plan(utterances, "speaker-kfold:3", 1))
    path = tmp_path / "folds.json"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        check_plan(read_plan(path), utterances)

    attack(json_files(plan), read, cases)


@pytest.fixture(scope="module")
def written_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from serplatform.ensembles.build import build_ensemble
    from tests.support.synthetic_run import make_run

    path = tmp_path_factory.mktemp("fuzzed") / "run"
    make_run(path, num_trials=2, per_speaker=4)
    for trial in (0, 1):
        for fold in range(3):
            (path / "models" / f"trial-{trial:05d}" / f"fold-{fold}").mkdir(parents=True)
    build_ensemble([path], path / "ensemble", combiner="mean")
    return path


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize(
    "name", ["run.json", "folds.json", "trials/trial-00000.json", "ensemble/ensemble.json"]
)
def test_runs_and_ensembles(written_run: Path, tmp_path: Path, name: str, cases: int) -> None:
    from serplatform.ensembles.posteriors import read_library
    from serplatform.prediction.open import open_system
    from serplatform.report.load import load_source

    run = tmp_path / "run"
    shutil.copytree(written_run, run)
    path = run / name
    value = json.loads(path.read_text())

    def read(content: bytes) -> None:
        path.write_bytes(content)
        if name.startswith("ensemble"):
            openers: tuple[Callable[[], Any], ...] = (
                lambda: open_system(run / "ensemble"),
                lambda: load_source(run / "ensemble"),
            )
        else:
            openers = (
                lambda: open_system(run),
                lambda: load_source(run),
                lambda: read_library([run]),
            )
        for opener in openers:
            with contextlib.suppress(SerplatformError):
                opener()

    attack(json_files(value), read, cases)


@pytest.mark.parametrize("cases", CASES)
def test_models_and_states(tmp_path: Path, cases: int) -> None:
    import torch

    from serplatform.training.checkpoint import read_state, write_state

    state = tmp_path / "state"
    write_state(state, {"weight": torch.ones(3, 2)}, {"epoch": 3, "history": [1, {"a": None}]})
    files = sorted(path for path in state.iterdir() if path.is_file())
    whole = {path: path.read_bytes() for path in files}

    def read(content: bytes) -> None:
        for path in files:
            for other in files:
                other.write_bytes(whole[other])
            path.write_bytes(content)
            with contextlib.suppress(SerplatformError):
                read_state(state)

    attack(mutated(list(whole.values())), read, cases)


@pytest.mark.parametrize("cases", CASES)
def test_lists_of_paths_and_transcripts(tmp_path: Path, cases: int) -> None:
    from serplatform.prediction.recordings import STDIN, find_recordings, listed_paths
    from serplatform.prediction.transcripts import Transcripts

    path = tmp_path / "texts.csv"
    seeds = [b"a.wav\nb c.wav\r\n\n", b"a\nb.wav\0c.wav\0", b'file,text\na.wav,"so, what"\n']

    def read(content: bytes) -> None:
        found, refused = find_recordings([STDIN], listed_paths(content))
        for one in [*found, *refused]:
            one.name.encode("utf-8")
        path.write_bytes(content)
        Transcripts.read(path).of(tmp_path / "a.wav")

    attack(mutated(seeds).filter(lambda content: b"/" not in content), read, cases)
