"""The directory of one run: where each file lies, and how trials are recorded in it.

A trial is finished when its record ``trials/trial-00012.json`` exists: it is written last,
after the posteriors and models it names. ``trials.parquet`` is a table of all records.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from serplatform.artifacts.files import (
    partial_path,
    read_json,
    remove_own,
    write_json,
    write_parquet,
)
from serplatform.artifacts.layout import (
    MODEL_FILES,
    SCRATCH_FILES,
    STATE_FILES,
    SYSTEMS,
    TRIAL_NAME,
    RunLayout,
    did_you_mean,
)
from serplatform.artifacts.looks import Look, LookCount, digest_of
from serplatform.artifacts.posteriors import read_posterior_table
from serplatform.artifacts.records import read_record
from serplatform.artifacts.run import FoldFile, RunDescription
from serplatform.artifacts.trial import DEV_METRICS, TRIAL_STATES, TrialRecord, trials_table
from serplatform.errors import ArtifactError, BadInputError
from serplatform.storage.lease import Lease
from serplatform.storage.location import redact
from serplatform.storage.mirror import Mirror, local_path, recorded, shown


class RunDirectory(RunLayout):
    """Records of a run, and what is shared of it with object storage.

    Args:
        path: the run's directory, which need not exist yet; for a URI on object storage, this
            node's working copy is used.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(local_path(path))

    def __str__(self) -> str:
        return shown(self.path)

    @property
    def address(self) -> str:
        """What other processes and nodes open it by: an absolute path, or a URI."""
        return recorded(self.path)

    @cached_property
    def mirror(self) -> Mirror:
        """What is shared with the object storage that it lies on; a local run shares nothing."""
        return Mirror.of(self.path)

    def fetch_study(self) -> None:
        """Bring what a search needs to resume, and forget what is gone from the storage.

        Raises:
            RemoteError: the storage cannot be read.
        """
        files = (self.run_file, self.folds_file, self.journal, self.trials_table)
        folders = ("trials", "plugins", self.reference_directory.name)
        self.mirror.pull(*(file.name for file in files), *folders)

    def read_run(self) -> RunDescription:
        """The content of ``run.json``.

        Raises:
            ArtifactError: it is missing, damaged or of another schema version.
        """
        if not self.run_file.exists():
            what, place = "not a run directory (no run.json)", "the directory"
            for kind in ("bundle", "ensemble"):
                if (self.path / f"{kind}.json").exists():
                    what, place = f"is a result of another kind ({kind}.json)", "the run behind it"
            raise ArtifactError(
                f"{self}: {what}; give {place} that `serplatform search --out` wrote"
                f"{'' if self.path.exists() else did_you_mean(self.path, SYSTEMS[0])}"
            )
        return read_record(RunDescription, self.run_file, "run description", "run the search again")

    def write_run(self, run: RunDescription) -> None:
        """Write ``run.json`` atomically."""
        write_json(self.run_file, dict(run), checksum=True)

    def records(self, damaged: list[str] | None = None) -> dict[int, TrialRecord]:
        """All recorded trials by number.

        Args:
            damaged: if given, damaged records are left out, and a sentence on each is appended.

        Raises:
            ArtifactError: a record is damaged.
        """
        records: dict[int, TrialRecord] = {}
        for path in self.record_files():
            try:
                record = self.read_record(path)
            except ArtifactError as error:
                if damaged is None:
                    raise
                damaged.append(str(error))
                continue
            records[record["trial"]] = record
        return records

    def record_files(self) -> list[Path]:
        """The files of all records, by number; other files beside them are ignored."""
        paths = sorted((self.path / "trials").glob("trial-*.json"))
        return [path for path in paths if TRIAL_NAME.fullmatch(path.stem)]

    def unfinished(self) -> dict[int, Path]:
        """Trials that have a saved state: number to its directory."""
        paths = sorted((self.path / "state").glob("trial-*"))
        return {int(p.name[6:]): p for p in paths if TRIAL_NAME.fullmatch(p.name)}

    def read_record(self, path: Path) -> TrialRecord:
        """One trial's record.

        Raises:
            ArtifactError: it is missing or damaged.
        """
        again = f"`serplatform search --resume --out {self.path}` trains the trial again"
        record = read_record(TrialRecord, path, "trial record", again)
        if path.name != self.record_file(record["trial"]).name:
            raise ArtifactError(f"{path}: holds the record of trial {record['trial']}; {again}")
        lacking = [name for name in DEV_METRICS if name not in record.get("dev", {})]
        if lacking and record["state"] == "complete":
            what = ", ".join(f"dev.{name}" for name in lacking)
            raise ArtifactError(f"{path}: the trial record is damaged: lacks {what}; {again}")
        return record

    def read_folds(self, run: RunDescription) -> FoldFile:
        """The content of the fold file that ``run.json`` names.

        Raises:
            ArtifactError: it is missing, damaged, or not the one that the run was made with.
        """
        file = self.path / run.get("folds_file", self.folds_file.name)
        plan = read_record(FoldFile, file, "fold file", "make the folds again")
        if plan.get("hash", run["folds_hash"]) != run["folds_hash"]:
            raise ArtifactError(
                f"{file}: its hash is not the one in {self.run_file}; the folds are not those "
                "that the run was made with"
            )
        return plan

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write one trial's record atomically; this is what makes the trial count."""
        if record["state"] not in TRIAL_STATES:
            raise ValueError(f"state {record['state']!r} is not one of {TRIAL_STATES}")
        write_json(self.record_file(int(record["trial"])), dict(record), checksum=True)

    def remove_leftovers(self, trial: int, state: str) -> None:
        """Remove what a recorded trial no longer needs.

        That is its resumable state, and, if it did not complete, the models of the folds that
        had ended: no ensemble, page or prediction uses them.
        """
        remove_own(self.state_directory(trial), STATE_FILES)
        if state != "complete":
            remove_own(self.models_directory(trial), MODEL_FILES)
        for file in (self.posteriors_file(trial), self.record_file(trial)):
            partial_path(file).unlink(missing_ok=True)

    def remove_scratch(self) -> None:
        """Remove what Ray wrote for a search, in this process or in one that was killed."""
        remove_own(self.scratch, SCRATCH_FILES)

    def looks(self) -> list[Look]:
        """The looks at test rows, oldest first; one whose file is damaged counts as any other."""
        found: list[Look] = []
        for path in sorted(self.looks_directory.glob("look-*.json")):
            try:
                found.append(read_record(Look, path, "look at test rows"))
            except ArtifactError:
                found.append({"time": "", "command": "", "combiner": "", "seed": 0, "measured": {}})
        return sorted(found, key=lambda look: look["time"])

    def look(self, measured: Mapping[str, str], *, combiner: str, seed: int) -> LookCount:
        """Note that test rows are measured now; which look it is.

        Args:
            measured: by name, a digest of the test posteriors; where earlier looks measured all
                of them, this is no new one.
            combiner: registered name.
            seed: of the combiner.
        """
        self.mirror.attempt(lambda within: self.mirror.pull("looks", within=within))
        complete = "sealed" in self.read_run()  # else begun by a version that counted none
        complete &= self._known_looks() <= len(self.looks())
        if not set(measured.values()) <= _digests(self.looks()):
            look: Look = {
                "time": datetime.datetime.now(datetime.UTC).isoformat(),
                "command": redact(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
                "combiner": combiner,
                "seed": seed,
                "measured": dict(measured),
            }
            name = f"look-{digest_of(sorted(measured.values()))}.json"
            try:
                write_json(self.looks_directory / name, dict(look), checksum=True)
            except OSError:  # a run that may only be read
                count = len(self.looks()) + 1
                return LookCount(count, count, complete=False)
            keys = self.mirror.pending("looks")
            self.mirror.attempt(lambda within: self.mirror.push(keys, within=within))
        looks = self.looks()
        numbers = range(1, len(looks) + 1)
        seen = (n for n in numbers if set(measured.values()) <= _digests(looks[:n]))
        return LookCount(next(seen, len(looks)), len(looks), complete)

    def _known_looks(self) -> int:
        """Looks that the run's own ensemble was told of; more than there are: some were removed."""
        try:
            return int(
                read_json(self.path / "ensemble" / "ensemble.json", "ensemble").get("look", 0)
            )
        except (ArtifactError, BadInputError, OSError, TypeError, ValueError):
            return 0

    def read_posteriors(self, trial: int) -> pa.Table:
        """The posterior table of one trial; checked, see :func:`read_posterior_table`."""
        return read_posterior_table(self.posteriors_file(trial), self.read_run()["classes"])

    def write_trials_table(self, records: Sequence[TrialRecord] | None = None) -> None:
        """Write ``trials.parquet`` from the records (read from disk when not given)."""
        if records is None:
            records = list(self.records().values())
        write_parquet(self.trials_table, trials_table(records))


def _digests(looks: Sequence[Look]) -> set[str]:
    return {digest for look in looks for digest in look["measured"].values()}


class RunLock(contextlib.AbstractContextManager["RunLock"]):
    """Exclusive use of a run directory by one search at a time.

    The lock is the operating system's: it vanishes with its process, however that ends. On
    object storage a lease keeps other machines out (see ``storage.lease``).

    Raises:
        BadInputError: another process is using the directory.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.lease: Lease | None = None
        run.path.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(run.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._handle)
            raise BadInputError(
                f"{run}: another search is writing to this run; wait for it, or give another --out"
            ) from None
        try:
            if run.mirror.is_remote:
                self.lease = Lease(run.mirror.remote)
        except BaseException:
            os.close(self._handle)
            raise

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let other searches use the directory."""
        if self.lease is not None:
            self.lease.release()
        os.close(self._handle)
