"""Published beside measured, from trainings to CSV and page."""

import csv
import io
import json

import pytest

from serplatform.reproduce.outcome import assemble, best_epochs, to_csv
from serplatform.reproduce.plan import ReproduceOptions, load_table, plan_table
from serplatform.run_directory import RunDirectory
from tests.support.reproduced import TABLE, make_corpus, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("outcome")
    (path / "two.yaml").write_text(TABLE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def table(folder):
    return load_table(str(folder / "two.yaml"))


@pytest.fixture(scope="module")
def ravdess(folder):
    return make_corpus(folder / "ravdess")


@pytest.fixture(scope="module")
def outcome(folder, table, ravdess):
    options = ReproduceOptions(out=folder / "out")
    plans = plan_table(table, [ravdess], options)
    assert train(plans[0], options) == [0, 1, 2, 3]
    assert train(plans[0], options) == []  # nothing twice
    return assemble(table, plans, options, ["serplatform", "reproduce"])


def cells(outcome, column):
    return {row["name"]: row["cells"][column] for row in outcome["rows"]}


def test_measured_stands_beside_published_with_its_difference(outcome):
    cell = cells(outcome, "ravdess")["narrow"]
    assert cell["status"] == "measured"
    assert cell["seeds"] == 2
    assert cell["published"] == {"accuracy": 0.5, "uar": 0.4}
    measured = cell["measured"]["accuracy"]
    assert [len(seed) for seed in measured["values"]] == [3, 3]
    assert measured["low"] <= measured["pooled"] <= measured["high"]
    assert cell["difference"]["accuracy"] == pytest.approx(measured["mean"] - 0.5, abs=1e-6)
    assert cell["settings"]["model.channels"] == 4
    assert cell["departures"]["training.max_epochs"] == 2
    assert cell["num_parameters"] > 0
    assert [len(epochs) for epochs in cell["best_epochs"]] == [3, 3]
    assert {epoch for epochs in cell["best_epochs"] for epoch in epochs} <= {1, 2}


def test_combinations_pair_trainings_of_one_seed(outcome):
    found = cells(outcome, "ravdess")
    assert found["both"]["trials"] == [[0, 1], [2, 3]]
    assert found["both"]["exponents"] == [[[1.0, 0.4]] * 3] * 2
    assert found["both-dev"]["status"] == "measured"
    assert found["both-dev"]["published"] == {}
    assert found["both-dev"]["difference"] == {}


def test_what_is_lacking_says_why_and_is_never_a_number(outcome):
    found = cells(outcome, "iemocap")
    assert {cell["status"] for cell in found.values()} == {"not run"}
    assert {cell["reason"] for cell in found.values()} == {"not run: needs IEMOCAP (--data …)"}
    assert {json.dumps(cell["measured"]) for cell in found.values()} == {"{}"}
    absent = cells(outcome, "ravdess")["iemocap-only"]
    assert (absent["status"], absent["reason"]) == ("not in the paper", "it was never tried there")
    column = outcome["columns"][1]
    assert (column["status"], column["reason"]) == ("not run", "not run: needs IEMOCAP (--data …)")


def test_a_column_says_how_it_was_made(outcome, ravdess):
    column = outcome["columns"][0]
    run = RunDirectory(column["run"]).read_run()
    assert column["folds_hash"] == run["folds_hash"]
    assert column["dataset_fingerprint"] == ravdess.fingerprint
    assert (column["folds"], column["trained"], column["wanted"]) == (3, 4, 4)
    assert outcome["versions"]["serplatform"]
    assert outcome["command"] == ["serplatform", "reproduce"]


def test_what_was_trained_is_shown_without_the_data(outcome, folder, table):
    again = plan_table(table, [], ReproduceOptions(out=folder / "out"))
    assert again[0].dataset is None
    shown = assemble(table, again, ReproduceOptions(out=folder / "out"), [])
    assert shown["rows"] == outcome["rows"]


def test_an_unfinished_table_shows_what_there_is(folder, table, ravdess):
    options = ReproduceOptions(out=folder / "unfinished")
    plans = plan_table(table, [ravdess], options)
    train(plans[0], options, most=1)
    shown = assemble(table, plans, options, [])
    found = cells(shown, "ravdess")
    assert (found["narrow"]["status"], found["narrow"]["reason"]) == ("partial", "1 of 2 seeds")
    assert found["narrow"]["seeds"] == 1
    assert found["wide"]["status"] == found["both"]["status"] == "not trained yet"
    assert shown["columns"][0]["reason"] == "1 of 4 trainings done"


def test_a_failed_training_says_its_error(folder, table, ravdess):
    options = ReproduceOptions(out=folder / "failed", seeds=1)
    plans = plan_table(table.select(["narrow"]), [ravdess], options)
    train(plans[0], options)
    directory = RunDirectory(plans[0].path)
    record = directory.records()[0]
    directory.write_record({**record, "state": "failed", "error": "out of memory"})
    failed = assemble(table.select(["narrow"]), plans, options, [])
    cell = cells(failed, "ravdess")["narrow"]
    assert (cell["status"], cell["reason"], cell["measured"]) == ("failed", "out of memory", {})
    assert train(plans[0], options) == [1]  # it is tried again


def test_a_stand_in_never_shows_published_numbers(folder, table, ravdess):
    options = ReproduceOptions(out=folder / "stand-in", stand_in="speaker-kfold:3", seeds=1)
    plans = plan_table(table.select(["narrow"]), [ravdess], options)
    train(plans[-1], options)
    shown = assemble(table.select(["narrow"]), plans, options, [])
    name = plans[-1].column.name
    cell = cells(shown, name)["narrow"]
    assert cell["status"] == "measured"
    assert cell["published"] == {}
    assert cell["difference"] == {}
    label = "stand-in: RAVDESS, speech, not comparable with the published column"
    assert shown["columns"][-1]["label"] == label
    lines = list(csv.DictReader(io.StringIO(to_csv(shown))))
    assert {line["published"] for line in lines if line["column"] == label} == {""}
    # the paper's own column is there beside it, and says that it was not run
    assert cells(shown, "ravdess")["narrow"]["status"] == "not run"


def test_csv_has_a_line_a_row_column_and_metric(outcome):
    lines = list(csv.DictReader(io.StringIO(to_csv(outcome))))
    assert len(lines) == 5 * 2 * 2
    first = lines[0]
    assert (first["row"], first["metric"], first["published"]) == ("narrow", "accuracy", "0.5")
    measured = cells(outcome, "ravdess")["narrow"]["measured"]["accuracy"]
    assert float(first["mean"]) == measured["mean"]
    assert first["folds_hash"] == outcome["columns"][0]["folds_hash"]
    not_run = [line for line in lines if line["corpus"] == "iemocap"]
    assert {line["mean"] for line in not_run} == {""}
    assert {line["status"] for line in not_run} == {"not run"}


def test_the_best_epoch_is_the_first_of_equals():
    history = [
        {"fold": fold, "epoch": epoch, "dev": {"uar": uar, "nll": nll}}
        for fold, epoch, uar, nll in (
            (0, 1, 0.5, 2),
            (0, 2, 0.5, 1),
            (1, 1, 0.1, 1),
            (1, 2, 0.2, 3),
        )
    ]
    assert best_epochs({"history": history}, "uar") == [1, 2]
    assert best_epochs({"history": history}, "nll") == [2, 1]


@pytest.fixture(scope="module")
def sampled(folder):
    """Table 2 and Fig. 2 of VRNN, quick, on random windows, of one training."""
    windows = make_corpus(folder / "windows", "windows")
    options = ReproduceOptions(out=folder / "sampled", quick=True)
    found = {}
    for name in ("vrnn-table2", "vrnn-figure2"):
        table = load_table(name)
        plans = plan_table(table, [windows], options)
        train(plans[0], options)
        found[name] = assemble(table, plans, options, [])
    assert sorted(RunDirectory(plans[0].path).records()) == [0]
    return found


def test_shares_are_shown_with_and_without_the_first_window(sampled):
    found = cells(sampled["vrnn-table2"], "ravdess")
    for name in ("neutral", "happy", "average"):
        after = found[name]["measured"]["after_first_window"]["mean"]
        whole = found[name]["measured"]["with_first_window"]["mean"]
        assert 0 < after < whole < 1
    assert found["calm"]["measured"] == {}  # the random corpus has no calm
    assert found["average"]["published"] == {
        "after_first_window": 0.638,
        "with_first_window": 0.638,
    }


def test_quick_shows_no_difference_and_says_so(sampled):
    outcome = sampled["vrnn-table2"]
    assert outcome["quick_note"].startswith("QUICK")
    assert all(cell["difference"] == {} for cell in cells(outcome, "ravdess").values())
    lines = csv.DictReader(io.StringIO(to_csv(outcome)))
    assert {line["quick"] for line in lines} == {"quick"}


def test_similarity_names_the_most_and_the_least_alike(sampled):
    cell = cells(sampled["vrnn-figure2"], "ravdess")["neutral"]
    names, values = cell["similarity"]["classes"], cell["similarity"]["values"]
    line = dict(zip(names, values[names.index("neutral")], strict=True))
    assert line.pop("neutral") == pytest.approx(1, abs=1e-6)
    assert cell["measured"] == {
        "most_alike": max(line, key=line.get),
        "least_alike": min(line, key=line.get),
    }
    assert json.dumps(sampled["vrnn-figure2"], allow_nan=False)
