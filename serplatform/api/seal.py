"""Open the test rows of a sealed run: once, and for the ensemble that dev rows have chosen."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from serplatform import plugins
from serplatform.console import stage
from serplatform.errors import BadInputError
from serplatform.report.answer import Answer, read_answer
from serplatform.run_directory import RunDirectory, RunLock
from serplatform.storage.mirror import open_copy, publish, shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unsealed:
    """What came of it: the run, how many trials were opened, the first look, and the page."""

    run: str
    trials: int
    answer: Answer
    report: str


def unseal_run(
    path: str | Path, *, combiner: str | None = None, data: str | Path | None = None
) -> Unsealed:
    """Close the choice of a sealed run, compute its test posteriors, and measure its ensemble.

    Args:
        path: the run, directory or URI.
        combiner: of the ensemble; None: what the run was begun with.
        data: where the dataset lies now; None: where it lay when the run was begun.

    Raises:
        BadInputError: the run is not sealed or in use, its dataset or a model is not there, or
            the combiner is unknown; it then stays sealed.
        ArtifactError: a file is damaged.
    """
    from serplatform.api.execute import explain_at_end
    from serplatform.datasets.dataset import Dataset
    from serplatform.ensembles.base import find_combiner
    from serplatform.ensembles.build import build_ensemble
    from serplatform.report.build import build_report
    from serplatform.studies.setup import check_dataset
    from serplatform.training.seal import open_test_rows

    copy = open_copy(path)
    directory = RunDirectory(copy)
    description = directory.read_run()
    plugins.restore(copy, description)
    chosen = combiner or description.get("combiner") or "product"
    if chosen != "none":
        find_combiner(chosen)
    complete = [r for r in directory.records().values() if r["state"] == "complete"]
    if not complete:
        raise BadInputError(f"{path}: no finished trial, so there is nothing to measure")
    stage("computing test posteriors")
    dataset = Dataset.open(data or description["dataset"]["path"])
    check_dataset(dataset, directory, description)
    with RunLock(directory):
        count = open_test_rows(directory, dataset)
    if chosen != "none":
        stage(f"combining {count} trials")
        build_ensemble(
            [copy], directory.ensemble_directory, combiner=chosen, seed=description["seed"]
        )
    explain_at_end(copy, audio=None, seed=description["seed"])
    stage("writing the page")
    page = build_report(copy, directory.report_file)
    answer = read_answer(copy)
    publish(copy)
    return Unsealed(run=str(path), trials=count, answer=answer, report=shown(page))
