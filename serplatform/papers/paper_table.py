"""A table or figure of a paper as one YAML file, checked as a whole.

::

    title: one line
    paper: reference
    kind: metrics            # or another key of SHOWN
    note: what holds for every row
    seeds: 5
    columns:
      ravdess: {corpus: ravdess, protocol: ravdess-random-80-20, classes: 8, metrics: [accuracy]}
    stand_ins: {ravdess: ravdess-speaker-6fold}
    rows:
      with-attention:
        label: VRNN
        system: VRNN with attention                  # its name outside of the table
        architecture: vrnn
        set: {model.attention: true}
        in: {iemocap: {model.latent_dim: 10}}        # further settings in one column
        published: {ravdess: {accuracy: 0.785}}
        std: {ravdess: {accuracy: 0.01}}             # the ± that the paper prints
        absent: {iemocap: why the paper has no number there, so that nothing is trained}
      syscomb:
        label: SYSComb
        combine: [blstmatt, csa-30]
        exponent: 0.4                                 # or dev: searched on dev rows
    instead: {mfcc_40_hamming: mfcc_40}               # where a dataset lacks the former
    quoted: [what the paper's table prints of others, by their own folds and definitions]
    choices: [what the text leaves open, and what was chosen]

Settings that a row does not name are those of the architecture's paper. A proportion is written
as 0.785, never as 78.5. Metrics go by their true names, whatever the paper prints: see
:mod:`serplatform.metrics`. Rows of kind ``references`` are never trained.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, MinLen

from serplatform.errors import BadInputError, unknown_name
from serplatform.metrics import METRICS
from serplatform.strict_yaml import read_yaml

if TYPE_CHECKING:
    from pydantic import TypeAdapter

#: what the columns of each kind may show
SHOWN: Mapping[str, tuple[str, ...]] = {
    "metrics": METRICS,
    "sampled_share": ("after_first_window", "with_first_window"),
    "attention_similarity": ("most_alike", "least_alike"),
    "attention_by_phone": ("vowels", "consonants", "silence"),
    "attention_smoothness": ("total_variation", "autocorrelation", "spread"),
    "embeddings": ("neighbours", "distance_ratio", *METRICS),
    "references": METRICS,
}
ATTENTION_KINDS = ("attention_by_phone", "attention_smoothness")
#: kinds whose rows are what is read off one trained system, such as its classes
CLASS_KINDS = ("sampled_share", "attention_similarity", *ATTENTION_KINDS)
#: searched on dev rows, of each fold its own
DEV = "dev"

_FOLDER = Path(__file__).parent / "tables"
Text = Annotated[str, MinLen(1)]
Settings = dict[str, Any]
#: column to metric to proportion, or to the name of a class in ``attention_similarity``
Values = dict[str, dict[str, float | str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperColumn:
    """Where numbers are measured.

    Attributes:
        name: of the column.
        corpus: registered name that a dataset must have.
        protocol: as the command line takes it; empty where its folds are no protocol of ours,
            so that its numbers are compared with nothing.
        metrics: names of ``metrics.METRICS``, or of what the kind shows.
        classes: K; None where the file does not say.
        test_utterances: tested in all folds together; None where it depends on the draw.
        pooling: ``pooled`` over the test rows of all folds, ``mean of folds``, or None where
            the source does not say.
        note: what must stand wherever its numbers stand, in a few words.
        title: of the corpus, for people.
        stand_in: another corpus or protocol than the paper's: not comparable with it.
    """

    name: Text
    corpus: Text
    protocol: str = ""
    metrics: tuple[str, ...] = ()
    classes: Annotated[int, Ge(2)] | None = None
    test_utterances: Annotated[int, Ge(1)] | None = None
    pooling: Literal["pooled", "mean of folds"] | None = None
    note: str = ""
    title: str = ""
    stand_in: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperRow:
    """A system, or what is read off one, such as a class; see the module for most keys.

    Attributes:
        system: its name outside of the table, where that is another one.
        architecture: registered name; None for combinations, classes and systems of others.
        values: dotted parameters that the row sets (``set``).
        by_column: further ones, by column (``in``).
        std: standard deviation, as the source gives it.
        combine: the two rows whose posteriors are multiplied; empty otherwise.
        speaker_normalised: features were normalised with the test speakers' own audio.
        pretrained: an encoder trained on other, far larger data.
        note: a sentence to show with the row.
        drawn: of a figure, utterances shown whole.
    """

    name: Text
    label: Text
    system: str = ""
    architecture: str | None = None
    values: Settings = dataclasses.field(default_factory=dict)
    by_column: dict[str, Settings] = dataclasses.field(default_factory=dict)
    published: Values = dataclasses.field(default_factory=dict)
    std: Values = dataclasses.field(default_factory=dict)
    absent: dict[str, Text] = dataclasses.field(default_factory=dict)
    combine: tuple[str, ...] = ()
    exponent: float | str | None = None
    speaker_normalised: bool = False
    pretrained: bool = False
    note: str = ""
    drawn: Annotated[int, Ge(0)] = 0

    def settings(self, column: str) -> Settings:
        """What the row sets in a column."""
        return {**self.values, **self.by_column.get(column, {})}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One table or figure of a paper, or results collected from several places.

    Attributes:
        paper: reference, or how the numbers were measured.
        kind: a key of :data:`SHOWN`.
        measured_here: measured by this project on the corpus itself.
        seeds: trainings of each row, unless the user says otherwise.
        stand_ins: corpus to the protocol that may stand in for the paper's.
        system: what is trained where rows are classes; None for the other kinds.
        rows: by name, in the paper's order.
        instead: feature that rows name to the one trained on where a dataset lacks it.
        quoted: results of others in the paper's table; compared with nothing.
    """

    name: Text
    title: Text
    paper: Text
    kind: str = "metrics"
    note: str = ""
    measured_here: bool = False
    seeds: Annotated[int, Ge(1)] = 1
    columns: Annotated[dict[str, PaperColumn], MinLen(1)]
    stand_ins: dict[str, str] = dataclasses.field(default_factory=dict)
    system: PaperRow | None = None
    rows: Annotated[dict[str, PaperRow], MinLen(1)]
    instead: dict[str, str] = dataclasses.field(default_factory=dict)
    quoted: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()

    @property
    def trained(self) -> tuple[PaperRow, ...]:
        """The rows that are trained, in order."""
        if self.system is not None:
            return (self.system,)
        return tuple(row for row in self.rows.values() if row.architecture is not None)

    def select(self, names: Collection[str]) -> PaperTable:
        """The table of some rows and of those that they combine; every unknown name is an error."""
        errors = [unknown_name("row", name, self.rows) for name in names if name not in self.rows]
        if errors:
            raise BadInputError(f"--rows: {self.name} has no such row:", errors)
        wanted = {*names, *(m for name in names for m in self.rows[name].combine)}
        rows = {name: row for name, row in self.rows.items() if name in wanted}
        return dataclasses.replace(self, rows=rows)


_ALIASES = {"values": "set", "by_column": "in"}
#: attributes that the program sets
_NO_KEYS = ("name", "title", "stand_in")
for _kind in (PaperColumn, PaperRow, PaperTable):  # pydantic's settings: its import takes 0.1 s
    _config: dict[str, object] = {
        "extra": "forbid",
        "strict": True,
        "allow_inf_nan": False,
        "alias_generator": lambda name: _ALIASES.get(name, name),
    }
    setattr(_kind, "__pydantic_config__", _config)  # noqa: B010 - unknown to the type checker


@functools.cache
def _adapter() -> TypeAdapter[PaperTable]:
    from pydantic import TypeAdapter

    return TypeAdapter(PaperTable)


def table_names() -> list[str]:
    """Every table that travels with the package, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def read_table(name_or_path: str) -> tuple[PaperTable | None, list[str]]:
    """Read a packaged table, or a YAML file by its path, and check what needs no registry.

    Returns:
        the table, None where it cannot be read, and every error found.

    Raises:
        BadInputError: no such table or file, or it is no YAML.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        if name_or_path not in table_names():
            raise BadInputError(unknown_name("table", name_or_path, table_names()))
        path = _FOLDER / f"{name_or_path}.yaml"
    return parse_table(read_yaml(path, "table"), path.stem)


def parse_table(raw: object, name: str) -> tuple[PaperTable | None, list[str]]:
    """A table from the content of its file; see :func:`read_table`."""
    from pydantic import ValidationError

    if not isinstance(raw, Mapping):
        return None, [f"a table is a mapping of {', '.join(_keys(PaperTable))}"]
    content = {**raw, "name": name}
    for part in ("columns", "rows"):
        if isinstance(raw.get(part), Mapping):
            content[part] = {key: _named(str(key), entry) for key, entry in raw[part].items()}
    if "system" in raw:
        content["system"] = _named("system", raw["system"])
    errors: list[str] = []
    while True:
        try:
            table = _adapter().validate_json(json.dumps(content))
            break
        except ValidationError as error:
            found = error.errors(include_url=False)
            texts = dict.fromkeys(_describe(one["loc"], one) for one in found)
            errors += [text for text in texts if not (errors and text.endswith("is missing"))]
            # what is wrong is taken out, so that the rest is checked as well
            if not all(_take_out(content, one["loc"]) for one in found):
                return None, errors
    if table.kind in CLASS_KINDS:
        columns = {
            column.name: dataclasses.replace(column, metrics=column.metrics or SHOWN[table.kind])
            for column in table.columns.values()
        }
        table = dataclasses.replace(table, columns=columns)
    return table, [*errors, *_table_errors(table)]


def _named(name: str, entry: object) -> object:
    """An entry with its name; a key that is no key of the file gets a blank, and so an error."""
    if not isinstance(entry, Mapping):
        return entry
    return {**{f"{k} " if k in _NO_KEYS else k: v for k, v in entry.items()}, "name": name}


def _keys(kind: type) -> list[str]:
    names = [field.name for field in dataclasses.fields(kind)]
    shown = [_ALIASES.get(name, name) for name in names if name not in _NO_KEYS]
    return ["title", *shown] if kind is PaperTable else shown


def _describe(loc: tuple[str | int, ...], error: Mapping[str, Any]) -> str:
    """One of pydantic's errors in our words."""
    *parents, last = [str(part).strip() for part in loc if part not in ("float", "str")]
    where = "".join(f"{part}." for part in parents)
    if error["type"] == "unexpected_keyword_argument":
        kind: type = PaperColumn if loc[0] == "columns" else PaperRow
        kind = kind if parents else PaperTable
        return f"{where}{unknown_name('key', last, _keys(kind))}"
    if error["type"] == "missing":
        return f"{where}{last}: is missing"
    if error["type"].startswith("dict") or error["type"].startswith("dataclass"):
        return f"{where}{last}: must be a mapping"
    return f"{where}{last}: {error['input']!r}: {error['msg'].replace('Input should', 'it should')}"


def _take_out(content: Any, loc: tuple[str | int, ...]) -> bool:
    """Remove what an error is about; False where it is not there."""
    for part in loc:
        if not isinstance(content, dict) or part not in content:
            return False
        parent, content = content, content[part]
    del parent[loc[-1]]
    return True


def _table_errors(table: PaperTable) -> list[str]:
    """What the types do not say: names of columns, rows and metrics, ranges, combinations."""
    errors: list[str] = []

    def known(kind: str, name: str, names: Collection[str], where: str) -> bool:
        if name not in names:
            errors.append(f"{where}: {unknown_name(kind, name, names)}")
        return name in names

    if not known("kind", table.kind, SHOWN, "kind"):
        return errors
    classes = table.kind in CLASS_KINDS
    if classes and (table.system is None or table.system.architecture is None):
        what = "is missing" if table.system is None else "must name the architecture to train"
        errors.append(f"system: {what}")
    if table.system is not None and not classes:
        errors.append("system: only for the kinds whose rows are classes")
    for name, column in table.columns.items():
        if not column.metrics:
            errors.append(f"columns.{name}.metrics: must be a list of metrics")
        if not column.protocol and table.kind != "references":
            errors.append(f"columns.{name}.protocol: is missing")
        for metric in column.metrics:
            known("metric", metric, SHOWN[table.kind], f"columns.{name}")
    for name, row in table.rows.items():
        where = f"rows.{name}"
        errors += _row_errors(table, row, where)
        for key, entries in (("in", row.by_column), ("absent", row.absent)):
            for column_name in entries:
                known("column", column_name, table.columns, f"{where}.{key}")
        for key, values in (("published", row.published), ("std", row.std)):
            for column_name, numbers in values.items():
                here = f"{where}.{key}.{column_name}"
                if not known("column", column_name, table.columns, f"{where}.{key}"):
                    continue
                for metric, value in numbers.items():
                    if not known("metric", metric, table.columns[column_name].metrics, here):
                        continue
                    if table.kind == "attention_similarity":
                        if not isinstance(value, str):
                            errors.append(f"{here}.{metric}: must be the name of a class")
                    elif isinstance(value, str) or not 0 <= value <= 1:
                        errors.append(
                            f"{here}.{metric}: {value!r} must be a proportion between 0 and 1 "
                            "(0.785, not 78.5)"
                        )
    return errors


def _row_errors(table: PaperTable, row: PaperRow, where: str) -> list[str]:
    """What is wrong with how a row is trained or combined."""
    errors: list[str] = []
    trained = table.kind in ("metrics", "embeddings")
    if trained and not row.combine and row.architecture is None:
        errors.append(f"{where}: must name an architecture, or rows to combine")
    if not row.combine:
        if row.exponent is not None:
            errors.append(f"{where}.exponent: only for rows that combine others")
        return errors
    if row.architecture is not None:
        errors.append(f"{where}: has an architecture and combines; leave one out")
    if len(set(row.combine)) != 2:
        errors.append(f"{where}.combine: must name two rows")
    for member in row.combine:
        if member not in table.rows:
            errors.append(f"{where}.combine: {unknown_name('row', member, table.rows)}")
        elif table.rows[member].combine:
            errors.append(f"{where}.combine: {member} is itself a combination")
    if row.exponent != DEV and (isinstance(row.exponent, str) or not (row.exponent or 0) > 0):
        errors.append(f"{where}.exponent: {row.exponent!r} must be a number above 0, or {DEV}")
    return errors
