"""Members of an ensemble: which trials they are, what they weigh and what they add."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from serplatform.artifacts.ensemble import EnsembleRecord, MemberRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnsembleMember:
    """One trial's part in the ensemble; metrics are means over the folds that use it.

    Attributes:
        weights: one per fold, 0 where it is not used.
        shares: weights divided by their fold's sum.
        temperatures: one per fold, None where posteriors were not calibrated.
        dev_uar: of the trial alone.
        gain: UAR on dev rows, which the weights were fitted on, that the ensemble loses without
            it; None where unknown.
    """

    name: str
    architecture: str
    weights: tuple[float, ...]
    shares: tuple[float, ...]
    temperatures: tuple[float | None, ...]
    dev_uar: float | None
    gain: float | None

    @property
    def num_folds(self) -> int:
        return sum(share > 0 for share in self.shares)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def member_labels(info: EnsembleRecord) -> dict[str, str]:
    """The ensemble's name of each member to what the page calls it."""
    several = len(info["runs"]) > 1
    labels = {}
    for row in (row for fold in info["folds"] for row in fold["members"]):
        label = f"{row['architecture']} #{row['trial']}"
        run = row["member"].rpartition("/")[0]
        labels[row["member"]] = f"{run}: {label}" if several else label
    return labels


def read_members(info: EnsembleRecord) -> tuple[EnsembleMember, ...]:
    """Members of ``ensemble.json`` with their weights in every fold, largest mean share first."""
    folds = info["folds"]
    labels = member_labels(info)
    rows: dict[str, list[MemberRecord | None]] = {}
    for i, fold in enumerate(folds):
        for row in fold["members"]:
            rows.setdefault(row["member"], [None] * len(folds))[i] = row
    members = []
    for name, each in rows.items():
        found = [row for row in each if row is not None]
        members.append(
            EnsembleMember(
                name=labels[name],
                architecture=found[0]["architecture"],
                weights=tuple(r["weight"] if r else 0.0 for r in each),
                shares=tuple(r["share"] if r else 0.0 for r in each),
                temperatures=tuple(r["temperature"] if r else None for r in each),
                dev_uar=_mean([row["dev"]["uar"] for row in found]),
                gain=_mean([(row["gain"]["dev"] or {}).get("uar") for row in found]),
            )
        )
    return tuple(sorted(members, key=lambda m: (-sum(m.shares), m.name)))
