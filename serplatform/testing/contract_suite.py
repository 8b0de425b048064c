"""The contracts as tests of what the plugins that the user named register.

``serplatform.testing.pytest_plugin`` collects this module; by itself it holds no test.
"""

from __future__ import annotations

import importlib

import pytest

from serplatform.registry import PLUGINS

#: family: module of its contract, the contract, and what its tests call the name
_CONTRACTS = {
    "architecture": ("contracts", "ArchitectureContract", "name"),
    "combiner": ("combiner_contract", "CombinerContract", "combiner_name"),
    "corpus": ("corpus_contract", "CorpusContract", "name"),
    "feature": ("feature_contract", "FeatureContract", "name"),
    "figure": ("figure_contract", "FigureContract", "name"),
    "protocol": ("split_contract", "SplitContract", "name"),
}

for _kind, (_module, _contract, _argument) in _CONTRACTS.items():
    _found = [plugin.registers().get(_kind, []) for plugin in PLUGINS.values() if plugin.named]
    if _names := sorted(name for names in _found for name in names):
        _base = getattr(importlib.import_module(f"serplatform.testing.{_module}"), _contract)
        _tests = type(f"Test{_kind.title()}", (_base,), {})
        globals()[_tests.__name__] = pytest.mark.parametrize(_argument, _names)(_tests)
