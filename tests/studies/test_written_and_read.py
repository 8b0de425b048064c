"""Whatever begins a run can be gone on with, and what cannot is refused before it is written."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serplatform.config import is_number
from serplatform.errors import BadInputError
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import OpenRun, create_run, reopen_run
from serplatform.studies.space import SearchSpace, paper_point
from serplatform.studies.space_choice import parse_overrides
from serplatform.studies.study import Studies
from serplatform.testing.synthetic import make_dataset
from serplatform.training.trial_config import paper_values, resolve, value_faults

ARCHITECTURE = "csa"  # numbers, names, a list, and rules between fields
PAPER = paper_values(ARCHITECTURE)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "set"
    return make_dataset(path, num_speakers=4, per_speaker=4, seconds=(0.2, 0.3))


def begin(out: Path, data: Path, space: Mapping[str, Any] | None, **more: Any) -> OpenRun:
    spaces: tuple[str, ...] = ()
    if space is not None:
        file = out.parent / f"{out.name}.yaml"
        file.write_text(json.dumps(space), encoding="utf-8")  # JSON is YAML
        spaces = (str(file),)
    request = SearchRequest(architectures=(ARCHITECTURE,), dataset=data, spaces=spaces, **more)
    return create_run(out, request, ["test"])


def written(space: SearchSpace) -> str:
    """Everything about a space but its file, to the last digit: 1, 1.0 and True are told apart."""
    return repr([dataclasses.replace(space, source=""), paper_point(space)])


def first(run: OpenRun, journal: Path) -> tuple[Any, bool]:
    studies = Studies(
        run.spaces, storage=str(journal), records={}, max_epochs=8, num_folds=2, seed=0
    )
    suggestion = studies.ask()
    return json.dumps(dict(suggestion.values)), suggestion.paper


def assert_reopens(run: OpenRun, out: Path) -> None:
    again = reopen_run(out)
    assert again.description == run.description
    assert again.max_epochs == run.max_epochs
    for name, space in run.spaces.items():
        assert written(again.spaces[name]) == written(space)
        for seed in range(3):
            drawn = space.sample(np.random.default_rng(seed))
            assert again.spaces[name].sample(np.random.default_rng(seed)) == drawn
            values = {**space.fixed, **drawn}
            assert resolve(name, json.loads(json.dumps(values)), "t") == resolve(name, values, "t")
    assert first(again, out / "again.journal") == first(run, out / "first.journal")


CANDIDATES = [
    *(1e-3, 1e30, 1e300, 5e-324, -0.0, 0, 1, 2.0, 3, 5, 0.3, 0.5, 1e16, 2**53, 40, 200, -1.5),
    *(True, False, None, "adam", "sgd", "none", "cosine", "balanced", "speaker", "log_mel_23"),
    *([3, 5], [3.0, 2], [1e-3, 3], [], "é", "a: [b", "1e3"),
]
#: parameter to values that it accepts by itself
ACCEPTED = {
    name: [*(v for v in CANDIDATES if not value_faults(ARCHITECTURE, name, v)), paper]
    for name, paper in PAPER.items()
}
_strange = st.one_of(
    st.sampled_from(["1_000", "0x10", "010", "+1", ".5", "on", "yes", "~", "inf", "nan", ".inf",
        "-.inf", ".nan", "1e400", "1e301", "2026-01-01", "1:30", "none", "[1", "{a:1}", "[.nan]",
        "[2,1e-3]", "9007199254740993", "'7'", '"\\ud800"', "!!int&x", "*y"]),
    st.one_of(st.integers(), st.floats(), st.text(max_size=4)).map(json.dumps),
)  # fmt: skip
_names = st.sampled_from([*PAPER])
_rarely = st.integers(0, 30).map(lambda drawn: drawn == 0)


def _a_value(draw: st.DrawFn, name: str) -> Any:
    if draw(_rarely):
        return draw(st.sampled_from(CANDIDATES) | st.floats() | st.integers() | st.text(max_size=4))
    return draw(st.sampled_from(ACCEPTED[name]))


@st.composite
def _settings(draw: st.DrawFn) -> tuple[str, ...]:
    names = draw(st.lists(_names, max_size=2, unique=True))
    return tuple(
        f"{n}={draw(_strange) if draw(_rarely) else json.dumps(_a_value(draw, n))}" for n in names
    )


@st.composite
def _entries(draw: st.DrawFn, name: str, earlier: Mapping[str, Any]) -> Any:
    numbers = sorted(v for v in ACCEPTED[name] if is_number(v) and abs(v) <= 2**53)
    if len(numbers) > 2 and draw(st.booleans()):
        low, high = sorted(draw(st.lists(st.sampled_from(numbers), min_size=2, max_size=2)))
        whole = isinstance(PAPER[name], int)
        entry: dict[str, Any] = {"type": "int" if whole else "float", "low": low, "high": high}
        if draw(_rarely):
            entry["log"] = draw(st.booleans())
        if draw(_rarely):
            entry["step"] = draw(st.sampled_from([1, 0.5, 1e-9, 1e-300, 0]))
    else:
        values = draw(st.lists(st.just(name), min_size=1, max_size=2))
        entry = {"type": "choice", "values": [_a_value(draw, n) for n in values]}
    if earlier and draw(st.booleans()):
        parent = draw(st.sampled_from([*earlier]))
        held = earlier[parent].get("values") or [earlier[parent]["low"], earlier[parent]["high"]]
        entry["when"] = {parent: [_a_value(draw, parent) if draw(_rarely) else held[-1]]}
    return entry


@st.composite
def _spaces(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(_names, min_size=1, max_size=4, unique=True))
    fixed = names.pop() if len(names) > 1 and draw(st.booleans()) else None
    parameters: dict[str, Any] = {}
    for name in names:
        parameters[name] = draw(_entries(name, parameters))
    points = draw(st.lists(st.sampled_from(names), max_size=1))
    return {
        "architecture": ARCHITECTURE,
        "description": "drawn",
        "fixed": {} if fixed is None else {fixed: _a_value(draw, fixed)},
        "parameters": parameters,
        "try_first": [{name: _a_value(draw, name)} for name in points],
    }


def test_what_begins_a_run_is_read_back_and_what_cannot_is_not_written(
    tmp_path: Path, data: Path
) -> None:
    seen: Counter[str] = Counter()

    @settings(
        max_examples=300,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        space=_spaces() | _spaces() | st.none(),
        given=_settings(),
    )
    def round_trip(space: Any, given: tuple[str, ...]) -> None:
        out = tmp_path / f"run-{sum(seen.values())}"
        try:
            run = begin(out, data, space, settings=given, exact=space is None)
        except BadInputError:
            assert not out.exists(), "something was written"
            seen["refused"] += 1
            return
        assert_reopens(run, out)
        for name, value in parse_overrides(given, [ARCHITECTURE])[ARCHITECTURE].items():
            assert json.dumps(run.spaces[ARCHITECTURE].fixed[name]) == json.dumps(value)
        seen[f"{'searched' if space else 'exact'}{' with --set' * bool(given)}"] += 1
        seen["conditions"] += any(p.when for p in run.spaces[ARCHITECTURE].parameters.values())
        seen["without the paper's"] += paper_point(run.spaces[ARCHITECTURE]) is None

    round_trip()
    kinds = (
        "refused",
        "exact with --set",
        "searched",
        "searched with --set",
        "conditions",
        "without the paper's",
    )
    assert min(seen[kind] for kind in kinds) > 5, seen


def test_large_and_small_numbers_begin_runs_that_can_be_gone_on_with(
    tmp_path: Path, data: Path
) -> None:
    numbers = ("1e30", "1e299", "5e-324", "1e-3", "9007199254740992", "0x10", "+.5", "-0.0")
    for place, text in enumerate(numbers):
        for exact in (True, False):
            out = tmp_path / f"{place}-{exact}"
            run = begin(out, data, None, settings=(f"weight_decay={text}",), exact=exact)
            assert_reopens(run, out)
