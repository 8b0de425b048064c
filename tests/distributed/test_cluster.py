"""What a cluster may grow to, from its own description."""

from __future__ import annotations

from pathlib import Path

import pytest

from serplatform.distributed.cluster import TO_COME, largest_resources, nodes_to_come
from serplatform.errors import BadInputError

BOOTSTRAP = """
max_workers: 8
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}}
  gpu: {max_workers: 6, resources: {CPU: 8, GPU: 1}}
  big: {resources: {CPU: 96, GPU: 8}}
"""


def test_cluster_that_scales_counts_the_nodes_it_may_start(tmp_path: Path) -> None:
    bootstrap = tmp_path / "bootstrap.yaml"
    bootstrap.write_text(BOOTSTRAP, encoding="utf-8")
    grown = largest_resources({"CPU": 4.0, "memory": 7.0}, bootstrap)
    assert grown.pop(TO_COME) == 1.0
    assert grown == {"CPU": 6 * 8.0 + 2 * 96.0, "GPU": 6 * 1.0 + 2 * 8.0, "memory": 7.0}
    nodes = nodes_to_come(bootstrap)
    assert [node.get("GPU", 0.0) for node in nodes] == [0.0] + 6 * [1.0] + 2 * [8.0]


def test_nodes_that_run_now_are_never_forgotten(tmp_path: Path) -> None:
    bootstrap = tmp_path / "bootstrap.yaml"
    bootstrap.write_text("max_workers: 0\nhead_node_type: h\navailable_node_types: {h: {}}\n")
    assert largest_resources({"CPU": 4.0}, bootstrap) == {"CPU": 4.0}


@pytest.mark.parametrize(
    "text", [None, "", "max_workers: many", "[1, 2", "available_node_types: 3"]
)
def test_without_a_description_the_cluster_is_what_it_is(tmp_path: Path, text: str | None) -> None:
    bootstrap = tmp_path / "bootstrap.yaml"
    if text is not None:
        bootstrap.write_text(text, encoding="utf-8")
    assert largest_resources({"CPU": 2.0}, bootstrap) == {"CPU": 2.0}


def test_a_cluster_of_ones_own_never_joins_one_that_happens_to_run(monkeypatch) -> None:
    import ray

    from serplatform.distributed import cluster

    asked: dict[str, object] = {}
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: asked.update(options))
    monkeypatch.setattr(cluster, "end_with_me", lambda: None)
    monkeypatch.setattr(cluster, "_keep_stdout_clean", lambda: None)
    cluster.connect(num_cpus=2)
    # without an address Ray looks for /tmp/ray/ray_current_cluster first
    assert (asked["address"], asked["num_cpus"]) == ("local", 2)


def test_what_a_cluster_may_grow_to_can_be_said_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERPLATFORM_MAX_RESOURCES", "CPU=64, GPU=8")
    grown = largest_resources({"CPU": 4.0, "memory": 7.0}, tmp_path / "none")
    assert grown == {"CPU": 64.0, "GPU": 8.0, "memory": 7.0, TO_COME: 1.0}


@pytest.mark.parametrize("text", ["64", "CPU=many", "CPU=1=2"])
def test_what_is_said_there_must_be_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SERPLATFORM_MAX_RESOURCES", text)
    with pytest.raises(BadInputError, match=r"SERPLATFORM_MAX_RESOURCES=.*write, for example, CPU"):
        largest_resources({"CPU": 4.0}, tmp_path / "none")
