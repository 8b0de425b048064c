"""Times in the forms that tables hold."""

from __future__ import annotations

import pytest

from serplatform.corpora.times import seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", 1.5),
        ("0,5", 0.5),
        (".5", 0.5),
        ("1.5e-1", 0.15),
        ("-1", -1.0),
        ("1.5s", 1.5),
        ("1500 ms", 1.5),
        ("00:16:00,059", 960.059),
        ("1:02.5", 62.5),
        ("75:30", 4530.0),
        ("0 days 00:00:01.500000", 1.5),
        ("1 days, 0:00:01", 86401.0),
        ("-1 days +23:59:59", -1.0),
        ("0 days", 0.0),
        ("P0DT0H1M2.5S", 62.5),
        ("NaT", None),
        ("", None),
        ("<NA>", None),
    ],
)
def test_forms_of_time(text: str, value: float | None) -> None:
    assert seconds(text) == (None if value is None else pytest.approx(value, abs=1e-9))


def test_unit_counts_for_plain_numbers_only() -> None:
    assert seconds("1500", 1e-3) == 1.5
    assert seconds("1.5s", 1e-3) == 1.5
    assert seconds("0:01.5", 1e-3) == 1.5


@pytest.mark.parametrize(
    "text", ["soon", "1.234,5", "1_000", "1:75", "1:75:00", "inf", "3 apples", "1:02:03:04", "1:"]
)
def test_what_is_no_time_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time such as '1\.5'"):
        seconds(text)
