"""Results of others: what the files hold, and beside what a number may stand."""

from serplatform.papers.paper_table import parse_table
from serplatform.papers.published import all_results, published_results
from serplatform.protocols.base import PROTOCOLS
from serplatform.report.published_baselines import qualities


def rows():
    return all_results()


def test_every_result_names_a_protocol_that_exists_and_its_classes():
    tables = {result.table.name for result in rows()}
    assert {"vrnn-table1", "sheffield-table1", "baselines-measured"} <= tables
    assert len(rows()) > 100
    for result in rows():
        assert result.column.classes
        if result.column.protocol:
            PROTOCOLS.get(result.column.protocol.partition(":")[0])


def test_a_number_that_a_paper_repeats_is_there_once():
    found = [r.system for r in published_results("iem7-random-10fold", "accuracy")]
    assert found.count("CAN") == 1
    assert len(found) == 11


def test_a_number_stands_beside_its_own_protocol_and_metric_only():
    (best, *_) = published_results("ravdess-speaker-6fold", "uar")
    assert (best.system, best.value) == ("Frozen Whisper-L-v3 + small head", 0.753)
    assert published_results("ravdess-speaker-6fold", "macro_f1") == ()
    assert published_results("speaker-kfold:6", "uar") == ()
    assert published_results("iem4-session5", "uar") == ()
    assert {r.value for r in published_results("iem4-session5", "ova_balanced_accuracy")} >= {
        0.735,
        0.748,
    }


def test_a_generic_protocol_needs_the_same_corpus_and_classes():
    found = published_results("random-kfold:5", "uar", corpus="ravdess", num_classes=8)
    assert [r.value for r in found] == [0.695]
    assert published_results("random-kfold:5", "uar", corpus="emodb", num_classes=8) == ()
    assert published_results("random-kfold:5", "uar", corpus="ravdess", num_classes=4) == ()


def test_what_is_not_known_of_folds_stands_with_the_number():
    found = published_results("iem4-session-5fold", "accuracy")
    assert found[0].value == 0.727
    assert {qualities(r).removesuffix(", no interval") for r in found} == {
        "published, folds likely by session, not proven"
    }
    (first, *_) = (
        r
        for r in published_results("ravdess-random-5fold-4class", "uar")
        if not r.table.measured_here
    )
    assert (first.value, qualities(first)) == (
        0.708,
        "published, five folds that are not known, no interval",
    )
    assert published_results("iem4-random-5fold", "uar") == ()


def test_what_a_paper_quotes_of_others_stands_beside_nothing():
    assert 0.778 not in {r.value for r in published_results("ravdess-random-80-20", "accuracy")}


def test_results_of_folds_that_are_none_of_ours_stand_beside_nothing():
    outside = [r for r in rows() if not r.column.protocol]
    assert {r.value for r in outside} >= {0.623, 0.651}
    for name in PROTOCOLS.names():
        assert not [r for r in published_results(name, "uar") if r in outside]


def test_speaker_normalised_results_are_marked():
    marked = [r.value for r in rows() if r.row.speaker_normalised and r.metric == "uar"]
    assert marked == [0.645, 0.594]


def test_every_error_of_a_table_of_references_is_named():
    content = {
        "title": "X",
        "kind": "references",
        "paper": "S",
        "columns": {"c": {"corpus": "c", "metrics": ["uar"], "pooling": "guessed"}},
        "rows": {
            "a": {"label": "A", "published": {"c": {"uar": 73.5}}},
            "b": {"label": "B", "published": {"c": {"wa": 0.7}}, "speed": 1},
        },
    }
    _, errors = parse_table(content, "x")
    for part in (
        "columns.c.pooling: 'guessed'",
        "rows.a.published.c.uar: 73.5 must be a propor",
        "Unknown metric 'wa'",
        "rows.b.Unknown key 'speed'",
    ):
        assert any(part in error for error in errors), part
    assert len(errors) == 4
