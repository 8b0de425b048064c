"""What the descriptions beside the numbers say: where the data came from, and the folds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serplatform.report.evidence import Evidence


def description(evidence: Evidence) -> Mapping[str, Any]:
    """What says where the data came from: the first run, else the ensemble itself."""
    runs = evidence.source.runs
    if runs:
        return runs[0].info
    assert evidence.source.ensemble is not None  # noqa: S101 - a source has one or the other
    return evidence.source.ensemble.info


def dataset_of(evidence: Evidence) -> Mapping[str, Any]:
    """The description's account of the dataset; empty where it has none."""
    found = description(evidence).get("dataset")
    return found if isinstance(found, Mapping) else {}


def plan_of(evidence: Evidence) -> Mapping[str, Any]:
    """The fold plan, from the run's fold file or else from the description."""
    if evidence.source.runs:
        return evidence.source.runs[0].plan
    found = description(evidence).get("protocol")
    return found if isinstance(found, Mapping) else {"protocol": found or "unknown"}


def protocol_name(evidence: Evidence) -> str:
    """The protocol as the command line takes it."""
    plan = plan_of(evidence)
    return str(plan.get("protocol") or plan.get("name") or "unknown")
