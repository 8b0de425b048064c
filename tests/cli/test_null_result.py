"""Trials that learned nothing are said to be at chance, from the command to the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from serplatform.cli.main import run
from tests.support.synthetic_run import make_run


@pytest.mark.parametrize("seed", range(4))
def test_posteriors_without_signal_give_chance(
    tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of such runs, five in twelve have no member that the default combiner would keep."""
    made = make_run(tmp_path / "run", num_trials=5, num_folds=4, skill=0.0, seed=seed)
    ensemble = tmp_path / "ens"
    assert run(["ensemble", str(made), "--out", str(ensemble)]) == 0
    assert "Ensemble: not shown to be better than chance" in capsys.readouterr().out
    assert run(["report", str(ensemble), "--out", str(tmp_path / "page.html")]) == 0
    assert "not shown to be better than chance" in (tmp_path / "page.html").read_text()
