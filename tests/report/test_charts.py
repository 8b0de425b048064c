"""What figures share: bars of intervals and tables made of columns."""

import math

from serplatform.report import charts
from serplatform.statistics.intervals import Interval


def test_whiskers_reach_to_the_ends_of_an_interval_and_no_further_than_the_plot():
    found = [
        Interval(value=0.5, low=0.25, high=1.0),
        Interval(value=0.5, low=None, high=None),
        Interval(value=0.5, low=0.625, high=0.375),  # resampling may miss the value
        Interval(value=4.0, low=2.0, high=math.inf),
    ]
    marker = {"color": "@ink"}
    trace = charts.interval_points("all", found, range(4), marker, scale=10.0, widest=3.0)
    bars = trace["error_x"]
    assert trace["x"] == [5.0, 5.0, 5.0, 30.0]
    assert bars["array"] == [5.0, 0.0, 0.0, 0.0]
    assert bars["arrayminus"] == [2.5, 0.0, 0.0, 10.0]
    assert charts.interval_points("one", found[:1], [0], marker)["error_x"]["array"] == [50.0]


def test_a_table_shows_its_columns_and_offers_their_values():
    made = charts.table("Numbers", {"n": None, "half": "{:.2f} %".format}, [(1, 0.5), (2, 1)])
    assert (made.caption, made.header, made.rows) == ("Numbers", ["n", "half"], [[1, 0.5], [2, 1]])
    assert made.shown() == [["1", "0.50 %"], ["2", "1.00 %"]]
    assert made.csv_header == ()
    assert charts.table("Plain", ["n"], [[None]], csv_header=["count"]).shown() == [["–"]]


def test_a_matrix_has_names_before_its_rows():
    made = charts.matrix_table("Shares", "member", ["a", "b"], ["a", "b"], [[0, 1], [1, 0]])
    assert made.header == ["member", "a", "b"]
    assert made.rows == [["a", 0, 1], ["b", 1, 0]]
    assert made.shown() == [["a", "0", "1"], ["b", "1", "0"]]


def test_a_panel_has_the_settings_that_were_given_and_no_others():
    bare = charts.panel([], "x", charts.axis("y", ["a", "b"]))
    assert bare.layout == {
        "xaxis": {"title": {"text": "x"}},
        "yaxis": {"title": {"text": "y"}, "tickvals": [0, 1], "ticktext": ["a", "b"]},
    }
    full = charts.panel(
        [], "x", "y", legend=False, shapes=[charts.vertical(1)], min_width=9, square=True
    )
    assert full.layout["showlegend"] is False
    assert full.layout["meta"] == {"minWidth": 9, "square": True}
    assert full.layout["shapes"][0]["x0"] == 1
