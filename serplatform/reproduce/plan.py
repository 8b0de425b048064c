"""What a table asks to be trained: which column on which dataset, in which run.

A run directory holds the trainings of one column, whichever tables ask for them: its name tells
protocol, dataset, seed of the folds and whether it is a quick one. So nothing is trained twice.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from serplatform.datasets.dataset import Dataset
from serplatform.errors import ArtifactError, BadInputError
from serplatform.models.base import ARCHITECTURES
from serplatform.protocols.plan import make_plan
from serplatform.reproduce.table import Column, ReproducedTable, Row, table_names
from serplatform.run_directory import RunDirectory
from serplatform.search.setup import OpenRun, SearchRequest, create_run, reopen_run
from serplatform.search.space import load_space
from serplatform.search.trial_list import Configuration, non_default_values
from serplatform.storage.destination import Kind, check_directory
from serplatform.storage.location import Location, parse
from serplatform.training.trial_config import resolve

#: of the packaged small spaces' epochs, what a quick training does
QUICK_SHARE = 4
QUICK = (
    "QUICK: reduced model sizes (the packaged small search spaces), a quarter of their epochs, the "
    "first fold only. It shows that everything runs, not what the systems reach; nothing here is "
    "comparable with the paper."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user asks for.

    Attributes:
        out: directory of all tables and their runs.
        seeds: trainings of each row; None: as the table says, one when quick.
        seed: of the folds and, with the number of the training, of training.
        quick: see :data:`QUICK`.
        stand_in: protocol to run on datasets that are of no column; None: the table's own.
        word_vectors: GloVe file for the rows that read words, or None.
    """

    out: Path
    seeds: int | None = None
    seed: int = 0
    quick: bool = False
    stand_in: str | None = None
    word_vectors: Path | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """One column of a table, and how it can be filled.

    Attributes:
        column: of the table, or one that stands in.
        path: of its run; None where there is neither dataset nor run.
        dataset: to train on; None: only what the run holds already is shown.
        rows: trained row to its configurations, one a seed.
        absent: row to the reason why it is not trained here.
    """

    column: Column
    path: Path | None
    dataset: Dataset | None
    rows: Mapping[str, tuple[Configuration, ...]]
    absent: Mapping[str, str]

    @property
    def configurations(self) -> list[Configuration]:
        """All, the first seed of every row first."""
        depth = max((len(found) for found in self.rows.values()), default=0)
        return [own[i] for i in range(depth) for own in self.rows.values() if i < len(own)]


def tables_folder(out: str, name: str) -> Path:
    """See that the directory of all tables can be written to, and holds nothing else.

    Args:
        out: as the user wrote it.
        name: of the table that will be put there.

    Raises:
        BadInputError: it is no directory of tables, or on object storage.
    """
    place = parse(out)
    if isinstance(place, Location):
        raise BadInputError(f"--out {place}: tables are made in a directory of this machine")
    tables = place.glob("*/table.json") if os.path.isdir(place) else ()
    others = (path.parent.name for path in tables)
    names = {*table_names(), name, *others}
    left = "|".join(re.escape(name) for name in names)
    checked = check_directory(out, Kind(name="tables", left=f"runs|({left})(-quick)?"))
    return place if isinstance(checked, Location) else checked


def plan_table(
    table: ReproducedTable, datasets: Sequence[Dataset], wishes: Wishes, *, resume: bool = False
) -> list[Work]:
    """Find the dataset and the run of every column.

    Args:
        table: to be reproduced.
        datasets: of the user; each must be of a column, or stand in for one.
        wishes: of the user.
        resume: take the datasets of runs that were begun, where none is given.

    Raises:
        BadInputError: a dataset is of no column and stands in for none, two are of one column,
            a protocol does not fit its dataset, or a dataset lacks what rows need.
    """
    used: dict[str, Dataset] = {}
    works: list[Work] = []
    faults: list[str] = []
    stand_ins: list[tuple[Column, Dataset]] = []
    for dataset in datasets:
        corpus = str(dataset.meta["corpus"])
        matching = [c for c in table.columns.values() if c.corpus == corpus]
        protocol = wishes.stand_in or (None if matching else table.stand_ins.get(corpus))
        if protocol is not None:
            stand_ins.append((_stand_in(table, dataset, protocol), dataset))
        elif not matching:
            faults.append(_no_column(table, dataset))
        for column in matching if protocol is None else []:
            if column.name in used:
                faults.append(
                    f"--data {used[column.name].path} and {dataset.path}: both are "
                    f"{column.title}; give one"
                )
            used[column.name] = dataset
    if faults:
        raise BadInputError(f"{table.name}: the datasets do not fit the table:", faults)
    for column in table.columns.values():
        own = used.get(column.name)
        path = run_path(column, own.fingerprint, wishes) if own else _begun(column, wishes)
        if own is None and path is not None and resume:
            own = _dataset_of(path)
        works.append(_work(table, column, path, own, wishes))
    for column, dataset in stand_ins:
        path = run_path(column, dataset.fingerprint, wishes)
        works.append(_work(table, column, path, dataset, wishes))
    for work in works:
        _check_dataset(table, work, wishes)
    return works


def open_run(work: Work, wishes: Wishes, command: Sequence[str]) -> OpenRun:
    """Open a column's run, or create it.

    Raises:
        BadInputError: it cannot be created, or the folds of this version are others.
        ArtifactError: its files are damaged.
    """
    assert work.path is not None  # noqa: S101 - for the type checker: there is a dataset
    assert work.dataset is not None  # noqa: S101
    if RunDirectory(work.path).run_file.exists():
        return reopen_run(work.path, dataset=work.dataset.path)
    architectures = tuple(dict.fromkeys(c.architecture for c in work.configurations))
    return create_run(
        work.path,
        SearchRequest(
            architectures=architectures,
            dataset=work.dataset.path,
            protocol=work.column.protocol,
            exact=True,
            seed=wishes.seed,
            sampler="random",
            pruner="none",
            max_folds=1 if wishes.quick else None,
        ),
        command,
    )


def run_path(column: Column, fingerprint: str, wishes: Wishes) -> Path:
    """Where the trainings of a column on a dataset lie."""
    return wishes.out / "runs" / f"{_run_name(column, wishes)}-{fingerprint[:8]}"


def _run_name(column: Column, wishes: Wishes) -> str:
    name = column.protocol.replace(":", "-")
    name += f"-seed{wishes.seed}" if wishes.seed else ""
    return name + ("-quick" if wishes.quick else "")


def _begun(column: Column, wishes: Wishes) -> Path | None:
    """The run of a column that was begun with a dataset that is not given now."""
    name = _run_name(column, wishes)
    found = []
    for path in sorted((wishes.out / "runs").glob(f"{name}-????????")):
        try:
            run = RunDirectory(path).read_run()
        except ArtifactError:
            continue
        if run["dataset"]["corpus"] == column.corpus and "roster" in run:
            found.append((str(run["started"]), path))
    return max(found)[1] if found else None


def _dataset_of(path: Path) -> Dataset | None:
    where = Path(RunDirectory(path).read_run()["dataset"]["path"])
    return Dataset.open(where) if where.is_dir() else None


def _stand_in(table: ReproducedTable, dataset: Dataset, protocol: str) -> Column:
    shown = ["accuracy", "uar"] if table.kind == "metrics" else []
    shown += [metric for column in table.columns.values() for metric in column.metrics]
    return Column(
        name=f"stand-in-{dataset.meta['corpus']}",
        corpus=str(dataset.meta["corpus"]),
        title=str(dataset.meta["title"]),
        protocol=protocol,
        metrics=tuple(dict.fromkeys(shown)),
        stand_in=True,
    )


def _no_column(table: ReproducedTable, dataset: Dataset) -> str:
    titles = ", ".join(dict.fromkeys(c.title for c in table.columns.values()))
    ins = f" ({', '.join(table.stand_ins)} may stand in)" if table.stand_ins else ""
    return (
        f"--data {dataset.path}: is {dataset.meta['title']}, where the table has {titles}{ins}; "
        "give --stand-in PROTOCOL to run its rows on this data, not comparable with the paper"
    )


def _work(
    table: ReproducedTable,
    column: Column,
    path: Path | None,
    dataset: Dataset | None,
    wishes: Wishes,
) -> Work:
    count = wishes.seeds or (1 if wishes.quick else table.seeds)
    rows: dict[str, tuple[Configuration, ...]] = {}
    for row in table.trained:
        if column.name not in row.absent:
            rows[row.name] = _configurations(row, column, wishes, count)
    absent = {r.name: r.absent[column.name] for r in table.trained if column.name in r.absent}
    return Work(column=column, path=path, dataset=dataset, rows=rows, absent=absent)


def _configurations(
    row: Row, column: Column, wishes: Wishes, count: int
) -> tuple[Configuration, ...]:
    architecture = row.architecture
    assert architecture is not None  # noqa: S101 - only trained rows come here
    values: dict[str, Any] = row.settings(column.name)
    if wishes.quick:
        small = _small(architecture)
        epochs = int(small["training.max_epochs"])
        values = {**small, **values, **_reduced(values, small)}
        values["training.max_epochs"] = max(1, epochs // QUICK_SHARE)
    if wishes.word_vectors is not None and ARCHITECTURES.get(architecture).inputs & {
        "text",
        "words",
    }:
        values["data.word_vectors"] = str(wishes.word_vectors.resolve())
    own = non_default_values(architecture, values, f"row {row.name}")
    return tuple(
        Configuration(
            architecture=architecture,
            values=own,
            repeat=repeat,
            label=row.label + (f", seed {repeat}" if count > 1 else ""),
        )
        for repeat in range(count)
    )


@functools.cache
def _small(architecture: str) -> Mapping[str, Any]:
    """What the packaged small space of an architecture fixes."""
    return dict(load_space(f"{architecture}-small").fixed)


def _reduced(values: Mapping[str, Any], small: Mapping[str, Any]) -> dict[str, Any]:
    """The small sizes of what a row sets, where they are smaller."""
    return {
        name: min(value, small[name])
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and name in small
    }


def _check_dataset(table: ReproducedTable, work: Work, wishes: Wishes) -> None:
    """Refuse a dataset that lacks what rows read, before anything is trained."""
    dataset = work.dataset
    if dataset is None:
        return
    make_plan(dataset.utterances, work.column.protocol, wishes.seed, classes=dataset.classes)
    texts = dataset.utterances.column("text")
    has_text = bool(pc.any(pc.not_equal(pc.fill_null(texts, ""), "")).as_py())
    aligned = bool(dataset.meta.get("alignment"))
    features: dict[str, list[str]] = {}
    wordless: dict[str, list[str]] = {"transcripts": [], "word alignment": []}
    for name, configurations in work.rows.items():
        architecture = configurations[0].architecture
        config = resolve(architecture, configurations[0].values, f"row {name}")
        for part in dataset.lacking(config.data.feature):
            features.setdefault(part, []).append(name)
        inputs = ARCHITECTURES.get(architecture).inputs
        needs_times = (
            "words" in inputs
            and config.data.word_segmentation == "aligned"
            and getattr(config.model, "alignment", "forced") == "forced"
        )
        if needs_times and not aligned:
            wordless["word alignment"].append(name)
        elif inputs & {"text", "words"} and not has_text and not aligned:
            wordless["transcripts"].append(name)
    faults = [f"feature {f}, read by {', '.join(rows)}" for f, rows in features.items()]
    faults += [f"{what}, read by {', '.join(rows)}" for what, rows in wordless.items() if rows]
    if not faults:
        return
    lacking = {row for rows in (*features.values(), *wordless.values()) for row in rows}
    others = [
        row.name
        for row in table.rows.values()
        if row.name not in lacking and not lacking & set(row.combine)
    ]
    hint = f"\nor leave them out with --rows {','.join(others)}" if others else ""
    raise BadInputError(
        f"{dataset.path}: the dataset lacks what rows of {table.name} read; make it again with\n"
        f"    {_prepare_command(dataset, list(features), any(wordless.values()))}{hint}",
        faults,
    )


def _prepare_command(dataset: Dataset, features: Sequence[str], words: bool) -> str:
    corpus = str(dataset.meta["corpus"])
    source = dataset.meta.get("request", {}).get("source") or "SOURCE"
    parts = ["serplatform prepare", corpus, str(source), "--out NEW_DATA"]
    if features:
        parts.append(f"--features {','.join([*dataset.feature_names, *features])}")
    if words:
        parts.append(f"--align {'wdseg' if corpus == 'iemocap' else 'pocketsphinx'}")
    return " ".join(parts)
