"""``cluster/kuberay.yaml``: read by Ray's own autoscaler, checked against the fields of a RayJob.

KubeRay's definition is published in no registry that these tests may use. The fields below are
those of the API reference of KubeRay 1.6, as far as this file has to do with them; pods are
checked for the fields that they use.
"""

import copy
import os
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "cluster/kuberay.yaml"


def record(required=(), **properties):
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TEXT, FLAG, COUNT = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}
ANY = {}
TEXTS = {"type": "object", "additionalProperties": TEXT}
QUANTITIES = {
    "type": "object",
    "additionalProperties": {"type": "string", "pattern": r"^[0-9.]+([KMGTPE]i?|m)?$"},
}
NAME = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 47}
CONTAINER = record(
    ("name", "image"),
    name=NAME,
    image=TEXT,
    command=ANY,
    args=ANY,
    env={"type": "array", "items": record(("name",), name=TEXT, value=TEXT, valueFrom=ANY)},
    envFrom={
        "type": "array",
        "items": record(secretRef=record(name=TEXT, optional=FLAG), configMapRef=ANY, prefix=TEXT),
    },
    resources=record(requests=QUANTITIES, limits=QUANTITIES),
    volumeMounts=ANY,
    lifecycle=ANY,
    ports=ANY,
    securityContext=ANY,
)
TEMPLATE = record(
    ("spec",),
    metadata=ANY,
    spec=record(
        ("containers",),
        containers={"type": "array", "items": CONTAINER, "minItems": 1},
        volumes=ANY,
        nodeSelector=ANY,
        tolerations=ANY,
        affinity=ANY,
        serviceAccountName=TEXT,
        imagePullSecrets=ANY,
    ),
)
HEAD = record(
    ("template",),
    template=TEMPLATE,
    headService=ANY,
    enableIngress=FLAG,
    labels=TEXTS,
    resources=TEXTS,
    rayStartParams=TEXTS,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]},
)
WORKERS = record(
    ("groupName", "template", "maxReplicas", "minReplicas"),
    groupName=NAME,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    idleTimeoutSeconds=COUNT,
    numOfHosts=COUNT,
    suspend=FLAG,
    labels=TEXTS,
    resources=TEXTS,
    rayStartParams=TEXTS,
    scaleStrategy=ANY,
    template=TEMPLATE,
)
AUTOSCALER = record(
    version={"enum": ["v1", "v2"]},
    idleTimeoutSeconds=COUNT,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    image=TEXT,
    imagePullPolicy=TEXT,
    resources=record(requests=QUANTITIES, limits=QUANTITIES),
    env=ANY,
    envFrom=ANY,
    securityContext=ANY,
    volumeMounts=ANY,
)
CLUSTER = record(
    ("headGroupSpec",),
    rayVersion=TEXT,
    authOptions=record(mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=AUTOSCALER,
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": WORKERS},
    gcsFaultToleranceOptions=ANY,
    headServiceAnnotations=TEXTS,
    managedBy=TEXT,
    suspend=FLAG,
    upgradeStrategy=ANY,
)
JOB = record(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=record(("name",), name=NAME, namespace=TEXT, labels=TEXTS, annotations=TEXTS),
    spec=record(
        ("entrypoint", "rayClusterSpec"),
        activeDeadlineSeconds=COUNT,
        preRunningDeadlineSeconds=COUNT,
        backoffLimit=COUNT,
        clusterSelector=TEXTS,
        deletionStrategy=ANY,
        entrypoint=TEXT,
        entrypointNumCpus={"type": "number"},
        entrypointNumGpus={"type": "number"},
        entrypointResources=TEXT,
        jobId=TEXT,
        managedBy=TEXT,
        metadata=TEXTS,
        rayClusterSpec=CLUSTER,
        runtimeEnvYAML=TEXT,
        shutdownAfterJobFinishes=FLAG,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        submitterConfig=ANY,
        submitterPodTemplate=ANY,
        suspend=FLAG,
        ttlSecondsAfterFinished=COUNT,
    ),
)


@pytest.fixture
def job():
    return yaml.safe_load(FILE.read_text())


def containers(job):
    cluster = job["spec"]["rayClusterSpec"]
    templates = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [t["template"]["spec"]["containers"][0] for t in templates]


def test_it_has_the_fields_of_a_rayjob(job):
    jsonschema.validate(job, JOB)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "backofLimit"), 3),
        (("spec", "backoffLimit"), "3"),
        (("spec", "rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "rayClusterSpec", "headGroupSpec", "serviceType"), "Public"),
    ],
)
def test_a_wrong_field_is_noticed(job, path, value):
    place = job
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError, match=r"backof|token|num-cpus|Public|'3'|0 is"):
        jsonschema.validate(job, JOB)


def test_rays_own_reader_finds_workers_from_none_to_eight_with_a_gpu_each(job):
    from ray.autoscaler._private.kuberay.autoscaling_config import (
        _derive_autoscaling_config_from_ray_cr,
    )
    from ray.autoscaler._private.util import validate_config

    resource = {"metadata": {"name": "x", "namespace": "y"}, "spec": job["spec"]["rayClusterSpec"]}
    config = _derive_autoscaling_config_from_ray_cr(copy.deepcopy(resource))
    validate_config(config)
    kinds = config["available_node_types"]
    assert kinds["headgroup"]["resources"]["CPU"] == 0
    gpu = kinds["gpu"]
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, 8)
    assert (gpu["resources"]["CPU"], gpu["resources"]["GPU"]) == (8, 1)
    told = dict(
        pair.split("=")
        for variable in containers(job)[0]["env"]
        if variable["name"] == "SERPLATFORM_MAX_RESOURCES"
        for pair in variable["value"].split(",")
    )
    assert {name: int(amount) for name, amount in told.items()} == {
        name: 8 * gpu["resources"][name] for name in ("CPU", "GPU")
    }


def test_ray_and_python_are_the_tested_ones_and_the_token_is_asked_for(job):
    ray = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)[1]
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == ray
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    image = (ROOT / "cluster/Dockerfile").read_text()
    assert f"FROM rayproject/ray:{ray}-py311-gpu\n" in image
    assert len({container["image"] for container in containers(job)}) == 1


def test_the_image_is_made_of_what_exists_and_suffices():
    lines = (ROOT / "cluster/Dockerfile").read_text().splitlines()
    copied = [w for line in lines if line.startswith("COPY") for w in line.split()[2:-1]]
    assert all((ROOT / name).exists() for name in copied)
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "serplatform"} <= set(
        copied
    )
    assert "search_spaces" in copied


@pytest.mark.parametrize(
    ("resumed", "begun", "commands", "code"),
    [
        (0, 0, ["--resume"], 0),
        (1, 0, ["--resume"], 1),
        (130, 0, ["--resume"], 130),
        (2, 0, ["--resume", "moma"], 0),
        (2, 2, ["--resume", "moma"], 2),
    ],
    ids=["whole", "failed again", "interrupted", "no run yet", "bad input"],
)
def test_the_entry_point_resumes_by_itself(job, tmp_path, resumed, begun, commands, code):
    """Only where there is no run (exit code 2) is one begun."""
    program = tmp_path / "serplatform"
    program.write_text(
        '#!/bin/sh\necho "$@" >> "$LOG"\n'
        f'case "$2" in --resume) exit {resumed};; *) exit {begun};; esac\n'
    )
    program.chmod(0o755)
    log = tmp_path / "log"
    done = subprocess.run(
        ["sh", "-c", job["spec"]["entrypoint"]],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "LOG": str(log),
            "DATA": "s3://bucket/some data",
            "OUT": "s3://bucket/a run",
        },
        timeout=30,
        check=False,
    )
    assert done.returncode == code
    lines = log.read_text().splitlines()
    assert [line.split()[1] for line in lines] == commands
    assert all("--out s3://bucket/a run" in line for line in lines)
