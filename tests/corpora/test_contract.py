"""Every registered corpus keeps the contract."""

import pytest

from serplatform.corpora.base import CORPORA
from serplatform.testing.corpus_contract import CorpusContract


@pytest.mark.parametrize("name", CORPORA.names())
class TestCorpora(CorpusContract):
    pass
