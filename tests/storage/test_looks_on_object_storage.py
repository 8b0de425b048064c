"""Looks at the test rows of a run at a URI are counted for all nodes together."""

from __future__ import annotations

from pathlib import Path

import pytest

from serplatform.artifacts.files import read_json
from serplatform.cli.main import run as command
from tests.support.object_storage import put_folder
from tests.support.synthetic_run import make_run


def test_nodes_count_their_looks_together(
    lab: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "runs" / "a", num_trials=2, num_speakers=3, per_speaker=4)
    put_folder(tmp_path / "runs", f"{lab}/runs")
    for number, combiner in enumerate(("product", "mean", "greedy", "mean"), start=1):
        monkeypatch.setenv("SERPLATFORM_CACHE", str(tmp_path / f"node-{number % 2}"))
        out = tmp_path / f"ens-{number}"
        words = ["ensemble", f"{lab}/runs/a", "--out", str(out), "--combiner", combiner]
        assert command(words) == 0
    looks = [read_json(tmp_path / f"ens-{n}" / "ensemble.json")["look"] for n in (1, 2, 3, 4)]
    assert looks == [1, 2, 3, 2]
