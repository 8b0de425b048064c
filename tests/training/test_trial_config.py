from __future__ import annotations

import json

import pytest

from serplatform.errors import BadInputError
from serplatform.training.training_config import TrainingConfig
from serplatform.training.trial_config import (
    LATER,
    known_parameters,
    list_parameters,
    paper_values,
    resolve,
)


def test_what_is_not_given_is_as_in_the_paper():
    config = resolve("moma", {}, "test")
    assert config.model.hidden_dim == 512
    assert config.training.learning_rate == 1e-4
    assert config.training.scheduler == "plateau"
    assert config.training.plateau_factor == 0.1
    assert config.data.feature == "log_mel_23"
    assert config.training.batch_size == TrainingConfig().batch_size


def test_given_values_win_over_the_paper():
    config = resolve(
        "moma",
        {"model.hidden_dim": 64, "training.learning_rate": 0.01, "data.trim": True},
        "test",
    )
    assert (config.model.hidden_dim, config.training.learning_rate) == (64, 0.01)
    assert config.data.trim is True
    assert config.training.scheduler == "plateau"


@pytest.mark.parametrize("architecture", ["moma", "blstmatt", "csa"])
def test_flat_values_survive_json(architecture):
    config = resolve(architecture, {"training.gradient_clip": 1}, "test")
    values = json.loads(json.dumps(config.values()))
    assert resolve(architecture, values, "test") == config
    assert set(values) == set(known_parameters(architecture))
    assert next(iter(values)).startswith("model.")


def test_paper_values_resolve_to_the_paper():
    values = paper_values("blstmatt")
    assert values["training.plateau_factor"] == 0.8
    assert resolve("blstmatt", values, "test") == resolve("blstmatt", {}, "test")


def test_parameters_carry_their_help_and_range():
    field = known_parameters("moma")["training.label_smoothing"]
    assert "target" in field.metadata["help"]
    assert field.metadata["high"] == 0.999


def test_all_faults_are_reported_at_once_with_the_nearest_name():
    with pytest.raises(BadInputError, match=r"space\.yaml: .* 5 fault") as raised:
        resolve(
            "moma",
            {
                "model.hiden_dim": 64,
                "training.learning_rate": -1,
                "training.optimizer": "adan",
                "data.trim": "yes",
                "dropout": 0.1,
            },
            "space.yaml",
        )
    faults = "\n".join(raised.value.faults)
    assert "Did you mean 'model.hidden_dim'?" in faults
    assert "training.learning_rate = -1: must be at least 0" in faults
    assert "training.optimizer = 'adan'" in faults
    assert "data.trim = 'yes'" in faults
    assert "Unknown parameter 'dropout'" in faults


def test_rules_between_settings_are_checked():
    with pytest.raises(BadInputError, match=r"plateau_factor = 1\.0: must be above 0 and below 1"):
        resolve("moma", {"training.plateau_factor": 1.0}, "test")
    with pytest.raises(BadInputError, match="overlap_frames = 40 must be less"):
        resolve("csa", {"model.overlap_frames": 40}, "test")
    with pytest.raises(ValueError, match=r"learning_rate = 0.*gradient_clip = 0.*beta_2 = 1"):
        TrainingConfig(learning_rate=0.0, gradient_clip=0.0, beta_2=1.0)


def test_unknown_architecture_is_named():
    with pytest.raises(BadInputError, match=r"Unknown architecture 'momma'.*Did you mean 'moma'"):
        resolve("momma", {}, "test")


def test_settings_that_came_later_do_not_estrange_saved_states():
    plain = resolve("moma", {}, "test").identity()
    assert not LATER & plain.keys()
    assert resolve("moma", {"data.projection": 64}, "test").identity() == {
        **plain,
        "data.projection": 64,
    }


def test_every_parameter_is_listed_with_its_value_and_what_it_is() -> None:
    (own,) = list_parameters(["moma"]).values()
    assert {p.name: p.value for p in own} == paper_values("moma")
    assert all(p.help for p in own)
    several = list_parameters(["moma", "csa"])
    assert list(several) == ["moma", "csa", ""]
    listed = {p.name for name in ("csa", "") for p in several[name]}
    assert listed == set(known_parameters("csa"))
