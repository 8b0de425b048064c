"""The whole command on synthetic runs: nesting, numbers, canaries, files, bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serplatform.artifacts.files import read_json
from serplatform.cli.main import run as run_command
from serplatform.ensembles import build as build_module
from serplatform.ensembles.base import COMBINERS, combiner_from_parameters
from serplatform.ensembles.build import build_ensemble
from serplatform.ensembles.calibration import scale_members
from serplatform.ensembles.evaluation import no_better_than_chance
from serplatform.ensembles.leaderboard import solo_metrics
from serplatform.ensembles.posteriors import read_library
from serplatform.errors import BadInputError
from serplatform.metrics import classification_metrics
from serplatform.report.build import build_report
from serplatform.run_directory import RunDirectory
from serplatform.statistics.chance import chance_interval, exceeds_chance
from serplatform.statistics.intervals import Interval
from serplatform.testing.combiner_contract import make_posterior_set
from tests.support.synthetic_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(
        tmp_path_factory.mktemp("runs") / "run", num_trials=6, num_speakers=6, per_speaker=16
    )


@pytest.fixture(scope="module")
def built(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("ens")
    return out, build_ensemble([run], out, combiner="greedy", test_values=True)


def test_returned_content_is_the_file(built: tuple[Path, dict[str, Any]]) -> None:
    out, content = built
    assert read_json(out / "ensemble.json") == json.loads(json.dumps(content))


def test_combining_beats_the_best_single_trial_here(built: tuple[Path, dict[str, Any]]) -> None:
    pooled = built[1]["pooled"]
    assert pooled["ensemble"]["uar"]["value"] > pooled["best_single"]["uar"]["value"]


def test_pooled_numbers_are_those_of_the_written_posteriors(
    built: tuple[Path, dict[str, Any]],
) -> None:
    out, content = built
    rows = [r for r in pq.read_table(out / "posteriors.parquet").to_pylist() if r["part"] == "test"]
    classes = content["classes"]
    truth = np.array([classes.index(r["truth"]) for r in rows])
    table = np.array([[r[f"p_{name}"] for name in classes] for r in rows])
    for name, value in classification_metrics(truth, table).items():
        assert content["pooled"]["ensemble"][name]["value"] == pytest.approx(value, abs=1e-12)
    assert len(rows) == content["counts"]["test_rows"] == 96


def test_written_posteriors_hold_the_dev_and_test_rows_of_every_fold(
    built: tuple[Path, dict[str, Any]], run: Path
) -> None:
    table = pq.read_table(built[0] / "posteriors.parquet")
    plan = read_json(run / "folds.json")
    given = set(zip(*(table[c].to_pylist() for c in ("fold", "part", "utterance_id")), strict=True))
    wanted = {
        (k, part, name)
        for k, fold in enumerate(plan["folds"])
        for part in ("dev", "test")
        for name in fold[part]
    }
    assert given == wanted


def test_best_single_of_a_fold_is_chosen_by_its_dev_rows(
    built: tuple[Path, dict[str, Any]], run: Path
) -> None:
    library = read_library([run])
    for fold in built[1]["folds"]:
        uars = solo_metrics(library.take(fold["fold"], "dev"))["uar"]
        chosen = [c.name for c in library.candidates].index(fold["best_single"]["member"])
        assert uars[chosen] == uars.max()
        test = solo_metrics(library.take(fold["fold"], "test"))["uar"][chosen]
        assert fold["metrics"]["best_single"]["test"]["uar"] == pytest.approx(test)


@pytest.mark.parametrize("combiner", ["greedy", "stacking", "product", "auto"])
@pytest.mark.parametrize("temperature", [False, True])
def test_written_parameters_reproduce_the_test_posteriors(
    run: Path, tmp_path: Path, combiner: str, temperature: bool
) -> None:
    content = build_ensemble([run], tmp_path, combiner=combiner, temperature=temperature)
    library = read_library([run])
    table = pq.read_table(tmp_path / "posteriors.parquet").to_pandas()
    for fold in content["folds"]:
        test = library.take(fold["fold"], "test")
        temperatures = np.ones(len(library.candidates))
        for member in fold["members"]:
            position = content["parameter_order"].index(member["member"])
            temperatures[position] = member["temperature"] or 1.0
        again = combiner_from_parameters(fold["parameters"]).combine(
            scale_members(test, temperatures).posteriors
        )
        kept = table[(table.fold == fold["fold"]) & (table.part == "test")]
        assert kept.utterance_id.tolist() == list(test.utterance_ids)
        written = kept[[f"p_{name}" for name in library.classes]].to_numpy()
        np.testing.assert_allclose(again, written, atol=1e-9)


def test_test_labels_change_no_member_weight_or_threshold(run: Path, tmp_path: Path) -> None:
    """Shuffle the truth of one fold's test rows: everything fitted for that fold stays."""
    other = tmp_path / "run"
    shutil.copytree(run, other)
    described = RunDirectory(other).read_run()
    described["dataset"]["path"] = "moved"  # the dataset knows the labels
    RunDirectory(other).write_run(described)
    for file in (other / "posteriors").glob("*.parquet"):
        table = pq.read_table(file)
        truth = [
            "sad" if part == "test" else label
            for part, label in zip(
                table["part"].to_pylist(), table["truth"].to_pylist(), strict=True
            )
        ]
        position = table.column_names.index("truth")
        field = table.schema.field("truth")
        pq.write_table(table.set_column(position, field, pa.array(truth, pa.string())), file)
    for combiner in ("greedy", "auto"):
        one = build_ensemble([run], tmp_path / "one", combiner=combiner)
        two = build_ensemble([other], tmp_path / "two", combiner=combiner)
        for a, b in zip(one["folds"], two["folds"], strict=True):
            assert a["parameters"] == b["parameters"]
            assert a["best_single"]["trial"] == b["best_single"]["trial"]
            assert a["metrics"]["ensemble"]["test"] != b["metrics"]["ensemble"]["test"]
        for a, b in zip(one["rejection"]["folds"], two["rejection"]["folds"], strict=True):
            assert a["threshold"] == b["threshold"]


@pytest.mark.parametrize("combiner", ["greedy", "product", "stacking", "auto"])
def test_permuted_labels_give_chance(tmp_path: Path, combiner: str) -> None:
    run = make_run(
        tmp_path / "run",
        num_trials=20,
        num_speakers=6,
        per_speaker=40,
        skill=2.0,
        permute_labels=True,
    )
    content = build_ensemble([run], tmp_path / "ens", combiner=combiner)
    rows = pq.read_table(tmp_path / "ens" / "posteriors.parquet").to_pandas()
    test = rows[rows.part == "test"]
    truth = np.array([content["classes"].index(t) for t in test.truth])
    table = test[[f"p_{name}" for name in content["classes"]]].to_numpy()
    found = chance_interval(truth, table, num_permutations=500)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= content["pooled"]["ensemble"]["uar"]["value"] <= found.high


def test_the_same_run_without_permuted_labels_is_far_above_chance(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_trials=20, num_speakers=6, per_speaker=40, skill=2.0)
    content = build_ensemble([run], tmp_path / "ens")
    assert content["pooled"]["ensemble"]["uar"]["value"] > 0.6


def test_gains_are_what_leaving_a_member_out_costs(
    built: tuple[Path, dict[str, Any]], run: Path
) -> None:
    library = read_library([run])
    fold = built[1]["folds"][0]
    test = library.take(0, "test")
    weights = np.array(fold["parameters"]["weights"])
    names = built[1]["parameter_order"]
    whole = classification_metrics(test.truth, np.tensordot(weights, test.posteriors, axes=1))
    for member in fold["members"]:
        without = weights.copy()
        without[names.index(member["member"])] = 0.0
        without /= without.sum()
        rest = classification_metrics(test.truth, np.tensordot(without, test.posteriors, axes=1))
        assert member["gain"]["test"]["uar"] == pytest.approx(whole["uar"] - rest["uar"], abs=1e-9)


def test_oracle_bounds_the_ensemble_and_disagreement_is_a_distance(
    built: tuple[Path, dict[str, Any]],
) -> None:
    found = built[1]["diversity"]
    matrix = np.array(found["disagreement"])
    assert (np.diag(matrix) == 0).all()
    np.testing.assert_array_equal(matrix, matrix.T)
    assert found["oracle"]["uar"] >= built[1]["pooled"]["ensemble"]["uar"]["value"]
    assert found["all_wrong"] == pytest.approx(1 - found["oracle"]["accuracy"])


def test_speakers_and_genders_cover_all_test_rows(built: tuple[Path, dict[str, Any]]) -> None:
    content = built[1]
    assert [row["speaker_id"] for row in content["per_speaker"]] == [f"s{i:02d}" for i in range(6)]
    assert [row["gender"] for row in content["per_speaker"][:2]] == ["male", "female"]
    for key in ("per_speaker", "per_gender"):
        assert sum(row["utterances"] for row in content[key]) == 96
    right = sum(r["ensemble"]["accuracy"] * r["utterances"] for r in content["per_gender"])
    assert right / 96 == pytest.approx(content["pooled"]["ensemble"]["accuracy"]["value"])


def test_gender_is_left_out_when_the_dataset_is_gone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_trials=2, num_speakers=3, per_speaker=8)
    shutil.rmtree(tmp_path / "run-data")
    content = build_ensemble([run], tmp_path / "ens")
    assert content["per_gender"] == []
    assert any("No breakdown by gender" in note for note in content["notes"])


def test_fold_mean_and_deviation(built: tuple[Path, dict[str, Any]]) -> None:
    content = built[1]
    values = [fold["metrics"]["ensemble"]["test"]["uar"] for fold in content["folds"]]
    found = content["over_folds"]["ensemble"]["uar"]
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["sd"] == pytest.approx(np.std(values, ddof=1))


def test_what_was_fitted_on_is_stated(built: tuple[Path, dict[str, Any]]) -> None:
    content = built[1]
    assert [f["fitted_on"] for f in content["folds"]] == [
        {"part": "dev", "rows": 32, "speakers": 2}
    ] * 3
    assert any(
        "its dev rows also decided when training stopped" in note for note in content["notes"]
    )


def test_solo_metrics_are_the_public_ones() -> None:
    made = make_posterior_set(num_members=3)
    found = solo_metrics(made)
    for m, table in enumerate(made.posteriors):
        for name, value in classification_metrics(made.truth, table).items():
            assert found[name][m] == pytest.approx(value, abs=1e-12), name


def test_all_bad_arguments_are_reported_at_once(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="Unknown combiner 'gredy'") as caught:
        build_ensemble([run], tmp_path / "file", combiner="gredy", objective="f1")
    assert len(caught.value.faults) == 3


def test_a_run_is_not_overwritten_by_an_ensemble(run: Path) -> None:
    with pytest.raises(BadInputError, match=r"holds a run \(run.json\); give another directory"):
        build_ensemble([run], run)


def test_command_prints_one_json_object(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command(
        ["ensemble", str(run), "--out", str(tmp_path / "ens"), "--combiner", "product", "--json"]
    )
    captured = capsys.readouterr()
    assert code == 0
    content = json.loads(captured.out.splitlines()[-1])
    assert content["combiner"] == "product"
    assert set(content["pooled"]) == {"ensemble", "best_single", "mean_of_all"}
    assert len(captured.out.splitlines()) == 1


def test_command_refuses_an_unknown_combiner(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command(["ensemble", str(run), "--out", str(tmp_path), "--combiner", "prodct"])
    assert code == 2
    assert "Did you mean 'product'?" in capsys.readouterr().err


def test_command_refuses_a_missing_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run_command(["ensemble", str(tmp_path / "none"), "--out", str(tmp_path / "ens")])
    assert code == 2
    assert "not a run directory" in capsys.readouterr().err


def change_posteriors(run: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change every row of every trial's posterior table; the dataset, which knows better, goes."""
    shutil.rmtree(run.with_name(f"{run.name}-data"))
    for file in (run / "posteriors").iterdir():
        table = pq.read_table(file)
        rows = table.to_pylist()
        for row in rows:
            change(row)
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    return run


def speak_against_the_truth(row: dict[str, Any], folds: Sequence[int] = (0, 1, 2)) -> None:
    if row["fold"] in folds:
        names = ["neutral", "happy", "sad", "angry"]
        wrong = names[(names.index(row["truth"]) + 1) % 4]
        row |= {f"p_{name}": 0.85 if name == wrong else 0.05 for name in names}


def ensemble_command(run: Path, out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    capsys.readouterr()
    assert run_command(["ensemble", str(run), "--out", str(out), *more]) == 0
    return capsys.readouterr().out


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def test_an_ensemble_that_dev_rows_speak_against_is_no_better_than_chance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = change_posteriors(make_run(tmp_path / "run", num_trials=3), speak_against_the_truth)
    out = tmp_path / "ens"
    told = ensemble_command(run, out, capsys)
    assert told.startswith("UAR 25.0 % (21.6–28.7), chance 25.0 %\n")
    assert (
        "Ensemble: not shown to be better than chance; the 95 % interval of its UAR, 21.6 to "
        "28.7 %, includes "
        "25.0 %, what guessing gives."
    ) in told
    first = (
        "Not shown to be better than chance: the ensemble's test UAR, 25.0 % (21.6–28.7), "
        "includes, at 95 %, "
        "25.0 %, what guessing gives."
    )
    summary = json.loads(
        ensemble_command(run, out, capsys, "--json"), parse_constant=refuse_constant
    )
    assert summary["chance"]["uar"] == 0.25
    assert summary["chance"]["exceeded"]["ensemble"] is False
    assert summary["notes"][0] == first
    content = json.loads((out / "ensemble.json").read_text(), parse_constant=refuse_constant)
    assert [fold["members"] for fold in content["folds"]] == [[], [], []]
    assert {row["mean_share"] for row in content["candidates"]} == {0.0}
    rows = pq.read_table(out / "posteriors.parquet").to_pylist()
    assert {row[f"p_{name}"] for row in rows for name in content["classes"]} == {0.25}
    page = build_report(out).read_text()
    assert "Ensemble: not shown to be better than chance; the 95 % interval of its UAR" in page


def test_one_fold_without_members_takes_nothing_from_the_others(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_trials=3)
    before = build_ensemble([run], tmp_path / "before")
    change_posteriors(run, lambda row: speak_against_the_truth(row, [1]))
    after = build_ensemble([run], tmp_path / "after")
    assert after["folds"][1]["members"] == []
    for fold in (0, 2):
        assert after["folds"][fold]["members"] == before["folds"][fold]["members"] != []
    assert "In fold(s) 1 no trial is better than guessing on the dev rows" in after["notes"][0]
    build_report(tmp_path / "after")


def test_a_good_ensemble_is_not_said_to_be_chance(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "better than chance" not in ensemble_command(run, tmp_path / "ens", capsys)


def one_class_on_dev(row: dict[str, Any]) -> None:
    if row["part"] == "dev":
        row["truth"] = "sad"


def one_class(row: dict[str, Any]) -> None:
    row["truth"] = "sad"


def the_same_posterior(row: dict[str, Any]) -> None:
    row |= {f"p_{name}": 0.25 for name in ("neutral", "happy", "sad", "angry")}


def certain(row: dict[str, Any]) -> None:
    row |= {f"p_{name}": float(name == "sad") for name in ("neutral", "happy", "sad", "angry")}


@pytest.mark.parametrize("combiner", COMBINERS.names())
@pytest.mark.parametrize(
    "change", [one_class_on_dev, one_class, the_same_posterior, certain, speak_against_the_truth]
)
def test_data_without_signal_give_numbers_and_no_nan(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], combiner: str
) -> None:
    run = change_posteriors(make_run(tmp_path / "run", num_trials=3, per_speaker=4), change)
    build_ensemble([run], tmp_path / "ens", combiner=combiner, temperature=True)
    json.loads((tmp_path / "ens/ensemble.json").read_text(), parse_constant=refuse_constant)


def test_a_single_speaker_without_an_interval_is_compared_by_the_value(tmp_path: Path) -> None:
    uar = Interval(value=0.25, low=None, high=None)
    content = {
        "chance": {"uar": 0.25, "exceeded": {"ensemble": exceeds_chance(uar, 0.25)}},
        "pooled": {"ensemble": {"uar": uar.as_dict()}},
    }
    assert no_better_than_chance(content) == (
        "Not shown to be better than chance: the ensemble's test UAR, 25.0 %, does not "
        "exceed 25.0 %, what "
        "guessing gives."
    )


def test_an_ensemble_that_cannot_be_described_leaves_what_was_there(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_ensemble([run], tmp_path / "old")
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}
    monkeypatch.setattr(build_module, "versions", lambda: {"torch": float("nan")})
    for out in (tmp_path / "old", tmp_path / "new"):
        with pytest.raises(ValueError, match="not JSON compliant"):
            build_ensemble([run], out)
    assert {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()} == before
    assert list((tmp_path / "new").iterdir()) == []
