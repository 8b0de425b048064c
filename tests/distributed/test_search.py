"""Searches over a local Ray cluster: nothing lost, nothing twice, and faults with their reason."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from serplatform.api.open_run import open_or_create
from serplatform.distributed.search import _sizing, search
from serplatform.distributed.tune.placement import SearchLimits
from serplatform.ensembles.build import build_ensemble
from serplatform.errors import BadInputError, SerplatformError
from serplatform.run_directory import RunLock
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import create_run, reopen_run
from serplatform.studies.sizes import SHARE
from serplatform.studies.space import SearchSpace, paper_point
from serplatform.studies.study import Studies
from serplatform.testing.synthetic import make_dataset
from serplatform.training.trial_config import resolve
from tests.support.search_checks import run_faults, study_trials, write_tiny_space

pytestmark = pytest.mark.ray


class Events:
    """Notes what a search tells; may do something at the first epoch it hears of."""

    def __init__(self, at_first_epoch=None):
        self.started, self.ended, self.epochs, self.retried = [], [], [], []
        self._at_first_epoch = at_first_epoch

    def trial_started(self, suggestion):
        self.started.append(suggestion.number)

    def trial_progressed(self, suggestion, report):
        self.epochs.append((suggestion.number, report.fold, report.epoch))
        if self._at_first_epoch is not None:
            act, self._at_first_epoch = self._at_first_epoch, None
            act()

    def trial_retried(self, suggestion, error):
        self.retried.append((suggestion.number, error))

    def trial_ended(self, record):
        self.ended.append((record["trial"], record["state"]))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(
        tmp_path_factory.mktemp("search") / "dataset", per_speaker=8, seconds=(0.2, 0.4)
    )


@pytest.fixture
def begin(dataset, tmp_path, ray_cluster):
    """Make a run of one tiny architecture."""

    def make(out="run", *, architecture="csa", data=dataset, space=None, **options):
        space = space or write_tiny_space(
            tmp_path / f"{architecture}.yaml", architecture, max_epochs=options.pop("epochs", 2)
        )
        request = SearchRequest(
            architectures=(architecture,), dataset=data, spaces=(str(space),), **options
        )
        return create_run(tmp_path / out, request, ["test"])

    return make


def limits(trials, *, seconds=None, **options):
    return SearchLimits(trials=trials, seconds=seconds, begun=time.monotonic(), **options)


def record_bytes(run):
    return {p.name: p.read_bytes() for p in (run.directory.path / "trials").iterdir()}


def kill_workers():
    """SIGKILL every process of Ray that trains, and those that wait for work."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            title = " ".join(process.cmdline()[:1])
            if title.startswith("ray::") and "Agent" not in title:
                process.kill()


def test_a_resumed_search_decides_sizes_by_the_budget_it_began_with(dataset, tmp_path):
    asked = SearchRequest(architectures=("moma",), dataset=dataset, time_budget=60.0)
    open_or_create(asked, limits(None), tmp_path / "run")
    more = SearchRequest(trials="+2")
    run, given = open_or_create(more, limits(None), tmp_path / "run", resume=True)
    assert given.seconds is None
    sizing = _sizing(run, given, {"CPU": 2.0, "GPU": 1.0})  # with a GPU, nothing is timed
    assert sizing is not None
    assert sizing._limit == SHARE * 60.0


def test_a_search_is_whole_extends_and_is_never_repeated(begin, monkeypatch):
    monkeypatch.setattr("serplatform.distributed.tune.adapters.RECORD_INTERVAL", 0.0)
    run = begin()
    seen = []

    class Looking(Events):
        def trial_ended(self, record):
            super().trial_ended(record)
            seen.append(reopen_run(run.directory.path).description)

    events = Looking()
    outcome = search(run, limits(3, seconds=300), events)
    assert outcome.status == "complete"
    # a driver that is killed has recorded the time that it spent
    assert [description["status"] for description in seen] == 3 * ["running"]
    spent = [description["seconds"] for description in seen]
    assert 0 < spent[0] <= spent[1] <= spent[2]
    assert spent[2] <= reopen_run(run.directory.path).description["seconds"]
    assert run_faults(run.directory.path, ended=True) == []
    assert sorted(events.started) == [0, 1, 2]
    assert sorted(number for number, _ in events.ended) == [0, 1, 2]
    records = run.directory.records()
    assert outcome.counts == {
        state: sum(r["state"] == state for r in records.values())
        for state in ("complete", "pruned", "failed")
    }
    first = records[0]
    assert first["paper"]
    assert first["state"] == "complete"
    fixed = dict(run.spaces["csa"].fixed)
    assert resolve("csa", first["params"], "trial 0") == resolve("csa", fixed, "the paper's")
    assert not any(records[number]["paper"] for number in (1, 2))

    before = record_bytes(run)
    again = Events()
    assert search(reopen_run(run.directory.path), limits(3), again).status == "complete"
    assert (again.started, again.ended) == ([], [])
    assert record_bytes(run) == before

    more = Events()
    search(reopen_run(run.directory.path), limits(5), more)
    assert sorted(more.started) == [3, 4]
    assert {name: record_bytes(run)[name] for name in before} == before
    assert run_faults(run.directory.path, ended=True) == []
    assert run.directory.read_run()["status"] == "complete"


def test_a_diverging_trial_is_recorded_with_its_reason_and_the_others_go_on(begin, tmp_path):
    space = write_tiny_space(tmp_path / "poisoned.yaml", "csa", max_epochs=2)
    text = space.read_text().replace("  training.learning_rate: 0.01\n", "")
    space.write_text(
        f"{text}  training.learning_rate: {{type: choice, values: [1.0e-4, 1.0e+12]}}\n"
    )
    run = begin(space=space, sampler="random", pruner="none", seed=1)
    search(run, limits(5), Events())
    assert run_faults(run.directory.path, ended=True) == []
    for record in run.directory.records().values():
        poisoned = record["params"]["training.learning_rate"] > 1
        assert record["state"] == ("failed" if poisoned else "complete")
        if poisoned:
            assert "became infinite or not a number in epoch" in record["error"]
            assert "lower training.learning_rate" in record["error"]
    states = {record["state"] for record in run.directory.records().values()}
    assert states == {"failed", "complete"}


def test_a_killed_worker_goes_on_from_its_last_saved_epoch(begin):
    run = begin(architecture="moma", epochs=12, pruner="none")
    saved = {}

    def strike():
        time.sleep(0.3)
        kill_workers()
        for file in (run.directory.path / "state").glob("trial-*/progress.json"):
            progress = json.loads(file.read_text())
            saved[progress["trial"]] = progress["history"]

    events = Events(at_first_epoch=strike)
    outcome = search(run, limits(2), events)
    assert outcome.counts == {"complete": 2, "pruned": 0, "failed": 0}
    assert run_faults(run.directory.path, ended=True) == []
    assert all("the process that trained it died" in error for _, error in events.retried)
    assert {number for number, _ in events.retried} >= set(saved) != set()
    for number, history in saved.items():
        # the seconds of an epoch show that it is the one that was saved
        assert run.directory.records()[number]["history"][: len(history)] == history


@pytest.mark.slow
def test_a_worker_killed_more_often_than_retried_is_a_failed_trial(begin, capfd):
    run = begin(epochs=8, pruner="none")
    search(run, limits(2, retries=0, concurrent=1), Events(at_first_epoch=kill_workers))
    records = run.directory.records()
    assert [records[n]["state"] for n in (0, 1)] == ["failed", "complete"]
    assert "the process that trained it died" in records[0]["error"]
    assert run_faults(run.directory.path, ended=True) == []
    told = capfd.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err


def test_a_second_search_of_a_run_is_refused_and_harms_nothing(begin):
    run = begin()
    lock = RunLock(run.directory)
    with pytest.raises(BadInputError, match="another search is writing to this run"):
        search(run, limits(1), Events())
    lock.release()
    assert run.directory.read_run()["status"] == "running"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 1, "workers": 500}, "500 CPU of"),
        ({"trials": 1, "gpus_per_trial": 1.5}, "must be a whole number"),
        ({"trials": 1, "address": "127.0.0.1:1"}, "no Ray cluster answers there"),
    ],
)
def test_a_search_that_cannot_start_leaves_nothing(begin, tmp_path, options, message, monkeypatch):
    if "address" in options:
        monkeypatch.setattr("ray.is_initialized", lambda: False)
    run = begin()
    with pytest.raises(BadInputError, match=message):
        search(run, limits(**options), Events())
    assert not run.directory.path.exists()
    begin()  # the same directory is free


def test_runs_that_share_a_storage_keep_apart(begin, tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    names = [begin(name, storage=url).description["study_prefix"] for name in ("one", "two")]
    space = begin("three").spaces
    options = {"storage": url, "records": {}, "max_epochs": 2, "num_folds": 3, "seed": 0}
    for name in names:
        studies = Studies(space, prefix=name, **options)
        assert [studies.ask().number for _ in range(2)] == [0, 1]
    assert Studies(space, prefix=names[0], **options).num_asked == 2


def test_the_papers_trial_survives_a_death_between_asking_and_noting(begin, tmp_path, monkeypatch):
    space = begin("run").spaces["csa"]
    options = {"records": {}, "max_epochs": 2, "num_folds": 3, "seed": 0}
    storage = str(tmp_path / "study.journal")

    def die(*_):
        raise KeyboardInterrupt("killed")

    with monkeypatch.context() as patch:
        patch.setattr(SearchSpace, "suggest", die)
        with pytest.raises(KeyboardInterrupt, match="killed"):
            Studies({"csa": space}, storage=storage, **options).ask()
    first = Studies({"csa": space}, storage=storage, **options).ask()
    assert (first.number, first.paper) == (0, True)
    assert first.values == {**space.fixed, **paper_point(space)}


def test_a_storage_that_cannot_be_opened_is_one_message(begin):
    run = begin(storage="nosuch://me:hidden@host/studies")
    with pytest.raises(BadInputError, match=r"--storage nosuch://\*\*\*@host/studies: cannot"):
        search(run, limits(2), Events())
    assert not run.directory.path.exists()


def test_the_time_budget_is_kept(begin):
    begun = time.monotonic()
    search(begin("first", epochs=3), limits(1), Events())
    one = time.monotonic() - begun
    run = begin(epochs=3)
    begun = time.monotonic()
    seconds = 5.0 + 2 * one  # enough for a trial, however busy the machine is
    outcome = search(run, limits(None, seconds=seconds), Events())
    took = time.monotonic() - begun
    assert outcome.status == "time"
    assert outcome.best is not None
    assert took < seconds + max(8.0, one)  # the workers are given some seconds to stop
    assert run_faults(run.directory.path, ended=False) == []
    assert run.directory.read_run()["status"] == "complete"


@pytest.mark.slow  # by default, test_canary.py has the same rule of permuted labels
def test_data_that_hold_no_emotion_give_chance_from_search_to_ensemble(begin, tmp_path):
    data = make_dataset(
        tmp_path / "noise",
        num_speakers=8,
        per_speaker=24,
        seconds=(0.15, 0.3),
        separation=0.0,
        seed=3,
    )
    run = begin(data=data, epochs=3)
    search(run, limits(4), Events())
    ensemble = build_ensemble(
        [run.directory.path], tmp_path / "ensemble", combiner="greedy", seed=0
    )
    uar = ensemble["pooled"]["ensemble"]["uar"]
    # 192 utterances of 4 classes: the standard deviation of UAR by chance is 0.031
    assert 0.25 - 3 * 0.031 < uar["value"] < 0.25 + 3 * 0.031


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 kB, and a function that makes it larger."""
    where = tmp_path / "disk"
    where.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(where)],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"mounting needs root: {done.stderr.decode().strip()}")

    def resize(size):
        subprocess.run(["mount", "-o", f"remount,{size}", str(where)], check=True)

    yield where, resize
    subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_stops_the_search_and_room_lets_it_go_on(begin, small_disk):
    where, resize = small_disk
    run = begin(where / "run", epochs=2, pruner="none")
    with pytest.raises(
        SerplatformError, match=r"the search had to stop: .*No space left on device"
    ):
        search(run, limits(40), Events())
    path = run.directory.path
    assert all(r["state"] == "complete" for r in run.directory.records().values())
    assert run_faults(path, ended=False) == []
    resize("size=20m")
    had = record_bytes(run)
    search(reopen_run(path), limits(len(had) + 3), Events())
    assert run_faults(path, ended=True) == []
    assert {name: record_bytes(run)[name] for name in had} == had


@pytest.mark.slow
def test_two_workers_give_what_one_gives_and_pruned_groups_make_room(begin, tmp_path):
    space = write_tiny_space(
        tmp_path / "still.yaml", "moma", max_epochs=3, fixed={"model.dropout": 0.0}
    )
    options = {"architecture": "moma", "space": space, "pruner": "none", "sampler": "random"}
    one, two = begin("one", **options), begin("two", **options)
    search(one, limits(2, concurrent=1), Events())
    search(two, limits(2, workers=2), Events())
    for number in (0, 1):
        single, pair = (run.directory.records()[number] for run in (one, two))
        assert single["params"] == pair["params"]
        assert pair["fold_dev"] == [pytest.approx(fold, abs=1e-4) for fold in single["fold_dev"]]
        losses = [[e["train_loss"] for e in r["history"]] for r in (single, pair)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert run_faults(two.directory.path, ended=True) == []

    pruned = begin("pruned", architecture="moma", epochs=8, sampler="random")
    search(pruned, limits(6, workers=2), Events())
    states = [r["state"] for r in pruned.directory.records().values()]
    assert len(states) == 6
    assert "pruned" in states
    assert run_faults(pruned.directory.path, ended=True) == []
    assert all(state != "RUNNING" for state, *_ in study_trials(pruned.directory.journal).values())


def test_any_failure_before_the_first_trial_leaves_only_what_others_had_there(
    begin, tmp_path, monkeypatch
):
    place = tmp_path / "run"
    run = begin()
    assert run.directory.path == place
    (place / "notes.txt").write_text("another's", encoding="utf-8")

    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("serplatform.distributed.search.connect", fails)
    with pytest.raises(ZeroDivisionError, match="a fault of ours"):
        search(run, limits(trials=1), Events())
    assert [path.name for path in place.iterdir()] == ["notes.txt"]


def test_a_run_of_which_no_trial_has_begun_is_replaced(begin):
    first = begin()
    first.directory.journal.write_text("asked\n", encoding="utf-8")
    second = begin()
    assert second.replaced is None  # the same request: there is nothing to say
    assert not second.directory.journal.exists()
    third = begin(seed=5)
    assert third.replaced is not None
    assert "no trial had begun, with other settings" in third.replaced
    assert third.directory.read_run()["seed"] == 5


@pytest.mark.parametrize("begun", ["trials/trial-00000.json", "state/trial-00000/progress.json"])
def test_a_run_of_which_a_trial_has_begun_is_kept(begin, begun):
    run = begin()
    file = run.directory.path / begun
    file.parent.mkdir(parents=True)
    file.write_text("{}", encoding="utf-8")
    before = run.directory.run_file.read_bytes()
    with pytest.raises(BadInputError, match=r"continue it with `serplatform search --resume --out"):
        begin(seed=5)
    run.withdraw()
    assert run.directory.run_file.read_bytes() == before
