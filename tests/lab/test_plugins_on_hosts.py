"""A plugin that lies on one host works on all; what it imports must be on all."""

from __future__ import annotations

from pathlib import Path

import pytest

from serplatform.artifacts.files import read_json, read_parquet
from serplatform.cli.new import command as new
from serplatform.run_directory import RunDirectory
from serplatform.testing.synthetic import make_dataset
from tests.support.lab import Lab, lacking
from tests.support.lab_cluster import LabCluster

reason = lacking()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(reason is not None, reason=f"no lab of hosts here: {reason}"),
]

#: each host has a /dev/shm of its own
PRIVATE = "/dev/shm/plugins"  # noqa: S108


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Lab(tmp_path_factory.mktemp("lab"), hosts=2) as lab, LabCluster(lab) as cluster:
        yield cluster


def put(cluster: LabCluster, name: str, text: str) -> str:
    """Write a file that only the head can see."""
    head = cluster.head
    done = head.run(f"mkdir -p {PRIVATE} && cat > {PRIVATE}/{name} <<'END'\n{text}\nEND")
    assert done.returncode == 0, done.stderr
    (other,) = (host for host in cluster.lab.hosts if host.name != head.name)
    assert other.run(f"test -e {PRIVATE}/{name}").returncode != 0
    return f"{PRIVATE}/{name}"


def test_a_file_of_the_head_trains_and_extracts_on_both_hosts(cluster, tmp_path: Path) -> None:
    parts = []
    for kind, name in (("architecture", "tcn"), ("combiner", "median"), ("feature", "bands")):
        new(kind, name, tmp_path / f"{name}.py")
        parts.append((tmp_path / f"{name}.py").read_text(encoding="utf-8"))
    text = "\n".join(parts).replace('"log_mel_23"', '"bands"')
    file = put(cluster, "f.py", text)
    data, run = tmp_path / "data", tmp_path / "run"
    prepared = cluster.submit(
        *("prepare", "demo", "--out", str(data), "--utterances", "160", "--features", "bands"),
        *("--plugin", file),
    )
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    small = ("--set", "training.max_epochs=4", "--set", "hidden_dim=16", "--pruner", "none")
    searched = cluster.submit(
        *("search", "tcn", "--data", str(data), "--out", str(run), "--trials", "8", *small),
        *("--plugin", file, "--combiner", "median", "--no-explain"),
    )
    assert searched.returncode == 0, searched.stdout + searched.stderr
    hosts = read_parquet(RunDirectory(run).trials_table)["host"].to_pylist()
    assert set(hosts) == {host.name for host in cluster.lab.hosts}
    assert read_json(run / "ensemble" / "ensemble.json")["combiner"] == "median"
    bundle, audio = tmp_path / "bundle", next((data / "audio").rglob("*.*"))
    exported = cluster.submit("export", str(run / "ensemble"), "--out", str(bundle))
    assert exported.returncode == 0, exported.stdout + exported.stderr
    predicted = cluster.submit("predict", str(bundle), str(audio), "--trust-plugins")
    assert predicted.returncode == 0, predicted.stdout + predicted.stderr
    assert audio.name in predicted.stdout
    grouped = cluster.submit(  # both workers of one trial
        *("train", "tcn", "--data", str(data), "--out", str(tmp_path / "group")),
        *("--workers", "2", "--set", "training.max_epochs=2", "--set", "hidden_dim=16"),
        *("--plugin", file),
    )
    assert grouped.returncode == 0, grouped.stdout + grouped.stderr


def test_what_a_file_imports_and_a_host_lacks_is_one_sentence(cluster, tmp_path: Path) -> None:
    new("architecture", "tcn", tmp_path / "tcn.py")
    text = (tmp_path / "tcn.py").read_text(encoding="utf-8")
    put(cluster, "only_here.py", "x = 1")
    needs = f'import sys; sys.path.append("{PRIVATE}")\nimport only_here\n'
    head, _, rest = text.partition("import dataclasses\n")
    file = put(cluster, "needs.py", f"{head}{needs}import dataclasses\n{rest}")
    (other,) = (host for host in cluster.lab.hosts if host.name != cluster.head.name)
    make_dataset(tmp_path / "data", features={"log_mel_23": 23})
    done = cluster.submit(  # one worker on each host
        *("train", "tcn", "--data", str(tmp_path / "data"), "--plugin", file),
        *("--out", str(tmp_path / "run"), "--workers", "2", "--set", "training.max_epochs=2"),
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0, said[-3000:]
    assert "ModuleNotFoundError: No module named 'only_here'" in said
    assert f"install it on {other.name}" in said
