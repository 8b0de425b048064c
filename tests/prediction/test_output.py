"""Every format says the same, and no name breaks it."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from serplatform.prediction.output import FORMATS
from serplatform.prediction.rows import PredictedRow

CLASSES = ("angry", "not, sure")
ROWS = [
    PredictedRow(
        file='a"\n,=x\x1b[31m.wav',
        part="window",
        start=0.0,
        end=3.0,
        posteriors=np.array([0.25, 0.75]),
    ),
    PredictedRow(
        file="b.wav", part="window", start=1.5, end=4.5, posteriors=None, note="digital silence"
    ),
]


def test_json_lines_hold_everything():
    first, second = [json.loads(line) for line in FORMATS["jsonl"](ROWS, CLASSES)]
    assert first == {
        "file": ROWS[0].file,
        "part": "window",
        "start": 0.0,
        "end": 3.0,
        "emotion": "not, sure",
        "posteriors": {"angry": 0.25, "not, sure": 0.75},
        "note": "",
    }
    assert second["emotion"] is None
    assert second["posteriors"] is None


def test_csv_reads_back():
    text = "".join(FORMATS["csv"](ROWS, CLASSES))
    first, second = csv.DictReader(io.StringIO(text, newline=""))
    assert first["file"] == ROWS[0].file
    assert (first["p_angry"], first["p_not, sure"], first["emotion"]) == (
        "0.25",
        "0.75",
        "not, sure",
    )
    assert (second["p_angry"], second["emotion"], second["note"]) == ("", "", "digital silence")


def test_the_table_has_one_line_a_row_and_no_control_characters():
    lines = list(FORMATS["table"](ROWS, CLASSES))
    assert len(lines) == 3
    assert all(line.endswith("\n") and line[:-1].isprintable() for line in lines)
    assert "25.0" in lines[1]
    assert "not, sure" in lines[1]
    assert "digital silence" in lines[2]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_nothing_comes_of_nothing(name):
    assert list(FORMATS[name]([], CLASSES)) == []
