"""Write down what an ensemble reached: numbers, commands, budget, versions, and its posteriors.

    python benchmarks/publish.py ENSEMBLE --out benchmarks/results/NAME --what TEXT [--looks TEXT]

Writes NAME.json and NAME.parquet (the ensemble's test posteriors, from which the numbers can be
computed again). The commit is that of the checkout that this script lies in.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any


def main() -> None:
    """Collect and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ensemble", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--what", required=True, help="one sentence")
    parser.add_argument("--looks", default="", help="what was seen of the test rows before")
    parser.add_argument("--commit", help="of the runs, where the checkout has moved on since")
    options = parser.parse_args()
    ensemble = json.loads((options.ensemble / "ensemble.json").read_text(encoding="utf-8"))
    runs = [_run(Path(run["path"])) for run in ensemble["runs"]]
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    here = subprocess.run(git, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = {
        "what": options.what,
        "looks_at_test_rows_before": options.looks,
        "commit": options.commit or here.strip(),
        "runs": runs,
        "budget_in_trials": sum(run["trials"].get("complete", 0) for run in runs),
        **{
            key: ensemble[key]
            for key in (
                "combiner",
                "protocol",
                "folds_hash",
                "dataset",
                "classes",
                "counts",
                "systems",
                "pooled",
                "over_folds",
                "comparison",
                "notes",
                "versions",
                "posteriors_sha256",
            )
        },
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(options.ensemble / "posteriors.parquet", options.out.with_suffix(".parquet"))
    text = json.dumps(found, indent=1, ensure_ascii=False)
    places = {f"{Path(__file__).resolve().parent.parent}/": "", ensemble["dataset"]["path"]: "DATA"}
    places |= {f"{Path(run['path']).parent}/": "" for run in ensemble["runs"]}
    for place, name in places.items():  # of this machine
        text = text.replace(place, name)
    options.out.with_suffix(".json").write_text(f"{text}\n", encoding="utf-8")
    uar = found["pooled"]["ensemble"]["uar"]
    print(f"{options.out}: ensemble UAR {uar['value']:.3f} ({uar['low']:.3f} to {uar['high']:.3f})")


def _run(path: Path) -> dict[str, Any]:
    run = json.loads((path / "run.json").read_text(encoding="utf-8"))
    records = [json.loads(file.read_text(encoding="utf-8")) for file in path.glob("trials/*.json")]
    return {
        "command": shlex.join(run["command"]),
        "started": run["started"],
        "seconds": run["seconds"],
        "hardware": run["hardware"],
        "dataset_fingerprint": run["dataset"]["fingerprint"],
        "trials": dict(Counter(record["state"] for record in records)),
        "best_dev_uar": max(record["dev"]["uar"] for record in records if record["dev"]),
    }


if __name__ == "__main__":
    main()
