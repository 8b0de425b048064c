"""``--set KEY=VALUE``: settings that hold in every trial of a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serplatform.errors import BadInputError, unknown_name
from serplatform.strict_yaml import parse_yaml
from serplatform.training.trial_config import known_parameters, value_faults


def parse_overrides(
    settings: Sequence[str], architectures: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Assign each setting to the architectures that have the parameter.

    A key is a parameter's full name (``model.hidden_dim``), its last part where that is
    unambiguous (``hidden_dim``), or either after ``<architecture>.`` for one architecture only.

    Args:
        settings: texts of the form KEY=VALUE; the value is read as YAML.
        architectures: names of the search.

    Returns:
        architecture to flat parameters.

    Raises:
        BadInputError: listing every text without ``=``, unknown or ambiguous key, and value
            that is not YAML or none of its parameter.
    """
    known = {name: known_parameters(name) for name in architectures}
    overrides: dict[str, dict[str, Any]] = {name: {} for name in architectures}
    faults: list[str] = []
    wrong: dict[str, None] = {}  # once, where several architectures say the same
    for text in settings:
        key, equals, given = text.partition("=")
        key = key.strip()
        if not equals or not key:
            faults.append(f"'{text}': must be KEY=VALUE, e.g. training.learning_rate=1e-3")
            continue
        try:
            value = parse_yaml(given, f"'{text}'")
        except BadInputError as error:
            faults.append(f"{error}; put text with special characters in quotes of its own")
            continue
        first, _, rest = key.partition(".")
        targets = [first] if first in known and rest else list(architectures)
        name = rest if first in known and rest else key
        found = False
        for architecture in targets:
            matches = [p for p in known[architecture] if name in (p, p.partition(".")[2])]
            if len(matches) > 1:
                faults.append(f"'{key}' is ambiguous for {architecture}: {', '.join(matches)}")
                found = True
            elif matches:
                overrides[architecture][matches[0]] = value
                wrong |= dict.fromkeys(value_faults(architecture, matches[0], value))
                found = True
        if not found:
            every = {p for architecture in targets for p in known[architecture]}
            faults.append(unknown_name("parameter", name, every))
    if faults := faults + list(wrong):
        raise BadInputError(f"--set: {len(faults)} fault(s):", faults)
    return overrides
