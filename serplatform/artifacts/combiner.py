"""What a combiner's fit leaves in ``ensemble.json`` and in bundles."""

from __future__ import annotations

from typing import NotRequired

from serplatform.artifacts.records import Count, Number, Positive, Record, Weight


class CombinerParameters(Record):
    """What any combiner's fit leaves; kinds of combiners add to it."""

    combiner: str


class PoolParameters(CombinerParameters):
    weights: list[Weight]


class GreedyParameters(PoolParameters):
    objective: str
    num_rounds: Positive
    num_initial: Count
    num_bags: Count
    bag_share: float
    max_members: Positive


class ProductParameters(PoolParameters):
    objective: str
    choice: str
    max_members: NotRequired[Positive]


class StackingParameters(PoolParameters):
    objective: str
    used: list[Number]
    present: list[Number]
    coefficients: list[list[float]]
    intercepts: list[float]
    strength: float
    held_out_by: str


class AutoParameters(CombinerParameters):
    objective: str
    chosen: dict[str, object]
    held_out: dict[str, list[float]]
    held_out_by: str
