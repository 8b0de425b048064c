"""Features of encoders in a dataset: an encoder's name stands for one set of weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest import mock

import pytest

from serplatform.distributed import extraction
from serplatform.distributed import prepare as prepare_module
from serplatform.distributed.extraction import run_shard
from serplatform.distributed.prepare import PrepareSummary, prepare
from serplatform.errors import BadInputError

pytest.importorskip("transformers")
from tests.support.tiny_encoders import tiny_hubert


def _demo(out: Path, *features: str) -> PrepareSummary:
    with (
        mock.patch.object(prepare_module, "connect", return_value=None),
        mock.patch.object(extraction, "_run", lambda tasks, workers: map(run_shard, tasks)),
        mock.patch.object(prepare_module, "announce", return_value=""),
    ):
        options = {"utterances": 12, "speakers": 4}
        return prepare("demo", None, out, features=features, options=options)


def test_layers_of_two_encoders_of_one_name_do_not_come_together(tmp_path: Path) -> None:
    one, two = (tiny_hubert(tmp_path / f"{seed}/same", seed=seed) for seed in (0, 1))
    out = tmp_path / "data"
    refusal = r"pretrained:same@1 and pretrained:same@2 are of two encoders named same \(SHA-256 "
    with pytest.raises(BadInputError, match="--features: " + refusal):
        _demo(out, f"pretrained:{one}@1", f"pretrained:{two}@2")
    before = _demo(out, f"pretrained:{one}@1")
    shutil.copytree(two, one, dirs_exist_ok=True)
    for layer in (1, 2):
        with pytest.raises(BadInputError, match=rf"same@1 and pretrained:same@{layer} are of two"):
            _demo(out, f"pretrained:{one}@{layer}")
    again = _demo(out, f"pretrained:{tiny_hubert(tmp_path / 'moved/same')}@1,2")
    assert again.added_to == ("pretrained:same@1",)
    assert list(again.meta["features"]) == ["pretrained:same@1", "pretrained:same@2"]
    assert (
        before.meta["features"]["pretrained:same@1"] == again.meta["features"]["pretrained:same@1"]
    )
