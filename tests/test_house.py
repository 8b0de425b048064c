"""What keeps the package readable: one name for one thing, packages that say what they are for."""

from __future__ import annotations

import ast
import collections
import functools
import re
from pathlib import Path

import pytest

import serplatform

PACKAGE = Path(serplatform.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

#: names that tell a reader nothing of this field; a part of an identifier or of a file's name
FOREIGN = ("salvage", "roster", "bookkeep", "enlist", "forgo", "condemned", "widened", "wishes")


def module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def trees() -> dict[str, ast.Module]:
    found = {module(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
    assert len(found) > 200
    return found


def repeated_classes(found: dict[str, ast.Module]) -> dict[str, list[str]]:
    places = collections.defaultdict(list)
    for name, tree in found.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    return {name: where for name, where in places.items() if len(where) > 1}


def imported_modules(name: str, tree: ast.Module, known: set[str]) -> set[str]:
    """Modules of the package that a module imports, also within functions and for types only."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                inner if (inner := f"{node.module}.{alias.name}") in known else node.module
                for alias in node.names
            }
    return (found & known) - {name}


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, directly or through others."""
    reach: dict[str, set[str]] = {}
    for start in arrows:
        seen: set[str] = set()
        waiting = list(arrows[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += arrows.get(name, ())
        reach[start] = seen
    rings = {
        tuple(sorted({a, *(b for b in reach[a] if a in reach.get(b, ()))}))
        for a in arrows
        if a in reach[a]
    }
    return [list(ring) for ring in sorted(rings)]


def test_no_class_name_stands_for_two_things():
    assert not repeated_classes(trees())


def test_no_module_imports_itself_through_others():
    found = trees()
    known = set(found) - {"serplatform"}  # its imports are for type checkers
    assert not circles({name: imported_modules(name, tree, known) for name, tree in found.items()})


def test_every_package_says_what_it_is_for():
    for path in (path for path in FILES if path.name == "__init__.py"):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert len(text.split()) >= 12, f"{path}: say in its docstring what the package is for"


def test_names_are_those_of_the_field():
    pattern = re.compile("|".join(FOREIGN), re.IGNORECASE)
    found = [str(path) for path in FILES if pattern.search(path.stem)]
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and pattern.search(node.name):
                found.append(f"{name}:{node.lineno} {node.name}")
    assert not found


@pytest.mark.parametrize(
    ("arrows", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, [["a", "b", "c"]]),
    ],
)
def test_circles_are_found(arrows, expected):
    assert circles(arrows) == expected


def test_a_name_that_is_used_twice_is_found():
    twice = {name: ast.parse("class Row: ...") for name in ("one", "two")}
    assert repeated_classes(twice) == {"Row": ["one", "two"]}
