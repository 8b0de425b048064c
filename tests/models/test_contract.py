"""Every registered architecture keeps the contract."""

import dataclasses

import pytest

from serplatform.models.base import ARCHITECTURES
from serplatform.testing.contracts import ArchitectureContract, small_model


@pytest.mark.parametrize("name", ARCHITECTURES.names())
class TestArchitectures(ArchitectureContract):
    pass


def test_the_contract_found_architectures():
    assert {"moma", "blstmatt", "csa"} <= set(ARCHITECTURES.names())


def test_a_model_that_does_not_say_how_to_shrink_is_not_trained(monkeypatch):
    moma = dataclasses.replace(ARCHITECTURES.get("moma"), small={})
    monkeypatch.setitem(ARCHITECTURES._members, "moma", moma)
    with pytest.raises(AssertionError, match=r"'moma' has 10,\d+,\d+ parameters.*Declare small="):
        small_model("moma")
