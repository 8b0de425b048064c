"""A search on three hosts, started, watched and fetched with Ray's own commands."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from serplatform.artifacts.files import read_parquet
from serplatform.run_directory import RunDirectory
from serplatform.testing.synthetic import make_dataset
from tests.support.lab import Lab, lacking
from tests.support.lab_cluster import ENVIRONMENT, ROOT, LabCluster
from tests.support.search_checks import run_faults, write_tiny_space

reason = lacking()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif(reason is not None, reason=f"no lab of hosts here: {reason}"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """What all hosts share: a dataset and a space."""
    path = tmp_path_factory.mktemp("shared")
    make_dataset(path / "data", per_speaker=12, seconds=(0.3, 0.6))
    write_tiny_space(path / "moma.yaml", "moma", max_epochs=20, fixed={"training.patience": 20})
    write_tiny_space(
        path / "still.yaml",
        "csa",
        max_epochs=3,
        fixed={"model.dropout": 0.0, "training.batch_size": 16},
    )
    return path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Lab(tmp_path_factory.mktemp("lab")) as lab, LabCluster(lab) as cluster:
        yield cluster


def search(cluster, place, run, *words, space="moma", architecture="moma"):
    return cluster.submit(
        *("search", architecture, "--space", str(place / f"{space}.yaml")),
        *("--data", str(place / "data"), "--out", str(run), *map(str, words)),
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said, unfolded from the lines that a terminal breaks."""
    return " ".join((done.stdout + done.stderr).split())


def test_a_search_uses_every_host_and_its_results_come_back(cluster, place, tmp_path):
    names = {host.name for host in cluster.lab.hosts}
    assert cluster.nodes() == [host.address for host in cluster.lab.hosts]
    run = cluster.head.home / "runs" / "mine"
    started = cluster.submit(
        *("--detach", "search", "moma", "--space", str(place / "moma.yaml")),
        *("--data", str(place / "data"), "--out", str(run), "--trials", "9"),
        *("--pruner", "none"),
    )
    assert started.returncode == 0, said(started)
    watched = cluster.submit("--watch", timeout=900)
    assert watched.returncode == 0, said(watched)
    assert "9 trained" in said(watched)
    assert "exit 0" in said(cluster.submit("--jobs"))
    assert run_faults(run, ended=True) == []
    hosts = read_parquet(RunDirectory(run).trials_table, "trials table")["host"].to_pylist()
    assert set(hosts) == names

    fetched = subprocess.run(
        [
            *(ENVIRONMENT / "bin/python", ROOT / "cluster/submit.py"),
            *("--fetch", cluster.file, "runs/mine", tmp_path / "mine"),
        ],
        env=cluster.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert fetched.returncode == 0, fetched.stderr
    assert run_faults(tmp_path / "mine", ended=True) == []
    assert (tmp_path / "mine/report.html").read_bytes() == (run / "report.html").read_bytes()


def test_two_workers_on_two_hosts_train_as_one_host_does(cluster, place, tmp_path):
    """The worker group is spread, as each host offers one CPU; the numbers are the same."""
    runs = {}
    for workers in (1, 2):
        runs[workers] = tmp_path / f"workers-{workers}"
        process = cluster.start_submit(
            *("search", "csa", "--space", str(place / "still.yaml")),
            *("--data", str(place / "data"), "--out", str(runs[workers])),
            *("--trials", "1", "--workers", str(workers)),
            log=tmp_path / f"log-{workers}",
        )
        trained = set()
        while process.poll() is None:
            for host in cluster.lab.hosts:
                if workers == 2 and host.find("RayTrainWorker"):
                    trained.add(host.name)
            time.sleep(0.2)
        assert process.returncode == 0, (tmp_path / f"log-{workers}").read_text()[-3000:]
        assert len(trained) == (2 if workers == 2 else 0)
    one, two = (RunDirectory(runs[workers]) for workers in (1, 2))
    first, second = one.read_posteriors(0), two.read_posteriors(0)
    assert first["utterance_id"] == second["utterance_id"]
    for name in first.column_names:
        if name.startswith("p_"):
            np.testing.assert_allclose(first[name], second[name], rtol=0, atol=1e-5)
    losses = [[e["train_loss"] for e in run.records()[0]["history"]] for run in (one, two)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0, atol=1e-5)


def test_what_the_cluster_cannot_hold_is_refused_at_once(cluster, place, tmp_path):
    for words, message in (
        (("--workers", 4), "4 CPU of 3"),
        (("--gpus-per-trial", 1), "1 GPU of 0"),
    ):
        begun = time.monotonic()
        done = search(cluster, place, tmp_path / "run", "--trials", 2, *words)
        assert done.returncode != 0
        assert message in said(done)
        assert "Traceback" not in said(done)
        assert time.monotonic() - begun < 90
        assert not (tmp_path / "run" / "run.json").exists()


def test_more_trials_than_places_wait_their_turn(cluster, place, tmp_path):
    done = search(cluster, place, tmp_path / "run", "--trials", 7, "--concurrent", 50)
    assert done.returncode == 0, said(done)
    assert run_faults(tmp_path / "run", ended=True) == []


def test_nobody_gets_in_without_the_token_and_no_dashboard_is_reached(cluster):
    head, other = cluster.lab.hosts[:2]
    code = (
        "import os; os.environ['RAY_AUTH_TOKEN'] = '0' * 64; import ray; "
        f"ray.init('{head.address}:6379', logging_level='ERROR'); print('got', 'in')"
    )
    tried = other.run(f'RAY_AUTH_MODE=token {ENVIRONMENT}/bin/python -c "{code}"')
    assert "got in" not in tried.stdout
    assert tried.returncode != 0
    assert "auth" in (tried.stdout + tried.stderr).lower()
    reach = "import socket; socket.create_connection(('{}', 8265), timeout=5); print('open')"
    assert "open" in head.run(f'{ENVIRONMENT}/bin/python -c "{reach.format("127.0.0.1")}"').stdout
    refused = other.run(f'{ENVIRONMENT}/bin/python -c "{reach.format(head.address)}"')
    assert "ConnectionRefusedError" in refused.stderr


def test_ray_down_leaves_no_ray_behind(cluster):
    """Ray stops the head alone; the workers end by themselves when they miss it for a minute."""
    assert cluster.down().returncode == 0
    deadline = time.monotonic() + 180
    while left := [host.name for host in cluster.lab.hosts if host.find("raylet/raylet")]:
        assert time.monotonic() < deadline, f"Ray still runs on {left}"
        time.sleep(2)


# -- Slurm's script on the same hosts, with Slurm's two programs played by a shell


def test_the_slurm_script_runs_one_search_on_all_nodes(place, tmp_path):
    (tmp_path / "lab").mkdir()
    with Lab(tmp_path / "lab") as lab:
        token = "0123456789abcdef" * 4
        for host in lab.hosts:
            (host.home / ".ray").mkdir()
            (host.home / ".ray/auth_token").write_text(token)
        tools = tmp_path / "bin"
        tools.mkdir()
        addresses = " ".join(host.address for host in lab.hosts)
        ssh = (
            f"ssh -F none -i {lab.user_key} -o StrictHostKeyChecking=no "
            "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        )
        export = (
            f"export PATH={ENVIRONMENT}/bin:/usr/bin:/bin PYTHONPATH={ROOT} OMP_NUM_THREADS=1 "
            "RAY_AUTH_MODE=$RAY_AUTH_MODE SERPLATFORM_ADDRESS=$SERPLATFORM_ADDRESS "
            "RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=$RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT"
        )
        programs = {
            "scontrol": f"#!/bin/sh\nprintf '%s\\n' {addresses}\n",
            "srun": (
                "#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nprocesses=()\n"
                f'for host in {addresses}; do\n  {ssh} "root@$host" "{export}; $*" &\n'
                '  processes+=("$!")\ndone\ncode=0\n'
                'for process in "${processes[@]}"; do wait "$process" || code=$?; done\n'
                'exit "$code"\n'
            ),
        }
        for name, text in programs.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        run = tmp_path / "run"
        done = subprocess.run(
            [
                *(ROOT / "cluster/slurm.sh", "search", "moma", "--space", place / "moma.yaml"),
                *("--data", place / "data", "--out", run, "--trials", "6", "--pruner", "none"),
            ],
            env={
                "PATH": f"{tools}:/usr/bin:/bin",
                "SLURM_JOB_NODELIST": "hosts",
                "SLURM_JOB_NUM_NODES": "3",
                "SLURM_JOB_ID": "7",
                "SLURM_CPUS_PER_TASK": "1",
            },
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert run_faults(run, ended=True) == []
        files = sorted((run / "trials").glob("*.json"))
        assert {json.loads(f.read_text())["host"] for f in files} == {h.name for h in lab.hosts}
