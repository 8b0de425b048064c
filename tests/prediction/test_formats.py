"""What is written for another program is what it reads."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import audformat
import numpy as np
import pandas as pd
import pytest

from serplatform.cli.main import run
from serplatform.prediction.formats.base import ROW_FORMATS
from serplatform.prediction.rows import PredictedRow

#: in audformat
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

CLASSES = ("angry", "sad, really")
WHOLE = [
    PredictedRow(file=f"a/{name}.wav", part="whole", start=0, end=2.5, posteriors=np.array(values))
    for name, values in {"Zoë": (0.75, 0.25), "b": (0.125, 0.875)}.items()
]
WINDOWS = [
    PredictedRow(file="a/b.wav", part="window", start=0, end=1, posteriors=np.array([0.5, 0.5])),
    PredictedRow(file="a/b.wav", part="window", start=1, end=2, note="silence"),
    PredictedRow(file="a/b.wav", part="window", start=1.5, end=2.5, posteriors=np.array([0, 1.0])),
]


def test_audformat_reads_its_database(tmp_path: Path) -> None:
    out = tmp_path / "db.yaml"
    lines = ROW_FORMATS.get("audformat")([*WINDOWS, *WHOLE], CLASSES, out=str(out))
    out.write_text("".join(lines), encoding="utf-8")
    database = audformat.Database.load(tmp_path, name="db")
    assert list(database.schemes["emotion"].labels) == list(CLASSES)
    recordings, segments = (database[name].get() for name in ("recordings", "segments"))
    assert recordings.index.tolist() == ["a/Zoë.wav", "a/b.wav"]
    assert recordings["emotion"].tolist() == ["angry", "sad, really"]
    assert recordings["posterior angry"].tolist() == [0.75, 0.125]
    assert segments.index.get_level_values("start").total_seconds().tolist() == [0.0, 1.5]
    assert segments["emotion"].tolist() == ["angry", "sad, really"]


def test_audformat_needs_a_header(capsys) -> None:
    for words in ([], ["--out", "a.csv"], ["--out", "s3://b/a.yaml"]):
        assert run(["predict", "nothere", "a.wav", "--format", "audformat", *words]) == 2
        assert "name the header with --out FILE.yaml" in capsys.readouterr().err


def test_emobox_has_a_line_a_recording() -> None:
    lines = list(ROW_FORMATS.get("emobox")([*WINDOWS, *WHOLE], CLASSES))
    first, second = map(json.loads, lines)
    assert (first["key"], first["wav"], first["emo"], first["pred"]) == (
        "Zoë", "a/Zoë.wav", "angry", 0,
    )  # fmt: skip
    assert (second["task"], second["length"], second["pred"]) == ("category", 2.5, 1)


def test_nkululeko_has_a_column_a_class(tmp_path: Path) -> None:
    lines = "".join(ROW_FORMATS.get("nkululeko")(WHOLE, CLASSES))
    head, first, second = csv.reader(lines.splitlines())
    assert head == ["file", "angry", "sad, really", "predicted"]
    assert first == ["a/Zoë.wav", "0.75", "0.25", "angry"]
    assert second[-1] == "sad, really"
    (tmp_path / "segments.csv").write_text(
        "".join(ROW_FORMATS.get("nkululeko")([*WINDOWS, *WHOLE], CLASSES)), encoding="utf-8"
    )
    read = audformat.utils.read_csv(str(tmp_path / "segments.csv"))  # as nkululeko does
    assert audformat.is_segmented_index(read.index)
    assert read.index.get_level_values("end").tolist() == [
        pd.Timedelta(seconds=1), pd.Timedelta(seconds=2.5),
    ]  # fmt: skip
    assert read["predicted"].tolist() == ["angry", "sad, really"]


@pytest.mark.parametrize("name", ROW_FORMATS.names())
def test_no_rows_are_no_lines_but_for_a_database(name: str, tmp_path: Path) -> None:
    lines = list(ROW_FORMATS.get(name)([], CLASSES, out=str(tmp_path / "x.yaml")))
    assert len(lines) == (name == "audformat")
