"""Tables that are reproduced on random features, trained without Ray."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from serplatform.datasets.dataset import Dataset
from serplatform.reproduce.plan import ColumnPlan, ReproduceOptions, open_run
from serplatform.studies.trial_list import TrialList, assign_numbers
from serplatform.testing.synthetic import make_dataset
from serplatform.training.trial import TrialTask, TrialTraining

#: a table of two trained rows and two combinations of them
TABLE = """\
title: Two systems
paper: Nobody, "Nothing", 2020
seeds: 2
columns:
  ravdess: {corpus: ravdess, protocol: "speaker-kfold:3", metrics: [accuracy, uar]}
  iemocap: {corpus: iemocap, protocol: iem4-session5, metrics: [accuracy, uar]}
stand_ins: {emodb: "speaker-kfold:3"}
rows:
  narrow:
    label: Narrow
    architecture: csa
    set: {model.channels: 4, model.kernel_1: 2, training.max_epochs: 2, training.batch_size: 24}
    published: {ravdess: {accuracy: 0.5, uar: 0.4}, iemocap: {accuracy: 0.6}}
  wide:
    label: Wide <b>
    architecture: csa
    set: {model.channels: 8, model.kernel_1: 2, training.max_epochs: 2, training.batch_size: 24}
    published: {ravdess: {accuracy: 0.6}}
  both:
    label: Both
    combine: [narrow, wide]
    exponent: 0.4
    published: {ravdess: {uar: 0.7}}
  both-dev:
    label: Both, by dev
    combine: [narrow, wide]
    exponent: dev
  iemocap-only:
    label: Elsewhere
    architecture: csa
    absent: {ravdess: it was never tried there}
    published: {iemocap: {accuracy: 0.3}}
choices: [None.]
"""


def make_corpus(path: Path, corpus: str = "ravdess", title: str = "RAVDESS, speech") -> Dataset:
    """A small dataset of random features that says it is of a corpus."""
    make_dataset(
        path,
        per_speaker=8,
        seconds=(0.4, 0.6) if corpus != "windows" else (4.0, 6.0),
        features={"log_mel_23": 23} if corpus != "windows" else {"mfcc_40_window": (40, 1.0, 2.0)},
    )
    described = json.loads((path / "dataset.json").read_text(encoding="utf-8"))
    described["corpus"] = "ravdess" if corpus == "windows" else corpus
    described["title"] = title
    (path / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    return Dataset.open(path)


def train(plan: ColumnPlan, options: ReproduceOptions, *, most: int | None = None) -> Sequence[int]:
    """Train what a column lacks, at most ``most`` trials of it; return the numbers."""
    run = open_run(plan, options, ["test"])
    numbers = assign_numbers(run, plan.configurations)
    roster = TrialList(run, numbers, {})
    trained: list[int] = []
    while roster.num_left and (most is None or len(trained) < most):
        suggestion = roster.ask()
        assert suggestion.seed is not None
        trial = TrialTraining(
            TrialTask(
                number=suggestion.number,
                architecture=suggestion.architecture,
                values=suggestion.values,
                run=str(run.directory.path),
                dataset=str(run.description["dataset"]["path"]),
                seed=suggestion.seed,
            )
        )
        while not trial.finished:
            trial.step()
        trained.append(suggestion.number)
    return trained
