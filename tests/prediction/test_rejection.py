"""Saying "not sure": the threshold comes from dev rows alone and a bundle keeps it."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from serplatform.artifacts.files import (
    file_sha256,
    read_json,
    read_parquet,
    write_json,
    write_parquet,
)
from serplatform.ensembles.build import build_ensemble
from serplatform.ensembles.calibration import apply_temperature
from serplatform.ensembles.rejection import Operating, Wish, grant, parse_wish
from serplatform.errors import ArtifactError, BadInputError
from serplatform.prediction.export import export
from serplatform.prediction.open import open_system
from serplatform.prediction.output import FORMATS
from serplatform.prediction.predict import predict
from serplatform.prediction.predictor import Predictor
from serplatform.prediction.recordings import find_recordings
from serplatform.prediction.rejection import make_rejector, rejection_data
from serplatform.prediction.rows import PredictedRow, PredictionTally
from serplatform.prediction.windows import WindowPlan, read_whole

HALF = Wish(kind="coverage", value=0.5)


def dev_by_hand(run: Path, trial: int, temperatures: list[float]) -> list[tuple[float, bool]]:
    """Confidence and hit of every dev row, by a plain loop."""
    table = read_parquet(run / "posteriors" / f"trial-{trial:05d}.parquet")
    names = [c[2:] for c in table.column_names if c.startswith("p_")]
    found = []
    for row in table.to_pylist():
        if row["part"] != "dev":
            continue
        powers = [row[f"p_{name}"] ** (1 / temperatures[row["fold"]]) for name in names]
        best = max(range(len(names)), key=lambda k: powers[k])
        found.append((powers[best] / sum(powers), names[best] == row["truth"]))
    return found


def test_a_coverage_is_the_share_of_dev_rows_at_or_above_the_threshold(audio_run):
    system = open_system(audio_run.run, 0)
    data = rejection_data(system)
    rows = dev_by_hand(audio_run.run, 0, data["temperatures"])
    assert data["rows"] == len(rows)
    rejector = make_rejector(system, HALF)
    above = [hit for confidence, hit in rows if confidence >= rejector.chosen.threshold - 1e-9]
    assert len(above) / len(rows) == pytest.approx(rejector.chosen.coverage)
    assert sum(above) / len(above) == pytest.approx(rejector.chosen.accuracy)
    assert rejector.chosen.coverage >= 0.5


def test_test_rows_are_nothing_to_the_threshold(audio_run, ensembles, tmp_path):
    before = rejection_data(open_system(audio_run.run, 0))
    shutil.copytree(audio_run.run, tmp_path / "run")
    path = tmp_path / "run" / "posteriors" / "trial-00000.parquet"
    table = read_parquet(path)
    names = [c for c in table.column_names if c.startswith("p_")]
    rows = table.to_pylist()
    for row in rows:
        if row["part"] == "test":
            row.update(dict.fromkeys(names, 1 / len(names)))
    write_parquet(path, table.from_pylist(rows, schema=table.schema))
    record = tmp_path / "run" / "trials" / "trial-00000.json"
    write_json(record, {**read_json(record), "posteriors_sha256": file_sha256(path)})
    assert rejection_data(open_system(tmp_path / "run", 0)) == before
    spoilt = build_ensemble([tmp_path / "run"], tmp_path / "ens", combiner="mean")
    honest = read_json(ensembles["mean"] / "ensemble.json")
    assert spoilt["rejection"]["dev"] == honest["rejection"]["dev"]
    assert spoilt["rejection"]["curve"] != honest["rejection"]["curve"]


def test_wishes_on_test_rows_are_granted_fold_by_fold(ensembles):
    info = read_json(ensembles["product"] / "ensemble.json")
    table = read_parquet(ensembles["product"] / "posteriors.parquet").to_pylist()
    temperatures = {f["fold"]: f["temperature"] for f in info["rejection"]["folds"]}
    classes = info["classes"]
    kept, right = 0, 0
    tests = 0
    for fold, temperature in temperatures.items():
        parts: dict[str, list[tuple[float, bool]]] = {"dev": [], "test": []}
        for row in table:
            if row["fold"] == fold:
                scaled = apply_temperature(
                    np.array([[row[f"p_{c}"] for c in classes]]), temperature
                )
                sure = classes[int(scaled.argmax())] == row["truth"]
                parts[row["part"]].append((float(scaled.max()), sure))
        ranked = sorted((c for c, _ in parts["dev"]), reverse=True)
        threshold = ranked[-(-len(ranked) // 2) - 1]  # the surer half of the dev rows
        kept += sum(c >= threshold - 1e-12 for c, _ in parts["test"])
        right += sum(hit for c, hit in parts["test"] if c >= threshold - 1e-12)
        tests += len(parts["test"])
    (found,) = [
        w for w in info["rejection"]["wishes"] if (w["kind"], w["value"]) == ("coverage", 0.5)
    ]
    assert found["test"]["coverage"] == pytest.approx(kept / tests)
    assert found["test"]["accuracy"] == pytest.approx(right / kept)


@pytest.mark.parametrize("kind", ["run", "ensemble"])
def test_a_bundle_says_not_sure_of_the_same_recordings(audio_run, ensembles, kind, tmp_path):
    source = audio_run.run if kind == "run" else ensembles["product"]
    export(source, tmp_path / "bundle")
    sources = find_recordings([str(audio_run.audio)])[0][:6]
    found = []
    for path in (source, tmp_path / "bundle"):
        system = open_system(path)
        rejector = make_rejector(system, HALF)
        rows = list(predict(Predictor(system), sources, PredictionTally(), rejector=rejector))
        found.append([(r.answered, round(r.confidence, 6)) for r in rows])
    assert found[0] == found[1]


def test_confidence_is_the_mean_of_the_folds_at_their_temperatures(audio_run):
    system = open_system(audio_run.run, 0)
    predictor, rejector = Predictor(system), make_rejector(system, HALF)
    sources = find_recordings([str(audio_run.audio)])[0][:2]
    tally = PredictionTally()
    rows = list(predict(predictor, sources, tally, rejector=rejector))
    plain = list(predict(predictor, sources, PredictionTally()))
    for row, same, source in zip(rows, plain, sources, strict=True):
        np.testing.assert_allclose(row.posteriors, same.posteriors, atol=1e-9)
        assert (same.confidence, same.answered) == (None, None)
        clip = predictor.read(read_whole(source.path, None).samples)
        folds = predictor.fold_posteriors([clip])[:, 0]  # (F, K)
        total = np.zeros(folds.shape[1])
        for values, temperature in zip(folds, rejector.temperatures, strict=True):
            powers = values ** (1 / temperature)
            total += powers / powers.sum() / len(folds)
        assert row.confidence == pytest.approx(total[int(row.posteriors.argmax())], abs=1e-6)
        assert row.answered == (row.confidence >= rejector.chosen.threshold)
    assert tally.not_sure == sum(not row.answered for row in rows)


def test_windows_are_answered_one_by_one(audio_run):
    system = open_system(audio_run.run, 0)
    sources = find_recordings([str(audio_run.audio)])[0][:1]
    rows = list(
        predict(
            Predictor(system),
            sources,
            PredictionTally(),
            plan=WindowPlan(window=0.15, hop=0.05),
            rejector=make_rejector(system, HALF),
        )
    )
    windows, (whole,) = rows[:-1], rows[-1:]
    assert len(windows) > 1
    best = int(whole.posteriors.argmax())
    if all(int(row.posteriors.argmax()) == best for row in windows):
        assert whole.confidence == pytest.approx(np.mean([row.confidence for row in windows]))
    assert all(row.answered is not None for row in rows)


def test_an_accuracy_that_few_rows_have_is_not_trusted():
    surest, middle = Operating(0.9, 0.1, 1.0), Operating(0.6, 0.5, 0.8)
    curve = {
        "threshold": [0.9, 0.6, 0.2],
        "coverage": [0.1, 0.5, 1.0],
        "accuracy": [1.0, 0.8, 0.5],
    }
    wish = Wish(kind="accuracy", value=0.95)
    assert grant(curve, wish, rows=100) is None  # 10 rows of 100
    assert grant(curve, wish, rows=1000) == surest
    assert grant(curve, Wish(kind="accuracy", value=0.8), rows=100) == middle
    assert grant(curve, Wish(kind="coverage", value=0.4), rows=100) == middle


def test_a_wish_that_dev_rows_cannot_grant_names_what_they_can(audio_run):
    system = dataclasses.replace(
        open_system(audio_run.run, 0),
        rejection={
            "temperatures": [1.0] * len(open_system(audio_run.run, 0).folds),
            "rows": 50,
            "curve": {"threshold": [0.9, 0.1], "coverage": [0.5, 1.0], "accuracy": [0.75, 0.6]},
        },
    )
    with pytest.raises(BadInputError, match=r"accuracy=0\.9.*50 dev rows.*answered is 75\.0 %"):
        make_rejector(system, Wish(kind="accuracy", value=0.9))


@pytest.mark.parametrize(
    "text", ["accuracy", "accuracy=", "recall=0.5", "coverage=0", "accuracy=80"]
)
def test_a_wish_that_is_none_is_refused(text):
    with pytest.raises(BadInputError, match="must be accuracy=A or coverage=C"):
        parse_wish(text)


def test_an_ensemble_of_an_earlier_version_says_what_to_do(ensembles, tmp_path):
    shutil.copytree(ensembles["mean"], tmp_path / "ens")
    info = read_json(tmp_path / "ens" / "ensemble.json")
    del info["rejection"]["dev"]
    write_json(tmp_path / "ens" / "ensemble.json", info)
    with pytest.raises(ArtifactError, match="combine again"):
        make_rejector(open_system(tmp_path / "ens"), HALF)
    export(tmp_path / "ens", tmp_path / "bundle")  # works without
    with pytest.raises(ArtifactError, match="export it again"):
        make_rejector(open_system(tmp_path / "bundle"), HALF)


def test_every_format_names_the_answer():
    rows = [
        PredictedRow(
            file="a.wav",
            part="whole",
            start=0.0,
            end=1.0,
            posteriors=np.array([0.4, 0.6]),
            confidence=0.55,
            answered=False,
        ),
        PredictedRow(
            file="b.wav",
            part="whole",
            start=0.0,
            end=1.0,
            posteriors=np.array([0.1, 0.9]),
            confidence=0.8,
            answered=True,
        ),
        PredictedRow(
            file="c.wav", part="window", start=0.0, end=1.0, posteriors=None, note="silence"
        ),
    ]
    classes = ("angry", "sad")
    found = [json.loads(line) for line in FORMATS["jsonl"](rows, classes, rejecting=True)]
    assert [row.get("answer") for row in found] == ["not sure", "sad", None]
    assert found[0]["emotion"] == "sad"
    text = "".join(FORMATS["csv"](rows, classes, rejecting=True))
    table = list(csv.DictReader(io.StringIO(text)))
    assert [row["answer"] for row in table] == ["not sure", "sad", ""]
    assert [row["confidence"] for row in table] == ["0.55", "0.8", ""]
    lines = list(FORMATS["table"](rows, classes, rejecting=True))
    assert "not sure   55.0" in lines[1]
    assert "answer" not in "".join(FORMATS["csv"](rows[2:], classes))
