"""What the ensemble costs, by hand."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serplatform.report.data import NoDataError, ReportData, build_report_data
from serplatform.report.figures.base import Palette
from serplatform.report.figures.ensemble import EnsembleCost
from serplatform.report.load import Posteriors, ReportedEnsemble, ReportTrial, load_source
from tests.support.explained_run import add_explanations

Make = Callable[..., Any]

MEMBERS = [[(0, 0.5), (1, 0.5), (2, 0.0)], [(1, 1.0)]]
SINGLE = [1, 3]


@pytest.fixture
def made(trial: Make, report_data: Make, posteriors: Make) -> Callable[..., ReportData]:
    """Two folds: trials 0 and 1, then 1 alone; the best single is 1, then 3."""

    def make(**fields: Any) -> ReportData:
        trials: list[ReportTrial] = [
            trial(i, num_parameters=100 * (i + 1), seconds=3600.0 * (i + 1), epochs=10 + i)
            for i in range(4)
        ]
        record: Any = trials[0].record | fields
        trials[0] = dataclasses.replace(trials[0], record=record)
        found: ReportData = report_data(trials)
        rows: Posteriors = posteriors([[1.0, 0.0]], [0], ["a"])
        info = {
            "folds": [
                {
                    "members": [{"run": "run", "trial": t, "share": s} for t, s in members],
                    "best_single": {"run": "run", "trial": single},
                }
                for members, single in zip(MEMBERS, SINGLE, strict=True)
            ]
        }
        ensemble = ReportedEnsemble(
            path=Path("e"), info=info, classes=found.classes, posteriors=rows
        )
        source = dataclasses.replace(
            found.source, ensemble=ensemble, named={"run": found.source.runs[0]}
        )
        return dataclasses.replace(found, source=source)

    return make


def test_models_of_a_fold_are_summed_and_trainings_are_counted_once(
    made: Make, palette: Palette
) -> None:
    ensemble, single = EnsembleCost().compute(made())
    assert ensemble.models == 1.5
    assert ensemble.num_parameters == (100 + 200 + 200) / 2
    assert (ensemble.trials, ensemble.seconds, ensemble.epochs) == (2, 3 * 3600.0, 21)
    assert single.models == 1
    assert single.num_parameters == (200 + 400) / 2
    assert (single.trials, single.seconds, single.epochs) == (2, 6 * 3600.0, 24)
    assert ensemble.latency_seconds is None
    drawing = EnsembleCost().draw((ensemble, single), palette)
    assert "1.5 models" in drawing.summary
    assert "250 parameters instead of 300 (0.8 times" in drawing.summary
    shown = {row[0]: row[1:] for row in drawing.tables[0].shown()}
    assert shown["training (h)"] == ["3.00", "6.00"]
    assert shown["latency (ms)"] == ["–", "–"]


def test_what_a_member_did_not_record_is_not_guessed(made: Make, palette: Palette) -> None:
    ensemble, single = EnsembleCost().compute(made(num_parameters=None))
    assert ensemble.num_parameters is None
    assert single.num_parameters == 300
    assert "parameters" not in EnsembleCost().draw((ensemble, single), palette).summary


def test_without_an_ensemble_or_its_trials_there_is_a_reason(report_data: Make, made: Make) -> None:
    with pytest.raises(NoDataError, match="nothing was combined"):
        EnsembleCost().make(report_data([]), Palette(architectures=()))
    gone = made()
    gone = dataclasses.replace(gone, source=dataclasses.replace(gone.source, named={}))
    with pytest.raises(NoDataError, match="no longer there"):
        EnsembleCost().compute(gone)


def test_latency_is_the_sum_of_what_was_measured_of_each_model(
    on_disk: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(on_disk.run, run)
    shutil.copytree(on_disk.ensemble, run / "ensemble")
    add_explanations(run, shown=0)
    report_data = build_report_data(load_source(run))
    ensemble, single = EnsembleCost().compute(report_data)
    assert ensemble.latency_seconds is None  # some members were not looked at
    file = run / "explanations" / "explanations.json"
    info = json.loads(file.read_text())
    info["trials"] = [
        info["trials"][0] | {"trial": t.number, "latency_seconds": 0.002}
        for t in report_data.trials
    ]
    file.write_text(json.dumps(info))
    ensemble, single = EnsembleCost().compute(report_data)
    assert ensemble.latency_seconds == pytest.approx(0.002 * ensemble.models)
    assert single.latency_seconds == pytest.approx(0.002)
    assert ensemble.test_uar == report_data.systems[0].pooled["uar"].value
