"""Every number of the leaderboard again, from the posterior files, by loops and scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

from serplatform.artifacts.files import read_json, read_parquet
from serplatform.ensembles.build import build_ensemble
from serplatform.ensembles.calibration import apply_temperature
from tests.support.synthetic_run import make_run

Row = dict[str, Any]


@pytest.fixture(scope="module", params=["greedy", "product"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("by_hand")
    run = make_run(folder / "run", num_trials=7, num_speakers=9, skill=(0.6, 1.4))
    content = build_ensemble([run], folder / "ens", combiner=request.param, test_values=True)
    return run, folder / "ens", content


def rows_of(path: Path, part: str = "test") -> list[Row]:
    return [row for row in read_parquet(path).to_pylist() if row["part"] == part]


def answers(rows: list[Row], classes: list[str]) -> list[str]:
    return [max(classes, key=lambda c: row[f"p_{c}"]) for row in rows]


def members(made: Any) -> dict[str, dict[tuple[int, str], str]]:
    """Name of each trial to its answer on every test row."""
    run, _, content = made
    found = {}
    for candidate in content["candidates"]:
        rows = rows_of(run / "posteriors" / f"trial-{candidate['trial']:05d}.parquet")
        keys = [(row["fold"], row["utterance_id"]) for row in rows]
        found[candidate["member"]] = dict(zip(keys, answers(rows, content["classes"]), strict=True))
    return found


def test_pooled_metrics(made: Any) -> None:
    _, folder, content = made
    classes = content["classes"]
    rows = rows_of(folder / "posteriors.parquet")
    truth, said = [row["truth"] for row in rows], answers(rows, classes)
    table = np.array([[row[f"p_{c}"] for c in classes] for row in rows])
    pooled = {name: value["value"] for name, value in content["pooled"]["ensemble"].items()}
    assert pooled["accuracy"] == pytest.approx(accuracy_score(truth, said))
    assert pooled["uar"] == pytest.approx(balanced_accuracy_score(truth, said))
    assert pooled["macro_f1"] == pytest.approx(f1_score(truth, said, average="macro"))
    order = np.argsort(classes)
    names = [classes[k] for k in order]
    assert pooled["nll"] == pytest.approx(log_loss(truth, table[:, order], labels=names))
    brier = 0.0
    for row in rows:
        brier += sum((row[f"p_{c}"] - (row["truth"] == c)) ** 2 for c in classes)
    assert pooled["brier"] == pytest.approx(brier / len(rows))


def test_calibration_error_and_reliability(made: Any) -> None:
    _, folder, content = made
    classes = content["classes"]
    rows = rows_of(folder / "posteriors.parquet")
    temperatures = {f["fold"]: f["temperature"] for f in content["rejection"]["folds"]}
    for name in ("as_combined", "calibrated"):
        bins: dict[int, list[tuple[float, bool]]] = {}
        for row in rows:
            values = np.array([[row[f"p_{c}"] for c in classes]])
            if name == "calibrated":
                values = apply_temperature(values, temperatures[row["fold"]])
            sure = float(values.max())
            place = next(b for b in range(15) if sure <= (b + 1) / 15 + 1e-15)
            bins.setdefault(place, []).append((sure, classes[int(values.argmax())] == row["truth"]))
        error = sum(
            abs(sum(sure for sure, _ in found) - sum(hit for _, hit in found))
            for found in bins.values()
        ) / len(rows)
        assert content["calibration"][name]["ece"] == pytest.approx(error)
        counts = [b["count"] for b in content["calibration"][name]["reliability"]]
        assert counts == [len(bins[b]) for b in sorted(bins)]


def test_speakers_and_genders(made: Any) -> None:
    run, folder, content = made
    classes = content["classes"]
    rows = rows_of(folder / "posteriors.parquet")
    said = answers(rows, classes)
    utterances = read_parquet(
        Path(read_json(run / "run.json")["dataset"]["path"], "utterances.parquet")
    )
    genders = dict(
        zip(utterances["utterance_id"].to_pylist(), utterances["gender"].to_pylist(), strict=True)
    )
    for key, group_of in (
        ("per_speaker", lambda row: row["speaker_id"]),
        ("per_gender", lambda row: genders[row["utterance_id"]]),
    ):
        groups: dict[str, list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault(group_of(row), []).append(i)
        name = "speaker_id" if key == "per_speaker" else "gender"
        assert [entry[name] for entry in content[key]] == sorted(groups)
        for entry in content[key]:
            own = groups[entry[name]]
            truth, found = [rows[i]["truth"] for i in own], [said[i] for i in own]
            assert entry["utterances"] == len(own)
            assert entry["ensemble"]["accuracy"] == pytest.approx(accuracy_score(truth, found))
            assert entry["ensemble"]["uar"] == pytest.approx(balanced_accuracy_score(truth, found))


def test_disagreement_and_oracle(made: Any) -> None:
    content = made[2]
    said, found = members(made), content["diversity"]
    for i, one in enumerate(found["members"]):
        for j, other in enumerate(found["members"]):
            apart = sum(said[one][key] != said[other][key] for key in said[one])
            assert found["disagreement"][i][j] == pytest.approx(apart / len(said[one]))
    rows = rows_of(made[1] / "posteriors.parquet")
    of_fold = {f["fold"]: [m["member"] for m in f["members"]] for f in content["folds"]}
    hits: dict[str, list[bool]] = {}
    for row in rows:
        key = (row["fold"], row["utterance_id"])
        hit = any(said[name][key] == row["truth"] for name in of_fold[row["fold"]])
        hits.setdefault(row["truth"], []).append(hit)
    assert found["oracle"]["uar"] == pytest.approx(np.mean([np.mean(h) for h in hits.values()]))
    assert found["oracle"]["accuracy"] == pytest.approx(sum(map(sum, hits.values())) / len(rows))


def test_what_each_member_adds(made: Any) -> None:
    """Combined again by plain sums (or products of powers) of the other members' posteriors."""
    run, _, content = made
    classes = content["classes"]
    tables = {}
    for candidate in content["candidates"]:
        rows = rows_of(run / "posteriors" / f"trial-{candidate['trial']:05d}.parquet")
        tables[candidate["member"]] = {
            (r["fold"], r["utterance_id"]): ([r[f"p_{c}"] for c in classes], r["truth"])
            for r in rows
        }
    checked = 0
    for fold in content["folds"]:
        weights = {m["member"]: m["weight"] for m in fold["members"]}
        if len(weights) < 2:
            continue

        def uar(kept: dict[str, float], fold: int = fold["fold"]) -> float:
            keys = [key for key in next(iter(tables.values())) if key[0] == fold]
            truth, said = [], []
            for key in keys:
                total = [0.0] * len(classes)
                for name, weight in kept.items():
                    values, label = tables[name][key]
                    for k, value in enumerate(values):
                        total[k] += weight * (
                            value if content["combiner"] == "greedy" else float(np.log(value))
                        )
                truth.append(label)
                said.append(classes[max(range(len(classes)), key=lambda k: total[k])])
            return float(balanced_accuracy_score(truth, said))

        whole = uar(weights)
        assert whole == pytest.approx(fold["metrics"]["ensemble"]["test"]["uar"])
        for member in fold["members"]:
            rest = {name: w for name, w in weights.items() if name != member["member"]}
            gain = member["gain"]["test"]
            assert gain["uar"] == pytest.approx(whole - uar(rest), abs=1e-9)
            checked += 1
    assert checked > 3
