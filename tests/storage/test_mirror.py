import json
import threading
import time

import pytest

from serplatform.artifacts.files import read_json, write_json
from serplatform.artifacts.trial import DEV_METRICS
from serplatform.errors import ArtifactError, BadInputError, SerplatformError
from serplatform.run_directory import RunDirectory, RunLock
from serplatform.storage import lease as leases
from serplatform.storage import mirror as mirrors
from serplatform.storage.lease import Lease
from serplatform.storage.location import parse
from serplatform.storage.mirror import ensure, find_copy, open_copy, publish, recorded, shown
from serplatform.storage.outgoing import new_folder, written_file
from serplatform.storage.publisher import Publisher
from serplatform.storage.remote import remote


class Nodes:
    """Several nodes: the same storage, each with a cache of its own."""

    def __init__(self, tmp_path, monkeypatch):
        self._root = tmp_path
        self._patch = monkeypatch

    def run(self, name, uri):
        """The run as this node sees it."""
        self._patch.setenv("SERPLATFORM_CACHE", str(self._root / name))
        return RunDirectory(uri)


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    return Nodes(tmp_path, monkeypatch)


def _save(run, number, epochs):
    """Save an unfinished trial's state, as a trial does."""
    folder = run.state_directory(number)
    for old in folder.glob("epoch-*/*"):
        old.unlink()
    (folder / f"epoch-{epochs}").mkdir(parents=True)
    (folder / f"epoch-{epochs}" / "state.json").write_text(f"{epochs} epochs")
    history = [{"fold": 0, "epoch": k} for k in range(epochs)]
    write_json(folder / "progress.json", {"history": history, "trainer_state": f"epoch-{epochs}"})


def _record(run, number):
    """Write what a finished trial writes."""
    model = run.model_directory(number, 0)
    model.mkdir(parents=True, exist_ok=True)
    (model / "model.safetensors").write_bytes(b"model")
    run.posteriors_file(number).parent.mkdir(exist_ok=True)
    run.posteriors_file(number).write_bytes(b"posteriors")
    dev = dict.fromkeys(DEV_METRICS, 0.5)
    entry = {"trial": number, "state": "complete", "architecture": "csa", "params": {}, "dev": dev}
    run.write_record(entry)


def _state(run, number):
    return {
        file.relative_to(run.path).as_posix(): file.read_text()
        for file in run.state_directory(number).rglob("*.json")
    }


def test_local_directory_has_no_mirror_and_stays_itself(tmp_path):
    run = RunDirectory(tmp_path / "run")
    assert not run.mirror.is_remote
    assert str(run) == run.address == str(tmp_path / "run")
    run.fetch_study()
    run.mirror.fetch_trial(0, required=True)
    assert run.mirror.share_trial(0)
    assert open_copy(tmp_path) == tmp_path
    assert not run.path.exists()


def test_working_copy_is_called_by_its_uri(lab):
    run = RunDirectory(lab)
    assert str(run) == run.address == shown(run.path) == lab
    assert recorded(run.path / "ensemble") == f"{lab}/ensemble"
    assert run.path.name == lab.rpartition("/")[2]
    assert RunDirectory(run.path).mirror.is_remote


def test_finished_trial_reaches_other_nodes_record_last(lab, nodes):
    one = nodes.run("one", lab)
    _save(one, 3, 2)
    one.mirror.share_state(3)
    _record(one, 3)
    assert one.mirror.share_trial(3)
    store = remote(parse(lab))
    assert sorted(store.list()) == [
        "models/trial-00003/fold-0/model.safetensors",
        "posteriors/trial-00003.parquet",
        "trials/trial-00003.json",
    ]
    two = nodes.run("two", lab)
    assert two.records() == {}
    two.mirror.fetch_record(3)
    assert list(two.records()) == [3]
    two.mirror.pull("posteriors")
    assert two.posteriors_file(3).read_bytes() == b"posteriors"
    assert not two.model_directory(3, 0).exists()
    assert ensure(two.model_directory(3, 0)).is_dir()


def test_the_reference_is_there_for_a_node_that_resumes(lab, nodes):
    one = nodes.run("one", lab)
    _record(RunDirectory(one.reference_directory), 0)
    one.mirror.push_all()
    two = nodes.run("two", lab)
    two.fetch_study()
    assert list(RunDirectory(two.reference_directory).records()) == [0]


def test_state_goes_on_on_another_node(lab, nodes):
    one = nodes.run("one", lab)
    one.folds_file.write_text("{}")
    one.mirror.push_all()
    for epochs in (1, 2, 3):
        _save(one, 0, epochs)
        one.mirror.share_state(0)
    kept = _state(one, 0)
    assert sorted(kept) == [
        "state/trial-00000/epoch-3/state.json",
        "state/trial-00000/progress.json",
    ]
    two = nodes.run("two", lab)
    two.mirror.fetch_trial(0)
    assert _state(two, 0) == kept
    _save(two, 0, 5)
    two.mirror.share_state(0)
    back = nodes.run("one", lab)
    back.mirror.fetch_trial(0)
    assert _state(back, 0) == _state(two, 0)
    assert not (back.state_directory(0) / "epoch-3" / "state.json").exists()


def test_state_that_could_not_be_published_is_kept_where_it_got_further(wire, nodes):
    uri = "s3://lab/further"
    one = nodes.run("one", uri)
    one.folds_file.write_text("{}")
    one.mirror.push_all()
    _save(one, 0, 2)
    one.mirror.share_state(0)
    wire.set("cut")
    one = nodes.run("one", uri)
    _save(one, 0, 4)
    one.mirror.share_state(0)  # it stays here, and training goes on
    kept = _state(one, 0)
    wire.set("open")
    two = nodes.run("two", uri)
    two.mirror.fetch_trial(0)
    assert len(json.loads(_state(two, 0)["state/trial-00000/progress.json"])["history"]) == 2
    again = nodes.run("one", uri)
    again.mirror.fetch_trial(0)
    assert _state(again, 0) == kept
    again.mirror.fetch_trial(0, exact=True, required=True)
    assert _state(again, 0) == _state(two, 0)


def test_trial_begins_from_what_is_here_while_the_storage_is_away(wire, nodes):
    run = nodes.run("one", "s3://lab/away")
    run.folds_file.write_text("{}")
    _save(run, 0, 2)
    wire.set("cut")
    run.mirror.fetch_trial(0)
    assert run.state_directory(0).exists()
    with pytest.raises(SerplatformError, match="cannot"):
        nodes.run("two", "s3://lab/away").mirror.fetch_trial(0, required=True)


def test_unpublished_trial_is_published_later_and_never_half(wire, nodes, monkeypatch):
    monkeypatch.setattr(mirrors, "PAUSE", 0.0)
    run = nodes.run("one", "s3://lab/later")
    _record(run, 1)
    wire.set("cut")
    assert not run.mirror.share_trial(1)
    assert run.mirror.finished_here() == [1]
    wire.set("open")
    put = run.mirror.remote.put

    def refuse_record(key, content, **options):
        if key.startswith("posteriors"):
            raise mirrors.RemoteError("quota", key, "write", "over quota")
        return put(key, content, **options)

    with monkeypatch.context() as patch:
        patch.setattr(run.mirror.remote, "put", refuse_record)
        assert not run.mirror.share_trial(1)
        assert "trials/trial-00001.json" not in run.mirror.remote.list()
    run.mirror.push_all()
    assert run.mirror.unpublished() == []
    assert "trials/trial-00001.json" in run.mirror.remote.list()


def test_work_that_cannot_be_published_at_the_end_is_named(wire, nodes, monkeypatch):
    monkeypatch.setenv("SERPLATFORM_STORAGE_PATIENCE", "0")
    run = nodes.run("one", "s3://lab/end")
    publisher = Publisher(run.mirror)
    run.write_run({"schema_version": 1})
    publisher.start()
    wire.set("cut")
    run.write_run({"schema_version": 1, "status": "complete"})
    _record(run, 0)
    with (
        pytest.raises(SerplatformError, match=r"2 file\(s\) are not published") as caught,
        publisher,
    ):
        pass
    assert str(run.path) in str(caught.value)
    assert caught.value.exit_code == 1
    wire.set("open")
    publish(run.path)
    assert json.loads(run.mirror.remote.read("run.json"))["status"] == "complete"
    assert "trials/trial-00000.json" in run.mirror.remote.list()


def test_publisher_follows_the_books(lab, nodes, monkeypatch):
    monkeypatch.setattr("serplatform.storage.publisher.INTERVAL", 0.05)
    run = nodes.run("one", lab)
    run.write_run({"n": 1})
    publisher = Publisher(run.mirror)
    publisher.start()
    with publisher:
        run.write_run({"n": 2})
        run.journal.write_bytes(b'{"op": 1}\n{"op":')
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and run.mirror.unpublished():
            time.sleep(0.05)
        assert json.loads(run.mirror.remote.read("run.json"))["n"] == 2
        assert run.mirror.remote.read("study.journal") == b'{"op": 1}\n'


def test_what_was_removed_from_the_storage_is_forgotten_here(lab, nodes):
    run = nodes.run("one", lab)
    run.write_run({"n": 1})
    _record(run, 0)
    run.mirror.push_all()
    run.fetch_study()
    assert run.run_file.exists()
    for key in run.mirror.remote.list():
        run.mirror.remote.delete(key)
    run.fetch_study()
    assert not run.run_file.exists()
    assert run.records() == {}
    run.write_run({"n": 2})
    run.fetch_study()  # what was never published stays
    assert run.run_file.exists()


def test_copy_for_reading_follows_the_storage(lab, nodes):
    run = nodes.run("one", lab)
    run.write_run({"n": 1})
    _record(run, 0)
    run.mirror.push_all()
    nodes.run("two", lab)
    copy = open_copy(lab)
    assert read_json(copy / "run.json") == {"n": 1}
    assert not (copy / "models").exists()
    time.sleep(1.1)  # the service's clock has whole seconds
    one = nodes.run("one", lab)
    one.write_run({"n": 3})
    one.mirror.push_all()
    nodes.run("two", lab)
    assert read_json(open_copy(lab) / "run.json") == {"n": 3}
    with pytest.raises(ArtifactError, match="absent: there is nothing"):
        open_copy("s3://lab/absent")
    assert find_copy("s3://lab/absent").is_dir()


def _write_half(uri):
    with written_file(uri) as file:
        file.write_text("half")
        raise ValueError("stop")


def test_files_and_folders_are_written_to_a_uri_when_they_are_whole(lab):
    store = remote(parse(lab))
    with written_file(f"{lab}/page.html") as file:
        file.write_text("page")
    assert store.read("page.html") == b"page"
    with pytest.raises(ValueError, match="stop"):
        _write_half(f"{lab}/half.html")
    assert not store.exists("half.html")
    with new_folder(f"{lab}/bundle") as folder:
        (folder / "models").mkdir(parents=True)
        (folder / "models" / "a").write_text("a")
        (folder / "bundle.json").write_text("{}")
    assert sorted(store.list("bundle")) == ["bundle/bundle.json", "bundle/models/a"]
    with pytest.raises(BadInputError, match="is not empty"), new_folder(f"{lab}/bundle"):
        pass


def test_second_search_is_refused_also_from_another_machine(lab, nodes, monkeypatch):
    monkeypatch.setattr(leases, "RENEWAL", 0.5)
    lock = RunLock(nodes.run("one", lab))
    with pytest.raises(BadInputError, match="another search is writing to this run"):
        RunLock(nodes.run("one", lab))
    with pytest.raises(BadInputError, match=r"another search .*process \d+ on"):
        RunLock(nodes.run("two", lab))
    monkeypatch.setattr(leases, "_boot", lambda: "another machine")
    with pytest.raises(BadInputError, match=r"another search .*process \d+ on"):
        RunLock(nodes.run("two", lab))
    lock.release()
    RunLock(nodes.run("two", lab)).release()
    assert remote(parse(lab)).list() == {}


def test_lease_of_a_dead_search_lapses(lab, monkeypatch):
    store = remote(parse(lab))
    dead = {"held": True, "host": "gone", "boot": "x", "process": 1, "started": "1"}
    store.put("lease/dead.json", json.dumps(dead).encode())
    monkeypatch.setattr(leases, "STALE", 2.0)
    monkeypatch.setattr(leases, "RENEWAL", 1.0)
    begun = time.monotonic()
    lease = Lease(store)
    assert 1.0 < time.monotonic() - begun < 20
    assert "lease/dead.json" not in store.list()
    lease.release()


def test_lease_of_a_dead_process_of_this_machine_is_taken_over_at_once(lab):
    store = remote(parse(lab))
    first = Lease(store)
    first._ended.set()
    first._thread.join()
    content = json.loads(store.read(first._key))
    store.put(first._key, json.dumps({**content, "started": "0"}).encode())
    Lease(store).release()
    assert store.list() == {}


def test_two_that_begin_at_once_never_both_get_the_lease(lab):
    store = remote(parse(lab))
    got, refused = [], []

    def take():
        try:
            got.append(Lease(store))
        except BadInputError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) <= 1
    assert len(got) + len(refused) == 3
    for lease in got:
        lease.release()


def _lose(lease, run):
    """Have another search take over, whose object the first one's renewal cannot undo."""
    deadline = time.monotonic() + 20
    while lease.lost is None and time.monotonic() < deadline:
        run.mirror.remote.delete(lease._key)
        time.sleep(0.02)
    run.write_run({"n": 2})


def test_search_that_lost_its_lease_publishes_no_more(lab, nodes, monkeypatch):
    monkeypatch.setattr(leases, "RENEWAL", 0.2)
    run = nodes.run("one", lab)
    run.write_run({"n": 1})
    lease = Lease(run.mirror.remote)
    publisher = Publisher(run.mirror, lease)
    publisher.start()
    run.mirror.remote.put("lease/other.json", json.dumps({"held": True}).encode())
    run.mirror.remote.delete(lease._key)
    with pytest.raises(SerplatformError, match="another has taken the run over"), publisher:
        _lose(lease, run)
    assert json.loads(run.mirror.remote.read("run.json"))["n"] == 1
    lease.release()


def test_node_that_comes_back_writes_nothing_of_a_trial_that_another_went_on_with(lab, nodes):
    one = nodes.run("one", lab)
    one.folds_file.write_text("{}")
    one.mirror.push_all()
    _save(one, 0, 1)
    (one.state_directory(0) / "owner").write_text("first")
    one.mirror.claim_trial(0)
    one.mirror.share_state(0, claim="first")
    two = nodes.run("two", lab)
    two.mirror.fetch_trial(0)
    (two.state_directory(0) / "owner").write_text("second")
    two.mirror.claim_trial(0)
    _save(one, 0, 9)
    with pytest.raises(SerplatformError, match="trial 0: another process has resumed"):
        one.mirror.share_state(0, claim="first")
    with pytest.raises(SerplatformError, match="trial 0: another process has resumed"):
        one.mirror.check_claim(0, "first")
    two.mirror.check_claim(0, "second")
    _record(two, 0)
    content = json.loads(two.record_file(0).read_text())
    del content["checksum"]
    two.record_file(0).write_text(json.dumps(content | {"by": "two"}))
    assert two.mirror.share_trial(0)
    with pytest.raises(SerplatformError, match="trial 0: another process has resumed"):
        one.mirror.check_claim(0, "first")
    _record(one, 0)  # however it came to be: the record that is published stays
    one.mirror.push_all()
    assert json.loads(one.mirror.remote.read("trials/trial-00000.json"))["by"] == "two"
    assert one.records()[0]["by"] == "two"
