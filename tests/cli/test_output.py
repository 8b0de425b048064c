"""Durations in and out, and the JSON line."""

from __future__ import annotations

import json

import pytest

from serplatform.cli.output import parse_duration, result
from serplatform.errors import BadInputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("90s", 90.0),
        ("15m", 900.0),
        ("2h", 7200.0),
        ("1h30m", 5400.0),
        ("0.5h", 1800),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "soon", "-5", "2 days", "1e3", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="is not a duration"):
        parse_duration(text)


def test_json_is_the_only_thing_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    result("done", {"uar": 0.5}, as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"uar": 0.5}
    assert captured.err == "done\n"
