"""Tables are joined by utterance id; whatever does not fit is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from serplatform.artifacts.files import file_sha256, read_json, write_json
from serplatform.ensembles.posteriors import read_library
from serplatform.errors import ArtifactError, BadInputError, LeakError
from serplatform.run_directory import RunDirectory
from tests.support.synthetic_run import make_run

SMALL = {"num_trials": 3, "num_speakers": 3, "per_speaker": 4}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", num_trials=3, num_speakers=3, per_speaker=4)


def change(run: Path, trial: int, edit: Callable[[pa.Table], pa.Table]) -> None:
    file = run / "posteriors" / f"trial-{trial:05d}.parquet"
    pq.write_table(edit(pq.read_table(file)), file)


def replaced(table: pa.Table, column: str, old: str, new: str) -> pa.Table:
    values = [new if v == old else v for v in table[column].to_pylist()]
    position = table.column_names.index(column)
    return table.set_column(position, table.schema.field(column), pa.array(values, pa.string()))


def test_only_finished_trials_are_candidates(run: Path) -> None:
    library = read_library([run])
    assert [c.trial for c in library.candidates] == [0, 2, 4]
    assert library.candidates[0].name == "run/trial-00000"
    assert library.runs[0].num_trials == {"complete": 3, "pruned": 1, "failed": 1}


def test_rows_are_aligned_whatever_their_order_in_the_files(run: Path) -> None:
    before = read_library([run])
    shuffled = np.random.default_rng(0).permutation(24)
    change(run, 2, lambda table: table.take(shuffled))
    after = read_library([run])
    np.testing.assert_array_equal(after.values, before.values)
    assert after.utterance_ids == before.utterance_ids


def test_a_part_of_a_fold_holds_its_rows_and_truth(run: Path) -> None:
    library = read_library([run])
    plan = read_json(run / "folds.json")
    table = pq.read_table(run / "posteriors" / "trial-00002.parquet")
    for fold in library.folds:
        for part in ("dev", "test"):
            taken = library.take(fold, part)
            assert taken.part == part
            assert list(taken.utterance_ids) == plan["folds"][fold][part]
            row = taken.utterance_ids[1]
            kept = table.filter(
                (pc.field("fold") == fold)
                & (pc.field("part") == part)
                & (pc.field("utterance_id") == row)
            ).to_pylist()[0]
            assert kept["truth"] == library.classes[taken.truth[1]]
            expected = [kept[f"p_{name}"] for name in library.classes]
            np.testing.assert_allclose(taken.posteriors[1, 1], expected, atol=1e-12)


def test_two_runs_on_the_same_folds_are_one_library(tmp_path: Path) -> None:
    one = make_run(tmp_path / "a" / "run", **SMALL, seed=0)
    two = make_run(tmp_path / "b" / "run", **SMALL, seed=1, data_seed=0)
    library = read_library([one, two])
    names = [c.name for c in library.candidates]
    assert names[0] == "a/run/trial-00000"
    assert names[3] == "b/run/trial-00000"


def test_runs_before_and_after_features_were_added_are_one_library(tmp_path: Path) -> None:
    one = make_run(tmp_path / "a" / "run", **SMALL, seed=0)
    two = make_run(tmp_path / "b" / "run", **SMALL, seed=1, data_seed=0)
    description = read_json(two / "run.json", "run")
    dataset = description["dataset"]
    earlier, dataset["fingerprint"] = dataset["fingerprint"], "0" * 64
    write_json(two / "run.json", description, checksum=True)
    with pytest.raises(BadInputError, match="dataset fingerprint"):
        read_library([one, two])
    dataset["earlier_fingerprints"] = [earlier]
    write_json(two / "run.json", description, checksum=True)
    assert len(read_library([one, two]).candidates) == 6


def test_runs_that_differ_are_refused_with_what_differs(tmp_path: Path, run: Path) -> None:
    other = make_run(
        tmp_path / "other", num_trials=2, num_speakers=4, per_speaker=4, classes=("x", "y")
    )
    with pytest.raises(BadInputError, match="dataset fingerprint") as caught:
        read_library([run, other])
    assert "folds (folds_hash)" in str(caught.value)
    assert "classes: " in str(caught.value)


def test_a_run_given_twice_is_refused(run: Path) -> None:
    with pytest.raises(BadInputError, match="given twice"):
        read_library([run, run / ".." / run.name])


def test_a_run_and_its_copy_are_refused(run: Path, tmp_path: Path) -> None:
    for file in (run / "trials").glob("*.json"):
        record = {**read_json(file), "ended": 1.5}
        posteriors = run / "posteriors" / f"trial-{record['trial']:05d}.parquet"
        if posteriors.exists():
            record["posteriors_sha256"] = file_sha256(posteriors)
        write_json(file, record, checksum=True)
    copy = shutil.copytree(run, tmp_path / "copy")
    assert len(read_library([run]).candidates) > 1
    with pytest.raises(BadInputError, match="is a copy of the other; give one of them"):
        read_library([run, copy])


def test_no_run_is_refused() -> None:
    with pytest.raises(BadInputError, match="no run was given"):
        read_library([])


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a run directory"):
        read_library([tmp_path])


def test_a_run_without_finished_trials_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_trials=0, num_speakers=3, per_speaker=4)
    with pytest.raises(BadInputError, match="no finished trial"):
        read_library([run])


def test_a_missing_utterance_is_named(run: Path) -> None:
    change(run, 2, lambda table: table.filter(pc.field("utterance_id") != "s01-u002"))
    with pytest.raises(BadInputError, match=r"trial-00002.*lacks utterance 's01-u002'"):
        read_library([run])


def test_an_unknown_utterance_is_named(run: Path) -> None:
    change(run, 4, lambda t: replaced(t, "utterance_id", "s01-u002", "other"))
    with pytest.raises(BadInputError, match=r"trial-00004.*'other' .* not in the fold file"):
        read_library([run])


def test_a_repeated_utterance_is_named(run: Path) -> None:
    change(run, 2, lambda table: pa.concat_tables([table, table.slice(0, 1)]))
    with pytest.raises(BadInputError, match=r"trial-00002.*is there twice"):
        read_library([run])


def test_another_truth_is_named(run: Path) -> None:
    change(run, 2, lambda table: replaced(table, "truth", "happy", "sad"))
    with pytest.raises(BadInputError, match=r"has truth 'sad', trial-00000\S+ has 'happy'"):
        read_library([run])


def test_rows_must_be_those_of_the_fold_file(run: Path) -> None:
    for trial in (0, 2, 4):
        change(run, trial, lambda t: t.filter(pc.field("utterance_id") != "s01-u002"))
    with pytest.raises(BadInputError, match=r"the run's fold file(.|\n)*lacks utterance 's01"):
        read_library([run])


def test_a_speaker_in_dev_and_test_is_refused_and_named(run: Path) -> None:
    for trial in (0, 2, 4):
        change(run, trial, lambda table: replaced(table, "speaker_id", "s02", "s01"))
    with pytest.raises(LeakError, match=r"fold 1: speaker 's01' is in dev and in test"):
        read_library([run])


def test_tables_altered_alike_are_not_believed(run: Path) -> None:
    """Each utterance its own speaker would make the intervals narrow."""
    for trial in (0, 2, 4):
        change(
            run,
            trial,
            lambda t: t.set_column(
                t.column_names.index("speaker_id"), t.schema.field("speaker_id"), t["utterance_id"]
            ),
        )
    with pytest.raises(BadInputError, match=r"'s00-u000' is of speaker 's00-u000'.* of 's00'"):
        read_library([run])
    (run.parent / "run-data").rename(run.parent / "moved")
    directory = RunDirectory(run)
    description = directory.read_run()
    counts = {"utterances": 12, "by_speaker": {"s00": 4, "s01": 4, "s02": 4}}
    description["dataset"]["counts"] = counts
    directory.write_run(description)
    with pytest.raises(BadInputError, match=r"of speaker 's00-u000'; the run's dataset had 0"):
        read_library([run])


def test_posteriors_that_do_not_sum_to_one_are_refused(run: Path) -> None:
    def spoil(table: pa.Table) -> pa.Table:
        position = table.column_names.index("p_sad")
        doubled = pc.multiply(table["p_sad"], 2.0)
        return table.set_column(position, table.schema.field("p_sad"), doubled)

    change(run, 2, spoil)
    with pytest.raises(ArtifactError, match="away from a sum of 1"):
        read_library([run])


def test_classes_in_another_order_are_refused(run: Path) -> None:
    change(run, 2, lambda table: table.select(table.column_names[:5] + table.column_names[:4:-1]))
    with pytest.raises(ArtifactError, match="in this order"):
        read_library([run])


def test_a_truncated_table_is_left_out_by_name(run: Path) -> None:
    whole = read_library([run])
    file = run / "posteriors" / "trial-00002.parquet"
    file.write_bytes(file.read_bytes()[:-40])
    library = read_library([run])
    (fault,) = library.damaged
    assert str(file) in fault
    assert "damaged" in fault or "truncated" in fault
    left = {c.trial for c in library.candidates}
    assert left == {c.trial for c in whole.candidates} - {2}


def test_a_missing_table_is_left_out_by_name_and_none_left_is_refused(run: Path) -> None:
    (run / "posteriors" / "trial-00002.parquet").unlink()
    (fault,) = read_library([run]).damaged
    assert "trial-00002.parquet: no such posterior table" in fault
    for file in (run / "posteriors").iterdir():
        file.unlink()
    with pytest.raises(ArtifactError, match=r"no trial is left whole(.|\n)*trial-00002"):
        read_library([run])


def test_another_fold_file_is_refused(run: Path) -> None:
    plan = read_json(run / "folds.json")
    write_json(run / "folds.json", {**plan, "hash": "0" * 64})
    with pytest.raises(ArtifactError, match="hash is not the one"):
        read_library([run])
