import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from serplatform.config import setting
from serplatform.errors import BadInputError
from serplatform.models.base import ARCHITECTURES, Architecture, count_parameters
from serplatform.registry import temporary
from serplatform.studies.parameter import Parameter
from serplatform.studies.space import (
    SearchSpace,
    load_space,
    packaged_spaces,
    paper_point,
    space_directory,
    why_no_paper_trial,
)
from serplatform.testing.batches import input_spec
from serplatform.testing.tiny_encoder import shared_encoder
from serplatform.training.trial_config import resolve


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig:
    hidden_dim: int = setting(64, "hidden units", low=1, high=1024)
    num_blocks: int = setting(3, "blocks", low=1, high=8)
    gamma_init: Literal["normal", "uniform", "zeros"] = setting("normal", "distribution")
    gamma_scale: float = setting(0.5, "scale", low=0.0, high=10.0)
    kernel_sizes: tuple[int, ...] = setting((2, 3), "kernel sizes", low=1, high=9)
    dropout: float | None = setting(None, "dropout", low=0.0, high=0.9)
    residual: bool = setting(True, "residual")
    context: int = setting(30, "frames of a chunk", low=1, high=200)
    overlap: int = setting(10, "frames shared by chunks", low=0, high=200)

    def __post_init__(self) -> None:
        if self.overlap >= self.context:
            raise ValueError(f"overlap {self.overlap} must be below context {self.context}")


@pytest.fixture(autouse=True)
def _toy_architecture() -> Iterator[None]:
    toy = Architecture(
        name="toy",
        config=ToyConfig,
        build=lambda config, spec: nn.Linear(spec.feature_dim, config.hidden_dim),
    )
    with temporary():
        ARCHITECTURES.register("toy")(toy)
        yield


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., SearchSpace]:
    def write_and_load(parameters: str, **overrides: Any) -> SearchSpace:
        path = tmp_path / "toy.yaml"
        path.write_text(f"architecture: toy\ndescription: A toy.\n{parameters}")
        return load_space(str(path), overrides)

    return write_and_load


FULL = """
fixed: {training.max_epochs: 2}
parameters:
  model.hidden_dim: {type: choice, values: [32, 64]}
  model.num_blocks: {type: int, low: 1, high: 7, step: 2}
  model.gamma_init: {type: choice, values: [normal, uniform, zeros]}
  model.gamma_scale: {type: float, low: 1e-2, high: 2.0, log: true,
                      when: {model.gamma_init: [normal, uniform]}}
  model.kernel_sizes: {type: choice, values: [[2, 3], [3, 5, 7]]}
  model.dropout: {type: choice, values: [null, 0.2]}
  model.residual: {type: choice, values: [true, false]}
  training.learning_rate: {type: float, low: 1.0e-5, high: 1.0e-2, log: true}
  training.batch_size: {type: int, low: 8, high: 64, log: true}
"""


def faults_of(load: Callable[[str], SearchSpace], parameters: str) -> str:
    with pytest.raises(BadInputError, match="fault") as caught:
        load(parameters)
    return str(caught.value)


def test_suggested_values_lie_in_the_space_and_make_a_configuration(load):
    space = load(FULL)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    conditions = set()
    for _ in range(50):
        values = space.suggest(study.ask())
        assert all(space.parameters[name].contains(value) for name, value in values.items())
        active = "model.gamma_scale" in values
        assert active == (values["model.gamma_init"] != "zeros")
        conditions.add(active)
        config = resolve("toy", {**space.fixed, **values}, "test")
        assert config.training.max_epochs == 2
        assert config.model.kernel_sizes == tuple(values["model.kernel_sizes"])
    assert conditions == {True, False}


def test_own_samples_and_optuna_agree_on_what_is_drawn(load):
    space = load(FULL)
    rng = np.random.default_rng(0)
    seen: dict[str, set[str]] = {}
    for _ in range(400):
        for name, value in space.sample(rng).items():
            assert space.parameters[name].contains(value)
            seen.setdefault(name, set()).add(json.dumps(value))
    assert seen["model.num_blocks"] == {"1", "3", "5", "7"}
    assert seen["model.kernel_sizes"] == {"[2, 3]", "[3, 5, 7]"}
    assert seen["model.dropout"] == {"null", "0.2"}
    sizes = sorted(int(size) for size in seen["training.batch_size"])
    assert sizes[0] == 8
    assert sizes[-1] > 60


def test_lists_travel_through_a_study_as_text_and_come_back(load):
    space = load(FULL)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    trial = study.ask()
    values = space.suggest(trial)
    assert trial.params["model.kernel_sizes"] == json.dumps(values["model.kernel_sizes"])
    assert space.decode(trial.params) == values
    assert space.encode(values) == trial.params


def test_first_trial_is_the_papers_configuration(load):
    space = load(FULL)
    point = paper_point(space)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(space.encode(point))
    drawn = space.suggest(study.ask())
    assert drawn == point
    assert resolve("toy", {**space.fixed, **drawn}, "t") == resolve("toy", space.fixed, "t")
    assert point["model.kernel_sizes"] == [2, 3]
    assert point["model.gamma_scale"] == 0.5


def test_paper_point_leaves_out_what_is_fixed_or_inactive(load):
    point = paper_point(load(FULL, **{"model.gamma_init": "zeros", "model.hidden_dim": 100}))
    assert point is not None
    assert not {"model.gamma_init", "model.gamma_scale", "model.hidden_dim"} & set(point)
    assert point["model.num_blocks"] == 3


def test_set_values_leave_the_search_and_decide_conditions(load):
    fixed = load(FULL, **{"model.gamma_init": "uniform", "model.hidden_dim": 500})
    assert "model.gamma_init" not in fixed.parameters
    assert "model.gamma_scale" in fixed.sample(np.random.default_rng(0))
    assert fixed.fixed == {
        "training.max_epochs": 2,
        "model.gamma_init": "uniform",
        "model.hidden_dim": 500,
    }
    assert "model.gamma_scale" not in load(FULL, **{"model.gamma_init": "zeros"}).parameters
    assert load(FULL, **paper_point(load(FULL))).parameters == {}


def test_set_values_are_checked_all_at_once(load):
    with pytest.raises(BadInputError, match="2 fault") as caught:
        load(FULL, **{"model.hidden_dimm": 3, "training.batch_size": 0})
    assert "Did you mean 'model.hidden_dim'?" in str(caught.value)
    assert "training.batch_size = 0: must be at least 1" in str(caught.value)


FAULTY = """
fixed: {training.max_epochs: 0}
parameters:
  model.num_blocks: {type: int, low: 9, high: 2}
  model.hidden_dim: {type: choice, values: [many, 64]}
  model.gamma_init: {type: choice, values: [normal, zeros]}
  model.gamma_scale: {type: float, low: -3, high: .nan, when: {model.gamma_init: [normal]}}
  model.dropout: {type: choice, values: [7], when: {model.gamma_scale: [0.5]}}
  model.residual: {type: choice, values: [true, false], when: {model.context: [30]}}
try_first:
  - {model.num_blocks: 50, model.residual: false}
  - {model.gamma_scale: 50}
  - {model.hidden_dim: none, model.residual: false}
"""


def test_a_space_is_judged_after_the_user_has_fixed_what_is_faulty_in_it(load):
    """What is fixed and what can then never be active may be faulty, in the points too."""
    sets = {
        "training.max_epochs": 3,
        "model.num_blocks": 2,
        "model.hidden_dim": 8,
        "model.gamma_init": "zeros",
        "model.context": 30,
    }
    space = load(FAULTY, **sets)
    assert space.fixed == sets
    assert list(space.parameters) == ["model.residual"]  # its condition holds
    assert space.try_first == ({"model.residual": False},)  # once
    for left_out in sets:
        with pytest.raises(BadInputError, match=r"toy\.yaml with .* set: the search space has"):
            load(FAULTY, **{name: value for name, value in sets.items() if name != left_out})
    without = load(FAULTY, **{**sets, "model.context": 31})
    assert without.parameters == {}


def test_a_rule_broken_by_what_the_user_sets_is_found_before_the_search(load):
    searched = "parameters:\n  model.overlap: {type: int, low: 0, high: 9}\n"
    assert paper_point(load(searched, **{"model.context": 12})) is None  # the paper's is 10
    with pytest.raises(BadInputError, match="a combination is refused: model: overlap 9 must be"):
        load(searched, **{"model.context": 9})
    other = "parameters:\n  model.num_blocks: {type: int, low: 1, high: 4}\n"
    with pytest.raises(BadInputError, match="every combination is refused: model: overlap 10"):
        load(other, **{"model.context": 9})


def test_a_space_without_the_papers_values_says_which(load):
    space = load("""
parameters:
  model.num_blocks: {type: int, low: 4, high: 6}
  model.hidden_dim: {type: choice, values: [32, 64]}
  model.gamma_init: {type: choice, values: [uniform, normal]}
  model.gamma_scale: {type: float, low: 1, high: 2, when: {model.gamma_init: [uniform]}}
""")
    assert paper_point(space) is None
    assert why_no_paper_trial(space) == (
        "The paper's configuration of toy is no trial: its space does not hold "
        "model.num_blocks = 3 (int from 4 to 6)."
    )
    assert why_no_paper_trial(load(FULL)) is None


@pytest.mark.parametrize(
    "entry",
    ["{type: float, low: 0.1, high: 1.0, step: 1e-300}", "{type: float, low: 0, high: -0.0}"],
)
def test_no_range_is_accepted_that_cannot_be_drawn_from(load, entry):
    with contextlib.suppress(BadInputError):
        space = load(f"parameters:\n  model.gamma_scale: {entry}\n")
        assert space.sample(np.random.default_rng(0)) == {"model.gamma_scale": 0.0}


def test_a_space_is_judged_once(monkeypatch):
    """Each configuration that is looked at takes part of a millisecond, before every search."""
    calls = []

    def counted(*args: Any) -> Any:
        calls.append(args)
        return resolve(*args)

    monkeypatch.setattr("serplatform.studies.space.resolve", counted)
    load_space("moma", {"training.batch_size": 4})
    assert len(calls) <= 129  # random combinations, and the paper's


def test_every_fault_is_reported_at_once(load):
    text = faults_of(
        load,
        """
fixed: {training.max_epoch: 3}
extra: 1
parameters:
  model.hiden_dim: {type: int, low: 1, high: 3}
  model.num_blocks: {type: int, low: 5, high: 2}
  training.learning_rate: {type: float, low: 0.0, high: 0.1, log: true}
  model.residual: {type: choice, values: []}
  model.dropout: {type: flot, low: 0.1, high: 0.2}
""",
    )
    for expected in [
        "7 fault(s)",
        "Unknown key 'extra'",
        "Did you mean 'training.max_epochs' or",
        "Did you mean 'model.hidden_dim'?",
        "model.num_blocks: low = 5 is above high = 2",
        "training.learning_rate: low = 0.0 with log: true",
        "model.residual: values: is empty",
        "model.dropout: Unknown type 'flot'; known: choice, feature, float, int.",
    ]:
        assert expected in text


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{type: int, low: 1, high: 9}", "model.num_blocks = 9: must be at most 8"),
        ("{type: float, low: 1.0, high: 4.0}", "must be a whole number"),
        ("{type: choice, values: [3, many]}", "model.num_blocks = 'many': must be a whole number"),
        ("{type: choice, values: [3, 3]}", "3 is given twice"),
        ("{type: choice, values: [3, 2020-01-01]}", "must be a whole number"),
        ("{type: choice, values: [3, .inf]}", "values: inf must be a finite number"),
        ("{type: choice, values: [3, {a: 1}]}", "must be a finite number"),
        ("{type: choice, values: 3}", "values: must be a list"),
        ("{type: choice}", "values: is missing"),
        ("{type: int, low: 1}", "high: is missing"),
        ("{low: 1, high: 3}", "type is missing"),
        ("[1, 3]", "must be a mapping such as"),
        ("{type: int, low: 1, high: 3, values: [1]}", "Unknown key 'values'"),
        ("{type: int, low: 1, high: 3, stp: 1}", "Did you mean 'step'?"),
        ("{type: int, low: 1.5, high: 3}", "low = 1.5: must be a whole number"),
        ("{type: int, low: one, high: 3}", "low = 'one': must be a finite number"),
        ("{type: float, low: .nan, high: 3.0}", "low = nan: must be a finite number"),
        ("{type: int, low: 1, high: 1e400}", "high = inf: must be a finite number"),
        ("{type: int, low: 1, high: 6, step: 2}", "is not low plus a whole number of steps"),
        ("{type: int, low: 1, high: 5, step: 0}", "step = 0: must be above 0"),
        ("{type: int, low: 1, high: 5, step: 2, log: true}", "exclude each other"),
        ("{type: int, low: 1, high: 5, log: 1}", "log: must be true or false"),
        ("{type: int, low: 3, high: 5, when: [a]}", "when: must map an earlier parameter"),
        ("{type: int, low: 3, high: 5, when: {model.residual: []}}", "is empty"),
        ("{type: int, low: 3, high: 5, when: {model.residul: [1]}}", "neither searched nor fixed"),
        ("{type: int, low: 3, high: 5, when: {model.num_blocks: [3]}}", "form a circle"),
        (
            "{type: int, low: 3, high: 5, when: {model.residual: [true]}}",
            "move model.residual before",
        ),
    ],
)
def test_one_wrong_entry_is_named(load, entry, expected):
    later = "  model.residual: {type: choice, values: [true, false]}"
    assert expected in faults_of(load, f"parameters:\n  model.num_blocks: {entry}\n{later}\n")


def test_condition_that_can_never_hold_is_named(load):
    text = faults_of(
        load,
        """
parameters:
  model.gamma_init: {type: choice, values: [normal, zeros]}
  model.gamma_scale: {type: float, low: 0.1, high: 1.0, when: {model.gamma_init: [uniform]}}
""",
    )
    assert "model.gamma_scale: when model.gamma_init: can never be 'uniform'" in text


def test_circle_of_conditions_is_named(load):
    text = faults_of(
        load,
        """
parameters:
  model.gamma_init: {type: choice, values: [normal, zeros], when: {model.residual: [true]}}
  model.residual: {type: choice, values: [true, false], when: {model.gamma_init: [normal]}}
""",
    )
    assert text.count("form a circle") == 2


def test_parameter_both_fixed_and_searched_is_named(load):
    text = faults_of(
        load,
        """
fixed: {model.num_blocks: 2}
parameters:
  model.num_blocks: {type: int, low: 1, high: 3}
""",
    )
    assert "model.num_blocks: is both fixed and searched" in text


def test_combination_refused_by_a_rule_between_fields_is_found(load):
    text = faults_of(
        load,
        """
parameters:
  model.context: {type: int, low: 20, high: 40, step: 10}
  model.overlap: {type: int, low: 0, high: 30, step: 10}
""",
    )
    assert "a combination is refused" in text
    assert "overlap 30 must be below context 20" in text


def test_paper_value_outside_the_space_is_accepted_when_fixed(load):
    space = load("""
fixed: {model.num_blocks: 5}
parameters:
  model.hidden_dim: {type: int, low: 8, high: 64}
""")
    assert paper_point(space) == {"model.hidden_dim": 64}


def test_unknown_architecture_suggests_the_nearest(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "architecture: toyy\ndescription: d\nparameters: {a: {type: int, low: 1, high: 2}}"
    )
    with pytest.raises(BadInputError, match=r"Unknown architecture 'toyy'.*Did you mean 'toy'"):
        load_space(str(path))


def test_unknown_space_name_lists_the_packaged_ones():
    with pytest.raises(BadInputError, match="Unknown search space 'nothing'"):
        load_space("nothing")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: 1\na: 2\n", "line 2: the key 'a' is written twice, first in line 1"),
        (b"a: [1, 2\nb: }", "line 2"),
        (b"a: &x [1]\nb: *x\n", "line 2: aliases are not allowed"),
        (b"a: !!python/object/apply:os.system [ls]\n", "line 1: could not determine a constructor"),
        (b"\xff\xfe\xff", "not UTF-8"),
        (b"- 1\n", "a search space is a mapping"),
        (b"", "a search space is a mapping"),
        (b"[" * 20000, "nested too deeply"),
        (b"a: " + b"9" * 5000, "cannot be read"),
        (b"#" * 1_000_001, "longer than"),
        (b"? [1, 2]\n: 3\n", "a key must be plain text"),
        (b"a: \x00", "is not YAML"),
        (b"a: 1\n---\nb: 2\n", "line 2"),
    ],
)
def test_broken_yaml_gives_one_clear_error(tmp_path, content, expected):
    path = tmp_path / "space.yaml"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"space\.yaml") as caught:
        load_space(str(path))
    assert expected in str(caught.value)


def test_missing_file_and_folder_give_one_clear_error(tmp_path):
    with pytest.raises(BadInputError, match="no such search space"):
        load_space(str(tmp_path / "none.yaml"))
    with pytest.raises(BadInputError, match="cannot be read"):
        load_space(f"{tmp_path}/")


_leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["int", "float", "choice", "model.num_blocks", "model.gamma_init", "normal"]),
)  # fmt: skip
_sections = ["architecture", "description", "fixed", "parameters"]
_options = ["type", "low", "high", "step", "log", "values", "when", "x"]
_names = ["model.num_blocks", "model.gamma_init", "training.learning_rate"]
_keys = st.sampled_from([*_sections, *_options, *_names])
_trees = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=5),
    max_leaves=12,
)


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(fixed=_trees, entry=_trees, other=st.dictionaries(_keys, _leaves, max_size=5))
def test_no_document_gives_more_than_a_clear_error(tmp_path, fixed, entry, other):
    document = {
        "architecture": "toy",
        "description": "d",
        "fixed": fixed,
        "parameters": {"model.num_blocks": entry, "model.gamma_init": other},
    }
    path = tmp_path / "fuzz.yaml"
    path.write_text(json.dumps(document))
    with contextlib.suppress(BadInputError):
        load_space(str(path))


@settings(max_examples=200, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_bytes_give_more_than_a_clear_error(tmp_path, content):
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"fuzz\.yaml"):
        load_space(str(path))


def test_faults_are_found_in_parameters_made_in_code():
    assert Parameter(kind="int", low=3, high=1).errors() == ["low = 3 is above high = 1; swap them"]


def space_files() -> list[Path]:
    return sorted(space_directory().rglob("*.y*ml"))


def test_every_space_file_is_packaged_and_named_for_its_architecture():
    files = space_files()
    assert len(files) > 0
    assert sorted(path.stem for path in files) == packaged_spaces()
    for path in files:
        architecture = load_space(path.stem).architecture
        assert path.stem == architecture or path.stem.startswith(f"{architecture}-"), path.stem


@pytest.mark.parametrize("path", space_files(), ids=lambda path: path.stem)
def test_samples_of_every_packaged_space_build(path: Path) -> None:
    space = load_space(str(path))
    architecture = ARCHITECTURES.get(space.architecture)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    paper = paper_point(space)
    if any(p.query for p in space.parameters.values()):  # a point is tried first
        assert paper is None
        assert space.try_first
    else:
        assert resolve(architecture.name, {**space.fixed, **paper}, "paper") == resolve(
            architecture.name, space.fixed, "fixed"
        )
    fixed = dict(space.fixed)
    if architecture.encoder is not None:
        fixed[f"model.{architecture.encoder}"] = str(shared_encoder())
    for _ in range(20):
        config = resolve(architecture.name, {**fixed, **space.suggest(study.ask())}, "sample")
        model = architecture.build(config.model, input_spec(architecture, num_classes=8))
        assert count_parameters(model) > 0
