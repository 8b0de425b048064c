"""Posterior tables of trials and ensembles: what a table must hold, and its one check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.files import file_sha256, read_parquet
from serplatform.errors import ArtifactError
from serplatform.metrics import SUM_TOLERANCE


def posterior_schema(classes: list[str]) -> pa.Schema:
    """Columns of a posterior table: one row per utterance, fold and part; rows sum to 1."""
    return pa.schema(
        [
            pa.field("utterance_id", pa.string(), nullable=False),
            pa.field("speaker_id", pa.string(), nullable=False),
            pa.field("fold", pa.int32(), nullable=False),
            pa.field("part", pa.string(), nullable=False),
            pa.field("truth", pa.string(), nullable=False),
            *(pa.field(f"p_{name}", pa.float64(), nullable=False) for name in classes),
        ]
    )


def posterior_table(
    utterance_ids: Sequence[str],
    speaker_ids: Sequence[str],
    truth: IntArray,
    posteriors: DoubleArray,
    *,
    fold: int,
    part: str,
    classes: Sequence[str],
) -> pa.Table:
    """The table of one part of one fold: N rows, (N,) class indices, (N, K) posteriors."""
    columns = {
        "utterance_id": list(utterance_ids),
        "speaker_id": list(speaker_ids),
        "fold": [fold] * len(truth),
        "part": [part] * len(truth),
        "truth": [classes[label] for label in truth],
        **{f"p_{name}": posteriors[:, k] for k, name in enumerate(classes)},
    }
    return pa.table(columns, schema=posterior_schema(list(classes)))


def check_recorded(path: Path, sha256: str | None) -> None:
    """See that a posterior table is the one that was recorded, if it is there.

    Raises:
        ArtifactError: its SHA-256 is another.
    """
    if sha256 is not None and path.exists() and file_sha256(path) != sha256:
        raise ArtifactError(
            f"{path}: the posterior table is truncated or altered (its SHA-256 is not the one "
            "recorded); make it again: a trial's by `serplatform search --resume`, an ensemble's "
            "by `serplatform ensemble`"
        )


def read_posterior_table(path: Path, classes: Sequence[str], sha256: str | None = None) -> pa.Table:
    """Read a posterior table; see :func:`check_recorded` and :func:`checked_posteriors`."""
    check_recorded(path, sha256)
    return checked_posteriors(read_parquet(path, "posterior table"), path, classes)


def checked_posteriors(table: pa.Table, path: Path, classes: Sequence[str]) -> pa.Table:
    """A posterior table with the columns of ``artifacts.posterior_schema``.

    Raises:
        ArtifactError: it lacks a column or has classes in another order; a label or part is
            unknown, or a row of posteriors is not finite, negative, or further than
            ``metrics.SUM_TOLERANCE`` from a sum of 1.
    """
    schema = posterior_schema(list(classes))
    lacking = [name for name in schema.names if name not in table.column_names]
    if lacking:
        raise ArtifactError(
            f"{path}: the posterior table lacks {', '.join(lacking)}; its classes must be "
            f"{', '.join(classes)}"
        )
    given = [name for name in table.column_names if name.startswith("p_")]
    if given != schema.names[-len(classes) :]:
        raise ArtifactError(
            f"{path}: its posterior columns are {', '.join(given)}, the run's classes ask for "
            f"{', '.join(classes)} in this order"
        )
    try:
        table = table.select(schema.names).cast(schema).combine_chunks()
    except (ValueError, pa.ArrowNotImplementedError) as error:  # text for a number, or null
        raise ArtifactError(f"{path}: the posterior table is damaged ({error})") from None
    errors = []
    for column, known in (("truth", set(classes)), ("part", {"dev", "test"})):
        if unknown := sorted(set(table[column].to_pylist()) - known):
            errors.append(f"unknown label(s) in column {column}: {', '.join(unknown)}")
    values = _values(table, classes)
    away = np.abs(values.sum(axis=1) - 1.0)
    if not np.isfinite(values).all() or (values < 0).any():
        errors.append("posteriors must be finite and not negative")
    elif len(away) and away.max() > SUM_TOLERANCE:
        errors.append(f"row {away.argmax()} of posteriors is {away.max():.2g} away from a sum of 1")
    if errors:
        raise ArtifactError(f"{path}: the posterior table is not valid:", errors)
    return table


def rows_of_part(
    table: pa.Table, part: str, classes: Sequence[str]
) -> tuple[pa.Table, IntArray, DoubleArray]:
    """The N rows of a part in a posterior table, their (N,) truth and (N, K) posteriors."""
    table = table.filter(pc.equal(table["part"], part))
    truth = [classes.index(name) for name in table["truth"].to_pylist()]
    return table, np.array(truth, dtype=np.int64), _values(table, classes)


def _values(table: pa.Table, classes: Sequence[str]) -> DoubleArray:
    return np.stack([table[f"p_{name}"].to_numpy() for name in classes], axis=1)
