"""The page of a reproduced table: self-contained, escaped, and honest about what it is not."""

import copy
import html
import re

import pytest

from serplatform.cli.reproduce import describe_table
from serplatform.reproduce.page import column_section, render_table

MEASURED = {"mean": 0.771, "sd": 0.012, "low": 0.73, "high": 0.8, "pooled": 0.77}
CELL = {
    "status": "measured",
    "reason": "",
    "published": {"accuracy": 0.785},
    "measured": {"accuracy": MEASURED},
    "difference": {"accuracy": -0.014},
    "seeds": 5,
    "speakers": 24,
    "settings": {"training.learning_rate": 0.001, "model.attention": True},
    "departures": {},
    "num_parameters": 2_560_000,
    "best_epochs": [[12], [17]],
}
COLUMN = {
    "name": "ravdess",
    "label": "RAVDESS",
    "title": "RAVDESS",
    "protocol": "ravdess-random-80-20",
    "metrics": ["accuracy"],
    "stand_in": False,
    "synthetic": False,
    "reason": "",
    "folds": 1,
    "fold_seed": 0,
    "folds_hash": "e40ad8671effac2590",
    "dataset_fingerprint": "578536e4149dee0227",
    "trained": 5,
    "wanted": 5,
    "seeds": 5,
    "seconds": 90.0,
    "notes": ["SPEAKERS ARE SHARED"],
}


@pytest.fixture
def outcome():
    row = {
        "name": "with",
        "label": "VRNN <script>",
        "note": "",
        "architecture": "vrnn",
        "cells": {"ravdess": copy.deepcopy(CELL)},
    }
    return {
        "table": "vrnn-table1",
        "title": "VRNN, Table 1",
        "paper": "Baruah",
        "quick": False,
        "quick_note": None,
        "columns": [dict(COLUMN)],
        "rows": [row],
        "selection": "dev",
        "statistics": "mean",
        "choices": ["one"],
        "command": ["serplatform", "reproduce"],
        "versions": {"torch": "2"},
        "hardware": {"processor": "x", "cores": 2, "memory_gib": 24.0, "system": "Linux"},
        "made": "2026-11-21",
    }


def cell_texts(page):
    return re.findall(r'<td class="n">(.*?)</td>', page)


def test_published_measured_interval_and_difference_stand_in_a_row(outcome):
    page = render_table(outcome)
    assert cell_texts(page) == ["78.5", "77.1 ± 1.2", "73.0 to 80.0", "−1.4", "5"]
    for text in ("fold file e40ad8671effac25", "2,560,000 parameters", "12; 17", "accuracy (%)"):
        assert text in page


def test_the_deviation_that_a_paper_prints_stands_beside_its_number(outcome):
    outcome["rows"][0]["cells"]["ravdess"]["published_sd"] = {"accuracy": 0.019}
    assert cell_texts(render_table(outcome))[0] == "78.5 ± 1.9"
    assert "78.5 ± 1.9" in describe_table(outcome)


def test_results_of_others_are_quoted_and_compared_with_nothing(outcome):
    assert "Quoted" not in render_table(outcome)
    outcome["quoted"] = ["[18] (2021), MFCC: 77.8"]
    for text in (render_table(outcome), describe_table(outcome)):
        assert "comparable with nothing here" in text
        assert "[18] (2021), MFCC: 77.8" in text
    assert "77.8" not in cell_texts(render_table(outcome))


def test_the_page_asks_nothing_of_anybody_and_escapes_names(outcome):
    page = render_table(outcome)
    assert "VRNN &lt;script&gt;" in page
    assert "<script" not in page
    assert "script-src 'none'" in html.unescape(page)
    assert not re.search(r'(src|href)="(?!#|data:)', page)


def test_a_stand_in_has_no_column_of_published_numbers(outcome):
    label = "stand-in: RAVDESS, not comparable with the published column"
    outcome["columns"][0] |= {"stand_in": True, "label": label}
    page = render_table(outcome)
    assert label in page
    assert cell_texts(page) == ["77.1 ± 1.2", "73.0 to 80.0", "5"]
    assert "accuracy (%), published" not in page


def test_quick_stands_above_everything(outcome):
    outcome |= {"quick": True, "quick_note": "QUICK: small"}
    page = render_table(outcome)
    assert page.index("QUICK: small") < page.index("<h1>")
    assert "<title>Quick: " in page
    assert cell_texts(page) == ["78.5", "77.1 ± 1.2", "73.0 to 80.0", "5"]
    assert "QUICK" in column_section(outcome, outcome["columns"][0]).heading


def test_what_was_not_run_says_what_it_needs(outcome):
    reason = "not run: needs RAVDESS (--data …)"
    outcome["columns"][0] |= {"folds_hash": None, "notes": [], "reason": reason}
    lacking = {"status": "not run", "reason": reason, "measured": {}, "difference": {}, "seeds": 0}
    outcome["rows"][0]["cells"]["ravdess"] = {"published": {"accuracy": 0.785}} | lacking
    page = render_table(outcome)
    assert reason in page
    assert cell_texts(page) == ["78.5", "not run"]
    assert "95 % interval" not in page


def test_how_many_speakers_is_told(outcome):
    outcome["rows"][0]["cells"]["ravdess"]["speakers"] = 2
    told = " ".join(column_section(outcome, outcome["columns"][0]).notes)
    assert "Intervals are over 2 test speakers." in told


def test_names_are_compared_as_names(outcome):
    outcome["columns"][0]["metrics"] = ["most_alike", "least_alike"]
    named = {"most_alike": "calm", "least_alike": "sad"}
    outcome["rows"][0]["cells"]["ravdess"] |= {
        "measured": named,
        "published": named | {"least_alike": "happy"},
        "difference": {},
    }
    page = render_table(outcome)
    assert cell_texts(page) == ["calm", "calm", "same", "happy", "sad", "other"]


def test_the_terminal_shows_what_the_page_shows(outcome):
    names = ["happy", "sad"]
    similarity = {"classes": names, "values": [[1.0, 0.25], [None, 1.0]]}
    outcome["rows"][0]["cells"]["ravdess"]["similarity"] = similarity
    section = column_section(outcome, outcome["columns"][0])
    told = describe_table(outcome)
    flat = " ".join(told.split())  # long notes are broken into lines
    for text in (*section.rows[0], *section.notes, section.heading, "VRNN, Table 1", "0.250"):
        assert text in flat
    lines = [line.split() for line in told.splitlines()]
    assert ["row", "published", "measured", "95", "%", "interval", "difference", "seeds"] in lines
