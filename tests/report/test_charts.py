"""What figures share: bars of intervals and tables made of columns."""

import math

from serplatform.report import charts
from serplatform.statistics.bootstrap import Interval


def test_whiskers_reach_to_the_ends_of_an_interval_and_no_further_than_the_plot():
    found = [
        Interval(value=0.5, low=0.25, high=1.0),
        Interval(value=0.5, low=None, high=None),
        Interval(value=0.5, low=0.625, high=0.375),  # resampling may miss the value
        Interval(value=4.0, low=2.0, high=math.inf),
    ]
    bars = charts.whiskers(found, "@ink", scale=10.0, widest=3.0)
    assert bars["array"] == [5.0, 0.0, 0.0, 0.0]
    assert bars["arrayminus"] == [2.5, 0.0, 0.0, 10.0]
    assert charts.whiskers(found[:1], "@ink")["array"] == [50.0]


def test_a_table_shows_its_columns_and_offers_their_values():
    made = charts.table(
        "Numbers", [1, 2], {"n": lambda n: n, "half": (lambda n: n / 2, "{:.2f} %".format)}
    )
    assert (made.caption, made.header, made.rows) == ("Numbers", ["n", "half"], [[1, 0.5], [2, 1]])
    assert made.shown() == [["1", "0.50 %"], ["2", "1.00 %"]]
    assert made.csv_header == ()
    between = Interval(value=0.5, low=0.1, high=None)
    other = charts.table(
        "One", [between], {"value": lambda i: i.value}, csv=charts.ends("share", lambda i: i)
    )
    assert (other.header, other.csv_header) == (["value"], ["share", "share low", "share high"])
    assert (other.rows, other.shown()) == ([[0.5, 0.1, None]], [["0.5"]])
