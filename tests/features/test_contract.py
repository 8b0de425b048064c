"""Every registered feature keeps the contract."""

import pytest

from serplatform.features.base import FEATURES
from serplatform.testing.feature_contract import FeatureContract


@pytest.mark.parametrize("name", FEATURES.names())
class TestFeatures(FeatureContract):
    pass


def test_defaults_are_the_features_of_the_papers() -> None:
    assert FEATURES.defaults() == ("log_mel_23", "log_mel_40", "mfcc_40", "mfcc_40_window")
