"""Read what ``serplatform explain`` left in a run, and refuse what does not belong to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa

from serplatform.artifacts.explanations import (
    ExplanationsRecord,
    LabelsRecord,
    ShownRecord,
    ShownUtterances,
)
from serplatform.artifacts.files import file_sha256, read_parquet
from serplatform.artifacts.records import read_record
from serplatform.errors import ArtifactError
from serplatform.report.data import Need, NoDataError, ReportData, explanations_file
from serplatform.report.load import ReportedRun

FOLDER = "explanations"

_AGAIN = "run `serplatform explain` again"
_KEYS = ("trial", "architecture", "fold", "utterance_id", "speaker_id", "truth")

#: columns that figures need of each table
_COLUMNS = {
    "attention": (
        *(*_KEYS, "map", "frames", "spread"),
        *(f"{what}_{c}" for what in ("mass", "frames") for c in ("vowel", "consonant", "silence")),
    ),
    "statistics": (*_KEYS, "num_windows", "sampled_share", "elements"),
    "generation": (
        *(*_KEYS, "num_windows", "nll", "unit"),
        *(n + o for n in ("error", "previous", "mean", "sampled") for o in ("", "_over_time")),
    ),
    "framewise": (*_KEYS, "ends", "classes"),
    "embeddings": (*_KEYS, "prediction", "confidence", "x", "y"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explanations:
    """What was explained of one run; ``several``: the page shows several, so trials name theirs."""

    run: ReportedRun
    info: ExplanationsRecord
    several: bool

    @property
    def folder(self) -> Path:
        return self.run.path / FOLDER

    def name(self, trial: int, architecture: str) -> str:
        """What the page calls a trial."""
        label = f"{architecture} #{trial}"
        return f"{self.run.name}: {label}" if self.several else label

    def table(self, name: str) -> pa.Table:
        """One of the tables, e.g. ``attention``, which ``explanations.json`` must describe."""
        path = self._checked(f"{name}.parquet")
        table = read_parquet(path, "table")
        if lacking := [column for column in _COLUMNS[name] if column not in table.column_names]:
            raise ArtifactError(f"{FOLDER}/{path.name} lacks {', '.join(lacking)}; {_AGAIN}")
        return table

    def utterances(self) -> list[ShownRecord]:
        """Utterances that are shown whole."""
        path = self._checked("utterances.json")
        return read_record(ShownUtterances, path, "file of utterances", _AGAIN)["utterances"]

    def labels(self) -> LabelsRecord:
        """Attention by word and by phone.

        Raises:
            NoDataError: these explanations are older than that.
        """
        if (name := "attention_by_label.json") not in self.info["files"]:
            raise NoDataError(f"the explanations are of an older version; {_AGAIN}")
        return read_record(LabelsRecord, self._checked(name), "file of attention by word", _AGAIN)

    def _checked(self, name: str) -> Path:
        path = self.folder / name
        expected = self.info["files"].get(name)
        if not path.is_file() or file_sha256(path) != expected:
            raise ArtifactError(
                f"{FOLDER}/{name} is missing or is not what explanations.json describes; {_AGAIN}"
            )
        return path


def find_explanations(report: ReportData) -> tuple[Explanations, ...]:
    """The explanations of every run that has some.

    Raises:
        NoDataError: no run has any.
        ArtifactError: they are damaged, of another version, or were made with other data or
            folds than the run's.
    """
    report.require(Need.EXPLANATIONS)
    runs = report.source.runs
    found = []
    for run in runs:
        path = explanations_file(run)
        if not path.is_file():
            continue
        info = read_record(ExplanationsRecord, path, "description of explanations", _AGAIN)
        _check(run, info)
        found.append(Explanations(run=run, info=info, several=len(runs) > 1))
    return tuple(found)


def _check(run: ReportedRun, info: ExplanationsRecord) -> None:
    """Refuse explanations that are not of this run."""
    for what, ours, theirs in (
        ("dataset", run.info["dataset"]["fingerprint"], info["dataset_fingerprint"]),
        ("folds", run.info["folds_hash"], info["folds_hash"]),
        ("classes", list(run.classes), info["classes"]),
    ):
        if ours != theirs:
            raise ArtifactError(
                f"the explanations in {run.name} were made with another {what} than the run's; "
                f"{_AGAIN}"
            )
