"""Canaries of the search: labels that mean nothing, and a speaker in two parts.

A search on labels that were permuted at random can learn nothing of the test rows. If it beats
chance there, something tells it the answers: a leak in the data, the folds or the program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from serplatform.artifacts.files import file_sha256, write_json, write_parquet
from serplatform.artifacts.trial import TrialRecord
from serplatform.config import digest
from serplatform.console import percent
from serplatform.datasets.dataset import Dataset
from serplatform.distributed.search import search
from serplatform.distributed.tune.placement import SearchLimits
from serplatform.errors import BadInputError, LeakError, SerplatformError
from serplatform.models.architectures import ARCHITECTURES
from serplatform.protocols.base import FoldPlan
from serplatform.protocols.plan import check_plan
from serplatform.protocols.selection import recording_groups
from serplatform.run_directory import RunDirectory
from serplatform.seeding import derive_seed
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import create_run
from serplatform.studies.space import load_space, packaged_spaces
from serplatform.studies.study import Suggestion
from serplatform.training.trial import TrialReport
from serplatform.training.trial_config import resolve

#: tried first, because they train fastest; then the others by name
_QUICK = ("csa", "moma")


def permuted_copy(source: Path, out: Path, *, seed: int) -> Path:
    """Make a dataset in ``out`` with the labels of another permuted over its recordings.

    Utterances that the folds keep together (copies, a file and its segments) keep one label, that
    of the first of them: were they apart after all, the copy would give the label away. Features
    and alignments are links to the original's files; where no utterances belong together, how many
    a class has stays the same.
    """
    dataset = Dataset.open(source)
    rng = np.random.default_rng(derive_seed(seed, "permute labels"))
    labels = dataset.utterances.column("emotion").to_pylist()
    _, first, group = np.unique(
        recording_groups(dataset.utterances), return_index=True, return_inverse=True
    )
    permuted = [labels[i] for i in rng.permutation(first)[group]]
    table = dataset.utterances.set_column(
        dataset.utterances.schema.get_field_index("emotion"),
        dataset.utterances.schema.field("emotion"),
        pa.array(permuted, pa.string()),
    )
    out.mkdir(parents=True)
    for file in dataset.path.iterdir():
        if file.is_file() and file.name not in ("dataset.json", "utterances.parquet"):
            (out / file.name).symlink_to(file)
    write_parquet(out / "utterances.parquet", table)
    meta = {
        **dataset.meta,
        "title": f"{dataset.meta['title']}, labels permuted at random",
        "notes": [*dataset.meta["notes"], "Labels were permuted at random: a canary."],
        "fingerprint": digest([dataset.fingerprint, "labels permuted", seed]),
        "files": {
            **dataset.meta["files"],
            "utterances.parquet": file_sha256(out / "utterances.parquet"),
        },
    }
    write_json(out / "dataset.json", meta)
    return out


def quick_architecture(dataset: Dataset) -> str:
    """An architecture that hears audio only, trains fast, and whose features the dataset has.

    Raises:
        BadInputError: there is none.
    """
    spaces = packaged_spaces()
    others = [name for name in ARCHITECTURES.names() if name not in _QUICK]
    for name in (*_QUICK, *others):
        architecture = ARCHITECTURES.get(name)
        if architecture.inputs != frozenset({"audio"}) or architecture.encoder is not None:
            continue
        space = load_space(f"{name}-small" if f"{name}-small" in spaces else name)
        searched = space.parameters.get("data.feature")
        needed = searched.values if searched else [resolve(name, space.fixed, name).data.feature]
        if not any(dataset.lacking(feature) for feature in needed):
            return name
    raise BadInputError(
        f"{dataset.path}: no architecture that hears audio only can be trained on its features "
        f"({', '.join(dataset.feature_names)}); prepare it with --features log_mel_23"
    )


@dataclasses.dataclass(frozen=True)
class _EndObserver:
    """Tells how each trial ended."""

    tell: Callable[[str], None]
    trials: int

    def trial_started(self, suggestion: Suggestion) -> None:
        """Nothing to say."""

    def trial_progressed(self, suggestion: Suggestion, report: TrialReport) -> None:
        """Nothing to say."""

    def trial_retried(self, suggestion: Suggestion, error: str) -> None:
        """Say why it is resumed in another process."""
        self.tell(f"trial {suggestion.number + 1} of {self.trials} is tried again: {error}")

    def trial_ended(self, record: TrialRecord) -> None:
        """Say how it ended."""
        uar = record.get("dev", {}).get("uar")
        told = "" if uar is None else f", dev UAR {percent(uar)}"
        self.tell(f"trial {record['trial'] + 1} of {self.trials}: {record['state']}{told}")


def small_search(
    dataset: Path,
    out: Path,
    *,
    protocol: str | None = None,
    trials: int = 4,
    max_epochs: int = 3,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> RunDirectory:
    """Search a quick architecture at reduced sizes, with the sampler and pruner of any search.

    ``protocol`` is the corpus's own where it is None; ``tell`` is given a line after each trial.

    Raises:
        SerplatformError: a trial failed, or the search was stopped.
    """
    architecture = quick_architecture(Dataset.open(dataset))
    run = create_run(
        out,
        SearchRequest(
            architectures=(architecture,),
            dataset=dataset,
            protocol=protocol,
            settings=(f"training.max_epochs={max_epochs}",),
            small=True,
            seed=seed,
        ),
        ["serplatform", "data", "--canary"],
    )
    limits = SearchLimits(trials=trials)
    outcome = search(run, limits, _EndObserver(tell, trials))
    if outcome.status == "interrupted":
        raise KeyboardInterrupt
    if outcome.counts["failed"] or not outcome.counts["complete"]:
        errors = {str(r["error"]) for r in run.directory.records().values() if r["error"]}
        raise SerplatformError(
            "the canary's trials did not all finish:\n" + "\n".join(sorted(errors))
        )
    return run.directory


def planted_speaker_is_refused(plan: FoldPlan, utterances: pa.Table) -> bool:
    """Whether a plan without speakers in two parts is refused once a test speaker's utterance is
    moved to the training part."""
    fold = plan.folds[0]
    names, of = (utterances.column(n).to_pylist() for n in ("utterance_id", "speaker_id"))
    speakers = dict(zip(names, of, strict=True))
    planted = next(
        name for name in fold.test if [speakers[n] for n in fold.test].count(speakers[name]) > 1
    )
    moved = dataclasses.replace(
        fold,
        train=tuple(sorted((*fold.train, planted))),
        test=tuple(name for name in fold.test if name != planted),
    )
    try:
        check_plan(dataclasses.replace(plan, folds=(moved, *plan.folds[1:])), utterances)
    except LeakError as error:
        return f"'{speakers[planted]}'" in str(error)
    return False
