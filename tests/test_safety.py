"""Nothing that comes from outside is executed, and no secret is written down."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import serplatform
from serplatform.errors import BadInputError
from serplatform.storage.location import redact
from serplatform.studies.study_storage import STORAGE_VARIABLE, full_storage

ROOT = Path(serplatform.__file__).parent
#: modules whose files are programs
EXECUTING = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
#: calls that execute what they are given, or write wherever an archive says
CALLS = {
    *("eval", "exec", "compile", "os.system", "os.popen", "torch.load", "torch.hub.load"),
    *(
        "yaml.load_all",
        "yaml.unsafe_load",
        "yaml.full_load",
        "pandas.read_pickle",
        "pd.read_pickle",
    ),
    *("shutil.unpack_archive", "tarfile.open", "jsonpickle.decode", "tempfile.mktemp"),
}
#: where a loader derived from PyYAML's safe one is used
STRICT_YAML = "strict_yaml.py"


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def dangers(source: str, where: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        line = f"{where}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").partition(".")[0]]
        else:
            names = []
        yield from (f"{line}: imports {name}" for name in names if name in EXECUTING)
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        if called in CALLS or called.endswith((".extractall", ".read_pickle")):
            yield f"{line}: calls {called}"
        if called == "yaml.load" and where != STRICT_YAML:
            yield f"{line}: calls yaml.load"
        for keyword in node.keywords:
            literal = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if keyword.arg in ("allow_pickle", "shell") and literal is not False:
                yield f"{line}: {called} with {keyword.arg}"
            if (keyword.arg, literal) in (("autoescape", False), ("weights_only", False)):
                yield f"{line}: {called} with {keyword.arg}=False"


def test_package_executes_nothing_from_files() -> None:
    found = [
        danger
        for path in sorted(ROOT.rglob("*.py"))
        for danger in dangers(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
        # evaluates what the package's own files declare, and opens no others
        if path.name != "architectures.py"
        or not danger.endswith(("calls eval", "calls exec", "calls compile"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "danger"),
    [
        ("import pickle", "imports pickle"),
        ("from joblib import load", "imports joblib"),
        ("torch.load(path)", "calls torch.load"),
        ("yaml.load(text, Loader=yaml.Loader)", "calls yaml.load"),
        ("np.load(path, allow_pickle=True)", "np.load with allow_pickle"),
        ("archive.extractall(folder)", "calls archive.extractall"),
        ("subprocess.run(line, shell=True)", "subprocess.run with shell"),
        ("jinja2.Environment(autoescape=False)", "with autoescape=False"),
    ],
)
def test_a_danger_would_be_found(source: str, danger: str) -> None:
    assert [d for d in dangers(source, "x.py") if danger in d]


def test_the_yaml_loader_is_derived_from_the_safe_one() -> None:
    import yaml

    from serplatform.strict_yaml import _StrictLoader

    assert issubclass(_StrictLoader, yaml.SafeLoader)
    assert not issubclass(_StrictLoader, yaml.UnsafeLoader)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:hunter2@host/db",
        "postgresql+psycopg2://me:hunter2@host:5432/db?sslmode=require&password=hunter2",
        "redis://:hunter2@host:6379/0",
        "s3://AKIAEXAMPLE:hunter2@bucket/x",
        "https://host/x?X-Amz-Signature=hunter2",
        "mysql://me:hun@ter2@host/db",
    ],
)
def test_secrets_of_urls_are_not_shown(url: str) -> None:
    shown = redact(f"could not reach {url}: refused")
    assert not re.search("hunter2|ter2|AKIA", shown)
    assert shown.startswith("could not reach ")


def test_password_of_a_storage_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = "mysql://me:hunter2@host/db"
    recorded = redact(whole)
    monkeypatch.delenv(STORAGE_VARIABLE, raising=False)
    with pytest.raises(BadInputError, match=f"set the environment variable {STORAGE_VARIABLE}"):
        full_storage(recorded)
    monkeypatch.setenv(STORAGE_VARIABLE, "mysql://me:hunter2@elsewhere/db")
    with pytest.raises(BadInputError, match="its password is not recorded"):
        full_storage(recorded)
    monkeypatch.setenv(STORAGE_VARIABLE, whole)
    assert full_storage(recorded) == whole
    assert full_storage("sqlite:///studies.db") == "sqlite:///studies.db"


def test_run_description_keeps_no_password_and_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serplatform.studies.request import SearchRequest
    from serplatform.studies.setup import create_run
    from serplatform.testing.synthetic import make_dataset

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "environment-hunter2")
    monkeypatch.delenv(STORAGE_VARIABLE, raising=False)
    monkeypatch.setenv(STORAGE_VARIABLE, "")  # restored afterwards
    url = "mysql://me:hunter2@host/db"
    request = SearchRequest(
        architectures=("moma",),
        dataset=make_dataset(tmp_path / "data"),
        storage=url,
    )
    create_run(tmp_path / "run", request, ["search", "moma", "--storage", url])
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path.name
    assert full_storage("mysql://***@host/db") == url


@pytest.mark.ray
def test_own_cluster_asks_for_a_token_and_shows_no_dashboard(ray_cluster: None) -> None:
    import subprocess
    import sys

    import ray

    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert not ray._private.worker.global_worker.node.webui_url
    address = ray.get_runtime_context().gcs_address
    stranger = subprocess.run(
        [sys.executable, "-c", f"import ray; ray.init('{address}'); print('entered')"],
        env={**os.environ, "RAY_AUTH_TOKEN": "0" * 64, "RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "entered" not in stranger.stdout
    assert "token" in stranger.stderr.lower() or "Unauthenticated" in stranger.stderr
