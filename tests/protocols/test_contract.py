"""Every registered protocol keeps the contract."""

import pytest

from serplatform.protocols.base import PROTOCOLS
from serplatform.testing.split_contract import SplitContract


@pytest.mark.parametrize("name", PROTOCOLS.names())
class TestProtocols(SplitContract):
    pass
