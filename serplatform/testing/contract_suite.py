"""The contracts as tests of what the plugins that the user named register.

``serplatform.testing.pytest_plugin`` collects this module; by itself it holds no test.
"""

from __future__ import annotations

import pytest

from serplatform.registry import PLUGINS


def _names(kind: str) -> list[str]:
    found = [plugin.registers() for plugin in PLUGINS.values() if plugin.named]
    return sorted(name for registers in found for name in registers.get(kind, ()))


# each contract is imported for its family alone: the others need not be there
if _names("architecture"):
    from serplatform.testing.contracts import ArchitectureContract

    @pytest.mark.parametrize("name", _names("architecture"))
    class TestArchitecture(ArchitectureContract):
        pass


if _names("combiner"):
    from serplatform.testing.combiner_contract import CombinerContract

    @pytest.mark.parametrize("combiner_name", _names("combiner"))
    class TestCombiner(CombinerContract):
        pass


if _names("corpus"):
    from serplatform.testing.corpus_contract import CorpusContract

    @pytest.mark.parametrize("name", _names("corpus"))
    class TestCorpus(CorpusContract):
        pass


if _names("feature"):
    from serplatform.testing.feature_contract import FeatureContract

    @pytest.mark.parametrize("name", _names("feature"))
    class TestFeature(FeatureContract):
        pass


if _names("figure"):
    from serplatform.testing.figure_contract import FigureContract

    @pytest.mark.parametrize("name", _names("figure"))
    class TestFigure(FigureContract):
        pass


if _names("protocol"):
    from serplatform.testing.split_contract import SplitContract

    @pytest.mark.parametrize("name", _names("protocol"))
    class TestProtocol(SplitContract):
        pass
