"""``cluster/config.yaml`` brought up on a simulated AWS: keys, groups, nodes."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
pytest.importorskip("moto", reason="moto is not installed")


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """An account with the two instance profiles that the file asks for, and no nodes."""
    import boto3
    from moto import mock_aws

    (tmp_path / ".ssh").mkdir()
    for name, value in {
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        from ray.autoscaler._private.aws import utils

        iam = boto3.client("iam")
        for name in ("serplatform-head", "serplatform-worker"):
            iam.create_instance_profile(InstanceProfileName=name)
        yield boto3.client("ec2")
        utils.resource_cache.cache_clear()
        utils.client_cache.cache_clear()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ray_makes_a_head_and_spot_workers_with_no_port_open_but_ssh(aws):
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config, validate_config
    from ray.autoscaler.tags import (
        TAG_RAY_NODE_KIND,
        TAG_RAY_NODE_NAME,
        TAG_RAY_NODE_STATUS,
        TAG_RAY_USER_NODE_TYPE,
    )

    config = prepare_config(yaml.safe_load((ROOT / "cluster/config.yaml").read_text()))
    validate_config(config)
    config = bootstrap_aws(config)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for kind, name in (("head", "head"), ("worker", "gpu")):
        tags = {
            TAG_RAY_NODE_KIND: kind,
            TAG_RAY_NODE_STATUS: "uninitialized",
            TAG_RAY_NODE_NAME: f"ray-{name}",
            TAG_RAY_USER_NODE_TYPE: name,
        }
        provider.create_node(config["available_node_types"][name]["node_config"], tags, 1)

    reservations = aws.describe_instances()["Reservations"]
    nodes = {n["InstanceType"]: n for r in reservations for n in r["Instances"]}
    assert set(nodes) == {"m6i.xlarge", "g5.2xlarge"}
    assert nodes["g5.2xlarge"]["InstanceLifecycle"] == "spot"
    assert "InstanceLifecycle" not in nodes["m6i.xlarge"]
    for node, profile in (("m6i.xlarge", "head"), ("g5.2xlarge", "worker")):
        assert nodes[node]["IamInstanceProfile"]["Arn"].endswith(f"serplatform-{profile}")
    (group,) = (
        group
        for group in aws.describe_security_groups()["SecurityGroups"]
        if group["GroupName"] == "serplatform"
    )
    open_to_all = [rule for rule in group["IpPermissions"] if rule["IpRanges"]]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in open_to_all] == [(22, 22)]
    for rule in group["IpPermissions"]:
        assert all(pair["GroupId"] == group["GroupId"] for pair in rule["UserIdGroupPairs"])
    used = {g["GroupId"] for node in nodes.values() for g in node["SecurityGroups"]}
    assert used == {group["GroupId"]}
