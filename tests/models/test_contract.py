"""Every registered architecture keeps the contract."""

import pytest

from serplatform.models.base import ARCHITECTURES
from serplatform.testing.contracts import ArchitectureContract


@pytest.mark.parametrize("name", ARCHITECTURES.names())
class TestArchitectures(ArchitectureContract):
    pass


def test_the_contract_found_architectures():
    assert {"moma", "blstmatt", "csa"} <= set(ARCHITECTURES.names())
