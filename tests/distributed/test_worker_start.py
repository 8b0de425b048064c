"""What every worker process does first."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from serplatform.distributed.tune.task_codec import encode_config, start_trial
from serplatform.distributed.worker_start import start_worker
from serplatform.errors import BadInputError
from serplatform.training.trial import TrialTask


def test_a_worker_imports_the_plugins_that_its_task_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugin_of_a_user.py").write_text("raise ValueError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    task = TrialTask(number=0, architecture="csa", values={}, run="run", dataset="data", seed=0)
    packed = encode_config(task, threads=1, plugins=("plugin_of_a_user",))["task"]
    with pytest.raises(ValueError, match="imported"):
        start_trial(packed)
    assert "plugin_of_a_user" not in sys.modules


def test_a_plugin_that_is_not_on_the_node_is_named() -> None:
    with pytest.raises(BadInputError, match=r"plugin 'not_installed'.*install it on every node"):
        start_worker(["not_installed"])
