"""TensorBoard's own reader finds every epoch once, of trials that ended in any way."""

from __future__ import annotations

import os

import pytest

from serplatform.errors import BadInputError
from tests.support.tracked import planned_run, play, save_state, watch

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
hparams = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")


@pytest.fixture
def planned(tmp_path):
    return planned_run(tmp_path / "run")


def events(run, number):
    """What TensorBoard reads of a trial."""
    (folder,) = (run.directory.path / "tensorboard").glob(f"trial-{number:05d}-*")
    reader = accumulator.EventAccumulator(str(folder))
    reader.Reload()
    return reader


def curve(reader, tag):
    return [(event.step, round(event.value, 4)) for event in reader.Scalars(tag)]


def expected(record, name="uar", fold=0, epochs=None):
    entries = [e for e in record["history"][:epochs] if e["fold"] == fold]
    return [(e["epoch"], round(e["dev"][name], 4)) for e in entries]


def by_state(records, state):
    return next(record for record in records if record["state"] == state)


def test_epochs_are_there_while_the_trial_runs(planned):
    run, records = planned
    record = by_state(records, "complete")
    with watch(run) as told:
        play(told, record, last=2)
        assert curve(events(run, record["trial"]), "dev_uar/fold-0") == expected(record, epochs=2)


def test_every_trial_has_its_curves_its_settings_and_its_end(planned):
    run, records = planned
    with watch(run) as told:
        for record in records:
            play(told, record, run=run)
    for record in records:
        reader = events(run, record["trial"])
        for fold in {entry["fold"] for entry in record["history"]}:
            assert curve(reader, f"dev_uar/fold-{fold}") == expected(record, fold=fold)
            assert curve(reader, f"dev_nll/fold-{fold}") == expected(record, "nll", fold)
            assert len(reader.Scalars(f"train_loss/fold-{fold}")) == len(
                expected(record, fold=fold)
            )
        (text,) = reader.Tensors("state/text_summary")
        assert text.tensor_proto.string_val[0].decode().startswith(record["state"])
        complete = record["state"] == "complete"
        assert ("dev_uar" in reader.Tags()["scalars"]) == complete
        plugin = reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        start = hparams.HParamsPluginData.FromString(plugin).session_start_info
        assert start.hparams["architecture"].string_value == record["architecture"]
        assert set(record["params"]) <= set(start.hparams)
        plugin = reader.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
        end = hparams.HParamsPluginData.FromString(plugin).session_end_info
        assert end.status == (2 if record["state"] == "failed" else 1)  # FAILURE, SUCCESS
        assert not any("test" in tag for tag in reader.Tags()["scalars"])


@pytest.mark.parametrize("saved", [0, 1, 3])
def test_a_trial_that_was_killed_and_resumed_has_every_epoch_once(planned, saved):
    run, records = planned
    record = by_state(records, "complete")
    killed = watch(run)
    play(killed, record, last=2)
    if saved:
        save_state(run, record, saved)
    with watch(run) as told:
        play(told, record, first=saved, run=run, resumed=True)
    reader = events(run, record["trial"])
    killed.__exit__(None, None, None)  # here only: nothing was closed until now
    for fold in range(3):
        assert curve(reader, f"dev_uar/fold-{fold}") == expected(record, fold=fold)
    assert len(reader.Scalars("reached_dev_uar")) == len(record["history"])


def test_a_trial_that_is_tried_again_in_the_same_process_has_every_epoch_once(planned):
    run, records = planned
    record = by_state(records, "complete")
    with watch(run) as told:
        again = [*record["history"][:3], *record["history"][1:]]  # from its last saved epoch
        play(told, record | {"history": again}, run=run)
    reader = events(run, record["trial"])
    assert curve(reader, "dev_uar/fold-0") == expected(record)


def test_a_resumed_search_writes_trials_that_lack_their_end_and_no_other(planned):
    run, records = planned
    with watch(run) as told:
        for record in records:
            play(told, record, run=run)
    files = sorted((run.directory.path / "tensorboard").glob("*/*"))
    content = {file: file.read_bytes() for file in files}
    os.utime(files[0], (0, 0))  # it ended after this was written
    with watch(run):
        pass
    now = {file: file.read_bytes() for file in (run.directory.path / "tensorboard").glob("*/*")}
    assert all(now.get(file) == content[file] for file in files[1:])
    assert len(now) == len(files)
    record = next(r for r in records if files[0].parent.name.startswith(f"trial-{r['trial']:05d}"))
    assert curve(events(run, record["trial"]), "dev_uar/fold-0") == expected(record)


def test_a_disk_that_is_full_does_not_fail_the_search(planned, capsys):
    run, records = planned
    (run.directory.path / "tensorboard").write_text("a file is in the way")
    with watch(run) as told:
        for record in records:
            play(told, record, run=run)
    assert capsys.readouterr().err.count("TensorBoard's files cannot be written") == 1


def test_a_search_that_is_refused_writes_nothing(planned):
    run, records = planned
    run.directory.write_record(records[0])
    with pytest.raises(BadInputError), watch(run):
        raise BadInputError("another search is writing to this run")
    assert not (run.directory.path / "tensorboard").exists()
