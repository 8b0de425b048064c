"""What a page shows on request: evaluations on other data, and its own test rows by group."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from serplatform.artifacts.ensemble import ensemble_identity
from serplatform.artifacts.evaluation import EvaluationRecord
from serplatform.artifacts.records import read_record
from serplatform.artifacts.trial import trial_identity
from serplatform.errors import BadInputError
from serplatform.report.data import ReportData
from serplatform.report.load import ReportSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extras:
    """``evaluations`` are files, ``genders`` as in :class:`ReportData`."""

    evaluations: tuple[Path, ...] = ()
    genders: Mapping[str, str] | None = None


def with_extras(report: ReportData, extras: Extras | None) -> ReportData:
    """The same with what was asked for.

    Raises:
        BadInputError: an evaluation is of a system that is not on the page.
        ArtifactError: one is missing or damaged.
    """
    if extras is None:
        return report
    return dataclasses.replace(
        report,
        genders=extras.genders,
        evaluations=tuple(read_evaluation(path, report.source) for path in extras.evaluations),
    )


def read_evaluation(path: Path, source: ReportSource) -> EvaluationRecord:
    """What `evaluate --out` wrote of a trial or the ensemble of a page."""
    again = f"run `serplatform evaluate {source.path} --data DATA --out {path.name}` again"
    found = read_record(EvaluationRecord, path, "evaluation", again)
    runs = source.runs
    known = {trial_identity(t.record, run.info["folds_hash"]) for run in runs for t in run.trials}
    if source.ensemble is not None:
        known.add(ensemble_identity(source.ensemble.info))
    if not found.get("evaluated"):
        raise BadInputError(
            f"{path}: does not say which system of {found['system']} it is of; {again}"
        )
    if found["evaluated"] not in known:
        raise BadInputError(
            f"{path}: is an evaluation of {found['system_title']}, which is no trial and not the "
            f"ensemble of {source.path}; give the page of {found['system']}, or {again}"
        )
    return found
