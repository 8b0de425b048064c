"""Opens the test rows of a sealed run: the posteriors of its kept models, computed once.

While a run is sealed its trials have dev posteriors alone. Opening closes the choice first, so
that no trial can be added by whoever has seen test rows, and may be repeated where it was killed.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import torch

from serplatform.arrays import DoubleArray
from serplatform.artifacts.files import file_sha256, read_parquet, write_parquet
from serplatform.artifacts.layout import CONFIG_FILE
from serplatform.artifacts.looks import SEALED
from serplatform.artifacts.posteriors import check_recorded, checked_posteriors, posterior_table
from serplatform.artifacts.trial import TrialRecord, trained_folds
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.environment import now
from serplatform.errors import BadInputError
from serplatform.protocols.base import FoldPlan
from serplatform.protocols.plan import read_plan
from serplatform.run_directory import RunDirectory
from serplatform.storage.mirror import ensure
from serplatform.training.bundle import load_model
from serplatform.training.inference import posteriors_of


def refuse_sealed(run: RunDirectory, what: str) -> None:
    """Raise a BadInputError where ``what`` needs test rows of a run that is sealed."""
    if run.read_run().get("sealed"):
        raise BadInputError(
            f"{run}: {SEALED}, and {what} needs them; `serplatform unseal {run}` opens them and "
            "closes the choice of trials"
        )


def open_test_rows(run: RunDirectory, dataset: Dataset) -> int:
    """Close the choice of a sealed run, and compute its test posteriors; return of how many trials.

    Args:
        run: not in use by another process.
        dataset: that its trials were trained on.

    Raises:
        BadInputError: it is not sealed, or a model that is needed is not there; it then stays
            sealed.
        ArtifactError: a file is damaged.
    """
    description, plan = run.read_run(), read_plan(run.folds_file)
    if not description.get("sealed"):
        raise BadInputError(f"{run}: is not sealed, its test rows are open")
    places = [run, *([RunDirectory(run.reference_directory)] if run.has_reference else [])]
    trials = [
        (place, record)
        for place in places
        for record in place.records().values()
        if record["state"] == "complete"
    ]
    needed = [
        place.model_directory(record["trial"], fold)
        for place, record in trials
        for fold in trained_folds(record, len(plan.folds))
    ]
    if lacking := [d for d in needed if not (ensure(d) / CONFIG_FILE).exists()]:
        raise BadInputError(
            f"{lacking[0]}: no model, which the test posteriors are computed with; bring the run's "
            "models back, it stays sealed until then"
        )
    description["unsealed"] = description.get("unsealed") or now()
    run.write_run(description)
    for place, record in trials:
        _open_trial(place, record, dataset, plan)
    for place in reversed(places):
        opened = place.read_run()
        opened["sealed"] = False
        place.write_run(opened)
    return sum(place is run for place, _ in trials)


def _open_trial(run: RunDirectory, record: TrialRecord, dataset: Dataset, plan: FoldPlan) -> None:
    """Add the test posteriors of one trial to its table, then their checksum to its record."""
    file = run.posteriors_file(record["trial"])
    table = checked_posteriors(read_parquet(file, "posterior table"), file, plan.classes)
    dev = table.filter(pc.equal(table["part"], "dev"))
    if dev.num_rows == table.num_rows:  # else an opening was killed here
        check_recorded(file, record.get("posteriors_sha256"))
    pieces = []
    for fold in trained_folds(record, len(plan.folds)):
        data, values = _posteriors(run, record, dataset, plan, fold)
        pieces += [
            dev.filter(pc.equal(dev["fold"], fold)),
            posterior_table(
                data.utterance_ids("test"),
                plan.units(data.speaker_ids("test")),
                data.labels("test"),
                values,
                fold=fold,
                part="test",
                classes=data.classes,
            ),
        ]
    write_parquet(file, pa.concat_tables(pieces).combine_chunks())
    record["posteriors_sha256"] = file_sha256(file)
    run.write_record(record)


def _posteriors(
    run: RunDirectory, record: TrialRecord, dataset: Dataset, plan: FoldPlan, fold: int
) -> tuple[FoldData, DoubleArray]:
    """A fold's rows and (N, K) posteriors of its test rows, as training would have left them."""
    cuda = str(record.get("device")).startswith("cuda") and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    model = load_model(run.model_directory(record["trial"], fold), device.type)
    if model.config.training.refit:  # its inputs were fitted on dev rows too
        plan = plan.with_dev_in_training(fold)
    data = FoldData(dataset, plan, fold, model.config.data)
    return data, posteriors_of(model.model, data, "test", device)
