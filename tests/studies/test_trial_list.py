"""Rosters: fixed configurations of one run, each with its number for good."""

import pytest

from serplatform.artifacts.trial import DEV_METRICS
from serplatform.errors import BadInputError
from serplatform.run_directory import RunLock
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import create_run, reopen_run
from serplatform.studies.trial_list import (
    Configuration,
    TrialList,
    assign_numbers,
    find_numbers,
    non_default_values,
)
from serplatform.testing.synthetic import make_dataset

CSA = Configuration(architecture="csa", values={"model.channels": 4})
AGAIN = Configuration(architecture="csa", values={"model.channels": 4}, repeat=1)
MOMA = Configuration(architecture="moma", values={})


@pytest.fixture
def run(tmp_path):
    data = make_dataset(tmp_path / "data", per_speaker=4, seconds=(0.2, 0.3))
    request = SearchRequest(architectures=("csa",), dataset=data, exact=True)
    return create_run(tmp_path / "run", request, ["test"])


def record(run, number, state="complete"):
    dev = dict.fromkeys(DEV_METRICS, 0.5)
    entry = {"trial": number, "state": state, "architecture": "csa", "params": {}, "dev": dev}
    run.directory.write_record(entry)


def test_a_configuration_keeps_its_number_in_every_process(run):
    assert assign_numbers(run, [CSA, AGAIN]) == [0, 1]
    opened = reopen_run(run.directory.path)
    assert assign_numbers(opened, [MOMA, AGAIN]) == [2, 1]
    assert opened.description["architectures"] == ["csa", "moma"]
    assert find_numbers(opened.description, AGAIN) == [1]
    assert reopen_run(run.directory.path).description["roster"] == opened.description["roster"]


def test_what_is_recorded_is_not_handed_out_again(run):
    numbers = assign_numbers(run, [CSA, AGAIN, MOMA])
    record(run, 1)
    roster = TrialList(run, numbers, {0: "first"})
    assert (roster.num_left, roster.num_asked, roster.total) == (2, 1, 3)
    first, second = roster.ask(), roster.ask()
    assert (first.number, first.label, first.paper) == (0, "first", False)
    assert (second.number, second.label, second.paper) == (2, "", True)
    assert roster.num_left == 0
    assert roster.num_asked == roster.total


def test_a_failed_training_gets_a_new_number_and_the_same_seed(run):
    assert assign_numbers(run, [CSA]) == [0]
    seed = TrialList(run, [0], {}).ask().seed
    record(run, 0, "failed")
    assert assign_numbers(run, [CSA]) == [1]
    assert assign_numbers(run, [CSA]) == [1]
    assert TrialList(run, [1], {}).ask().seed == seed
    assert find_numbers(run.description, CSA) == [1, 0]


def test_a_repeat_has_one_seed_whatever_is_trained(run):
    assign_numbers(run, [CSA, MOMA, AGAIN])
    seeds = {s.number: s.seed for s in (TrialList(run, [n], {}).ask() for n in (0, 1, 2))}
    assert seeds[0] == seeds[1] != seeds[2]


def test_what_was_begun_goes_first(run):
    numbers = assign_numbers(run, [CSA, AGAIN])
    begun = run.directory.state_directory(1) / "progress.json"
    begun.parent.mkdir(parents=True)
    begun.write_text("{}")
    roster = TrialList(run, numbers, {})
    first, second = roster.ask(), roster.ask()
    assert (first.number, first.resumed, second.number, second.resumed) == (1, True, 0, False)


def test_a_run_in_use_is_refused(run):
    lock = RunLock(run.directory)
    with pytest.raises(BadInputError, match="another search is writing"):
        assign_numbers(run, [CSA])
    lock.release()


def test_two_texts_of_one_configuration_depart_alike():
    assert non_default_values("csa", {"model.context_frames": 30}, "here") == {}
    assert non_default_values(
        "csa", {"training.learning_rate": 1e-4, "model.channels": 4}, "here"
    ) == {"model.channels": 4}
