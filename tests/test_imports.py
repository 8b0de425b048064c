"""Import direction: every arrow between parts of the package points to a lower row."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import serplatform

PACKAGE = Path(serplatform.__file__).parent

#: From the bottom up. A part may import parts of lower rows only, never one of its own row.
ROWS = [
    {"errors", "arrays"},
    {"registry", "seeding", "strict_yaml"},
    {"config", "environment"},
    {"labels", "metrics"},
    {"artifacts"},
    {"storage"},
    {"plugins"},
    {"statistics", "run_directory", "papers", "stopping"},
    {"console"},
    {"corpora"},
    {"encoders"},
    {"alignment"},
    {"features"},
    {"protocols"},
    {"models"},
    {"inputs"},
    {"datasets"},
    {"training"},
    {"studies"},
    {"tracking"},
    {"distributed", "ensembles", "report"},
    {"prediction"},
    {"evaluation", "explanations", "serving"},
    {"reproduce"},
    {"api"},
    {"cli"},
    {"__main__", "testing"},
]

#: The highest row that these may import: they work from files alone.
CEILING = {"ensembles": "statistics", "report": "statistics"}

#: Third-party package to the only parts that may import it.
HOMES = {
    "ray": {"distributed"},
    "optuna": {"studies", "distributed"},
    "fastapi": {"serving"},
    "starlette": {"serving"},
    "optuna_dashboard": {"studies"},
    "librosa": {"features"},
    "typer": {"cli"},
    "click": {"cli"},
    "rich": {"api", "cli", "console"},
    "pandas": {"api"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "espeakng_loader": {"corpora"},
    **{name: {"tracking"} for name in ("tensorboardX", "mlflow", "wandb")},
    "torch": {
        *(
            "encoders",
            "models",
            "inputs",
            "datasets",
            "training",
            "distributed",
            "prediction",
            "explanations",
            "serving",
        ),
        "testing",
    },
    **{name: set() for name in ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")},
}

HEAVY = [
    "torch",
    "ray",
    "librosa",
    "matplotlib",
    "optuna",
    "pandas",
    "sklearn",
    "scipy",
    "pyarrow",
    "mlflow",
    "wandb",
]


def row(part: str) -> int:
    """Place of a part in :data:`ROWS`; 0 is the bottom."""
    places = [place for place, parts in enumerate(ROWS) if part in parts]
    assert places, f"{part} has no place in ROWS; say where it belongs"
    return places[0]


def imported(source: str) -> Iterator[tuple[int, str, int]]:
    """(line, dotted name, level) of every import, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, 0
        elif isinstance(node, ast.ImportFrom):
            if node.module == "serplatform":
                for alias in node.names:
                    yield node.lineno, f"serplatform.{alias.name}", node.level
            else:
                yield node.lineno, node.module or "", node.level


def violations(part: str, where: str, source: str) -> list[str]:
    """Every import in ``source``, a file of ``part``, that breaks a rule."""
    found = []
    for line, name, level in imported(source):
        top, _, rest = name.partition(".")
        here = f"{where}:{line}"
        if level:
            found.append(f"{here}: relative import; write the full name")
        elif top == "serplatform":
            target = rest.partition(".")[0]
            if target in {"", "__version__", part}:
                continue
            if target == "testing":
                found.append(f"{here}: only tests import serplatform.testing")
            elif row(target) >= row(part):
                found.append(f"{here}: {part} imports {target}, which is not below it")
            elif part in CEILING and row(target) > row(CEILING[part]):
                found.append(f"{here}: {part} works from files; it may not import {target}")
        elif part not in HOMES.get(top, {part}):
            homes = ", ".join(sorted(HOMES[top])) or "no part"
            found.append(f"{here}: {part} imports {top}, whose home is {homes}")
    return found


def source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_every_import_points_down_and_stays_in_its_home():
    files = source_files()
    assert len(files) > 30
    found = []
    for path in files:
        relative = path.relative_to(PACKAGE)
        part = relative.parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        found += violations(part, f"serplatform/{relative}", path.read_text(encoding="utf-8"))
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("part", "source", "expected"),
    [
        ("config", "from serplatform.models.base import Batch", "config imports models"),
        ("metrics", "import serplatform.artifacts", "metrics imports artifacts"),
        ("studies", "def f():\n    from serplatform import distributed", "x.py:2: studies imports"),
        (
            "ensembles",
            "from serplatform.datasets.dataset import Dataset",
            "may not import datasets",
        ),
        ("training", "import ray.train", "training imports ray, whose home is distributed"),
        ("report", "from torch import nn", "report imports torch"),
        ("datasets", "import pickle", "whose home is no part"),
        ("models", "from .base import Batch", "relative import"),
        ("cli", "from serplatform.testing import synthetic", "only tests import"),
    ],
)
def test_a_broken_rule_is_found(part, source, expected):
    (found,) = violations(part, "x.py", source)
    assert expected in found


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("report", "from serplatform.metrics import confusion_counts\nimport matplotlib.figure"),
        ("distributed", "import ray\nfrom serplatform.studies.space import SearchSpace"),
        ("cli", "from serplatform import __version__"),
    ],
)
def test_a_downward_import_is_allowed(part, source):
    assert violations(part, "x.py", source) == []


def test_nothing_saves_or_loads_a_pickle_with_torch():
    for path in source_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = f"{node.value.id}.{node.attr}"
                assert name not in {"torch.save", "torch.load"}, f"{path}:{node.lineno}: {name}"


def test_the_package_itself_imports_nothing_of_ours_until_it_is_asked():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    outside = [node for node in tree.body if not isinstance(node, ast.If)]  # if TYPE_CHECKING
    names = {name for node in outside for _, name, _ in imported(ast.unparse(node))}
    assert names <= {"__future__", "importlib", "inspect", "sys", "types", "typing"}


def test_the_command_line_starts_without_heavy_packages():
    program = (
        "import sys, serplatform.cli.main; "
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
