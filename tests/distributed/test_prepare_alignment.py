"""Word times in a prepared dataset: where they came from, what failed, what changed since."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from serplatform.alignment.tokens import tokens
from serplatform.datasets.dataset import Dataset
from serplatform.distributed import assembly, extraction
from serplatform.distributed import prepare as prepare_module
from serplatform.distributed.extraction import run_shard
from serplatform.distributed.prepare import PrepareSummary, prepare
from serplatform.errors import BadInputError
from tests.support import iemocap_tree

Writer = Callable[..., Path]
GRID = """File type = "ooTextFile"
Object class = "TextGrid"

0
{end}
<exists>
1
"IntervalTier"
"words"
0
{end}
2
0
0.2
""
0.2
{end}
"{word}"
"""


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are extracted here instead of in Ray tasks, and no cluster is started."""
    monkeypatch.setattr(prepare_module, "connect", lambda **_: None)
    monkeypatch.setattr(extraction, "_run", lambda tasks, workers: map(run_shard, tasks))


def table(root: Path, write_audio: Writer, rows: list[tuple[str, str]], language: str = "") -> Path:
    """A table of clips (name, text) by two speakers."""
    lines = ["file,emotion,speaker,text" + (",language" if language else "")]
    for number, (name, text) in enumerate(rows):
        write_audio(root / f"{name}.wav", seconds=0.6, seed=number)
        cells = [f"{name}.wav", ("happy", "sad")[number % 2], f"s{number % 3}", text]
        lines.append(",".join(cells + ([language] if language else [])))
    path = root / "index.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(source: Path, out: Path, corpus: str = "csv", **arguments: object) -> PrepareSummary:
    return prepare(corpus, source, out, features=["log_mel_23"], **arguments)  # type: ignore[arg-type]


def test_textgrids_give_words_and_failures_are_counted_and_listed(
    tmp_path: Path, write_audio: Writer
) -> None:
    rows = [(name, "tak") for name in "abcdef"]
    source = table(tmp_path / "in", write_audio, rows, "pl")
    grids = tmp_path / "grids"
    grids.mkdir()
    for name, end in (("a", 0.6), ("b", 0.6), ("c", 1.4), ("d", 0.6)):
        text = GRID.format(end=end, word="Tak")
        (grids / f"{name}.TextGrid").write_text(text[: 90 if name == "d" else None])
    summary = run(source, tmp_path / "out", align="textgrid", alignments=grids)
    assert summary.meta["alignment"] == {"textgrid": 3}
    assert summary.meta["unaligned"] == {"no TextGrid file": 2, "damaged TextGrid file": 1}
    notes = summary.meta["notes"]
    assert "2 utterances could not be aligned (unaligned.csv): no TextGrid file" in notes
    assert "1 alignments: alignment longer than the audio: clipped" in notes
    with (tmp_path / "out" / "unaligned.csv").open(newline="") as stream:
        listed = {row["utterance_id"]: row["reason"] for row in csv.DictReader(stream)}
    assert listed == {
        "d": "damaged TextGrid file",
        "e": "no TextGrid file",
        "f": "no TextGrid file",
    }
    dataset = Dataset.open(tmp_path / "out")
    assert dataset.check() == []
    assert len(dataset) == 6
    spans = dataset.alignment.to_pylist()
    assert spans[0] == {
        "utterance_id": "a",
        "tier": "word",
        "label": "tak",
        "start": 0.2,
        "end": 0.6,
        "source": "textgrid",
    }


def test_texts_without_blanks_between_words_are_noted_once(
    tmp_path: Path, write_audio: Writer
) -> None:
    thai = "ผมไปโรงเรียนแล้วกลับบ้าน"
    source = table(tmp_path / "in", write_audio, [("a", thai), ("b", "tak"), ("c", thai)])
    notes = [n for n in run(source, tmp_path / "out").meta["notes"] if "Thai" in n]
    assert len(notes) == 1
    assert notes[0].startswith("2 of 3 transcripts are in Thai script without blanks between words")
    summary = run(source, tmp_path / "equal", align="equal")
    reason = "no words in the transcript: Thai without blanks between words"
    assert summary.meta["unaligned"] == {reason: 2}


def test_the_fingerprint_tells_words_apart_and_stays_where_none_changed(
    tmp_path: Path, write_audio: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = table(tmp_path / "plain", write_audio, [("a", "Don't go."), ("b", "Tak, żono")])
    marks = table(tmp_path / "marks", write_audio, [("a", "(laughs) go"), ("b", "tak")])
    new = [run(source, tmp_path / f"{source.parent.name}-2") for source in (plain, marks)]
    monkeypatch.setattr(assembly, "tokens", lambda text, rules=1: tokens(text, 1))
    old = [run(source, tmp_path / f"{source.parent.name}-1") for source in (plain, marks)]
    same = [a.meta["fingerprint"] == b.meta["fingerprint"] for a, b in zip(old, new, strict=True)]
    assert same == [True, False]
    assert new[0].meta["word_rules"] == 2


def test_a_changed_textgrid_is_noticed(tmp_path: Path, write_audio: Writer) -> None:
    source = table(tmp_path / "in", write_audio, [("a", "tak"), ("b", "nie"), ("c", "tak")])
    for name in "abc":
        (tmp_path / "in" / f"{name}.TextGrid").write_text(GRID.format(end=0.6, word="tak"))
    first = run(source, tmp_path / "out", align="textgrid")
    assert run(source, tmp_path / "out", align="textgrid").reused
    (tmp_path / "in" / "b.TextGrid").write_text(GRID.format(end=0.6, word="nieraz"))
    with pytest.raises(BadInputError, match="its source has changed since"):
        run(source, tmp_path / "out", align="textgrid")
    second = run(source, tmp_path / "out", align="textgrid", overwrite=True)
    assert second.meta["fingerprint"] != first.meta["fingerprint"]
    third = run(source, tmp_path / "out", align="equal", overwrite=True)
    assert third.meta["alignment"] == {"equal": 3}
    assert not (tmp_path / "out" / "unaligned.csv").exists()


def test_iemocap_is_aligned_by_its_own_files(tmp_path: Path, write_audio: Writer) -> None:
    tree = iemocap_tree.small_tree(tmp_path / "in")
    wav = tree / "Session1" / "sentences" / "wav" / "Ses01F_impro01"
    for name in ("F000", "M003"):
        write_audio(wav / f"Ses01F_impro01_{name}.wav", seconds=1.94, frequency=300)
    summary = run(tree, tmp_path / "out", "iemocap", align="wdseg")
    assert summary.meta["alignment"] == {"wdseg": 1}
    assert summary.meta["unaligned"] == {"no .wdseg file": 1}
    spans = Dataset.open(tmp_path / "out").alignment.to_pylist()
    assert [s["label"] for s in spans] == ["<s>", "excuse", "me", "</s>"]


def test_without_alignment_the_dataset_says_nothing_of_it(
    tmp_path: Path, write_audio: Writer
) -> None:
    source = table(tmp_path / "in", write_audio, [("a", "tak"), ("b", "nie")])
    summary = run(source, tmp_path / "out")
    assert (summary.meta["alignment"], summary.meta["unaligned"]) == ({}, {})
    assert Dataset.open(tmp_path / "out").alignment.num_rows == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"align": "wdsegg"}, "Unknown alignment source 'wdsegg'"),
        ({"align": "textgrid"}, "no TextGrid beside the audio"),
        ({"align": "wdseg"}, r"no \.wdseg file belongs to any"),
        ({"align": "pocketsphinx"}, "this corpus is in: pl; use --align textgrid"),
        ({"alignments": Path("nowhere")}, "--align none reads no alignments"),
        ({"align": "textgrid", "alignments": Path("nowhere")}, "no such directory of alignments"),
    ],
)
def test_what_cannot_be_aligned_is_refused_before_any_work(
    tmp_path: Path, write_audio: Writer, arguments: dict[str, object], message: str
) -> None:
    source = table(tmp_path / "in", write_audio, [("a", "Ile masz lat"), ("b", "nie")], "pl")
    with pytest.raises(BadInputError, match=message):
        run(source, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
