"""Figures and tables for a paper: files that open, sizes that journals ask for, LaTeX that runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from serplatform.api.write import write_paper
from serplatform.cli.main import run
from serplatform.errors import BadInputError
from serplatform.report.data import build_report_data
from serplatform.report.figures.base import Table
from serplatform.report.load import load_source
from serplatform.report.paper import (
    PaperFigure,
    latex,
    latex_table,
    markdown_table,
    paper_figures,
    write_figures,
    write_tables,
)

HOSTILE = r"a_b & 50% of $x$ {~^} #1 \end{table} <b> “q” −½ ω [x]"


@pytest.fixture(scope="module")
def figures(on_disk: Any) -> list[PaperFigure]:
    return list(paper_figures(build_report_data(load_source(on_disk.ensemble))))


def test_the_answer_and_every_figure_of_the_page_are_there(figures: list[PaperFigure]) -> None:
    names = [figure.name for figure in figures]
    assert names[:3] == ["answer", "ranking", "confusion_matrix"]
    assert len(names) == len(set(names)) > 10


def test_a_panel_is_a_column_wide_in_every_format(
    figures: list[PaperFigure], tmp_path: Path
) -> None:
    shown = [f for f in figures if f.name in ("answer", "search_history")]
    assert write_figures(shown, tmp_path, ("svg", "pdf", "png")) == 2 * 3 + 1
    root = ElementTree.parse(tmp_path / "answer.svg").getroot()  # noqa: S314 - ours
    assert float(root.attrib["width"].removesuffix("pt")) == pytest.approx(88 / 25.4 * 72, abs=0.01)
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", (tmp_path / "answer.pdf").read_bytes())
    assert box is not None
    assert float(box[1]) == pytest.approx(88 / 25.4 * 72, abs=0.01)
    assert (tmp_path / "search_history.png").read_bytes().startswith(b"\x89PNG")
    captions = (tmp_path / "captions.md").read_text(encoding="utf-8")
    assert "**search_history**: Search history." in captions


def test_the_same_run_gives_the_same_files(figures: list[PaperFigure], tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_figures(figures[:1], tmp_path / folder, ("svg", "pdf"))
    for name in ("answer.svg", "answer.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_caption_defines_the_metrics_of_its_table(
    figures: list[PaperFigure], tmp_path: Path
) -> None:
    write_tables(figures[:1], tmp_path)
    text = (tmp_path / "answer.tex").read_text(encoding="utf-8")
    assert "Unweighted average recall: the mean over classes" in text
    assert r"\toprule" in text
    assert (tmp_path / "answer.md").read_text(encoding="utf-8").count("\n|") >= 4


def hostile_table(rows: int = 2) -> Table:
    return Table(caption=HOSTILE, header=[HOSTILE, "n (%)"], rows=[[HOSTILE, "1"]] * rows)


def test_markdown_keeps_its_columns() -> None:
    lines = markdown_table(
        Table(caption="c", header=["a|b", "n"], rows=[["x\ny|z", 1]]), "c"
    ).splitlines()
    assert lines[2:] == ["| a\\|b | n |", "| --- | ---: |", "| x y\\|z | 1 |"]


def test_nothing_of_a_text_is_read_as_latex() -> None:
    escaped = latex(HOSTILE)
    assert r"\textbackslash{}end\{table\}" in escaped
    assert not re.search(r"(?<!\\)[&%#_]", escaped)
    assert "% " not in latex_table(hostile_table(), HOSTILE, "tab:x").split("\n", 1)[1].replace(
        r"\%", ""
    )


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_every_table_compiles(figures: list[PaperFigure], tmp_path: Path) -> None:
    write_tables(figures, tmp_path)
    for number, rows in enumerate((2, 100)):  # a table, a longtable
        text = latex_table(hostile_table(rows), HOSTILE, f"tab:h{number}")
        (tmp_path / f"hostile{number}.tex").write_text(text, encoding="utf-8")
    parts = [f"\\input{{{file.name}}}\\clearpage" for file in sorted(tmp_path.glob("*.tex"))]
    assert len(parts) > 20
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs,longtable}"
    whole = [r"\documentclass{article}", packages, r"\begin{document}", *parts, r"\end{document}"]
    (tmp_path / "all.tex").write_text("\n".join(whole), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")


def test_the_command_writes_beside_the_page(on_disk: Any, tmp_path: Path, capsys: Any) -> None:
    assert run(["report", str(on_disk.ensemble), "--tables", str(tmp_path / "tables")]) == 0
    assert "files into" in capsys.readouterr().out
    assert (tmp_path / "tables" / "answer.tex").is_file()
    assert not (on_disk.ensemble / "report.html").exists()


def test_an_unknown_format_is_named(on_disk: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="eps is not one of svg, pdf or png"):
        write_paper(on_disk.ensemble, tmp_path / "figures", formats="pdf,eps")
    assert not (tmp_path / "figures").exists()
