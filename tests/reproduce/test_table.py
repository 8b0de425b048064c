"""Tables that can be reproduced: those of the papers, and every error of one told at once."""

import pytest

from serplatform.errors import BadInputError
from serplatform.reproduce.plan import load_table, table_names
from serplatform.training.trial_config import paper_values
from tests.support.reproduced import TABLE


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "table.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_every_table_and_figure_of_the_papers_is_there_and_sound():
    assert table_names() == [
        "can-table2",
        "can-table3",
        "can-table4",
        "fgcme-figure2",
        "fgcme-table1",
        "jalal-figure1",
        "moma-figures",
        "moma-table1",
        "sheffield-table1",
        "vrnn-figure2",
        "vrnn-table1",
        "vrnn-table2",
    ]
    for name in table_names():
        table = load_table(name)
        assert table.choices, name
        # a row that is the paper's own has a published number in some column
        for row in table.rows.values():
            assert row.published or row.note or table.note, f"{name}: {row.name}"


@pytest.mark.parametrize(
    ("table", "row", "column", "published"),
    [
        ("vrnn-table1", "with-attention", "ravdess", {"accuracy": 0.785}),
        ("vrnn-table1", "without-attention", "iemocap", {"accuracy": 0.644}),
        (
            "sheffield-table1",
            "csa-70",
            "iemocap",
            {"ova_accuracy": 0.741, "ova_balanced_accuracy": 0.647},
        ),
        (
            "sheffield-table1",
            "syscomb",
            "iemocap",
            {"ova_accuracy": 0.805, "ova_balanced_accuracy": 0.740},
        ),
        (
            "moma-table1",
            "moma",
            "iemocap",
            {"ova_accuracy": 0.805, "ova_balanced_accuracy": 0.748},
        ),
        ("fgcme-table1", "fgcme", "ravdess", {"accuracy": 0.720, "uar": 0.708}),
        ("fgcme-table1", "ctc", "ravdess", {"accuracy": 0.582, "uar": 0.566}),
        ("fgcme-table1", "no-excite-text", "iemocap", {"accuracy": 0.721, "uar": 0.732}),
        ("can-table2", "xu", "iemocap", {"accuracy": 0.560, "uar": 0.450}),
        ("can-table4", "no-cross-attention", "iemocap", {"accuracy": 0.556, "uar": 0.458}),
    ],
)
def test_published_numbers_stand_under_their_true_metric(table, row, column, published):
    assert load_table(table).rows[row].published[column] == published


def test_the_context_curve_has_every_length_and_drops_short_utterances():
    rows = load_table("sheffield-table1").rows
    contexts = [r.values["model.context_frames"] for r in rows.values() if r.architecture == "csa"]
    assert contexts == list(range(20, 121, 10))
    assert all(r.values["model.drop_short"] for r in rows.values() if r.architecture == "csa")


def test_baselines_of_fgcme_are_those_of_its_text_and_program():
    rows = load_table("fgcme-table1").rows
    assert rows["attn-fusion"].values == {"model.alignment": "multihead"}
    assert rows["mha"].values == {"model.vectors": "all"}


@pytest.mark.parametrize(
    ("table", "readings"),
    [
        (
            "fgcme-table1",
            "by session; likely, not proven|five files|manual transcript|test fold|"
            "no normalisation|multi-head|all three vectors|divides its scores|"
            "128 units a direction|weight 1",
        ),
        (
            "can-table2",
            "Hamming|z-scored|Padding is masked|drawn at random|Here UAR|last two vectors",
        ),
        ("can-table3", "Hamming|z-scored|Padding is masked|drawn at random"),
        ("can-table4", "Hamming|z-scored|Padding is masked|drawn at random"),
        (
            "sheffield-table1",
            "dev UAR|each five|z-scored|chunks or utterances|here by 8|1024 nodes|an exponent",
        ),
        ("moma-table1", "dev UAR|each five|z-scored|1024 nodes|no distribution"),
        ("vrnn-table2", "mean over emotions"),
    ],
)
def test_readings_that_decide_numbers_are_told(table, readings):
    told = " ".join(load_table(table).choices)
    for reading in readings.split("|"):
        assert reading in told, reading


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        (
            "vrnn",
            {
                "model.encoder_dim": 512,
                "model.generator_dim": 256,
                "model.classifier_dim": 512,
                "model.latent_dim": 20,
                "model.encoder_dropout": 0.3,
                "model.generator_dropout": 0.3,
                "model.classifier_dropout": 0.1,
                "model.lambda_1": 1.0,
                "model.lambda_2": 50.0,
                "model.beta": 1.0,
                "training.optimizer": "rmsprop",
                "training.learning_rate": 1e-3,
                "training.batch_size": 256,
                "data.feature": "mfcc_40_window",
            },
        ),
        (
            "blstmatt",
            {
                "model.hidden_dim": 512,
                "model.num_layers": 2,
                "model.attention_dim": 128,
                "training.optimizer": "adam",
                "training.learning_rate": 1e-4,
                "training.scheduler": "plateau",
                "training.plateau_patience": 4,
                "training.plateau_factor": 0.8,
                "data.feature": "log_mel_23",
            },
        ),
        (
            "csa",
            {
                "model.channels": 128,
                "model.context_frames": 30,
                "model.overlap_frames": 10,
                "training.learning_rate": 1e-4,
                "training.plateau_factor": 0.8,
                "data.feature": "log_mel_23",
            },
        ),
        (
            "moma",
            {
                "model.hidden_dim": 512,
                "model.num_layers": 2,
                "model.attention_dim": 128,
                "model.num_blocks": 3,
                "training.learning_rate": 1e-4,
                "training.scheduler": "plateau",
                "training.plateau_patience": 4,
                "training.plateau_factor": 0.1,
            },
        ),
        (
            "can",
            {
                "model.hidden_dim": 128,
                "model.num_heads": 4,
                "model.dropout": 0.3,
                "model.alpha": 0.1,
                "training.learning_rate": 1e-3,
                "training.batch_size": 64,
                "training.gradient_clip": 1.0,
                "training.patience": 10,
                "data.feature": "mfcc_40",
                "data.word_silence": "divide",
                "data.word_overlap": 0.1,
            },
        ),
        (
            "fgcme",
            {
                "model.channels_1": 64,
                "model.channels_2": 128,
                "model.channels_3": 128,
                "model.kernel_1": 5,
                "model.kernel_2": 2,
                "model.kernel_3": 2,
                "model.text_dim": 256,
                "model.hidden_dim": 256,
                "model.classifier_dim": 128,
                "training.optimizer": "adam",
                "training.learning_rate": 5e-4,
                "data.feature": "log_mel_40",
            },
        ),
    ],
)
def test_defaults_of_the_papers_systems_are_the_papers_settings(architecture, settings):
    have = paper_values(architecture)
    assert {name: have[name] for name in settings} == settings


def test_baselines_of_can_have_its_features_batch_and_optimiser():
    from serplatform.training.trial_config import resolve

    rows = load_table("can-table2").rows
    paper = paper_values("can")
    for row in rows.values():
        values = resolve(row.architecture, row.settings("iemocap"), row.name).values()
        for name in ("learning_rate", "batch_size", "gradient_clip", "patience", "optimizer"):
            assert values[f"training.{name}"] == paper[f"training.{name}"], f"{row.name} {name}"
        if row.name != "text":  # reads no audio
            assert values["data.feature"] == "mfcc_40_hamming"


def test_vrnn_has_its_smaller_sizes_on_iemocap():
    for name in ("vrnn-table1", "vrnn-table2", "vrnn-figure2"):
        table = load_table(name)
        for row in table.trained:
            values = row.settings("iemocap")
            sizes = [v for k, v in values.items() if k.endswith("_dim") and "latent" not in k]
            assert sizes == [64, 64, 64]
            assert values["model.latent_dim"] == 10
            assert [v for k, v in values.items() if k.endswith("dropout")] == [0.8, 0.8, 0.8]


def test_an_unknown_table_names_the_known_ones_and_the_nearest():
    with pytest.raises(BadInputError, match=r"known: can-table2.*Did you mean 'moma-table1'"):
        load_table("moma-tabel1")


def test_every_fault_of_a_table_is_told_at_once(write):
    text = (
        TABLE.replace("seeds: 2", "seeds: 0")
        .replace("protocol: iem4-session5", "protocol: iem4-sesion5")
        .replace("metrics: [accuracy, uar]}\nstand", "metrics: [accuracy, wa]}\nstand")
        .replace("model.channels: 4", "model.chanels: 4")
        .replace("uar: 0.4", "uar: 40.0")
        .replace("exponent: 0.4", "exponent: often")
        .replace("combine: [narrow, wide]\n    exponent: dev", "combine: [narrow, wid]")
        .replace("label: Elsewhere\n    architecture: csa", "label: E\n    architecture: cas")
        .replace("choices:", "choises:")
    )
    with pytest.raises(BadInputError, match="the table has 10 error") as caught:
        load_table(write(text))
    told = str(caught.value)
    for part in (
        "seeds: 0: it should be greater than or equal to 1",
        "columns.iemocap: Unknown protocol 'iem4-sesion5'",
        "columns.iemocap: Unknown metric 'wa'",
        "rows.narrow: Unknown parameter 'model.chanels'",
        "rows.narrow.published.ravdess.uar: 40.0 must be a proportion between 0 and 1",
        "rows.both.exponent: 'often' must be a number above 0, or dev",
        "rows.both-dev.combine: Unknown row 'wid'",
        "rows.both-dev.exponent: None must be",
        "rows.iemocap-only: Unknown architecture 'cas'",
        "Unknown key 'choises'",
    ):
        assert part in told, part


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a list", "a table is a mapping"),
        ("title: x\ntitle: y", "written twice"),
        ("title: x", "rows: is missing"),
        (TABLE + "kind: pictures\n", "Unknown kind 'pictures'"),
        (TABLE + "kind: sampled_share\n", "system: is missing"),
        (
            TABLE.replace("{accuracy: 0.6}}\n  both", "0.6}\n  both"),
            "rows.wide.published.ravdess: must be a mapping",
        ),
    ],
)
def test_other_faults_are_told(write, text, told):
    with pytest.raises(BadInputError, match=told):
        load_table(write(text))


def test_chosen_rows_bring_the_rows_that_they_combine(write):
    table = load_table(write(TABLE)).select(["both"])
    assert list(table.rows) == ["narrow", "wide", "both"]
    with pytest.raises(BadInputError, match=r"Unknown row 'bot'.*Did you mean 'both'"):
        table.select(["bot"])
