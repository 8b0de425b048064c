"""``serplatform check``: a plugin against the contracts of what it registers."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from serplatform import plugins
from serplatform.cli.options import AsJson
from serplatform.cli.output import result
from serplatform.errors import BadInputError, SerplatformError
from serplatform.registry import PLUGINS

_SHOWN = 300  # characters of a failure


class _Outcomes:
    """A plugin of pytest's that keeps what failed: test to the reason."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}
        self.passed: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed[report.nodeid] = _reason(report)
        elif getattr(report, "when", "collect") == "call" and report.passed:
            self.passed.append(report.nodeid)

    pytest_collectreport = pytest_runtest_logreport


def command(
    plugin: Annotated[
        str, typer.Argument(metavar="FILE|MODULE", help="What you would give with --plugin.")
    ],
    as_json: AsJson = False,
) -> None:
    """Test a plugin: what it registers must keep what this program relies on.

    The same tests run in your own suite with `pytest --serplatform-contract FILE`. Needs pytest:
    `pip install serplatform[test]`.

    Examples:

        serplatform check tcn.py

        serplatform check mypackage.emotion_models
    """
    try:
        pytest = importlib.import_module("pytest")  # comes with the extra `test` alone
    except ImportError:
        raise BadInputError(
            "check needs pytest, which is not installed: pip install 'serplatform[test]'"
        ) from None
    plugins.load([plugin])
    registers = next(p for p in PLUGINS.values() if p.named).registers()
    outcomes = _Outcomes()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    quiet = ["-p", "no:terminal", "-p", "no:cacheprovider", "-c", os.devnull, "-W", "ignore"]
    ours = ["-p", "serplatform.testing.pytest_plugin", "--serplatform-contract", plugin]
    pytest.main([*quiet, "--rootdir", str(Path(__file__).parents[1]), *ours], plugins=[outcomes])
    lines = []
    for kind, names in registers.items():
        tests = [t for t in (*outcomes.passed, *outcomes.failed) if f"::Test{kind.title()}" in t]
        told = f"{kind} {', '.join(names)}: "
        if not tests:
            lines.append(told + "found; there is no contract for this family")
            continue
        failed = [test for test in tests if test in outcomes.failed]
        lines.append(told + f"{len(tests) - len(failed)} of {len(tests)} tests passed")
        lines += [f"  {_title(test)}: {outcomes.failed[test]}" for test in failed]
    lines += [f"{test}: {why}" for test, why in outcomes.failed.items() if "::Test" not in test]
    summary = {"plugin": plugin, "registers": registers, "passed": len(outcomes.passed)}
    if outcomes.failed or not outcomes.passed:
        first = f"{plugin} does not keep its contracts ({len(outcomes.failed)} failed):"
        raise SerplatformError("\n".join([first, *lines]))
    result("\n".join(lines), {**summary, "failed": outcomes.failed}, as_json=as_json)


def _title(test: str) -> str:
    return test.rpartition("::")[2].removeprefix("test_").replace("_", " ")


def _reason(report: Any) -> str:
    """The last line of a failure that says something."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(report.longrepr if crash is None else crash.message)
    return re.sub(r"\s+", " ", text).strip()[:_SHOWN]
