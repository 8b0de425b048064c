"""Write the tables of beyond.md and representations.md from result files.

    python benchmarks/beyond.py [--check]

A table stands between ``<!-- results: FOLDER/*.json -->`` and ``<!-- end -->``; a new file in a
folder of ``benchmarks/results`` is a new row. ``--check`` writes nothing and exits 1 where a
document is not what its files give.
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serplatform.papers.published import published_results
from serplatform.statistics.intervals import Interval

HERE = Path(__file__).parent
DOCUMENTS = (HERE / "beyond.md", HERE / "representations.md")
TABLE = re.compile(r"(<!-- (?P<kind>[a-z ]+): (?P<files>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
#: columns beside the ensemble's
COMPARED = {
    "best_single": "best single, fold by fold",
    "mean_of_all": "equal mean of all",
    "one_trial": "one trial, as `predict` takes it",
    "reference": "reference SVM",
}
SEARCHES = {
    "random": "random",
    "tpe": "TPE",
    "random+asha": "random, pruned",
    "tpe+asha": "TPE, pruned",
    "tpe+asha, no trial at random": "the same, no trial at random first",
    "tpe+asha+warm start": "the same, warm start from another seed's study",
    "tpe+asha+points of the other corpus": "the same, points of the other corpus",
    "tpe+asha+try_first": "the same, a sensible point first",
}


def results(files: list[Path]) -> list[str]:
    """Ensembles: a row a file with every system, then what was seen of the test rows before."""
    rows, what, looks, gains = [], [], collections.defaultdict(list), collections.defaultdict(list)
    for path in files:
        found = read(path)
        tests = {c["with"]: c["difference"]["uar"]["p_value"] for c in found["comparisons"]}
        for one in found["comparisons"]:
            gains[one["with"]].append(one["difference"]["uar"])
        cells = [
            f"{uar(found, name)}, {p_value(tests[name])}" if name in tests else "–"
            for name in COMPARED
        ]
        early = "†" if any(run.get("began_before_commit") for run in found["runs"]) else ""
        commit = ", ".join(one[:7] for one in found["commits"]) + early
        rows.append([link(path), protocol(found), str(found["budget_in_trials"]), commit])
        speaker = "\\*" * any("by speaker" in note for note in found["notes"])
        rows[-1] += [f"**{uar(found, 'ensemble')}**{speaker}", *cells]
        what.append(f"- `{path.stem}`: {found['what']}")
        looks[found["looks_at_test_rows_before"]].append(f"`{path.stem}`")
    seen = [f"- {', '.join(names)}: {text}" for text, names in looks.items()]
    head = ["file", "protocol", "trials", "commit", "ensemble", *COMPARED.values()]
    verdicts = [
        f"{said}: higher in {sum(gain['value'] > 0 for gain in gains[name])} of "
        f"{len(gains[name])} rows, with p < .05 in {sum(gain['low'] > 0 for gain in gains[name])}; "
        f"lower with p < .05 in {sum(gain['high'] < 0 for gain in gains[name])}."
        for name, said in COMPARED.items()
        if gains[name]
    ]
    said = [
        "",
        "The ensemble against",
        "",
        *(f"- {one}" for one in verdicts),
        "",
        *what,
        "",
        "Looks at test rows before:",
        "",
        *seen,
    ]
    return [*table(head, rows), *said, *published(files)]


def classical(files: list[Path]) -> list[str]:
    """Systems of fixed settings, one a file."""
    rows = []
    for path in files:
        found = read(path)
        accuracy = Interval(**found["pooled"]["svm"]["accuracy"]).in_percent()
        row = [link(path), protocol(found), found["normalization"], found["commits"][0][:7]]
        rows.append([*row, uar(found, "svm"), accuracy])
    head = ["file", "protocol", "normalised over", "commit", "UAR", "accuracy"]
    return table(head, rows)


def pairs(files: list[Path]) -> list[str]:
    """Systems on an encoder's layer against the same on their own input."""
    rows = []
    for found in map(read, files):
        of = {c["of"]: c for c in found["comparisons"]}
        for name in filter(lambda name: "own input" not in name, found["systems"]):
            row = [name, uar(found, name), "–", "–"]
            if name in of:
                gain = of[name]["difference"]["uar"]
                ends = (f"{100 * gain[key]:+.1f}" for key in ("value", "low", "high"))
                value, low, high = ends
                row[2] = uar(found, of[name]["with"])
                row[3] = f"{value} ({low} to {high}), {p_value(gain['p_value'])}"
            rows.append(row)
    return table(["system", "UAR", "on its own input", "points"], rows)


def replays(files: list[Path]) -> list[str]:
    """Every search that was replayed on tabulated trainings."""
    tables = read(files[0])["tables"]
    rows = [
        [said]
        + [
            f"{at['searches'][name]['mean']['ratio_to_all_epochs']:.2f} ± "
            f"{at['searches'][name]['sd']['ratio_to_all_epochs']:.2f}"
            for at in tables.values()
        ]
        for name, said in SEARCHES.items()
    ]
    if any(set(at["searches"]) != set(SEARCHES) for at in tables.values()):
        sys.exit(f"{files[0]}: its searches are not those of the table")
    heads = [f"{name} ({at['configurations']} configurations)" for name, at in tables.items()]
    return table(["search", *heads], rows)


def readings(files: list[Path]) -> list[str]:
    """Readings of a paper's system: seeds, and their mean accuracies."""
    rows = []
    for found in map(read, files):
        for name, tried in found["configurations"].items():
            test = [100 * value for value in tried["test"].values()]
            said = f"{sum(test) / len(test):.1f} %" if test else "not predicted"
            changed = ", ".join(f"{k.partition('.')[2]} = {v}" for k, v in tried["values"].items())
            dev = f"{100 * tried['mean_dev']:.1f} %"
            rows.append([name, changed or "–", str(len(tried["seed"])), dev, said])
    return table(["reading", "differs by", "seeds", "dev accuracy", "test accuracy"], rows)


KINDS: dict[str, Callable[[list[Path]], list[str]]] = {
    "results": results,
    "classical": classical,
    "pairs": pairs,
    "replays": replays,
    "readings": readings,
}


def published(files: list[Path]) -> list[str]:
    """Every published UAR of the same protocol, corpus and classes, best first."""
    lines = {}
    for found in map(read, files):
        name, corpus = protocol(found), found["dataset"]["corpus"]
        given = published_results(name, "uar", corpus=corpus, num_classes=len(found["classes"]))
        said = [
            f"{one.system}{', by speaker' * one.row.speaker_normalised} {100 * one.value:.1f} %"
            f"{one.column.note and f' ({one.column.note})'}"
            for one in given
        ]
        lines[name] = f"Published or measured for `{name}`: {'; '.join(said)}." if said else ""
    return [text for line in lines.values() if line for text in ("", line)]


def uar(found: dict[str, Any], system: str) -> str:
    """Pooled test UAR with its interval, in percent."""
    return Interval(**found["pooled"][system]["uar"]).in_percent()


def p_value(value: float) -> str:
    """As papers print it."""
    return "p < .001" if value < 0.001 else f"p = {value:.3f}".replace("0.", ".")


def protocol(found: dict[str, Any]) -> str:
    """Its name."""
    return str(found["protocol"]["name"])


def link(path: Path) -> str:
    """To a result file, from a document."""
    return f"[{path.stem}]({path.relative_to(HERE).as_posix()})"


def in_order(path: Path) -> list[tuple[int, str]]:
    """``5min`` before ``15min``."""
    return [(int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", path.stem)]


def read(path: Path) -> dict[str, Any]:
    """A result file."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of Markdown."""
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]


def main() -> None:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()

    def filled(found: re.Match[str]) -> str:
        files = sorted((HERE / "results").glob(found["files"]), key=in_order)
        lines = KINDS[found["kind"]](files) if files else ["No file yet."]
        return "\n".join([found[1], *lines, "", found[4]]).replace("-->\n\n", "-->\n", 1)

    for document in DOCUMENTS:
        old = document.read_text(encoding="utf-8")
        new = TABLE.sub(filled, old)
        if options.check and new != old:
            sys.exit(f"{document}: not what its files give; run python benchmarks/beyond.py")
        document.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
