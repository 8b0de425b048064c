"""``--set KEY=VALUE``."""

from __future__ import annotations

import pytest

from serplatform.errors import BadInputError
from serplatform.studies.space_choice import parse_overrides


def test_short_full_and_prefixed_keys_reach_their_architectures() -> None:
    overrides = parse_overrides(
        ["hidden_dim=64", "training.learning_rate=1e-3", "moma.model.num_blocks=2"],
        ["moma", "csa"],
    )
    assert overrides["moma"] == {
        "model.hidden_dim": 64,
        "training.learning_rate": 0.001,
        "model.num_blocks": 2,
    }
    assert overrides["csa"] == {"training.learning_rate": 0.001}


def test_every_fault_is_reported_at_once() -> None:
    with pytest.raises(BadInputError) as caught:
        parse_overrides(["hiden_dim=64", "nonsense", "batchsize=3"], ["moma"])
    text = str(caught.value)
    assert len(text) < 600  # of some sixty parameters, the nearest are named
    assert "`serplatform search moma --set help` lists all" in text
    assert "'training.batch_size'" in text
    assert "3 fault(s)" in text
    assert "Did you mean 'model.hidden_dim'" in text
    assert "'nonsense': must be KEY=VALUE" in text
    assert "training.batch_size" in text


def test_nearest_name_is_found_by_its_last_part() -> None:
    with pytest.raises(BadInputError, match=r"Did you mean 'model\.hidden_dim'"):
        parse_overrides(["hiden=3"], ["moma"])
