"""What a table asks to be trained: which column on which dataset, in which run.

A run directory holds the trainings of one column, whichever tables ask for them: its name gives
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

from serplatform.corpora.base import CORPORA
from serplatform.datasets.dataset import Dataset
from serplatform.errors import ArtifactError, BadInputError, unknown_name
from serplatform.models.architectures import ARCHITECTURES
from serplatform.papers import paper_table
from serplatform.papers.paper_table import PaperColumn, PaperRow, PaperTable, read_table
from serplatform.protocols.base import PROTOCOLS
from serplatform.protocols.plan import make_plan
from serplatform.registry import Registry
from serplatform.run_directory import RunDirectory
from serplatform.storage.destination import Kind, check_directory
from serplatform.storage.location import Location, parse
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import OpenRun, create_run, reopen_run
from serplatform.studies.space import load_space
from serplatform.studies.trial_list import Configuration, non_default_values
from serplatform.training.trial_config import resolve

#: of the packaged small spaces' epochs, what a quick training does
QUICK_SHARE = 4
QUICK = (
    "QUICK: reduced model sizes (the packaged small search spaces), a quarter of their epochs, the "
    "first fold only. It shows that everything runs, not what the systems reach; nothing here is "
    "comparable with the paper."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReproduceOptions:
    """What the user asks for.

    ``seeds``: trainings of each row; None: as the table says, one when quick. ``seed`` is of the
    folds and, with the number of the training, of training. ``stand_in``: protocol to run on
    datasets that are of no column; None: the table's own.
    """

    out: Path
    seeds: int | None = None
    seed: int = 0
    quick: bool = False
    stand_in: str | None = None
    word_vectors: Path | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnPlan:
    """One column of a table, and how it can be filled.

    ``path``, of its run, is None where there is neither dataset nor run; without ``dataset``, only
    what the run holds already is shown. ``rows`` has a configuration per seed; ``absent`` says
    why a row is not trained here; ``notes`` are of what the dataset lacks.
    """

    column: PaperColumn
    path: Path | None
    dataset: Dataset | None
    rows: Mapping[str, tuple[Configuration, ...]]
    absent: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def configurations(self) -> list[Configuration]:
        """All, the first seed of every row first."""
        depth = max((len(found) for found in self.rows.values()), default=0)
        return [own[i] for i in range(depth) for own in self.rows.values() if i < len(own)]


_read_packaged = functools.cache(read_table)


def table_names() -> list[str]:
    """Every packaged table whose rows can be trained, sorted."""
    tables = {name: _read_packaged(name)[0] for name in paper_table.table_names()}
    return [name for name, table in tables.items() if table is None or table.kind != "references"]


def load_table(name_or_path: str) -> PaperTable:
    """Read and check a packaged table, or a YAML file; all of its errors are listed."""
    packaged = not name_or_path.endswith((".yaml", ".yml"))
    table, errors = None, list[str]()
    if not packaged:
        table, errors = read_table(name_or_path)
    elif name_or_path in paper_table.table_names():
        table, found = _read_packaged(name_or_path)
        errors = [*found]
    if packaged and not errors and (table is None or table.kind == "references"):
        raise BadInputError(unknown_name("table", name_or_path, table_names()))
    if table is not None:
        errors += _unknown(table)
        if table.kind == "references":
            errors.append("kind: nothing of a table of references is trained")
    if table is None or errors:
        raise BadInputError(f"{name_or_path}: the table has {len(errors)} error(s):", errors)
    columns = {
        name: dataclasses.replace(column, title=CORPORA.get(column.corpus).title)
        for name, column in table.columns.items()
    }
    return dataclasses.replace(table, columns=columns)


def _unknown(table: PaperTable) -> list[str]:
    """What names nothing that is registered, and parameters that an architecture lacks."""
    errors: list[str] = []

    def known(registry: Registry[Any], name: str, where: str) -> bool:
        names = registry.names()
        if name not in names:
            errors.append(f"{where}: {unknown_name(registry.kind, name, names)}")
        return name in names

    places = {f"columns.{c.name}": (c.corpus, c.protocol) for c in table.columns.values()}
    places |= {f"stand_ins.{corpus}": (corpus, p) for corpus, p in table.stand_ins.items()}
    for where, (corpus, protocol) in places.items():
        known(CORPORA, corpus, where)
        if protocol:
            known(PROTOCOLS, protocol.partition(":")[0], where)
    rows = {f"rows.{name}": row for name, row in table.rows.items()}
    for where, row in {**rows, **({"system": table.system} if table.system else {})}.items():
        if row.architecture is None or not known(ARCHITECTURES, row.architecture, where):
            continue
        found: dict[str, None] = {}
        for column in table.columns:
            try:
                resolve(row.architecture, row.settings(column), where)
            except BadInputError as error:
                found |= dict.fromkeys(error.faults or (str(error),))
        errors += [f"{where}: {one}" for one in found]
    return errors


def tables_folder(out: str, name: str) -> Path:
    """See that the directory of all tables can be written to, and holds nothing else."""
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
    table: PaperTable,
    datasets: Sequence[Dataset],
    options: ReproduceOptions,
    *,
    resume: bool = False,
) -> list[ColumnPlan]:
    """Find the dataset and the run of every column.

    Without a dataset, ``resume`` takes that of a run that was begun.

    Raises:
        BadInputError: a dataset is of no column and stands in for none, two are of one column,
            a protocol does not fit its dataset, a dataset lacks what rows need, or there is
            nothing to resume.
    """
    if options.word_vectors is not None and not options.word_vectors.is_file():
        raise BadInputError(f"--word-vectors {options.word_vectors}: no such file")
    used: dict[str, Dataset] = {}
    errors: list[str] = []
    stand_ins: list[tuple[PaperColumn, Dataset | None]] = []
    for dataset in datasets:
        corpus = dataset.meta["corpus"]
        matching = [c for c in table.columns.values() if c.corpus == corpus]
        protocol = options.stand_in or (None if matching else table.stand_ins.get(corpus))
        if protocol is not None:
            stand_ins.append((_stand_in(table, dataset, protocol), dataset))
            continue
        if not matching:
            errors.append(_no_column(table, dataset))
        for column in matching:
            if column.name in used:
                errors.append(
                    f"--data {used[column.name].path} and {dataset.path}: both are "
                    f"{column.title}; give one"
                )
            used[column.name] = dataset
    if errors:
        raise BadInputError(f"{table.name}: the datasets do not fit the table:", errors)
    plans = [
        _plan_column(table, column, own, options, resume=resume)
        for column, own in [*((c, used.get(c.name)) for c in table.columns.values()), *stand_ins]
    ]
    if resume and not any(plan.dataset for plan in plans):
        raise BadInputError(
            f"--resume: {options.out} holds no trainings of {table.name} whose data is still "
            "there; give --data"
        )
    for plan in plans:
        _check_dataset(table, plan, options)
    return plans


def open_run(plan: ColumnPlan, options: ReproduceOptions, command: Sequence[str]) -> OpenRun:
    """Open a column's run, or create it."""
    assert plan.path is not None  # noqa: S101 - for the type checker: there is a dataset
    assert plan.dataset is not None  # noqa: S101
    if RunDirectory(plan.path).run_file.exists():
        return reopen_run(plan.path, dataset=plan.dataset.path)
    architectures = tuple(dict.fromkeys(c.architecture for c in plan.configurations))
    return create_run(
        plan.path,
        SearchRequest(
            architectures=architectures,
            dataset=plan.dataset.path,
            protocol=plan.column.protocol,
            exact=True,
            seed=options.seed,
            sampler="random",
            pruner="none",
            max_folds=1 if options.quick else None,
        ),
        command,
    )


def _plan_column(
    table: PaperTable,
    column: PaperColumn,
    dataset: Dataset | None,
    options: ReproduceOptions,
    *,
    resume: bool,
) -> ColumnPlan:
    name = column.protocol.replace(":", "-")
    name += f"-seed{options.seed}" if options.seed else ""
    name += "-quick" if options.quick else ""
    runs = options.out / "runs"
    path = runs / f"{name}-{dataset.fingerprint[:8]}" if dataset else _begun(runs, name, column)
    begun = None
    if dataset is None and path is not None:
        where = Path(RunDirectory(path).read_run()["dataset"]["path"])
        begun = Dataset.open(where) if where.is_dir() else None
        dataset = begun if resume else None
    held = dataset or begun
    instead = {
        own: other
        for own, other in table.instead.items()
        if held is not None and held.lacking(own) and not held.lacking(other)
    }
    count = options.seeds or (1 if options.quick else table.seeds)
    absent = {r.name: r.absent[column.name] for r in table.trained if column.name in r.absent}
    rows = {
        row.name: _configurations(_read_instead(row, instead), column, options, count)
        for row in table.trained
        if row.name not in absent
    }
    notes = tuple(
        f"Trained on {other}, as the dataset lacks the paper's {own}; prepare it again with "
        f"--features {own} to add it."
        for own, other in instead.items()
    )
    return ColumnPlan(
        column=column, path=path, dataset=dataset, rows=rows, absent=absent, notes=notes
    )


def _read_instead(row: PaperRow, instead: Mapping[str, str]) -> PaperRow:
    """The row with the features that take the places of others."""
    other = instead.get(row.values.get("data.feature", ""))
    return dataclasses.replace(row, values={**row.values, "data.feature": other}) if other else row


def _begun(runs: Path, name: str, column: PaperColumn) -> Path | None:
    """The latest run of a column that was begun with a dataset that is not given now."""
    found = []
    for path in sorted(runs.glob(f"{name}-????????")):
        try:
            run = RunDirectory(path).read_run()
        except ArtifactError:
            continue
        if run["dataset"]["corpus"] == column.corpus and "roster" in run:
            found.append((run["started"], path))
    return max(found)[1] if found else None


def _stand_in(table: PaperTable, dataset: Dataset, protocol: str) -> PaperColumn:
    shown = ["accuracy", "uar"] if table.kind == "metrics" else []
    shown += [metric for column in table.columns.values() for metric in column.metrics]
    return PaperColumn(
        name=f"stand-in-{dataset.meta['corpus']}",
        corpus=dataset.meta["corpus"],
        title=dataset.meta["title"],
        protocol=protocol,
        metrics=tuple(dict.fromkeys(shown)),
        stand_in=True,
    )


def _no_column(table: PaperTable, dataset: Dataset) -> str:
    titles = ", ".join(dict.fromkeys(c.title for c in table.columns.values()))
    ins = f" ({', '.join(table.stand_ins)} may stand in)" if table.stand_ins else ""
    return (
        f"--data {dataset.path}: is {dataset.meta['title']}, where the table has {titles}{ins}; "
        "give --stand-in PROTOCOL to run its rows on this data, not comparable with the paper"
    )


def _configurations(
    row: PaperRow, column: PaperColumn, options: ReproduceOptions, count: int
) -> tuple[Configuration, ...]:
    architecture = row.architecture
    assert architecture is not None  # noqa: S101 - only trained rows come here
    values: dict[str, Any] = row.settings(column.name)
    if options.quick:
        small: Mapping[str, Any] = load_space(f"{architecture}-small").fixed
        epochs = int(small.get("training.max_epochs", 1))
        own = {  # what a row sets, where that is smaller
            name: min(value, small[name])
            for name, value in values.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool) and name in small
        }
        values = {**small, **values, **own}
        values["training.max_epochs"] = max(1, epochs // QUICK_SHARE)
    reads_words = ARCHITECTURES.get(architecture).inputs & {"text", "words"}
    if options.word_vectors is not None and reads_words:
        values["data.word_vectors"] = str(options.word_vectors.resolve())
    chosen = non_default_values(architecture, values, f"row {row.name}")
    return tuple(
        Configuration(
            architecture=architecture,
            values=chosen,
            repeat=repeat,
            label=row.label + (f", seed {repeat}" if count > 1 else ""),
        )
        for repeat in range(count)
    )


def _check_dataset(table: PaperTable, plan: ColumnPlan, options: ReproduceOptions) -> None:
    """Refuse a dataset that lacks what rows read, before anything is trained."""
    dataset = plan.dataset
    if dataset is None:
        return
    make_plan(dataset.utterances, plan.column.protocol, options.seed, classes=dataset.classes)
    texts = dataset.utterances.column("text")
    has_text = bool(pc.any(pc.not_equal(pc.fill_null(texts, ""), "")).as_py())
    aligned = bool(dataset.meta.get("alignment"))
    features: dict[str, list[str]] = {}
    wordless: dict[str, list[str]] = {}
    for name, (first, *_) in plan.rows.items():
        config = resolve(first.architecture, first.values, f"row {name}")
        for part in dataset.lacking(config.data.feature):
            features.setdefault(f"feature {part}", []).append(name)
        inputs = ARCHITECTURES.get(first.architecture).inputs
        if aligned:
            continue
        if (
            "words" in inputs
            and config.data.word_segmentation == "aligned"
            and getattr(config.model, "alignment", "forced") == "forced"
        ):
            wordless.setdefault("word alignment", []).append(name)
        elif inputs & {"text", "words"} and not has_text:
            wordless.setdefault("transcripts", []).append(name)
    found = {**features, **dict(sorted(wordless.items()))}
    if not found:
        return
    lacking = {row for rows in found.values() for row in rows}
    others = [
        row.name
        for row in table.rows.values()
        if row.name not in lacking and not lacking & set(row.combine)
    ]
    hint = f"\nor leave them out with --rows {','.join(others)}" if others else ""
    corpus = dataset.meta["corpus"]
    source = dataset.meta.get("request", {}).get("source") or "SOURCE"
    names = [what.removeprefix("feature ") for what in features]
    align = dataset.meta.get("request", {}).get("align")
    if wordless:  # words cannot be added
        align = "wdseg" if corpus == "iemocap" else "pocketsphinx"
        names = [*dataset.feature_names, *names] if names else []
    command = f"serplatform prepare {corpus} {source}"
    command += f" --out {'NEW_DATA' if wordless else dataset.path}"
    command += f" --features {','.join(names)}" if names else ""
    command += f" --align {align}" if align not in (None, "none") else ""
    raise BadInputError(
        f"{dataset.path}: the dataset lacks what rows of {table.name} read; "
        f"{'make it again' if wordless else 'add it'} with\n    {command}{hint}",
        [f"{what}, read by {', '.join(rows)}" for what, rows in found.items()],
    )
