"""What ``--trials +N`` adds to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from serplatform.api.open_run import count_trials, trials_begun
from serplatform.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    """An interrupted run: two trials have ended, one is in flight."""
    directory = RunDirectory(tmp_path)
    for number in range(2):
        directory.write_record(
            {"trial": number, "architecture": "csa", "state": "pruned", "params": {}}
        )
    directory.state_directory(2).mkdir(parents=True)
    return SimpleNamespace(directory=directory, description={"trials": 20})


def test_more_trials_add_to_what_was_asked_for_not_to_what_has_ended(run):
    assert count_trials("+5", have=trials_begun(run), default=20) == 25


def test_more_trials_of_a_timed_run_add_to_those_begun(run):
    run.description["trials"] = None
    assert count_trials("+5", have=trials_begun(run), default=None) == 8


def test_a_plain_number_and_none_are_over_the_whole_life(run):
    assert count_trials("30", have=trials_begun(run), default=20) == 30
    assert count_trials(None, have=trials_begun(run), default=20) == 20


def test_what_a_pruned_trial_leaves_is_removed_and_a_complete_ones_models_stay(run):
    directory = run.directory
    for number in (0, 1):
        directory.model_directory(number, 0).mkdir(parents=True)
        directory.state_directory(number).mkdir(parents=True)
    directory.remove_leftovers(0, "complete")
    directory.remove_leftovers(1, "pruned")
    assert directory.model_directory(0, 0).exists()
    assert not directory.model_directory(1, 0).parent.exists()
    assert sorted(p.name for p in (directory.path / "state").iterdir()) == ["trial-00002"]
