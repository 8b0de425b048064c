"""Figures of the papers from tiny trainings on random features: numbers, pictures, page."""

import json

import numpy as np
import pyarrow as pa
import pytest

from serplatform.artifacts.dataset import ALIGNMENT_SCHEMA
from serplatform.artifacts.files import write_parquet
from serplatform.datasets.dataset import Dataset
from serplatform.explanations.embeddings import distance_ratios, neighbour_purity, neighbour_shares
from serplatform.reproduce.figures import _differences, _mean, _summary
from serplatform.reproduce.outcome import assemble
from serplatform.reproduce.page import column_section, render_table
from serplatform.reproduce.plan import ReproduceOptions, load_table, plan_table
from tests.support.reproduced import make_corpus, train

SMALL = "model.hidden_dim: 4, model.attention_dim: 4, training.max_epochs: 1"
#: of a table: its kind, what is trained, its rows
FIGURES = {
    "layers": (
        "attention_smoothness",
        f"system: {{label: M, architecture: moma, set: {{{SMALL}, model.num_layers: 1}}}}",
        "  layer1: {label: One, drawn: 2}\n  layer2: {label: Two, drawn: 2}\n"
        "  difference: {label: Gap}",
        "",
    ),
    "phones": (
        "attention_by_phone",
        f"system: {{label: B, architecture: blstmatt, set: {{{SMALL}, model.num_layers: 1}}}}",
        "  happy: {label: happy, drawn: 1}\n  sad: {label: sad, drawn: 2}\n  average: {label: all}",
        "",
    ),
    "pictures": (
        "embeddings",
        "",
        f"  one: {{label: One, architecture: blstmatt, set: {{{SMALL}, model.num_layers: 1}}}}",
        ", metrics: [neighbours, distance_ratio, accuracy]",
    ),
}


def align(dataset):
    """Silence, two words of two phones each, silence; the second word is another for some."""
    rows = []
    table = dataset.utterances
    for place, (name, seconds) in enumerate(
        zip(*(table.column(c).to_pylist() for c in ("utterance_id", "duration")), strict=True)
    ):
        step = seconds / 6
        second = "know <b>" if place % 2 else "no"
        rows += [(name, "word", "i", step, 3 * step), (name, "word", second, 3 * step, 5 * step)]
        labels = ("SIL", "AY", "N", "OW", "T", "SIL")
        rows += [(name, "phone", p, n * step, (n + 1) * step) for n, p in enumerate(labels)]
    columns = [*map(list, zip(*rows, strict=True)), ["by hand"] * len(rows)]
    write_parquet(
        dataset.path / "alignment.parquet",
        pa.table(dict(zip(ALIGNMENT_SCHEMA.names, columns, strict=True)), schema=ALIGNMENT_SCHEMA),
    )
    return Dataset.open(dataset.path)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    dataset = align(make_corpus(folder / "ravdess"))
    found = {}
    for name, (kind, system, rows, metrics) in FIGURES.items():
        path = folder / f"{name}.yaml"
        path.write_text(
            f"title: T\npaper: P\nkind: {kind}\nnote: what it shows.\nseeds: 1\ncolumns:\n"
            f'  ravdess: {{corpus: ravdess, protocol: "speaker-kfold:2"{metrics}}}\n'
            f"{system}\nrows:\n{rows}\nchoices: [None.]\n",
            encoding="utf-8",
        )
        table, options = load_table(str(path)), ReproduceOptions(out=folder / "out")
        plans = plan_table(table, [dataset], options)
        train(plans[0], options)
        found[name] = assemble(table, plans, options, [])
    return found


def cells(outcome):
    return {row["name"]: row["cells"]["ravdess"] for row in outcome["rows"]}


def test_layers_are_measured_and_their_difference_is_of_the_same_utterances(outcomes):
    found = cells(outcomes["layers"])
    assert {cell["status"] for cell in found.values()} == {"measured"}
    for metric in ("total_variation", "autocorrelation", "spread"):
        one, two, gap = (found[n]["measured"][metric] for n in ("layer1", "layer2", "difference"))
        assert two["pooled"] - one["pooled"] == pytest.approx(gap["pooled"], abs=1e-9)
        assert gap["low"] <= gap["pooled"] <= gap["high"]
        assert [len(seed) for seed in one["values"]] == [2]  # folds
    for name in ("layer1", "layer2"):
        long, short = found[name]["figure"]["curves"]
        assert long["seconds"] >= short["seconds"]
        assert [curve["map"] for curve in long["curves"]] == [name]
        (curve,) = long["curves"]
        assert np.mean(curve["times_even"]) == pytest.approx(1, abs=1e-3)
    assert found["difference"]["figure"] == {}


def test_segments_share_a_word_and_show_their_emotion(outcomes):
    found = cells(outcomes["phones"])
    for name, count in (("happy", 1), ("sad", 2)):
        figure = found[name]["figure"]
        assert figure["word"] == "i"  # in every utterance
        assert [curve["truth"] for curve in figure["curves"]] == [name] * count
        assert figure["curves"][0]["words"][0][0] == "i"
    tiers = {one["tier"]: one["labels"] for one in found["average"]["figure"]["labels"]}
    assert {entry["label"] for entry in tiers["phone"]} == {"AY", "N", "OW", "T"}
    vowels = found["average"]["measured"]["vowels"]
    assert vowels["low"] <= vowels["pooled"] <= vowels["high"]


def test_embeddings_are_drawn_for_the_first_fold_and_measured_in_all(outcomes):
    cell = cells(outcomes["pictures"])["one"]
    assert 0 <= cell["measured"]["neighbours"]["pooled"] <= 1
    assert cell["measured"]["distance_ratio"]["pooled"] > 0.5
    assert [len(seed) for seed in cell["measured"]["accuracy"]["values"]] == [2]
    points = cell["figure"]["points"]["points"]
    assert 0 < len(points) < cell["utterances"]


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_the_page_shows_pictures_and_both_captions_and_names_stay_text(outcomes, name):
    outcome = outcomes[name]
    page = render_table(outcome)
    assert page.count("<svg") == {"layers": 4, "phones": 3, "pictures": 1}[name]
    assert "The paper: what it shows." in page
    assert "Here: " in page
    assert "know <b>" not in page
    assert "<script" not in page
    section = column_section(outcome, outcome["columns"][0])
    assert len(section.tables) == (2 if name == "phones" else 0)
    assert not any("published" in title for title in section.titles)
    assert json.dumps(outcome, allow_nan=False)


def test_layers_that_are_not_both_there_have_no_difference():
    one = {"trial": 0, "fold": 0, "speaker_id": "s"}
    values = {"variation": 0.5, "autocorrelation": None, "spread": 0.75}
    rows = [
        {**one, "utterance_id": "a", "map": "layer1", **values},
        {**one, "utterance_id": "a", "map": "layer2", **values, "variation": 0.25},
        {**one, "utterance_id": "b", "map": "layer2", **values},
    ]
    (gap,) = _differences(rows)
    assert (gap["variation"], gap["autocorrelation"], gap["spread"]) == (-0.25, None, 0.0)
    assert _summary([gap], _mean, "autocorrelation") is None
    assert _summary([gap], _mean, "total_variation")["pooled"] == -0.25


def test_distances_agree_with_plain_loops():
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(20, 3)), np.arange(20) % 3
    scaled = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    for i, found in enumerate(distance_ratios(vectors, labels)):
        away = [np.linalg.norm(scaled[i] - scaled[j]) for j in range(20)]
        other = [away[j] for j in range(20) if labels[j] != labels[i]]
        own = [away[j] for j in range(20) if labels[j] == labels[i] and j != i]
        assert found == pytest.approx(np.mean(other) / np.mean(own))
    assert neighbour_shares(vectors, labels).mean() == neighbour_purity(vectors, labels)[0]
