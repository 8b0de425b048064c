import pytest

from serplatform.report.figures.base import FIGURES
from serplatform.testing.figure_contract import FigureContract


@pytest.mark.parametrize("name", FIGURES.names())
class TestFigures(FigureContract):
    pass
