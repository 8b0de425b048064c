"""A paper's table as one YAML file, checked as a whole before anything runs.

::

    title: one line
    paper: reference
    kind: metrics            # or sampled_share, attention_similarity
    seeds: 5
    columns:
      ravdess: {corpus: ravdess, protocol: ravdess-random-80-20, metrics: [accuracy]}
    stand_ins: {ravdess: ravdess-speaker-6fold}
    rows:
      with-attention:
        label: VRNN
        architecture: vrnn
        set: {model.attention: true}
        in: {iemocap: {model.latent_dim: 10}}        # further settings in one column
        published: {ravdess: {accuracy: 0.785}}
        absent: {iemocap: why the paper has no number there, so that nothing is trained}
      syscomb:
        label: SYSComb
        combine: [blstmatt, csa-30]
        exponent: 0.4                                 # or dev: searched on dev rows
    choices: [what the text leaves open, and what was chosen]

Settings that a row does not name are those of the architecture's paper. A proportion is written
as 0.785, never as 78.5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from serplatform.corpora.base import CORPORA
from serplatform.errors import BadInputError, unknown_name
from serplatform.metrics import METRICS
from serplatform.models.base import ARCHITECTURES
from serplatform.protocols.base import PROTOCOLS
from serplatform.strict_yaml import read_yaml
from serplatform.training.trial_config import resolve

KINDS = ("metrics", "sampled_share", "attention_similarity")
#: what the columns of the kinds that are not metrics show
SAMPLED = ("after_first_window", "with_first_window")
SIMILARITY = ("most_alike", "least_alike")
#: the row that stands for all classes together
AVERAGE = "average"

_TOP = (
    "title",
    "paper",
    "kind",
    "seeds",
    "columns",
    "stand_ins",
    "system",
    "rows",
    "choices",
)
_COLUMN = ("corpus", "protocol", "metrics")
_ROW = ("label", "architecture", "set", "in", "published", "absent", "combine", "exponent", "note")
#: searched on dev rows, of each fold its own
DEV = "dev"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """Where numbers are measured.

    Attributes:
        name: of the column.
        corpus: registered name that a dataset must have.
        title: of the corpus, for people.
        protocol: by name.
        metrics: names of ``metrics.METRICS``, or of what the kind shows.
        stand_in: another corpus or protocol than the paper's: not comparable with it.
    """

    name: str
    corpus: str
    title: str
    protocol: str
    metrics: tuple[str, ...]
    stand_in: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A system, or a class of the kinds that are not metrics.

    Attributes:
        name: of the row.
        label: for people.
        architecture: registered name; None for combinations and classes.
        values: dotted parameters that the row sets.
        by_column: further ones, by column.
        published: column to metric to value; a class name in ``attention_similarity``.
        absent: column to the reason why the paper has no number there.
        combine: the two rows whose posteriors are multiplied; empty otherwise.
        exponent: of the second of them, or ``dev``; None otherwise.
        note: a sentence to show with the row.
    """

    name: str
    label: str
    architecture: str | None = None
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    by_column: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    published: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    absent: Mapping[str, str] = dataclasses.field(default_factory=dict)
    combine: tuple[str, ...] = ()
    exponent: float | str | None = None
    note: str = ""

    def settings(self, column: str) -> dict[str, Any]:
        """What the row sets in a column."""
        return {**self.values, **self.by_column.get(column, {})}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReproducedTable:
    """One table or figure of a paper.

    Attributes:
        name: of its file.
        title: one line.
        paper: reference.
        kind: one of :data:`KINDS`.
        seeds: trainings of each row, unless the user says otherwise.
        columns: by name.
        stand_ins: corpus to the protocol that may stand in for the paper's.
        system: what is trained where rows are classes; None for ``metrics``.
        rows: by name, in the paper's order.
        choices: what the text leaves open, and what was chosen.
    """

    name: str
    title: str
    paper: str
    kind: str
    seeds: int
    columns: Mapping[str, Column]
    stand_ins: Mapping[str, str]
    system: Row | None
    rows: Mapping[str, Row]
    choices: tuple[str, ...]

    @property
    def trained(self) -> tuple[Row, ...]:
        """The rows that are trained, in order."""
        if self.system is not None:
            return (self.system,)
        return tuple(row for row in self.rows.values() if row.architecture is not None)

    def select(self, names: Collection[str]) -> ReproducedTable:
        """The table of some rows only, and of the rows that they combine.

        Raises:
            BadInputError: no such row; every unknown one is named.
        """
        faults = [unknown_name("row", name, self.rows) for name in names if name not in self.rows]
        if faults:
            raise BadInputError(f"--rows: {self.name} has no such row:", faults)
        wanted = {*names, *(m for name in names for m in self.rows[name].combine)}
        rows = {name: row for name, row in self.rows.items() if name in wanted}
        return dataclasses.replace(self, rows=rows)


def table_names() -> list[str]:
    """Every table that travels with the package, sorted."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def _folder() -> Path:
    return Path(__file__).parent / "tables"


def load_table(name_or_path: str) -> ReproducedTable:
    """Read and check a table.

    Args:
        name_or_path: a packaged table's name, or the path of a YAML file.

    Raises:
        BadInputError: no such table, or it has faults; all of them are listed.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path)
    elif name_or_path in table_names():
        path = _folder() / f"{name_or_path}.yaml"
    else:
        raise BadInputError(unknown_name("table", name_or_path, table_names()))
    raw = read_yaml(path, "table")
    if not isinstance(raw, Mapping):
        raise BadInputError(f"{path}: a table is a mapping of {', '.join(_TOP)}")
    reader = _Reader(raw)
    table = reader.read(path.stem)
    if reader.faults:
        count = len(reader.faults)
        raise BadInputError(f"{path}: the table has {count} fault(s):", reader.faults)
    return table


class _Reader:
    """Reads a table's mapping and notes every fault on the way."""

    def __init__(self, raw: Mapping[Any, Any]) -> None:
        self.raw = raw
        self.faults: list[str] = []
        self.kind = "metrics"

    def read(self, name: str) -> ReproducedTable:
        raw = self.raw
        self._keys(raw, _TOP, "")
        self.kind = str(raw.get("kind", "metrics"))
        if self.kind not in KINDS:
            self.faults.append(f"kind: {unknown_name('kind', self.kind, KINDS)}")
        seeds = raw.get("seeds", 1)
        if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
            self.faults.append(f"seeds: {seeds!r} must be a whole number of at least 1")
            seeds = 1
        columns = {
            str(key): self._column(str(key), entry)
            for key, entry in self._mapping(raw, "columns", needed=True).items()
        }
        system = None
        if self.kind != "metrics":
            entry = self._mapping(raw, "system", needed=True)
            system = self._row("system", "system", entry, columns)
            if system.architecture is None:
                self.faults.append("system: must name the architecture that is trained")
        elif "system" in raw:
            self.faults.append("system: only for the kinds whose rows are classes")
        rows = {
            str(key): self._row(str(key), f"rows.{key}", entry, columns)
            for key, entry in self._mapping(raw, "rows", needed=True).items()
        }
        self._combinations(rows)
        stand_ins = self._mapping(raw, "stand_ins")
        for corpus, protocol in stand_ins.items():
            self._known("corpus", corpus, CORPORA.names(), "stand_ins")
            self._protocol(protocol, f"stand_ins.{corpus}")
        choices = raw.get("choices", [])
        if not isinstance(choices, list) or not all(isinstance(c, str) for c in choices):
            self.faults.append("choices: must be a list of sentences")
            choices = []
        return ReproducedTable(
            name=name,
            title=self._text(raw, "title", ""),
            paper=self._text(raw, "paper", ""),
            kind=self.kind,
            seeds=seeds,
            columns=columns,
            stand_ins={str(k): str(v) for k, v in stand_ins.items()},
            system=system,
            rows=rows,
            choices=tuple(choices),
        )

    # -- parts

    @property
    def _shown(self) -> tuple[str, ...]:
        """Names that a column of this kind may show."""
        return {"metrics": METRICS, "sampled_share": SAMPLED}.get(self.kind, SIMILARITY)

    def _column(self, name: str, entry: Any) -> Column:
        where = f"columns.{name}"
        if not isinstance(entry, Mapping):
            self.faults.append(f"{where}: must be a mapping of {', '.join(_COLUMN)}")
            entry = {}
        self._keys(entry, _COLUMN, f"{where}.")
        corpus = self._text(entry, "corpus", f"{where}.")
        known = self._known("corpus", corpus, CORPORA.names(), where) if corpus else False
        protocol = self._text(entry, "protocol", f"{where}.")
        if protocol:
            self._protocol(protocol, where)
        metrics = entry.get("metrics", list(self._shown) if self.kind != "metrics" else None)
        if not isinstance(metrics, list) or not metrics:
            self.faults.append(f"{where}.metrics: must be a list of metrics")
            metrics = []
        for metric in metrics:
            self._known("metric", metric, self._shown, where)
        return Column(
            name=name,
            corpus=corpus,
            title=CORPORA.get(corpus).title if known else corpus,
            protocol=protocol,
            metrics=tuple(str(m) for m in metrics),
        )

    def _row(self, name: str, where: str, entry: Any, columns: Mapping[str, Column]) -> Row:
        if not isinstance(entry, Mapping):
            self.faults.append(f"{where}: must be a mapping of {', '.join(_ROW)}")
            entry = {}
        self._keys(entry, _ROW, f"{where}.")
        architecture = entry.get("architecture")
        if architecture is not None and not self._known(
            "architecture", architecture, ARCHITECTURES.names(), where
        ):
            architecture = None
        sections = {key: self._mapping(entry, key, where) for key in ("set", "in", "absent")}
        for key in ("in", "absent"):
            for column in sections[key]:
                self._known("column", column, columns, f"{where}.{key}")
        for column, values in sections["in"].items():
            if not isinstance(values, Mapping):
                self.faults.append(f"{where}.in.{column}: must be a mapping of parameters")
                sections["in"] = {}
        row = Row(
            name=name,
            label=self._text(entry, "label", f"{where}."),
            architecture=architecture,
            values=sections["set"],
            by_column=sections["in"],
            published=self._published(entry, where, columns),
            absent={str(k): str(v) for k, v in sections["absent"].items()},
            combine=tuple(str(name) for name in entry.get("combine") or ()),
            exponent=entry.get("exponent"),
            note=str(entry.get("note", "")),
        )
        if self.kind == "metrics" and not row.combine and "architecture" not in entry:
            self.faults.append(f"{where}: must name an architecture, or rows to combine")
        if architecture is not None:
            found: dict[str, None] = {}
            for column in columns or [""]:
                try:
                    resolve(architecture, row.settings(column), where)
                except BadInputError as error:
                    found |= dict.fromkeys(error.faults or (str(error),))
            self.faults += [f"{where}: {fault}" for fault in found]
        return row

    def _published(
        self, entry: Mapping[str, Any], where: str, columns: Mapping[str, Column]
    ) -> dict[str, dict[str, Any]]:
        published: dict[str, dict[str, Any]] = {}
        for column, values in self._mapping(entry, "published", where).items():
            here = f"{where}.published.{column}"
            if not self._known("column", column, columns, f"{where}.published"):
                continue
            if not isinstance(values, Mapping):
                self.faults.append(f"{here}: must be a mapping of metrics")
                continue
            for metric, value in values.items():
                if not self._known("metric", metric, columns[column].metrics, here):
                    continue
                number = isinstance(value, (int, float)) and not isinstance(value, bool)
                if self.kind == "attention_similarity":
                    if not isinstance(value, str):
                        self.faults.append(f"{here}.{metric}: must be the name of a class")
                elif not number or not 0 <= value <= 1:
                    self.faults.append(
                        f"{here}.{metric}: {value!r} must be a proportion between 0 and 1 (0.785, "
                        "not 78.5)"
                    )
            published[str(column)] = dict(values)
        return published

    def _combinations(self, rows: Mapping[str, Row]) -> None:
        for name, row in rows.items():
            where = f"rows.{name}"
            if not row.combine:
                if row.exponent is not None:
                    self.faults.append(f"{where}.exponent: only for rows that combine others")
                continue
            if row.architecture is not None:
                self.faults.append(f"{where}: has an architecture and combines; leave one out")
            if len(set(row.combine)) != 2:
                self.faults.append(f"{where}.combine: must name two rows")
            for member in row.combine:
                if self._known("row", member, rows, f"{where}.combine") and rows[member].combine:
                    self.faults.append(f"{where}.combine: {member} is itself a combination")
            number = isinstance(row.exponent, (int, float)) and not isinstance(row.exponent, bool)
            if row.exponent != DEV and not (number and float(row.exponent or 0) > 0):
                self.faults.append(
                    f"{where}.exponent: {row.exponent!r} must be a number above 0, or {DEV}"
                )

    # -- values

    def _keys(self, entry: Mapping[Any, Any], known: tuple[str, ...], where: str) -> None:
        self.faults += [
            f"{where}{unknown_name('key', str(key), known)}" for key in entry if key not in known
        ]

    def _text(self, entry: Mapping[str, Any], key: str, where: str) -> str:
        value = entry.get(key)
        if not isinstance(value, str) or not value.strip():
            self.faults.append(f"{where}{key}: is missing; it must be text")
            return ""
        return value

    def _mapping(
        self, entry: Mapping[str, Any], key: str, where: str = "", *, needed: bool = False
    ) -> Mapping[Any, Any]:
        value = entry.get(key, {})
        if not isinstance(value, Mapping) or (needed and not value):
            place = f"{where}.{key}" if where else key
            self.faults.append(f"{place}: {'is missing or ' if needed else ''}must be a mapping")
            return {}
        return value

    def _known(self, kind: str, name: Any, known: Collection[str], where: str) -> bool:
        if name in known:
            return True
        self.faults.append(f"{where}: {unknown_name(kind, str(name), known)}")
        return False

    def _protocol(self, name: Any, where: str) -> None:
        self._known("protocol", str(name).partition(":")[0], PROTOCOLS.names(), where)
