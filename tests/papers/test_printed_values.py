"""Every number of the packaged tables against the papers' own lines, sums and sentences.

``printed.txt`` beside this file holds the lines. With the environment variable SERPLATFORM_PAPERS
naming a directory of the papers' texts, they are looked up in them, near the table's caption. The
texts are no part of this repository.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from serplatform.papers.paper_table import PaperRow, PaperTable, Values, read_table, table_names

PRINTED = Path(__file__).parent / "printed.txt"
#: a printed line is so many lines from its table's caption at most
NEAR = 30
#: classes of VRNN's Table 2, as its head has them
EMOTIONS = (
    "neutral",
    "happy",
    "sad",
    "angry",
    "fearful",
    "disgust",
    "surprised",
    "calm",
    "average",
)
#: numbers that are in no paper's text here: row, column and values, typed a second time
REFERENCES = """
emobox hubert ravdess 0.700
emobox wavlm ravdess 0.720
emobox wavlm iemocap 0.695
emobox whisper ravdess 0.753
from-scratch compare emodb 0.771
from-scratch blstm iemocap 0.515
from-scratch reslstm ravdess 0.623 0.012
baselines-measured compare speaker 0.551 0.542
baselines-measured compare random-4 0.783 0.775
baselines-measured compare-normalised speaker 0.651 0.645
baselines-measured egemaps speaker 0.480 0.468
baselines-measured egemaps-normalised speaker 0.608 0.594
baselines-measured compare-random random 0.706 0.695
baselines-measured compare-grouped speaker-4 0.662 0.651
"""

_NUMBER = re.compile(r"(?<![\w.])\d+\.\d+")
_CLASS = re.compile("‘([a-z]+)’")
Cells = dict[tuple[str, str], list[Decimal | str]]


def load(name: str) -> PaperTable:
    table, errors = read_table(name)
    assert table is not None, errors
    assert errors == []
    return table


def blocks() -> Iterator[tuple[str, str, str, list[tuple[str, str, str]]]]:
    """Table, text, caption and (row, column, line) of each table."""
    for block in PRINTED.read_text(encoding="utf-8").split("\n# ")[1:]:
        title, caption, *lines = block.rstrip("\n").split("\n")
        name, text = title.split(", ")
        found = []
        for line in lines:
            place, printed = line.split(" | ", 1)
            row, _, column = place.partition("@")
            found.append((row, column, printed))
        yield name, text, caption, found


def numbers(line: str) -> list[Decimal | str]:
    """The numbers with a decimal point, as proportions; the emotions of a sentence."""
    found = [Decimal(n) for n in _NUMBER.findall(line)]
    if not found:
        return list(_CLASS.findall(line))
    return [n if n < 1 else n / 100 for n in found]


def of_papers() -> dict[str, Cells]:
    """What is printed: table to (row, column) to values; one column stands for all as \"\"."""
    tables: dict[str, Cells] = defaultdict(lambda: defaultdict(list))
    for name, _, _, lines in blocks():
        for row, column, line in lines:
            if name == "vrnn-table2":
                cells = line.split("\t")[1:]
                for emotion, cell in zip(EMOTIONS, cells, strict=True):
                    if cell != "—":
                        tables[name][emotion, column] += numbers(cell)
            elif name == "vrnn-figure2":
                own, *found = numbers(line)
                assert own == row
                tables[name][row, column] += found
            else:
                tables[name][row, column] += numbers(line)
    for line in REFERENCES.split("\n")[1:-1]:
        name, row, column, *values = line.split()
        tables[name][row, column] += map(Decimal, values)
    return tables


def of_package(table: PaperTable, like: Cells) -> Cells:
    """The same of a packaged table."""
    cells: Cells = defaultdict(list)
    by_column = {column for _, column in like} != {""}
    for column, described in table.columns.items():
        for row in table.rows.values():
            values, std = (key.get(column, {}) for key in (row.published, row.std))
            found = _values(described.metrics, values, std)
            if table.kind == "sampled_share":  # printed once, shown as two of ours
                assert len(set(found)) <= 1
                found = found[:1]
            if found:
                cells[row.name, column if by_column else ""] += found
    for line in table.quoted:
        cells["quoted", ""] += numbers(line)
    return cells


def _values(
    metrics: tuple[str, ...], values: dict[str, float | str], std: dict[str, float | str]
) -> list[Decimal | str]:
    """In the order of the column's metrics, each with its ±."""
    pairs = [(values[m], *([std[m]] if m in std else [])) for m in metrics if m in values]
    return [v if isinstance(v, str) else Decimal(str(v)) for pair in pairs for v in pair]


PAPERS = of_papers()


def test_every_packaged_table_with_numbers_is_compared() -> None:
    with_numbers = [n for n in table_names() if any(r.published for r in load(n).rows.values())]
    assert sorted(PAPERS) == with_numbers
    assert sum(len(found) for cells in PAPERS.values() for found in cells.values()) == 185
    for name, _, caption, _ in blocks():
        # where the numbers stand is said for people too
        assert re.match(r"(Table|Figure) \d", caption), name
        assert caption.partition(":")[0][:7] in load(name).paper


@pytest.mark.parametrize("name", PAPERS)
def test_every_cell_is_what_the_paper_prints(name: str) -> None:
    assert of_package(load(name), PAPERS[name]) == PAPERS[name]


@pytest.mark.parametrize("name", PAPERS)
def test_a_typo_in_any_cell_is_found(name: str) -> None:
    table = load(name)
    planted = 0
    for row in table.rows.values():
        for key in ("published", "std"):
            for column, values in getattr(row, key).items():
                for metric, value in values.items():
                    typo = f"{value}s" if isinstance(value, str) else round(value + 0.001, 3)
                    wrong: Values = {**getattr(row, key)}
                    wrong[column] = {
                        m: typo if m == metric or table.kind == "sampled_share" else v
                        for m, v in values.items()
                    }
                    other: PaperRow = dataclasses.replace(row, **{key: wrong})
                    rows = {**table.rows, row.name: other}
                    found = of_package(dataclasses.replace(table, rows=rows), PAPERS[name])
                    assert found != PAPERS[name], (row.name, key, column, metric)
                    planted += 1
    assert planted >= len(PAPERS[name]) - 1


def test_a_number_printed_in_two_tables_is_one_number() -> None:
    rows = [load("can-table2").rows["can"], load("can-table3").rows["aligned"]]
    rows.append(load("can-table4").rows["can"])
    assert len({str(row.published) for row in rows}) == 1


def test_the_average_of_vrnn_is_the_mean_of_its_classes() -> None:
    table = load("vrnn-table2")
    for column in table.columns:
        values = {
            name: row.published[column]["after_first_window"]
            for name, row in table.rows.items()
            if column in row.published
        }
        average = values.pop("average")
        assert float(sum(values.values()) / len(values)) == pytest.approx(average, abs=0.0005)
        for row in table.rows.values():  # the paper does not say which of the two it prints
            assert len(set(row.published.get(column, {"": 0}).values())) == 1
    # "the highest sparsity is for 'angry' from RAVDESS and 'sad' from IEMOCAP"
    for column, name in (("ravdess", "angry"), ("iemocap", "sad")):
        shares = {
            n: r.published[column]["after_first_window"]
            for n, r in table.rows.items()
            if column in r.published
        }
        assert min(shares, key=lambda n: shares[n]) == name


def test_gains_are_those_of_the_papers_sentences() -> None:
    rows = {
        n: r.published["iemocap"] for n, r in load("sheffield-table1").rows.items() if r.published
    }
    # "a gain of 0.4% UA and 0.5% WA"; "the best result of UA 76.3% comes with context length 30"
    gains = [rows["syscomb"][m] - rows["blstmatt"][m] for m in rows["syscomb"]]
    assert gains == pytest.approx([0.004, 0.005])
    csa = {n: v["ova_accuracy"] for n, v in rows.items() if n.startswith("csa")}
    assert max(csa, key=lambda n: csa[n]) == "csa-30"
    # "outperforms the state-of-the-art systems by 2.66% and 3.18% relatively"
    rows = {n: r.published["iemocap"] for n, r in load("can-table2").rows.items()}
    relative = [100 * (rows["can"][m] / rows["yoon"][m] - 1) for m in ("accuracy", "uar")]
    assert relative == pytest.approx([2.66, 3.18], abs=0.005)
    # FG-CME: "the best performance is achieved by using both excitement modules"
    for column in ("iemocap", "ravdess"):
        found = {n: r.published.get(column, {}) for n, r in load("fgcme-table1").rows.items()}
        for metric in ("accuracy", "uar"):
            assert found["fgcme"][metric] == max(v[metric] for v in found.values() if v)


@pytest.mark.skipif("SERPLATFORM_PAPERS" not in os.environ, reason="SERPLATFORM_PAPERS is not set")
@pytest.mark.parametrize("block", [*blocks()], ids=lambda block: block[0])
def test_printed_lines_are_in_the_paper_near_their_caption(
    block: tuple[str, str, str, list[tuple[str, str, str]]],
) -> None:
    _, text, caption, wanted = block
    path = Path(os.environ["SERPLATFORM_PAPERS"]) / f"{text}.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    (place,) = [n for n, line in enumerate(lines) if line == caption]
    near = lines[max(0, place - NEAR) : place + NEAR]
    assert wanted
    for _, _, printed in wanted:
        whole = near.count(printed) == 1  # a sentence stands within a line
        assert whole or (printed.endswith(".") and any(printed in n for n in near)), printed
