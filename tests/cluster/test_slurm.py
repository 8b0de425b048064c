"""``cluster/slurm.sh``: its syntax, and what it hands to Slurm and Ray."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "cluster/slurm.sh"


def test_bash_reads_it():
    done = subprocess.run(["bash", "-n", SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_shellcheck_finds_nothing():
    program = shutil.which("shellcheck") or str(Path(sys.executable).parent / "shellcheck")
    if not os.access(program, os.X_OK):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([program, SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture
def slurm(tmp_path):
    """An environment in which `srun` prints what it was to run, and the token mode."""
    for name, text in {
        "scontrol": "#!/bin/sh\nprintf 'node-a\\nnode-b\\n'\n",
        "srun": (
            f"#!{sys.executable}\nimport json, os, sys\n"
            "keys = ('RAY_AUTH_MODE', 'SERPLATFORM_ADDRESS')\n"
            "print(json.dumps([sys.argv[1:], [os.environ[key] for key in keys]]))\n"
            "sys.exit(5)\n"
        ),
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "node-[a-b]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "1234567",
        "SLURM_CPUS_PER_TASK": "8",
    }


def test_every_node_runs_rays_symmetric_run_with_the_users_words(slurm):
    words = ["search", "moma", "--set", "model.x=[1, 2]; echo $HOME"]
    done = subprocess.run([SCRIPT, *words], env=slurm, capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    command, environment = json.loads(done.stdout)
    assert environment == ["token", "auto"]
    ray = command[command.index("ray") :]
    assert ray[:2] == ["ray", "symmetric-run"]
    assert ray[ray.index("--address") + 1] == "node-a:34567"
    assert ray[ray.index("--min-nodes") + 1] == "2"
    assert ray[ray.index("--") + 1 :] == ["serplatform", *words]


def test_ray_takes_the_options(slurm):
    """Ray's own parser takes the line apart as it is meant, and `ray start` knows the rest."""
    from ray.scripts.scripts import start
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args, symmetric_run

    done = subprocess.run([SCRIPT, "data", "d"], env=slurm, capture_output=True, text=True)
    line = json.loads(done.stdout)[0]
    line = line[line.index("symmetric-run") + 1 : line.index("--")]
    context = symmetric_run.make_context("symmetric-run", list(line))
    assert context.params["address"] == "node-a:34567"
    assert context.params["min_nodes"] == 2
    left = curate_and_validate_ray_start_args(line)
    options = start.make_context("start", left).params
    assert options["num_cpus"] == 8
    assert options["disable_usage_stats"] is True
    assert options["dashboard_host"] == "127.0.0.1"
