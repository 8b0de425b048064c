"""The notebook runs from its first cell to its last; quickly checked, its calls exist."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, unknown_calls


def notebook() -> Any:
    nbformat = pytest.importorskip("nbformat", reason="needs the extra test")
    return nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)


def code() -> list[str]:
    return [cell["source"] for cell in notebook()["cells"] if cell["cell_type"] == "code"]


def test_cells_call_what_there_is() -> None:
    assert len(code()) >= 8
    assert not unknown_calls("\n".join(code()))
    shown = "\n".join(code())
    for call in ("sp.prepare(", "sp.search(", ".leaderboard(", ".ensemble(", ".predict("):
        assert call in shown


def test_no_output_is_kept() -> None:
    """Outputs would name the machine that they were made on, and grow old."""
    assert not any(cell.get("outputs") for cell in notebook()["cells"])


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="needs the extra test")
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    book = notebook()
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(book, timeout=900, kernel_name="python3", resources=where).execute()
    last = [cell for cell in book["cells"] if cell["cell_type"] == "code"][-1]["outputs"]
    assert "emotion" in str(last[-1]["data"])
    assert (tmp_path / "demo-model" / "README.md").is_file()
