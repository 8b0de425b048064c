"""One rule for what a text means, wherever a value is written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from serplatform.errors import BadInputError
from serplatform.strict_yaml import parse_yaml, read_scalar, read_yaml
from serplatform.studies.space_choice import parse_overrides

#: text to its value by YAML 1.2's core schema
SCALARS: dict[str, Any] = {
    "1e-3": 0.001,
    "1e30": 1e30,
    "1E+3": 1000.0,
    ".5": 0.5,
    "5.": 5.0,
    "+1": 1,
    "-0": 0,
    "010": 10,
    "0o10": 8,
    "0x10": 16,
    "1.5e2": 150.0,
    "-2": -2,
    "1e400": math.inf,
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "none": "none",
    "true": True,
    "FALSE": False,
    "yes": "yes",
    "on": "on",
    "off": "off",
    "n": "n",
    ".inf": math.inf,
    "-.Inf": -math.inf,
    "inf": "inf",
    "nan": "nan",
    "Infinity": "Infinity",
    "1_000": "1_000",
    "1:30": "1:30",
    "2026-01-01": "2026-01-01",
    "0b1": "0b1",
    "1e": "1e",
    "<<": "<<",
    "=": "=",
    "١": "١",
    "log_mel_23": "log_mel_23",
    "'7'": "7",
    '"1e3"': "1e3",
}


def identical(one: Any, other: Any) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


def setting(text: str) -> str:
    """How ``--set`` understands the value of a parameter that takes text or nothing."""
    try:
        return repr(parse_overrides([f"word_vectors={text}"], ["moma"])["moma"].popitem()[1])
    except BadInputError as error:
        (fault,) = error.faults
        return fault.removeprefix("data.word_vectors = ").removesuffix(": must be text")


@pytest.mark.parametrize("text", SCALARS)
def test_a_value_is_the_same_in_a_setting_a_list_and_a_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(f"key: {text}\nlist:\n  - {text}\n  - [x, {text or '~'}]\n", encoding="utf-8")
    read = read_yaml(path)
    expected = SCALARS[text]
    for value in (read["key"], read["list"][0], read["list"][1][1]):
        assert identical(value, expected), value
    assert setting(text) == repr(expected)
    assert setting(f"[{text or '~'}, 3]") == repr([expected, 3])


def test_a_number_not_a_number_is_one_by_its_yaml_name_only() -> None:
    assert math.isnan(read_scalar(".nan"))
    assert read_scalar("nan") == "nan"


@pytest.mark.parametrize(
    "value", [1e-5, 3.0e30, 5e-324, -0.0, 0, 2**53, True, None, "text", "a: b", [0.1, ["x", None]]]
)
def test_json_is_read_as_itself(value: Any) -> None:
    assert identical(parse_yaml(json.dumps(value), "here"), value)


@pytest.mark.parametrize(
    "value",
    ["[1, 2", "{a: 1", "'open", "@x", "*alias", "&a [*a]", "!!python/none x", "a: b: c", "%x",
     "--- 1\n--- 2", '"\\ud800"', "\udcff", "\x07", "!!int 3", "9" * 5000, "[" * 5000],
)  # fmt: skip
def test_a_setting_that_is_not_yaml_is_one_fault_with_its_remedy(value: str) -> None:
    with pytest.raises(BadInputError, match=r"--set: 2 fault\(s\)") as caught:
        parse_overrides([f"word_vectors={value}", "hiden=3"], ["moma"])
    first, second = caught.value.faults
    assert first.startswith("'word_vectors=")
    assert first.endswith("put text with special characters in quotes of its own")
    assert "Unknown parameter 'hiden'" in second
