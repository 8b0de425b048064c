"""Publish what an ensemble reached: a JSON file, and the posteriors that all its numbers are from.

    python benchmarks/publish.py ENSEMBLE --out benchmarks/results/NAME --what TEXT --looks TEXT

Writes NAME.json (commands, commit, versions, encoders, budget in trials, numbers) and NAME.parquet:
the test posteriors of the ensemble, the best single trial, the equal mean, the one trial that
`predict` takes, and the reference. ``recompute.py`` checks the one against the other. The commit is
the one that the runs recorded, or --commit; one with changes is refused unless --dirty says why.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from recompute import measure, read_answers, to_json

from serplatform.artifacts.dataset import has_been, read_dataset_description
from serplatform.artifacts.files import file_sha256
from serplatform.artifacts.posteriors import posterior_table, read_posterior_table
from serplatform.ensembles.build import SYSTEMS
from serplatform.ensembles.nested import nested_ensemble
from serplatform.ensembles.posteriors import read_library
from serplatform.run_directory import RunDirectory

CHOSEN = {
    **SYSTEMS,
    "one_trial": "the trial with the best mean dev UAR over all folds, as `predict` takes it; "
    "that mean holds other folds' test rows",
    "reference": "an SVM with fixed settings; nothing is chosen",
}
#: of ensemble.json, as they are
KEPT = ("combiner", "protocol", "folds_hash", "classes", "counts", "notes")


def main() -> None:
    """Collect, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ensemble", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--what", required=True, help="one sentence")
    parser.add_argument("--looks", required=True, help="what was seen of the test rows before")
    parser.add_argument("--commit", help="of runs that do not record theirs")
    parser.add_argument("--dirty", default="", help="why a commit with changes may be published")
    options = parser.parse_args()
    ensemble = json.loads((options.ensemble / "ensemble.json").read_text(encoding="utf-8"))
    paths = [Path(run["path"]) for run in ensemble["runs"]]
    runs = [_run(path, options.commit) for path in paths]
    for run in runs:
        if run["commit"] is None:
            sys.exit(f"{run['command']}: the run records no commit; name it with --commit")
        if run["commit"].endswith("-dirty") and not options.dirty:
            sys.exit(f"{run['command']}: made by changed files of {run['commit']}; see --dirty")
    dataset = ensemble["dataset"]
    tables = _tables(options.ensemble, paths, ensemble)
    found = write(
        options.out,
        tables,
        {
            "what": options.what,
            "looks_at_test_rows_before": options.looks,
            "commits": sorted({run["commit"] for run in runs}),
            **({"dirty_because": options.dirty} if options.dirty else {}),
            "versions": ensemble["versions"],
            "budget_in_trials": ensemble["counts"]["candidates"],
            "runs": runs,
            "dataset": {**dataset, **of_dataset(Path(dataset["path"]), dataset["fingerprint"])},
            **{key: ensemble[key] for key in KEPT},
            "look": ensemble.get("look"),
            "systems": {name: CHOSEN[name] for name in tables},
        },
        pairs=[("ensemble", name) for name in tables if name != "ensemble"],
        hidden={dataset["path"]: "DATA", **{f"{path.parent}/": "" for path in paths}},
    )
    _check(found, ensemble)
    uar = found["pooled"]["ensemble"]["uar"]
    print(f"{options.out}: ensemble UAR {uar['value']:.3f} ({uar['low']:.3f} to {uar['high']:.3f})")


def write(
    out: Path,
    tables: dict[str, pa.Table],
    content: dict[str, Any],
    *,
    pairs: list[tuple[str, str]],
    hidden: dict[str, str],
    part: str = "test",
) -> dict[str, Any]:
    """Write OUT.parquet and, measured from it, OUT.json; return the content of the latter.

    ``tables`` are posterior tables by system, of which the rows of a ``part`` are published;
    ``hidden`` are places of this machine and their names.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    table, classes = out.with_suffix(".parquet"), content["classes"]
    pq.write_table(
        pa.concat_tables([_slim(t, name, classes, part) for name, t in tables.items()]),
        table,
        compression="zstd",
        use_dictionary=["utterance_id", "speaker_id", "fold", "truth", "system"],
        use_byte_stream_split=[f"p_{name}" for name in classes],
    )
    found = {
        **content,
        "posteriors_sha256": file_sha256(table),
        **measure(read_answers(table, classes), pairs),
    }
    text = to_json(found)
    for place, name in {f"{Path(__file__).resolve().parent.parent}/": "", **hidden}.items():
        text = text.replace(place, name)
    out.with_suffix(".json").write_text(f"{text}\n", encoding="utf-8")
    return found


def _run(path: Path, commit: str | None) -> dict[str, Any]:
    run = json.loads((path / "run.json").read_text(encoding="utf-8"))
    records = [json.loads(file.read_text(encoding="utf-8")) for file in path.glob("trials/*.json")]
    commit = run["versions"].get("commit", commit)
    return {
        "command": shlex.join(run["command"]),
        "commit": commit,
        **({"began_before_commit": True} if _before(run["started"], commit) else {}),
        "started": run["started"],
        "seconds": run["seconds"],
        "hardware": run["hardware"],
        "versions": run["versions"],
        "seed": run["seed"],
        "trials": dict(Counter(record["state"] for record in records)),
        "best_dev_uar": max(record["dev"]["uar"] for record in records if record["dev"]),
    }


def _before(started: str, commit: str | None) -> bool:
    """Whether a run began before the commit that is named for it was made."""
    if commit is None:
        return False
    git = ["git", "-C", str(Path(__file__).parent), "show", "-s", "--format=%cI"]
    made = subprocess.run([*git, commit.removesuffix("-dirty")], check=True, capture_output=True)
    return started < made.stdout.decode().strip()


def of_dataset(path: Path, fingerprint: str) -> dict[str, Any]:
    """Hashes of the encoders that a dataset's features are from, and versions that made it."""
    found = read_dataset_description(path)
    if not has_been(found, fingerprint):
        sys.exit(f"{path}: the dataset has changed since the run")
    encoders = [f["spec"]["encoder"] for f in found["features"].values() if "encoder" in f["spec"]]
    return {
        "encoders": {encoder["name"]: encoder["sha256"] for encoder in encoders},
        "versions": found.get("versions"),
    }


def _tables(place: Path, paths: list[Path], ensemble: dict[str, Any]) -> dict[str, pa.Table]:
    """The posteriors of every system, in the order of ``CHOSEN``."""
    classes = ensemble["classes"]
    own = read_posterior_table(
        place / "posteriors.parquet", classes, ensemble.get("posteriors_sha256")
    )
    tables = {"ensemble": own}
    library = read_library(paths)
    there = [c.name in ensemble["parameter_order"] for c in library.candidates]  # trials since: no
    candidates = tuple(itertools.compress(library.candidates, there))
    library = dataclasses.replace(library, candidates=candidates, values=library.values[there])
    best = [c.name for c in candidates].index(ensemble["candidates"][0]["member"])
    chosen = {
        name: [fold.test for fold in nested_ensemble(library, combiner=combiner)]
        for name, combiner in (("best_single", "single"), ("mean_of_all", "mean"))
    }
    chosen["one_trial"] = [library.take(fold, "test").posteriors[best] for fold in library.folds]
    for name, values in chosen.items():
        pieces = []
        for fold, posteriors in zip(library.folds, values, strict=True):
            rows = library.take(fold, "test")
            given = rows.utterance_ids, rows.speaker_ids, rows.truth, posteriors
            pieces.append(posterior_table(*given, fold=fold, part="test", classes=classes))
        tables[name] = pa.concat_tables(pieces)
    for path in paths:
        reference = RunDirectory(RunDirectory(path).reference_directory)
        if reference.record_file(0).exists():
            tables["reference"] = reference.read_posteriors(0)
    return tables


def _slim(table: pa.Table, system: str, classes: list[str], part: str) -> pa.Table:
    """Its rows of a part in one order, float32, with a column that names the system."""
    table = table.filter(pc.equal(table["part"], part)).drop_columns("part")
    table = table.sort_by([("fold", "ascending"), ("utterance_id", "ascending")])
    for name in classes:
        column = table[f"p_{name}"].cast(pa.float32(), safe=False)
        table = table.set_column(table.column_names.index(f"p_{name}"), f"p_{name}", column)
    return table.append_column("system", pa.array([system] * len(table)))


def _check(numbers: dict[str, Any], ensemble: dict[str, Any]) -> None:
    """The systems are those of ``ensemble.json``: every metric, but for float32."""
    for name in SYSTEMS:
        for metric, old in ensemble["pooled"][name].items():
            new = numbers["pooled"][name][metric]["value"]
            if not np.isclose(new, old["value"], atol=1e-5, rtol=0):
                sys.exit(f"{name}, {metric}: {new} from posteriors, {old['value']} in the ensemble")


if __name__ == "__main__":
    main()
