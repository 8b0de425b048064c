"""What every figure of the report must keep; a registered figure gets these tests by existing.

Use it in a test module::

    @pytest.mark.parametrize("name", FIGURES.names())
    class TestFigures(FigureContract):
        pass
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from serplatform.artifacts.files import write_parquet
from serplatform.artifacts.posteriors import posterior_schema
from serplatform.artifacts.trial import HistoryEntry
from serplatform.datasets.dataset import Dataset
from serplatform.ensembles.build import build_ensemble
from serplatform.metrics import classification_metrics
from serplatform.report.data import NoDataError, ReportData, build_report_data
from serplatform.report.drawing.panel import page_picture, page_width
from serplatform.report.figures.base import FIGURES, SECTIONS, Drawing, Palette
from serplatform.report.load import load_source
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import create_run
from serplatform.testing.synthetic import make_dataset

_EPOCHS = 3


def make_run(path: Path, *, num_complete: int = 4) -> Path:
    """Write a run of moma as a search leaves it, with random posteriors; nothing is trained.

    Args:
        path: takes the dataset, ``data``, and the run, ``run``.
        num_complete: complete trials, which are combined; two more are pruned and failed.

    Returns:
        The run's directory.
    """
    dataset = Dataset.open(make_dataset(path / "data", per_speaker=8, seconds=(0.2, 0.3)))
    request = SearchRequest(architectures=("moma",), dataset=dataset.path, exact=True)
    opened = create_run(path / "run", request, ["serplatform", "search", "moma"])
    run, rng = opened.directory, np.random.default_rng(0)
    classes = list(opened.plan.classes)
    speakers, emotions = (
        dict(zip(dataset.utterance_ids, dataset.utterances[name].to_pylist(), strict=True))
        for name in ("speaker_id", "emotion")
    )
    for number, state in enumerate(["complete"] * num_complete + ["pruned", "failed"]):
        tables, fold_dev = [], []
        history: list[HistoryEntry] = []
        for fold, parts in enumerate(opened.plan.folds):
            for part, ids in (("dev", parts.dev), ("test", parts.test)):
                truth = np.array([classes.index(emotions[name]) for name in ids])
                logits = rng.normal(0, 1, (len(ids), len(classes)))
                logits[np.arange(len(ids)), truth] += 1 + number % 3
                values = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
                if part == "dev":
                    fold_dev.append(classification_metrics(truth, values))
                columns = {
                    "utterance_id": list(ids),
                    "speaker_id": [speakers[name] for name in ids],
                    "fold": [fold] * len(ids),
                    "part": [part] * len(ids),
                    "truth": [emotions[name] for name in ids],
                    **{f"p_{name}": values[:, k] for k, name in enumerate(classes)},
                }
                tables.append(pa.table(columns, schema=posterior_schema(classes)))
            history += [
                HistoryEntry(fold=fold, epoch=n, train_loss=1.5 / n, dev=fold_dev[-1], seconds=1.0)
                for n in range(1, _EPOCHS + 1)
            ]
        done = state == "complete"
        if done:
            write_parquet(run.posteriors_file(number), pa.concat_tables(tables))
        run.write_record(
            {
                "schema_version": 1,
                "trial": number,
                "paper": number == 0,
                "architecture": "moma",
                "state": state,
                "params": {"training.learning_rate": 10.0 ** -(2 + number % 3)},
                "dev": {k: float(np.mean([d[k] for d in fold_dev])) for k in fold_dev[0]},
                "fold_dev": fold_dev if done else fold_dev[:1],
                "epochs": len(history),
                "seconds": 10.0 + number,
                "num_parameters": 1000 * (number + 1),
                "peak_memory_mb": 200.0,
                "error": "loss is not finite" if state == "failed" else None,
                "history": history if done else history[:_EPOCHS],
            }
        )
    run.write_trials_table()
    opened.set_status("complete", seconds=60.0)
    if num_complete:
        build_ensemble([run.path], run.ensemble_directory)
    return run.path


@functools.cache
def synthetic_report(num_complete: int) -> ReportData:
    """Of a run with so many complete trials; it is the same for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="figures-"))
    return build_report_data(load_source(make_run(folder, num_complete=num_complete)))


class FigureContract:
    """Tests of one figure, whose registered ``name`` each test is given."""

    def drawn(self, name: str, report: ReportData) -> Drawing:
        """The figure of a run; the test is skipped where it says that it has nothing to show."""
        try:
            return FIGURES.get(name)().make(report, Palette(architectures=report.architectures))
        except NoDataError as error:
            if not str(error).strip():
                pytest.fail("NoDataError must say why, for the reader")
            pytest.skip(f"{name}: {error}")

    def test_it_says_what_it_is(self, name: str) -> None:
        figure = FIGURES.get(name)
        assert figure.title.strip()
        assert figure.section in SECTIONS
        assert isinstance(figure.after, str)

    @pytest.mark.parametrize("num_complete", [0, 1, 4])
    def test_any_run_gives_a_drawing_or_a_reason(self, name: str, num_complete: int) -> None:
        """Runs without a complete trial, with one, and with several."""
        drawing = self.drawn(name, synthetic_report(num_complete))
        assert drawing.summary.strip(), "a drawing says in a sentence what is seen"
        for panel in drawing.panels:
            json.dumps([panel.data, panel.layout], allow_nan=False)
            if num_complete > 1:
                picture, _ = page_picture(panel, page_width(panel, paired=False), name)
                assert picture.startswith("<svg")

    def test_its_numbers_can_be_read_in_tables(self, name: str) -> None:
        drawing = self.drawn(name, synthetic_report(4))
        assert drawing.tables or not drawing.panels, (
            "the data behind a figure can be downloaded as a table"
        )
        for table in drawing.tables:
            assert table.caption.strip()
            assert table.rows, f"table '{table.caption}' has no row"
            columns = len(table.csv_header or table.header)
            assert {len(row) for row in table.rows} == {columns}, table.caption
            assert {len(row) for row in table.shown()} == {len(table.header)}, table.caption
        numbers = list(_numbers([table.rows for table in drawing.tables]))
        assert all(math.isfinite(number) for number in numbers), "None stands for what is unknown"

    def test_it_is_the_same_twice_and_changes_nothing(self, name: str) -> None:
        report = synthetic_report(4)
        trials = copy.deepcopy(report.trials)
        first, second = (dataclasses.asdict(self.drawn(name, report)) for _ in range(2))
        assert json.dumps(first, default=list) == json.dumps(second, default=list)
        assert report.trials == trials


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, (list, tuple)):
        for element in value:
            yield from _numbers(element)
    elif isinstance(value, float):
        yield value
