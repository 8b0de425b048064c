"""What every worker process does first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serplatform import plugins
from serplatform.distributed.tune.task_codec import encode_config, failure_result, start_trial
from serplatform.ensembles.base import COMBINERS
from serplatform.errors import BadInputError
from serplatform.registry import temporary
from serplatform.training.trial import TrialTask

PLUGIN = """
from serplatform.ensembles.base import COMBINERS
from serplatform.ensembles.mean import Mean

@COMBINERS.register("of_a_user")
class OfAUser(Mean):
    name = "of_a_user"
"""

TASK = TrialTask(number=0, architecture="no_such", values={}, run="run", dataset="data", seed=0)


def test_a_worker_imports_the_plugins_that_its_task_carries(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN, encoding="utf-8")
    with temporary():
        plugins.load([str(file)])
        carried = plugins.packed(plugins.made_with(named=True))
    file.unlink()
    assert "of_a_user" not in COMBINERS.names()
    with temporary():
        with pytest.raises(BadInputError, match="Unknown architecture 'no_such'"):
            start_trial(encode_config(TASK, threads=1, plugins=carried)["task"])
        assert "of_a_user" in COMBINERS.names()
        plugins.unpack(carried)  # once more costs nothing


def test_a_module_that_is_not_on_the_node_is_named_and_stops_the_search() -> None:
    text = json.dumps(["not_installed", "0" * 64, None])
    said = r"plugin not_installed: this module cannot be imported on .*; install it there"
    with pytest.raises(plugins.PluginError, match=said) as found:
        plugins.unpack([text])
    result = failure_result(found.value)
    assert result is not None
    assert "not_installed" in result["stop"]
