import email.parser
import itertools
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built by the installed build backend, without network."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_every_search_space(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    spaces = sorted((ROOT / "search_spaces").rglob("*.yaml"))
    assert len(spaces) > 0
    for path in spaces:
        assert f"serplatform/search_spaces/{path.relative_to(ROOT / 'search_spaces')}" in names


def test_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    names = {
        name
        for name in zipfile.ZipFile(wheel).namelist()
        if not name.startswith("serplatform/search_spaces/") and ".dist-info/" not in name
    }
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "serplatform").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert any(name.endswith((".html", ".j2", ".jinja")) for name in names), "the report's template"
    assert names == {*files, "serplatform/CITATION.cff"}


def test_wheel_says_what_pyproject_says(wheel):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    archive = zipfile.ZipFile(wheel)
    (metadata_name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
    metadata = email.parser.Parser().parsestr(archive.read(metadata_name).decode())
    assert metadata["Name"] == "serplatform"
    assert metadata["License-Expression"] == "Apache-2.0"
    runtime = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert len(runtime) == len(project["dependencies"])
    (entry_points,) = [n for n in archive.namelist() if n.endswith("/entry_points.txt")]
    assert "serplatform = serplatform.__main__:main" in archive.read(entry_points).decode()


def test_unpacked_wheel_finds_its_own_search_spaces_from_another_folder(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    program = (
        "from serplatform.studies.space import load_space, packaged_spaces, space_directory\n"
        "print(space_directory())\n"
        "print(*packaged_spaces())\n"
        "print(load_space('moma').architecture)\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    folder, names, architecture = done.stdout.splitlines()
    assert folder == str(tmp_path / "site" / "serplatform" / "search_spaces")
    assert names.split() == sorted(path.stem for path in (ROOT / "search_spaces").glob("*.yaml"))
    assert architecture == "moma"


def test_every_dependency_is_pinned_inside_its_range():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    assert len(wanted) > 20
    for line in wanted:
        requirement = Requirement(line)
        version = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), line
        assert "+" not in version, line


def test_what_is_imported_is_what_is_declared():
    """Nothing is imported that only another package happens to bring, and nothing is idle."""
    import ast
    import importlib.metadata

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    imported = set()
    for path in (ROOT / "serplatform").rglob("*.py"):
        if "testing" in path.parts:  # for tests only, which have more at hand
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    distributions = importlib.metadata.packages_distributions()
    used = {
        canonicalize_name(distributions[name][0])
        for name in imported - set(sys.stdlib_module_names) - {"serplatform"}
        if name in distributions
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    ours = (lines for name, lines in extras.items() if name not in ("docs", "test"))
    lines = [*project["dependencies"], *itertools.chain.from_iterable(ours)]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    assert used - declared == set(), "imported, but not in pyproject.toml"
    idle = declared - used - {"python-multipart"}  # what Starlette reads forms with
    assert idle == set(), "in pyproject.toml, but never imported"
