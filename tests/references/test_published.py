"""Results of others: what the files hold, and beside what a number may stand."""

import pytest

from serplatform.config import config_faults
from serplatform.errors import SerplatformError
from serplatform.inputs.config import DataConfig
from serplatform.models.base import ARCHITECTURES
from serplatform.protocols.base import PROTOCOLS
from serplatform.references.published import (
    parse_table,
    published_results,
    tables,
)


def rows():
    return [result for table in tables().values() for result in table.results]


def test_every_table_names_protocols_and_architectures_that_exist():
    assert {"vrnn-table1", "sheffield-table1", "baselines-measured"} <= set(tables())
    assert len(rows()) > 100
    for result in rows():
        if result.protocol is not None:
            PROTOCOLS.get(result.protocol.partition(":")[0])
        if result.architecture is not None:
            ARCHITECTURES.get(result.architecture)


def test_settings_of_rows_are_settings_of_their_architectures():
    sections = {"data": DataConfig}
    seen = 0
    for result in rows():
        if not result.settings:
            continue
        sections["model"] = ARCHITECTURES.get(result.architecture).config
        for key, value in result.settings.items():
            section, _, name = key.partition(".")
            assert config_faults(sections[section], {name: value}) == []
            seen += 1
    assert seen > 20


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


def test_results_of_folds_that_are_none_of_ours_stand_beside_nothing():
    outside = [r for r in rows() if r.protocol is None]
    assert {r.value for r in outside} >= {0.623, 0.651}
    for name in PROTOCOLS.names():
        assert not [r for r in published_results(name, "uar") if r in outside]


def test_speaker_normalised_results_are_marked():
    marked = [r.value for r in rows() if r.speaker_normalised and r.metric == "uar"]
    assert marked == [0.645, 0.594]


def test_every_fault_of_a_table_is_named():
    content = {
        "table": "x",
        "title": "X",
        "kind": "guessed",
        "source": "S",
        "results": [
            {"system": "A", "corpus": "c", "protocol": "p", "classes": 4, "uar": 73.5},
            {"system": "B", "corpus": "c", "protocol": "p", "classes": 4, "wa": 0.7},
        ],
    }
    with pytest.raises(SerplatformError, match="faulty") as caught:
        parse_table(content, "y.yaml")
    for part in ("guessed", "own name", "uar 73.5", "'wa'", "no metric"):
        assert part in str(caught.value)
