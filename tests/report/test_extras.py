"""What a page shows on request: evaluations of its systems, and groups of its test rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serplatform.artifacts.ensemble import read_ensemble
from serplatform.artifacts.trial import trial_identity
from serplatform.errors import ArtifactError, BadInputError
from serplatform.report.build import draw_figures, render, section_headings
from serplatform.report.data import build_report_data
from serplatform.report.extras import Extras, with_extras
from serplatform.report.fairness import LEAST, fairness_on_test
from serplatform.report.figures.base import Palette
from serplatform.report.figures.fairness import FairnessFigure
from serplatform.report.load import Posteriors, load_source
from serplatform.report.paper import paper_figures, write_figures
from tests.support.evaluation_file import evaluation


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, found: dict[str, Any]) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(found))
        return path

    return write


def identities(run: Path, ensemble: Path) -> tuple[str, str]:
    one = load_source(run).runs[0]
    return (
        trial_identity(one.trials[0].record, one.info["folds_hash"]),
        str(read_ensemble(ensemble)["posteriors_sha256"]),
    )


def test_each_evaluation_is_a_section_and_its_figures_are_files(
    on_disk: Any, written: Callable[..., Path], tmp_path: Path
) -> None:
    trial, ensemble = identities(on_disk.run, on_disk.ensemble)
    files = [
        written("one.json", evaluation(trial)),
        written("two.json", evaluation(ensemble, "Second") | {"robustness": [], "fairness": []}),
    ]
    report = build_report_data(load_source(on_disk.ensemble))
    report = with_extras(report, Extras(evaluations=tuple(files)))
    page = render(report)
    assert '<details class="chapter" id="dataset-1">' in page
    assert "On another dataset: other&lt;data&gt;</h2>" in page
    assert "On another dataset: Second</h2>" in page
    assert "their number on the other dataset; an empty cell" in page
    for name in ("", "_confusion", "_groups", "_robustness", "_fairness"):
        assert page.count(f'id="evaluation{name}"') == 1
    assert 'id="evaluation-dataset-2"' in page
    assert "NOT CHECKED for rows that training has seen" in page
    assert "not above chance, which the interval includes" in page
    assert "happy, f against m, 30.0 points of recall, p = .012" in page
    assert "1 of 1 conditions are worse" in page
    drawn = [one for one in paper_figures(report) if one.name.startswith("evaluation_")]
    assert "evaluation_confusion-dataset-2" in [one.name for one in drawn]
    lost = [one for one in drawn if one.name == "evaluation_robustness"]
    assert write_figures(lost, tmp_path, ("svg",)) == 2 + 1


def test_without_one_there_is_no_such_section(on_disk: Any) -> None:
    report = build_report_data(load_source(on_disk.run))
    drawn = draw_figures(report)
    assert list(drawn) == list(section_headings(report))
    assert not [name for name in drawn if name.startswith("dataset")]
    (alone,) = [one for one in drawn["results"] if one.name == "fairness"]
    assert alone.reason == "not asked for; `serplatform report RUN --fairness` tests it"


def test_an_evaluation_of_another_run_is_refused_by_name(
    on_disk: Any, written: Callable[..., Path]
) -> None:
    report = build_report_data(load_source(on_disk.run))
    foreign = written("emodb.json", evaluation("0" * 64))
    with pytest.raises(BadInputError, match=r"emodb.json: .*trial 0 \(moma\) of runs/other.*run"):
        with_extras(report, Extras(evaluations=(foreign,)))
    early = written("early.json", evaluation(""))
    with pytest.raises(BadInputError, match="does not say which system"):
        with_extras(report, Extras(evaluations=(early,)))
    found = evaluation(identities(on_disk.run, on_disk.ensemble)[0])
    found["readings"]["all"] = {**found["readings"]["all"], "confusion": [[1]]}
    with pytest.raises(ArtifactError, match="confusion matrix of other classes"):
        with_extras(report, Extras(evaluations=(written("bad.json", found),)))


def test_groups_of_own_test_rows_are_compared_on_request(on_disk: Any) -> None:
    report = build_report_data(load_source(on_disk.run))
    test = report.systems[0].test
    speakers = sorted(set(test.speaker_ids.tolist()))
    genders = {
        u: "fm"[speakers.index(s) % 2]
        for u, s in zip(test.utterance_ids.tolist(), test.speaker_ids.tolist(), strict=True)
    }
    asked = with_extras(report, Extras(genders=genders))
    label, found = FairnessFigure().compute(asked)
    right = test.prediction == test.truth
    own = np.array([genders[u] for u in test.utterance_ids])
    for row in found[0]["recalls"]:
        rows = (own == row["group"]) & (test.truth == report.classes.index(row["emotion"]))
        assert row["recall"]["value"] == pytest.approx(right[rows].mean())
    assert (
        FairnessFigure()
        .draw((label, found), Palette(architectures=()))
        .summary.startswith("Best single trial. Largest gap by gender")
    )
    assert asked.look == report.look
    _, unknown = FairnessFigure().compute(with_extras(report, Extras(genders={})))
    assert unknown[0]["recalls"] == []


def test_an_utterance_that_tests_in_several_folds_counts_once(
    posteriors: Callable[..., Posteriors],
) -> None:
    rows = [[0.9, 0.1]] * 2 * LEAST
    once = posteriors(rows, [0] * 2 * LEAST, [*("a" * LEAST), *("b" * LEAST)])
    twice = once.take(np.repeat(np.arange(len(once)), 2))
    found = [fairness_on_test(test, ("x", "y"), {}) for test in (once, twice)]
    assert found[0] == found[1]
    assert [row["utterances"] for row in found[1][1]["recalls"]] == [LEAST, LEAST]
