"""Pytest option ``--serplatform-contract FILE``: the contracts of what a plugin registers.

It is found by itself where serplatform is installed; ``serplatform check FILE`` uses it too.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from serplatform import plugins
from serplatform.errors import SerplatformError

_SUITE = Path(__file__).parent / "contract_suite.py"
_CONTRACTS = ("contracts", *(f"{k}_contract" for k in ("combiner", "corpus", "feature", "figure")))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--serplatform-contract",
        action="append",
        default=[],
        metavar="FILE|MODULE",
        help="run serplatform's contract tests on what this plugin registers; may be repeated",
    )


def pytest_configure(config: pytest.Config) -> None:
    named = config.getoption("--serplatform-contract")
    if not named:
        return
    pytest.register_assert_rewrite(
        *(f"serplatform.testing.{name}" for name in (*_CONTRACTS, "split_contract"))
    )
    try:
        plugins.load(named)
    except SerplatformError as error:
        raise pytest.UsageError(str(error)) from None
    given = config.args if config.args_source is pytest.Config.ArgsSource.ARGS else []
    config.args = [*given, str(_SUITE)]
