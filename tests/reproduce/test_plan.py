"""What a table asks to be trained, on which data, and what is refused before anything starts."""

import json

import pytest

from serplatform.datasets.dataset import Dataset
from serplatform.errors import BadInputError
from serplatform.reproduce.plan import (
    QUICK_SHARE,
    ReproduceOptions,
    load_table,
    open_run,
    plan_table,
)
from serplatform.studies.space import load_space
from tests.support.reproduced import TABLE, make_corpus


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("plan") / "ravdess")


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("plan") / "windows", "windows")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(TABLE, encoding="utf-8")
    return load_table(str(path))


def altered(dataset, path, **changes):
    """A copy of a dataset with another description and, perhaps, no words."""
    path.mkdir()
    for file in dataset.path.iterdir():
        (path / file.name).symlink_to(file)
    (path / "dataset.json").unlink()
    (path / "dataset.json").write_text(json.dumps({**dataset.meta, **changes}))
    return Dataset.open(path)


def test_the_corpus_of_the_data_decides_the_column(table, ravdess, tmp_path):
    first, second = plan_table(table, [ravdess], ReproduceOptions(out=tmp_path))
    assert (first.column.name, first.dataset is ravdess) == ("ravdess", True)
    assert (second.column.name, second.dataset, second.path) == ("iemocap", None, None)
    assert first.absent == {"iemocap-only": "it was never tried there"}
    assert list(first.rows) == ["narrow", "wide"]
    order = [(c.values["model.channels"], c.repeat) for c in first.configurations]
    assert order == [(4, 0), (8, 0), (4, 1), (8, 1)]


def test_another_corpus_stands_in_where_the_table_says_so(table, ravdess, tmp_path):
    emodb = altered(ravdess, tmp_path / "emodb", corpus="emodb", title="EmoDB")
    *own, stand_in = plan_table(table, [emodb], ReproduceOptions(out=tmp_path))
    assert [plan.dataset for plan in own] == [None, None]
    assert stand_in.column.stand_in
    assert stand_in.column.protocol == "speaker-kfold:3"
    assert stand_in.column.metrics == ("accuracy", "uar")
    # the reason why the paper lacks a number on RAVDESS is none for a stand-in
    assert list(stand_in.rows) == ["narrow", "wide", "iemocap-only"]


def test_any_corpus_stands_in_on_request(table, ravdess, tmp_path):
    cremad = altered(ravdess, tmp_path / "cremad", corpus="cremad", title="CREMA-D")
    with pytest.raises(BadInputError, match=r"is CREMA-D, where the table has .*--stand-in"):
        plan_table(table, [cremad], ReproduceOptions(out=tmp_path))
    options = ReproduceOptions(out=tmp_path, stand_in="speaker-kfold:2")
    assert plan_table(table, [cremad], options)[-1].column.protocol == "speaker-kfold:2"


def test_sheffield_and_moma_stand_in_on_ravdess_by_speaker():
    for name in ("sheffield-table1", "moma-table1"):
        assert load_table(name).stand_ins == {"ravdess": "ravdess-speaker-6fold"}


def test_two_datasets_of_one_column_are_refused(table, ravdess, tmp_path):
    with pytest.raises(BadInputError, match="both are RAVDESS, speech; give one"):
        plan_table(table, [ravdess, ravdess], ReproduceOptions(out=tmp_path))


def test_a_protocol_that_does_not_fit_is_refused_before_anything_is_written(
    table, ravdess, tmp_path
):
    with pytest.raises(BadInputError, match="Unknown protocol 'speker'"):
        plan_table(table, [ravdess], ReproduceOptions(out=tmp_path / "out", stand_in="speker"))
    assert not (tmp_path / "out").exists()


def test_missing_features_and_words_are_told_with_the_command_that_makes_them(ravdess, tmp_path):
    silent = altered(
        ravdess,
        tmp_path / "silent",
        alignment={},
        request={"source": "SOMEWHERE"},
    )
    fgcme = load_table("fgcme-table1")
    with pytest.raises(BadInputError) as caught:
        plan_table(fgcme, [silent], ReproduceOptions(out=tmp_path))
    told = str(caught.value)
    assert "feature log_mel_40, read by cnn-lstm, lstm-attn-audio" in told
    # text is there; the ctc row predicts its own alignment, the others of fgcme need one
    rows = "no-excite-audio, no-excite-text, no-excite, fgcme"
    assert f"word alignment, read by {rows}" in told
    assert (
        "serplatform prepare ravdess SOMEWHERE --out NEW_DATA "
        "--features log_mel_23,log_mel_40 --align pocketsphinx" in told
    )


def test_a_lacking_feature_is_added_to_the_dataset(ravdess, tmp_path):
    known = altered(
        ravdess, tmp_path / "known", request={"source": "SOMEWHERE", "align": "pocketsphinx"}
    )
    with pytest.raises(BadInputError, match="feature log_mel_40, read by") as caught:
        plan_table(load_table("fgcme-table1"), [known], ReproduceOptions(out=tmp_path))
    assert (
        "add it with\n    serplatform prepare ravdess SOMEWHERE "
        f"--out {known.path} --features log_mel_40 --align pocketsphinx" in str(caught.value)
    )


def test_cans_window_is_hammings_where_the_dataset_has_it(ravdess, tmp_path):
    table = load_table("can-table3")
    options = ReproduceOptions(out=tmp_path, stand_in="speaker-kfold:3")
    held = ravdess.meta["features"]["log_mel_23"]
    hann = altered(ravdess, tmp_path / "hann", features={"mfcc_40": held})
    plan = plan_table(table, [hann], options)[-1]
    assert plan.rows["aligned"][0].values == {}  # CAN's own default
    assert plan.rows["equal"][0].values == {"data.word_segmentation": "equal"}
    assert plan.notes == (
        "Trained on mfcc_40, as the dataset lacks the paper's mfcc_40_hamming; prepare it again "
        "with --features mfcc_40_hamming to add it.",
    )
    both = altered(ravdess, tmp_path / "both", features={"mfcc_40": held, "mfcc_40_hamming": held})
    plan = plan_table(table, [both], options)[-1]
    assert plan.rows["aligned"][0].values == {"data.feature": "mfcc_40_hamming"}
    assert plan.notes == ()
    with pytest.raises(BadInputError, match="feature mfcc_40_hamming, read by aligned, equal"):
        plan_table(table, [ravdess], options)


def test_rows_that_need_no_words_are_proposed(ravdess, tmp_path):
    silent = altered(
        ravdess,
        tmp_path / "silent",
        alignment={},
        features={**ravdess.meta["features"], "log_mel_40": ravdess.meta["features"]["log_mel_23"]},
    )
    with pytest.raises(BadInputError, match=r"leave them out with --rows cnn-lstm,lstm-attn-audio"):
        plan_table(load_table("fgcme-table1"), [silent], ReproduceOptions(out=tmp_path))


def test_one_training_serves_every_table_that_asks_for_it(windows, tmp_path):
    options = ReproduceOptions(out=tmp_path)
    names = ("vrnn-table1", "vrnn-table2", "vrnn-figure2")
    plans = [plan_table(load_table(name), [windows], options)[0] for name in names]
    assert len({plan.path for plan in plans}) == 1
    with_attention = plans[0].rows["with-attention"]
    assert plans[1].rows["system"] == plans[2].rows["system"] == with_attention
    assert with_attention[0].values == {}  # the paper's own


def test_quick_shrinks_what_a_row_does_not_set_smaller_itself(ravdess, tmp_path):
    options = ReproduceOptions(out=tmp_path, quick=True)
    table = load_table("sheffield-table1")
    plan = plan_table(
        table, [ravdess], ReproduceOptions(out=tmp_path, quick=True, stand_in="loso")
    )[-1]
    small = load_space("csa-small").fixed
    (csa,) = plan.rows["csa-70"]
    assert csa.values["model.context_frames"] == 70
    assert csa.values["model.channels"] == small["model.channels"]
    assert csa.values["training.max_epochs"] == small["training.max_epochs"] // QUICK_SHARE
    run = open_run(plan, options, ["test"])
    assert len(run.plan.folds) == 1
    assert run.plan.notes[-1] == "Only the first 1 of 6 fold(s)."
    assert "-quick-" in run.directory.path.name


def test_every_row_of_every_table_has_a_quick_configuration(tmp_path):
    from serplatform.reproduce.plan import _configurations

    for name in ("can-table4", "fgcme-table1", "vrnn-table1"):
        table = load_table(name)
        for row in table.trained:
            for column in table.columns.values():
                quick = _configurations(row, column, ReproduceOptions(out=tmp_path, quick=True), 1)
                full = _configurations(row, column, ReproduceOptions(out=tmp_path), 1)
                assert quick[0].values["training.max_epochs"] < 60
                kept = {k: v for k, v in full[0].values.items() if not isinstance(v, int | float)}
                assert kept.items() <= quick[0].values.items(), f"{name} {row.name}"


def test_word_vectors_go_to_the_rows_that_read_words(tmp_path):
    from serplatform.reproduce.plan import _configurations

    table = load_table("can-table2")
    options = ReproduceOptions(out=tmp_path, word_vectors=tmp_path / "glove.txt")
    vectors = {
        row.name: _configurations(row, table.columns["iemocap"], options, 1)[0].values.get(
            "data.word_vectors"
        )
        for row in table.trained
    }
    assert vectors.pop("audio") is None
    assert set(vectors.values()) == {str(tmp_path / "glove.txt")}


def test_a_stand_in_shows_plain_accuracy_and_recall_beside_the_tables_metrics(ravdess, tmp_path):
    table = load_table("moma-table1")
    (_, stand_in) = plan_table(table, [ravdess], ReproduceOptions(out=tmp_path, stand_in="loso"))
    names = ("accuracy", "uar", "ova_accuracy", "ova_balanced_accuracy")
    assert stand_in.column.metrics == names
