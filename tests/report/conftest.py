"""Small hand-made trials, posteriors and report_data, and a run with its ensemble on disk."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serplatform.artifacts.ensemble import ensemble_identity
from serplatform.ensembles.build import build_ensemble
from serplatform.report.data import ReportData, build_report_data
from serplatform.report.extras import Extras, with_extras
from serplatform.report.figures.base import Palette
from serplatform.report.load import Posteriors, ReportedRun, ReportSource, ReportTrial, load_source
from serplatform.report.members import EnsembleMember
from serplatform.report.systems import EvaluatedSystem, MeasuredSystem, measure
from serplatform.statistics.intervals import Interval
from tests.support.evaluation_file import evaluation
from tests.support.explained_run import add_explanations
from tests.support.synthetic_run import make_run


@pytest.fixture
def trial() -> Callable[..., ReportTrial]:
    def make(number: int = 0, **fields: Any) -> ReportTrial:
        uar = fields.pop("uar", 0.5)
        record: Any = {
            "trial": number,
            "architecture": "moma",
            "state": "complete",
            "params": {},
            "dev": {} if uar is None else {"uar": uar},
            "fold_dev": [] if uar is None else [{"uar": uar}] * 2,
            "epochs": 4,
            "seconds": 2.0,
            "num_parameters": 1000,
        }
        return ReportTrial(run_path=Path("run"), record=record | fields)

    return make


@pytest.fixture
def posteriors() -> Callable[..., Posteriors]:
    def make(
        rows: Sequence[Sequence[float]],
        truth: Sequence[int],
        speakers: Sequence[str],
        folds: Sequence[int] | None = None,
    ) -> Posteriors:
        count = len(truth)
        return Posteriors(
            utterance_ids=np.array([f"u{i}" for i in range(count)]),
            speaker_ids=np.array(list(speakers)),
            folds=np.array(folds if folds is not None else [0] * count, dtype=np.int64),
            parts=np.array(["test"] * count),
            truth=np.array(truth, dtype=np.int64),
            values=np.array(rows, dtype=np.float64),
        )

    return make


@pytest.fixture
def system() -> Callable[..., EvaluatedSystem]:
    def make(test: Posteriors, key: str = "single") -> EvaluatedSystem:
        return measure(test, key=key, chosen="by hand")

    return make


@pytest.fixture
def report_data() -> Callable[..., ReportData]:
    def make(
        trials: Sequence[ReportTrial] = (),
        systems: Sequence[EvaluatedSystem] = (),
        classes: Sequence[str] = ("happy", "sad"),
        *,
        comparisons: Mapping[str, Interval] | None = None,
        members: Sequence[EnsembleMember] = (),
        recorded: Sequence[MeasuredSystem] = (),
        plan: dict[str, Any] | None = None,
        info: dict[str, Any] | None = None,
    ) -> ReportData:
        run = ReportedRun(
            path=Path("run"),
            info=info or {},
            classes=tuple(classes),
            plan=plan or {},
            trials=tuple(trials),
        )
        return ReportData(
            source=ReportSource(path=Path("run"), runs=(run,), ensemble=None),
            classes=tuple(classes),
            trials=tuple(trials),
            systems=tuple(systems),
            recorded=tuple(recorded),
            comparisons=comparisons or {},
            members=tuple(members),
            used=(),
        )

    return make


@pytest.fixture
def palette() -> Palette:
    return Palette(architectures=("moma", "blstmatt", "csa"))


@dataclasses.dataclass(frozen=True)
class OnDisk:
    """A run of nine finished trials and the ensemble of it."""

    run: Path
    ensemble: Path


@pytest.fixture(scope="session")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> OnDisk:
    folder = tmp_path_factory.mktemp("report")
    run = make_run(folder / "run", num_trials=9, num_speakers=9, skill=(0.5, 1.5))
    build_ensemble([run], folder / "ens")
    return OnDisk(run=run, ensemble=folder / "ens")


#: an interval of a share
BETWEEN = {"value": 0.5, "low": 0.4, "high": 0.6}


@pytest.fixture(scope="session")
def reports(on_disk: OnDisk, tmp_path_factory: pytest.TempPathFactory) -> list[ReportData]:
    """Reports that have between them what every figure needs."""
    folder = tmp_path_factory.mktemp("reports")
    whole = Path(shutil.copytree(on_disk.run, folder / "whole"))
    shutil.copytree(on_disk.ensemble, whole / "ensemble")
    add_explanations(whole)
    many = make_run(folder / "many", num_trials=60, num_speakers=3, per_speaker=4)
    classes = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    size = {"num_trials": 1, "num_speakers": 24, "per_speaker": 60}
    known = load_source(make_run(folder / "known", classes=classes, **size))
    known.runs[0].plan["protocol"] = "ravdess-speaker-6fold"  # whose results are published
    known.runs[0].info["dataset"].update(corpus="ravdess", synthetic=False)
    joined = load_source(whole)
    part = {"utterances": 20, "speakers": 4, "chance": 0.25, "uar": BETWEEN, "accuracy": BETWEEN}
    joined.ensemble.info["per_source"] = [
        {"trained_on": ["a"], "tested_on": "b", **part},
        {"trained_on": ["b"], "tested_on": "a", **part},
    ]
    found = [build_report_data(s) for s in (joined, load_source(many), known)]
    (folder / "other.json").write_text(json.dumps(evaluation(ensemble_identity(found[0].ensemble))))
    extras = Extras(evaluations=(folder / "other.json",), genders={})
    return [with_extras(found[0], extras), *found[1:]]
