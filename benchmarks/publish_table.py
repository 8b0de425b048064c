"""Publish a reproduced table with the test posteriors that its cells are from, and check it.

    python benchmarks/publish_table.py OUT/TABLE [OUT/TABLE …] --into benchmarks/results/reproduce
    python benchmarks/publish_table.py --check benchmarks/results/reproduce/*.json

Beside TABLE.json and TABLE.csv, which ``serplatform reproduce`` wrote, stands
posteriors/TABLE.COLUMN.parquet: a row an utterance, fold, row of the table and seed, float32. The
check computes every mean, pooled value and interval again and names each that differs. Of a figure,
what models attend to cannot be computed again; the posteriors of the system it is of stand there.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from serplatform.artifacts.files import file_sha256
from serplatform.artifacts.posteriors import posterior_table
from serplatform.ensembles.base import PosteriorSet
from serplatform.metrics import METRICS
from serplatform.reproduce.measure import RunPosteriors, measure

#: float32 posteriors and other orders of sums
TOLERANCE = 1e-6


def main() -> None:
    """Publish tables, or check published ones."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--into", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not options.check:
        for table in options.tables:
            publish(table, options.into)
        return
    faults = [fault for table in options.tables for fault in check(table)]
    print(*faults, sep="\n")
    sys.exit(1 if faults else 0)


def publish(source: Path, into: Path) -> None:
    """Copy OUT/TABLE's numbers, and write the posteriors of its measured columns."""
    table = json.loads((source / "table.json").read_text(encoding="utf-8"))
    name = source.name
    (into / "posteriors").mkdir(parents=True, exist_ok=True)
    for column in table["columns"]:
        if column["run"] is None:
            continue
        known, run = RunPosteriors(Path(column["run"])), f"OUT/runs/{Path(column['run']).name}"
        parts = list(_systems(table["rows"], column["name"], known))
        column["run"] = run
        if parts:
            file = into / "posteriors" / f"{name}.{column['name']}.parquet"
            pq.write_table(
                pa.concat_tables(parts),
                file,
                compression="zstd",
                use_dictionary=["utterance_id", "speaker_id", "truth", "row"],
                use_byte_stream_split=[f"p_{label}" for label in column["classes"]],
            )
            column["posteriors_sha256"] = file_sha256(file)
    words = table["command"]
    data = [words[at] for at, word in enumerate(words[:-1], start=1) if word == "--data"]
    places = {str(source.parent): "OUT", **{place: Path(place).name for place in data}}
    tables = [word for word in words if word.endswith(".yaml")]
    places |= {place: f"benchmarks/tables/{Path(place).name}" for place in tables}
    text = json.dumps(table, ensure_ascii=False, indent=2)
    for place, shown in places.items():
        text = text.replace(place, shown)
    (into / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
    (into / f"{name}.csv").write_bytes((source / "table.csv").read_bytes())


def _systems(rows: list[dict[str, Any]], column: str, known: RunPosteriors) -> Iterator[pa.Table]:
    """The posterior table of every row and seed of a column that has some, once a training."""
    scored = [row for row in rows if set(row["cells"][column]["measured"]) & set(METRICS)]
    trained = {str(row["cells"][column]["trials"]): row for row in reversed(rows)}
    for row in scored or trained.values():
        cell = row["cells"][column]
        for seed, trials in enumerate(cell["trials"]):
            if row["exponent"] is None:
                sets = known.of(trials[0])
            else:
                sets, _ = known.combined(*trials, row["exponent"])
            for fold, part in enumerate(sets):
                answers = posterior_table(
                    list(part.utterance_ids),
                    list(part.speaker_ids),
                    part.truth,
                    part.posteriors[0],
                    fold=fold,
                    part="test",
                    classes=list(part.classes),
                )
                yield _small(answers, row["name"], seed, part.classes)


def _small(table: pa.Table, row: str, seed: int, classes: tuple[str, ...]) -> pa.Table:
    table = table.drop_columns("part")
    for name in classes:
        at = table.column_names.index(f"p_{name}")
        table = table.set_column(at, f"p_{name}", table[f"p_{name}"].cast(pa.float32(), safe=False))
    table = table.append_column("row", pa.array([row] * len(table)))
    return table.append_column("seed", pa.array([seed] * len(table), pa.int16()))


def check(file: Path) -> list[str]:
    """What of a published table its posteriors do not give again."""
    table = json.loads(file.read_text(encoding="utf-8"))
    faults = []
    for column in table["columns"]:
        posteriors = file.parent / "posteriors" / f"{file.stem}.{column['name']}.parquet"
        wanted = [
            (row["name"], row["cells"][column["name"]]["measured"])
            for row in table["rows"]
            if any(name in METRICS for name in row["cells"][column["name"]]["measured"])
        ]
        if not posteriors.exists():
            if wanted or column.get("posteriors_sha256"):
                faults.append(f"{posteriors}: not there")
            continue
        if file_sha256(posteriors) != column["posteriors_sha256"]:
            faults.append(f"{posteriors}: another file than {file.name} names")
        answers = pq.read_table(posteriors)
        for name, measured in wanted:
            names = [metric for metric in measured if metric in METRICS]
            again = measure(_sets(answers, name, column["classes"]), names)
            faults += [
                f"{file.name}: {name}, {metric}, {what}: {old} in the file, {new} again"
                for metric in names
                for what, old in measured[metric].items()
                if not _same(old, new := again[metric][what])  # type: ignore[literal-required]
            ]
    if not re.fullmatch("[0-9a-f]{40}", table["versions"].get("commit") or ""):
        faults.append(f"{file.name}: no commit, or one with changes")
    return faults


def _sets(answers: pa.Table, row: str, classes: list[str]) -> list[list[PosteriorSet]]:
    """S lists of F sets, as ``measure`` takes them."""
    answers = answers.filter(pc.equal(answers["row"], row))
    found = []
    for seed in sorted(set(answers["seed"].to_pylist())):
        own, folds = answers.filter(pc.equal(answers["seed"], seed)), []
        for fold in sorted(set(own["fold"].to_pylist())):
            part = own.filter(pc.equal(own["fold"], fold))
            values = np.stack([part[f"p_{name}"].to_numpy() for name in classes], axis=1)
            folds.append(
                PosteriorSet(
                    part="test",
                    utterance_ids=tuple(part["utterance_id"].to_pylist()),
                    speaker_ids=tuple(part["speaker_id"].to_pylist()),
                    truth=np.array([classes.index(name) for name in part["truth"].to_pylist()]),
                    posteriors=values.astype(np.float64)[None],
                    members=(row,),
                    classes=tuple(classes),
                )
            )
        found.append(folds)
    return found


def _same(old: Any, new: Any) -> bool:
    if old is None or new is None:
        return old is new
    return bool(np.allclose(np.array(old), np.array(new), rtol=0, atol=TOLERANCE))


if __name__ == "__main__":
    main()
