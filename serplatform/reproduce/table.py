"""The tables that can be reproduced: what they name is looked up, and their rows can be trained."""

from __future__ import annotations

import dataclasses
from typing import Any

from serplatform.corpora.base import CORPORA
from serplatform.errors import BadInputError, unknown_name
from serplatform.models.base import ARCHITECTURES
from serplatform.papers import paper_table
from serplatform.papers.paper_table import PaperTable, read_table
from serplatform.protocols.base import PROTOCOLS
from serplatform.registry import Registry
from serplatform.training.trial_config import resolve


def table_names() -> list[str]:
    """Every packaged table whose rows can be trained, sorted."""
    tables = {name: read_table(name)[0] for name in paper_table.table_names()}
    return [name for name, table in tables.items() if table is None or table.kind != "references"]


def load_table(name_or_path: str) -> PaperTable:
    """Read and check a table.

    Args:
        name_or_path: a packaged table's name, or the path of a YAML file.

    Raises:
        BadInputError: no such table, or it has errors; all of them are listed.
    """
    if not name_or_path.endswith((".yaml", ".yml")) and name_or_path not in table_names():
        raise BadInputError(unknown_name("table", name_or_path, table_names()))
    table, errors = read_table(name_or_path)
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
