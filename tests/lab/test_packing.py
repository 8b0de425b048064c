"""Fractions of GPUs on two hosts that say they have one each; there is none behind them."""

from __future__ import annotations

import json

import pytest

from tests.support.lab import Lab, lacking
from tests.support.lab_cluster import ENVIRONMENT, ROOT, LabCluster

reason = lacking()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.timeout(900),
    pytest.mark.skipif(reason is not None, reason=f"no lab of hosts here: {reason}"),
]

#: Plans as a search does, and has Ray reserve one place more than was planned.
PLAN = """
import json, sys, ray
from ray.util.placement_group import placement_group
from serplatform.distributed.cluster import connect, largest_resources, node_sizes
from serplatform.distributed.tune.placement import SearchLimits
from serplatform.distributed.tune.placement import plan_placement
from serplatform.errors import BadInputError

connect("auto")
resources = largest_resources(dict(ray.cluster_resources()))
found = {}
for gpus in (0.25, 0.5, 1.0):
    limits = SearchLimits(trials=None, seconds=None, begun=0.0, gpus_per_trial=gpus)
    placement = plan_placement(resources, limits, node_sizes())
    bundle = {"CPU": float(placement.threads), "GPU": placement.gpus}
    groups = [placement_group([bundle]) for _ in range(placement.concurrent + 1)]
    ready, waiting = ray.wait([g.ready() for g in groups], num_returns=len(groups), timeout=20)
    found[str(gpus)] = [placement.concurrent, len(ready)]
    for group in groups:
        ray.util.remove_placement_group(group)
try:
    plan_placement(
        resources,
        SearchLimits(trials=None, seconds=None, begun=0.0, gpus_per_trial=2.0),
        node_sizes(),
    )
except BadInputError as error:
    found["refused"] = str(error)
print("found", json.dumps(found))
"""


def test_four_trials_of_a_quarter_share_each_gpu_and_the_fifth_waits(tmp_path):
    with Lab(tmp_path, hosts=2) as lab, LabCluster(lab, cpus=4, start_options="--num-gpus=1"):
        (tmp_path / "plan.py").write_text(PLAN)
        done = lab.hosts[0].run(
            f"RAY_AUTH_MODE=token PYTHONPATH={ROOT} {ENVIRONMENT}/bin/python {tmp_path}/plan.py",
            timeout=300,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("found ")]
    assert lines, done.stdout + done.stderr
    found = json.loads(lines[0].removeprefix("found "))
    # planned, and what Ray places at a time: as many, and not one more
    assert found["0.25"] == [8, 8]
    assert found["0.5"] == [4, 4]
    assert found["1.0"] == [2, 2]
    assert "room for 0 only on" in found["refused"]
    assert "the largest of which has 1 GPU" in found["refused"]
