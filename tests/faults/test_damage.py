"""Every kind of file truncated and with flipped bits: named, and never silently used."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from serplatform.artifacts.files import read_json, read_parquet
from serplatform.cli.main import run as run_command
from serplatform.run_directory import RunDirectory
from serplatform.studies import recovery
from serplatform.studies.recovery import repair_run
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import create_run
from serplatform.studies.study import Studies
from serplatform.testing.synthetic import make_dataset
from serplatform.training.recovery import repair_state
from serplatform.training.trial import TrialTask, TrialTraining
from tests.support.search_checks import run_faults, write_tiny_space

SEED = 0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(
        tmp_path_factory.mktemp("damage") / "data", per_speaker=8, seconds=(0.2, 0.4)
    )


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    """A run of two complete trials and one in its second fold, made without Ray."""
    path = tmp_path_factory.mktemp("damage")
    space = write_tiny_space(path / "csa.yaml", "csa", max_epochs=2)
    request = SearchRequest(
        architectures=("csa",), dataset=dataset, spaces=(str(space),), sampler="random"
    )
    run = create_run(path / "run", request, ["test"])
    studies = open_studies(run.directory.path)
    for number in range(3):
        trial = start(run.directory.path, dataset, studies.ask())
        for _ in range(3 if number == 2 else 100):
            if trial.step().done:
                studies.tell(run.directory.records()[number])
                break
        trial.suspend()
    run.directory.write_trials_table()
    run.set_status("interrupted", trials=3, combiner="greedy")
    return run.directory.path


def open_studies(path):
    from serplatform.studies.setup import reopen_run

    run = reopen_run(path)
    return Studies(
        run.spaces,
        storage=str(run.directory.journal),
        records=run.directory.records(),
        sampler="random",
        max_epochs=2,
        num_folds=3,
        seed=SEED,
    )


def start(run, dataset, suggestion):
    task = TrialTask(
        number=suggestion.number,
        architecture="csa",
        values=suggestion.values,
        run=str(run),
        dataset=str(dataset),
        seed=suggestion.number,
        paper=suggestion.paper,
    )
    return TrialTraining(task)


@pytest.fixture
def run(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run"))


def truncate(path, rng):
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def flip(path, rng):
    content = bytearray(path.read_bytes())
    place = rng.randrange(len(content))
    if content[place - 10 : place + 10].count(b"checksum"):
        place = 0  # a changed key of the checksum changes nothing that is used
    content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def same_values(path, content):
    """Whether a harmed JSON file still says what it said: the 18th digit of a number does not."""
    try:
        return path.suffix == ".json" and json.loads(path.read_bytes()) == json.loads(content)
    except ValueError:
        return False


def flip_digit(path, rng):
    """Another digit in the place of one: the file stays as well formed as it was."""
    content = bytearray(path.read_bytes())
    places = [i for i, byte in enumerate(content) if 48 <= byte <= 57]
    place = rng.choice(places)
    content[place] = 48 + (content[place] - 48 + rng.randint(1, 9)) % 10
    path.write_bytes(content)


TEXT, BINARY = (truncate, flip, flip_digit), (truncate, flip)
#: of each harm to each file; more by hand
ROUNDS = int(os.environ.get("SERPLATFORM_ROUNDS", "1"))


def finish(path, dataset):
    """What ``search --resume`` does to a run, without Ray; return what it says."""
    directory = RunDirectory(path)
    notes = repair_run(directory, directory.read_run())
    studies = open_studies(path)
    while studies.num_in_flight or studies.num_asked < 3:
        suggestion = studies.ask()
        trial = start(path, dataset, suggestion)
        while not trial.finished:
            trial.step()
        studies.tell(directory.records()[suggestion.number])
    directory.write_trials_table()
    return notes


@pytest.mark.parametrize(
    ("name", "harms"),
    [
        ("trials/trial-00001.json", TEXT),
        ("posteriors/trial-00001.parquet", BINARY),
        ("models/trial-00001/fold-1/model.safetensors", BINARY),
        ("models/trial-00001/fold-1/config.json", TEXT),
    ],
)
def test_a_finished_trial_is_named_left_out_and_trained_again(run, dataset, capsys, name, harms):
    before = RunDirectory(run).records()
    rng = random.Random(name)  # noqa: S311
    for harm in harms:
        for _ in range(ROUNDS):
            copy = Path(shutil.copytree(run, run.with_name("copy")))
            harm(copy / name, rng)
            if same_values(copy / name, (run / name).read_bytes()):
                shutil.rmtree(copy)
                continue
            if "models" not in name:  # an ensemble reads records and posteriors
                ens = run.with_name("ens")
                code = run_command(["ensemble", str(copy), "--out", str(ens)])
                told = capsys.readouterr()
                assert code == 0, told.err
                assert f"Left out, because damaged: {copy / name}" in told.out
                counts = read_json(ens / "ensemble.json")["counts"]
                assert counts["candidates"] == 1
                code = run_command(["report", str(copy), "--out", str(ens / "page.html")])
                told = capsys.readouterr()
                assert (code == 2) == ("Error" in told.err), told.err
                assert code == 0 or str(copy / name) in told.err
            (note,) = finish(copy, dataset)
            stem = name.removesuffix("config.json")
            assert str(copy / stem) in note
            assert note.endswith("trial-00001 is trained again")
            assert run_faults(copy, ended=True) == []
            again = RunDirectory(copy).records()
            assert {n: again[n]["fold_dev"] for n in before} == {
                n: before[n]["fold_dev"] for n in before
            }
            shutil.rmtree(copy)


@pytest.mark.parametrize("harm", BINARY)
@pytest.mark.parametrize("name", ["progress.json", "fold-0.parquet", "state.json", "tensors"])
def test_a_damaged_state_costs_what_needs_it_and_no_more(run, dataset, name, harm):
    rng = random.Random(f"{name}{harm.__name__}")  # noqa: S311
    saved = read_json(run / "state/trial-00002/progress.json")
    assert saved["fold"] == 1
    for _ in range(ROUNDS):
        copy = Path(shutil.copytree(run, run.with_name("copy")))
        state = copy / "state/trial-00002"
        pattern = "epoch-*/*.safetensors" if name == "tensors" else f"**/{name}"
        (file,) = state.glob(pattern)
        harm(file, rng)
        notes = finish(copy, dataset)
        if name == "fold-0.parquet" and not notes:  # padding of the format was hit
            assert read_parquet(run / "state/trial-00002" / name).num_rows > 0
        else:
            (note,) = notes
            assert str(file) in note
            partly = name in ("state.json", "tensors")
            assert ("the beginning of fold 1" if partly else "the trial begins again") in note
        record = RunDirectory(copy).records()[2]
        first = [entry for entry in record["history"] if entry["fold"] == 0]
        kept = [entry for entry in saved["history"] if entry["fold"] == 0]
        # the seconds of an epoch tell whether it was trained again
        assert (first == kept) == (name in ("state.json", "tensors") or not notes)
        assert run_faults(copy, ended=True) == []
        shutil.rmtree(copy)


def test_a_whole_state_is_left_alone(run):
    assert repair_state(run / "state/trial-00002") is None
    assert repair_state(run / "state/none") is None
    assert repair_run(RunDirectory(run), RunDirectory(run).read_run()) == []


@pytest.mark.parametrize("harm", TEXT)
def test_a_damaged_journal_is_made_again_from_the_records(run, dataset, harm):
    rng = random.Random(harm.__name__)  # noqa: S311
    before = RunDirectory(run).records()
    rebuilt = 0
    for _ in range(3 * ROUNDS):
        copy = Path(shutil.copytree(run, run.with_name("copy")))
        harm(copy / "study.journal", rng)
        notes = finish(copy, dataset)
        rebuilt += len(notes)
        for note in notes:
            assert str(copy / "study.journal") in note
            assert "is rebuilt from the trials' records" in note
            assert (copy / "damaged" / "study.journal").exists()
        assert run_faults(copy, ended=True) == []
        again = RunDirectory(copy).records()
        assert {n: again[n] for n in before} == before
        shutil.rmtree(copy)
    if ROUNDS > 1 and harm.__name__ != "truncate":  # what was cut is told again
        assert rebuilt  # times and names of processes may be hit, and change nothing


def test_a_value_that_was_changed_in_the_journal_is_noticed(run, dataset):
    journal = run / "study.journal"
    lines = journal.read_text().splitlines(keepends=True)
    (told,) = [i for i, line in enumerate(lines) if '"trial_id":1,"state":1' in line]
    value = RunDirectory(run).records()[1]["dev"]["uar"]
    assert repr(value) in lines[told]
    lines[told] = lines[told].replace(repr(value), "0.99")
    journal.write_text("".join(lines))
    (note,) = finish(run, dataset)
    assert f"{journal}: trial 1: its values are [0.99] here, [{value}] in its record" in note
    assert "is rebuilt from the trials' records" in note
    assert run_faults(run, ended=True) == []


def test_a_damaged_last_line_of_the_journal_is_noticed_before_it_is_written_to(run, dataset):
    journal = run / "study.journal"
    journal.write_text(journal.read_text()[:-3] + "<}\n")
    (note,) = finish(run, dataset)
    assert note.startswith(f"{journal}: the study's journal is damaged")
    assert run_faults(run, ended=True) == []


def test_a_fault_of_our_own_while_the_journal_is_read_is_not_taken_for_damage(
    run, dataset, monkeypatch
):
    def faulty(*_):
        raise TypeError("ours")

    monkeypatch.setattr(recovery, "outcome", faulty)
    with pytest.raises(TypeError, match="ours"):
        finish(run, dataset)
    assert not (run / "damaged").exists()


def test_a_torn_last_line_of_the_journal_is_survived(run, dataset):
    with (run / "study.journal").open("ab") as stream:
        stream.write(b'{"op_code": 4, "worker_id": "x')
    assert finish(run, dataset) == []
    assert run_faults(run, ended=True) == []


@pytest.mark.parametrize(
    ("name", "harms"), [("run.json", TEXT), ("folds.json", TEXT), ("trials.parquet", BINARY)]
)
def test_files_of_the_run_as_a_whole_are_named(run, capsys, name, harms):
    rng = random.Random(name)  # noqa: S311
    content = (run / name).read_bytes()
    commands = [
        ["ensemble", str(run), "--out", str(run.with_name("ens"))],
        ["report", str(run), "--out", str(run.with_name("page.html"))],
    ]
    for harm in harms:
        for _ in range(ROUNDS):
            harm(run / name, rng)
            if same_values(run / name, content):
                continue
            for words in commands:
                code = run_command(words)
                told = capsys.readouterr()
                if name == "trials.parquet":  # a table for people, made of the records
                    assert code == 0, told.err
                else:
                    assert code == 2, (harm, words)
                    assert name in told.err
            (run / name).write_bytes(content)


def test_files_of_an_ensemble_are_named(run, capsys):
    ens = run.with_name("ens")
    assert run_command(["ensemble", str(run), "--out", str(ens)]) == 0
    rng = random.Random(0)  # noqa: S311
    for name, harms in (("ensemble.json", TEXT), ("posteriors.parquet", BINARY)):
        content = (ens / name).read_bytes()
        for harm in harms:
            for _ in range(ROUNDS):
                harm(ens / name, rng)
                if same_values(ens / name, content):
                    continue
                capsys.readouterr()
                assert run_command(["report", str(ens)]) == 2, (name, harm)
                assert name in capsys.readouterr().err
        (ens / name).write_bytes(content)


def test_every_file_of_a_dataset_is_named_by_the_check(dataset, tmp_path, capsys):
    rng = random.Random(1)  # noqa: S311
    copy = Path(shutil.copytree(dataset, tmp_path / "data"))
    assert run_command(["data", str(copy), "--check"]) == 0
    for path in sorted(p for p in copy.iterdir() if p.suffix != ".lock"):
        content = path.read_bytes()
        if not content or path.name == "dataset.json":
            continue
        for harm in (truncate, flip):
            for _ in range(ROUNDS):
                harm(path, rng)
                capsys.readouterr()
                code = run_command(["data", str(copy), "--check"])
                told = capsys.readouterr()
                assert code in (1, 2), (path.name, harm)
                assert path.name in told.err + told.out
                path.write_bytes(content)
