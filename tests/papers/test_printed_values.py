"""Numbers of the papers against the papers' own lines, sums and sentences.

Every table keeps, beside its values, the lines that the paper prints (``printed``). A typo in a
value or in a line parts the two; both at once change the digest below. With the environment
variable SERPLATFORM_PAPERS naming a directory of the papers' texts, the lines are looked up in
them, near the table's caption. The texts are no part of this repository.
"""

from __future__ import annotations

import hashlib
import os
import re
from decimal import Decimal
from pathlib import Path

import pytest

from serplatform.papers import paper_table
from serplatform.papers.paper_table import CLASS_KINDS, PaperTable, parse_table, table_names
from serplatform.strict_yaml import parse_yaml

#: of :func:`digest`; a table whose numbers are right and changed gets a new one
DIGESTS = {
    "baselines-measured": "8dc593083e793e3d",
    "can-table2": "16cf89685010105b",
    "can-table3": "20a79398dc75f72b",
    "can-table4": "2c7a7007ad8d0e86",
    "emobox": "d61009b65753520f",
    "fgcme-table1": "3acf22a8b280ec1d",
    "fgcme-figure2": "e3b0c44298fc1c14",
    "from-scratch": "5a497fc06304201e",
    "jalal-figure1": "e3b0c44298fc1c14",
    "moma-figures": "e3b0c44298fc1c14",
    "moma-table1": "17df12ff7db2daaa",
    "sheffield-table1": "962cd35cbaafcb1e",
    "vrnn-figure2": "a3e87a7b2b03e8e4",
    "vrnn-table1": "285fc9f878399645",
    "vrnn-table2": "678b64a7f02eb567",
}
#: a printed line is so many lines from its table's caption at most
NEAR = 30

_NUMBER = re.compile(r"(?<![\w.])\d+\.\d+")
_STD = re.compile(r"\\pm \d\.\d+")


def source(name: str) -> str:
    return (Path(paper_table.__file__).parent / "tables" / f"{name}.yaml").read_text("utf-8")


def parse(name: str, text: str) -> PaperTable:
    table, errors = parse_table(parse_yaml(text, name), name)
    assert table is not None, errors
    assert errors == []
    return table


def load(name: str) -> PaperTable:
    return parse(name, source(name))


def digest(table: PaperTable) -> str:
    """First 16 digits of the SHA-256 of one line ``row column metric value`` a number, sorted."""
    lines = sorted(
        f"{row.name} {column} {metric} {value}"
        for row in table.rows.values()
        for key in (row.published, row.std)
        for column, values in key.items()
        for metric, value in values.items()
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def numbers(lines: tuple[str, ...]) -> list[Decimal]:
    """Every printed number with a decimal point, standard deviations left out, as proportions."""
    found = [Decimal(n) for line in lines for n in _NUMBER.findall(_STD.sub("", line))]
    return [n if n < 1 else n / 100 for n in found]


def differences(table: PaperTable) -> list[str]:
    """Where values are not those of the printed lines."""
    groups: dict[str, tuple[tuple[str, ...], list[object]]] = {}
    for row in table.rows.values():
        values = [v for c in table.columns for v in row.published.get(c, {}).values()]
        if values and table.kind == "metrics":
            groups[row.name] = (row.printed, values)
    for column in table.columns.values():
        if table.kind in CLASS_KINDS:
            found = [
                row.published[column.name]
                for row in table.rows.values()
                if column.name in row.published
            ]
            # what is printed once may stand for several of our metrics
            values = [v for own in found for v in dict.fromkeys(own.values())]
            groups[column.name] = (column.printed, values)
    told = []
    for name, (lines, values) in groups.items():
        if table.kind == "attention_similarity":
            words: list[object] = list(re.findall("‘([a-z]+)’", " ".join(lines)))[1:]
            same = words == values
        else:
            same = numbers(lines) == [Decimal(str(value)) for value in values]
        if not same:
            told.append(f"{table.name}, {name}: {values}, printed {list(lines)}")
    return told


OF_PAPERS = [name for name in table_names() if load(name).kind != "references"]


def test_every_table_of_a_paper_is_checked() -> None:
    assert len(OF_PAPERS) == 12
    assert sorted(DIGESTS) == table_names()
    for name in OF_PAPERS:
        table = load(name)
        assert table.text, name
        assert re.match(r"(Table|Figure) \d", table.caption), name
        # where the numbers stand is said for people too
        assert table.caption.partition(":")[0] in table.paper


@pytest.mark.parametrize("name", OF_PAPERS)
def test_values_are_those_of_the_printed_lines(name: str) -> None:
    assert differences(load(name)) == []


@pytest.mark.parametrize("name", table_names())
def test_values_are_those_that_were_compared_with_the_papers(name: str) -> None:
    assert digest(load(name)) == DIGESTS[name]


@pytest.mark.parametrize(
    ("name", "right", "typo"),
    [
        ("can-table2", "{accuracy: 0.431, uar: 0.323}", "{accuracy: 0.413, uar: 0.323}"),
        ("fgcme-table1", "{accuracy: 0.640, uar: 0.611}", "{accuracy: 0.640, uar: 0.661}"),
        ("sheffield-table1", "ova_balanced_accuracy: 0.647}", "ova_balanced_accuracy: 0.674}"),
        ("vrnn-table1", "iemocap: {accuracy: 0.644}", "iemocap: {accuracy: 0.655}"),
        ("moma-table1", "ova_accuracy: 0.805, ova_bal", "ova_accuracy: 0.748, ova_bal"),
        ("vrnn-table2", "after_first_window: 0.685,", "after_first_window: 0.658,"),
        ("vrnn-figure2", "most_alike: calm", "most_alike: sad"),
        ("can-table3", "0.568 \\\\pm", "0.586 \\\\pm"),
    ],
)
def test_a_planted_typo_is_found(name: str, right: str, typo: str) -> None:
    text = source(name)
    assert text.count(right) >= 1
    table = parse(name, text.replace(right, typo, 1))
    assert differences(table)
    assert digest(table) != DIGESTS[name] or "pm" in right


def test_a_typo_in_value_and_printed_line_changes_the_digest() -> None:
    text = source("moma-table1").replace("0.748", "0.478").replace("74.8", "47.8")
    table = parse("moma-table1", text)
    assert differences(table) == []
    assert digest(table) != DIGESTS["moma-table1"]


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
@pytest.mark.parametrize("name", OF_PAPERS)
def test_printed_lines_are_in_the_paper_near_their_caption(name: str) -> None:
    table = load(name)
    path = Path(os.environ["SERPLATFORM_PAPERS"]) / f"{table.text}.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    (place,) = [n for n, line in enumerate(lines) if line == table.caption]
    near = lines[max(0, place - NEAR) : place + NEAR]
    wanted = [
        line
        for part in (table.rows, table.columns)
        for one in part.values()
        for line in one.printed
    ]
    assert wanted
    for printed in wanted:
        if "figure" in table.name:  # part of a sentence
            assert any(printed in line for line in near), printed
        else:
            assert near.count(printed) == 1, printed
