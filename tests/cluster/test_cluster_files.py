import copy
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
#: what `ray up` reads; the others are read by other programs, and tested beside this file
SITES = sorted(path for path in (ROOT / "cluster").glob("*.yaml") if path.stem != "kuberay")


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


def test_onprem_hosts_are_all_started_by_the_first_version_of_the_autoscaler():
    """The second takes the head for a worker and starts one too few; see tests/lab."""
    head = next(
        line
        for line in load(ROOT / "cluster/onprem.yaml")["head_start_ray_commands"]
        if "ray start" in line
    )
    assert "RAY_enable_autoscaler_v2=0 " in head
