import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SITES = sorted((ROOT / "cluster").glob("*.yaml"))


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def prepare(config: dict) -> dict:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def test_there_are_cluster_files():
    assert {path.name for path in SITES} >= {"config.yaml", "onprem.yaml"}


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_ray_accepts_the_cluster_file(path):
    prepared = prepare(load(path))
    assert prepared["cluster_name"] == "serplatform"
    assert any("--constraint constraints.txt" in line for line in prepared["setup_commands"])


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_ray_refuses_a_misspelt_key(path):
    from jsonschema import ValidationError

    with pytest.raises(ValidationError, match="max_wrkers"):
        prepare({**load(path), "max_wrkers": 3})


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_what_is_copied_exists_and_suffices_to_install(path):
    mounts = load(path)["file_mounts"]
    token = mounts.pop("~/.ray/auth_token")
    assert token == "~/.ray/auth_token"
    for remote, local in mounts.items():
        assert remote == f"~/serplatform/{local}"
        assert (ROOT / local).exists()
    needed = {"serplatform", "search_spaces", "pyproject.toml", "README.md", "constraints.txt"}
    assert needed <= set(mounts.values())


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_every_node_asks_for_the_token_and_opens_no_dashboard(path):
    prepared = prepare(load(path))
    starts = [
        line
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for line in prepared[key]
        if "ray start" in line
    ]
    assert len(starts) == 2
    for line in starts:
        assert "RAY_AUTH_MODE=token " in line
    head, worker = starts
    assert "--dashboard-host=127.0.0.1" in head
    assert "--dashboard-host" not in worker


def test_aws_images_hold_the_tested_ray_and_a_supported_python():
    docker = load(ROOT / "cluster/config.yaml")["docker"]
    ray_version = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)[1]
    for key in ("head_image", "worker_image"):
        version, python, _ = docker[key].rpartition(":")[2].split("-")
        assert version == ray_version
        assert python == "py311"


def test_aws_gpu_nodes_are_spot_start_at_none_and_leave_when_idle():
    config = prepare(load(ROOT / "cluster/config.yaml"))
    gpu = config["available_node_types"]["gpu"]
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert gpu["min_workers"] == 0
    assert gpu["max_workers"] > 0
    assert gpu["resources"]["GPU"] == 1
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}
    assert 0 < config["idle_timeout_minutes"] <= 30
    assert "IpPermissions" not in config["provider"]["security_group"]


@pytest.fixture
def fake_serplatform(tmp_path: Path) -> dict[str, str]:
    """An environment whose only ``serplatform`` prints what it got and exits with 7."""
    command = tmp_path / "bin" / "serplatform"
    command.parent.mkdir()
    command.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "print(json.dumps([sys.argv[1:], os.environ.get('SERPLATFORM_ADDRESS')]))\n"
        "sys.exit(7)\n"
    )
    command.chmod(0o755)
    return {"PATH": str(command.parent)}


def submit(arguments: list[str], environment: dict[str, str], tmp_path: Path):
    """Run submit.py by a Python that has no ``serplatform`` beside it."""
    python = tmp_path / "python"
    python.symlink_to(os.path.realpath(sys.executable))
    return subprocess.run(
        [python, "-S", ROOT / "cluster/submit.py", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_submit_becomes_the_command_with_its_arguments_and_exit_code(fake_serplatform, tmp_path):
    arguments = ["search", "moma", "--set", "model.x=[1, 2]; echo $HOME", "--out", "a b"]
    done = submit(arguments, fake_serplatform, tmp_path)
    assert done.returncode == 7, done.stderr
    assert yaml.safe_load(done.stdout) == [arguments, "auto"]


def test_submit_keeps_an_address_that_is_set(fake_serplatform, tmp_path):
    done = submit(["train"], {**fake_serplatform, "SERPLATFORM_ADDRESS": "ray-head:6379"}, tmp_path)
    assert yaml.safe_load(done.stdout) == [["train"], "ray-head:6379"]


def test_submit_says_when_the_package_is_not_installed(tmp_path):
    done = submit(["search"], {"PATH": str(tmp_path)}, tmp_path)
    assert done.returncode == 1
    assert "no 'serplatform' beside" in done.stderr
    assert "setup_commands" in done.stderr
