"""Kill a search's driver at random moments, resume each time, and check that nothing is lost.

    python tests/faults/kill_driver.py --kills 100 --seed 0

Each round starts or resumes one small search, sends SIGKILL to its driver at a seeded random
moment (while it starts, trains, or writes its ensemble), checks that all its processes vanish,
and checks the files. At the end the search is resumed until it is complete. Exit code 1 when a
trial was lost, repeated, or trained an epoch again that had been saved, or when a process stayed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from serplatform.run_directory import RunDirectory
from serplatform.testing.search_checks import run_faults, study_trials, write_tiny_space
from serplatform.testing.synthetic import make_dataset

#: seconds after the driver's death within which its processes must have gone
GRACE = 45.0
TRIAL_EPOCHS = 25
#: faults after which there is no use in going on
MANY = 20


@dataclasses.dataclass
class Tally:
    """What happened over all rounds."""

    kills: int = 0
    while_starting: int = 0
    while_training: int = 0
    while_ending: int = 0
    already_over: int = 0
    carried_over: int = 0
    epochs_saved: int = 0
    slowest_trainer: float = 0.0
    slowest_exit: float = 0.0
    faults: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What a dead driver had left on disk.

    Attributes:
        records: trial to the bytes of its record.
        progress: trial in flight to the history it had saved.
    """

    records: dict[int, bytes]
    progress: dict[int, list[dict[str, Any]]]

    @classmethod
    def take(cls, run: RunDirectory) -> Snapshot:
        records = {
            int(file.stem.partition("-")[2]): file.read_bytes()
            for file in (run.path / "trials").glob("trial-*.json")
        }
        progress = {
            int(file.parent.name.partition("-")[2]): json.loads(file.read_text())["history"]
            for file in (run.path / "state").glob("trial-*/progress.json")
        }
        return cls(records, {n: h for n, h in progress.items() if n not in records})

    def faults(self, later: Snapshot) -> Iterator[str]:
        """What ``later`` has lost, or done again."""
        for number, content in self.records.items():
            if later.records.get(number) != content:
                yield f"trial {number} had ended; its record is lost or was written again"
        for number, saved in self.progress.items():
            if number in later.records:
                history = json.loads(later.records[number])["history"]
            elif number in later.progress:
                history = later.progress[number]
            else:
                yield f"trial {number} had saved {len(saved)} epochs; nothing is left of them"
                continue
            # the seconds an epoch took tell a continued training from a repeated one
            if history[: len(saved)] != saved:
                yield f"trial {number} had saved {len(saved)} epochs and trained them again"


def search_command(run: Path, dataset: Path, spaces: list[Path], trials: int) -> list[str]:
    """Start the search, or go on with it."""
    command = [sys.executable, "-m", "serplatform", "search"]
    if (run / "run.json").exists():
        return [*command, "--resume", "--out", str(run)]
    command += [space.stem for space in spaces]
    for space in spaces:
        command += ["--space", str(space)]
    return [*command, "--data", str(dataset), "--out", str(run), "--trials", str(trials)]


class Writes:
    """Counts what a search writes of its trials: states saved and trials recorded."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._seen: set[tuple[str, int]] = set()
        self._before = 0
        self._before = self.count()

    def count(self) -> int:
        for pattern in ("state/*/progress.json", "trials/trial-*.json"):
            for file in self._run.path.glob(pattern):
                with contextlib.suppress(FileNotFoundError):
                    self._seen.add((str(file), file.stat().st_mtime_ns))
        return len(self._seen) - self._before


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until the condition holds or the process has ended."""
    deadline = time.monotonic() + 300
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def trains(process: psutil.Process) -> bool:
    """Whether it is a process of Ray's that runs our code."""
    with contextlib.suppress(psutil.NoSuchProcess):
        title = " ".join(process.cmdline()[:1])
        return title.startswith("ray::") and "Agent" not in title
    return False


def vanish(processes: list[psutil.Process]) -> tuple[float, list[psutil.Process]]:
    """Seconds until all processes are gone, and those that stay."""
    begun = time.monotonic()
    left = processes
    while left and time.monotonic() - begun < GRACE:
        time.sleep(0.02)
        left = [process for process in left if alive(process)]
    return time.monotonic() - begun, left


def kill_once(
    command: list[str], run: RunDirectory, log: Path, rng: random.Random, tally: Tally
) -> None:
    """Run the command, kill it at a random moment, and wait for its processes to go or not."""
    phase = rng.choices(["starting", "training", "ending"], [0.2, 0.7, 0.1])[0]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
    if phase == "starting":
        time.sleep(rng.uniform(0.3, 10.0))
    elif phase == "training":
        wait_for(lambda: b"started" in log.read_bytes(), process)
        writes = Writes(run)
        many = rng.randint(0, 40)
        wait_for(lambda: writes.count() >= many, process)
        time.sleep(rng.uniform(0.0, 0.2))
    else:
        wait_for(lambda: b"Combining" in log.read_bytes(), process)
        time.sleep(rng.uniform(0.0, 1.0))
    if process.poll() is not None:
        tally.already_over += 1
        if process.returncode != 0:
            tally.faults.append(f"exit {process.returncode}: {log.read_text()[-2000:]}")
        return
    family = psutil.Process(process.pid).children(recursive=True)
    trainers = [member for member in family if trains(member)]
    text = log.read_text()
    process.kill()
    process.wait()
    tally.slowest_trainer = max(tally.slowest_trainer, vanish(trainers)[0])
    tally.kills += 1
    if "Combining" in text:
        tally.while_ending += 1
    elif "started" in text:
        tally.while_training += 1
    else:
        tally.while_starting += 1
    if rng.random() < 0.5:  # the other half resumes at once, beside what is still dying
        seconds, left = vanish(family)
        tally.slowest_exit = max(tally.slowest_exit, seconds)
        for orphan in left:
            tally.faults.append(f"a process stayed: {' '.join(orphan.cmdline())[:200]}")
            orphan.kill()


def attack(directory: Path, *, kills: int, trials: int, seed: int, quiet: bool = False) -> Tally:
    """Kill and resume one search after another until ``kills`` drivers are dead."""
    dataset = make_dataset(directory / "dataset", per_speaker=24, seconds=(0.3, 0.8), seed=seed)
    spaces = [
        write_tiny_space(directory / f"{name}.yaml", name, max_epochs=TRIAL_EPOCHS)
        for name in ("csa", "moma")
    ]
    rng = random.Random(seed)  # noqa: S311 - moments, not secrets
    tally = Tally()
    searches = reported = 0
    while tally.kills < kills and len(tally.faults) < MANY:
        run = RunDirectory(directory / f"run-{searches}")
        searches += 1
        before = Snapshot({}, {})
        while tally.kills < kills and len(tally.faults) < MANY:
            over = tally.already_over
            kill_once(
                search_command(run.path, dataset, spaces, trials),
                run,
                directory / "log.txt",
                rng,
                tally,
            )
            if not run.run_file.exists():
                continue
            after = Snapshot.take(run)
            tally.faults += [f"round {tally.kills}: {f}" for f in before.faults(after)]
            tally.carried_over += len(after.progress)
            tally.epochs_saved += sum(map(len, after.progress.values()))
            before = after
            for fault in tally.faults[reported:]:
                print(f"FAULT {fault}", flush=True)  # noqa: T201
            reported = len(tally.faults)
            if not quiet:
                print(  # noqa: T201
                    f"{tally.kills:4d} kills, search {searches}: {len(after.records)} of {trials} "
                    f"trials ended, in flight {sorted(after.progress)}, {len(tally.faults)} faults",
                    flush=True,
                )
            if tally.already_over > over:
                break
        time.sleep(3)
        done = subprocess.run(
            search_command(run.path, dataset, spaces, trials), capture_output=True, check=False
        )
        if done.returncode != 0:
            tally.faults.append(f"exit {done.returncode}: {done.stderr.decode()[-2000:]}")
        tally.faults += [f"round {tally.kills}: {f}" for f in before.faults(Snapshot.take(run))]
        tally.faults += run_faults(run.path, ended=True)
        if len(run.records()) != trials or len(study_trials(run.journal)) != trials:
            tally.faults.append(f"{len(run.records())} trials in the end instead of {trials}")
        if run.read_run()["status"] != "complete":
            tally.faults.append(f"the status in the end is {run.read_run()['status']}")
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--trials", type=int, default=12, help="of each search")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dir", type=Path, help="keep everything here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.dir or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        tally = attack(directory, kills=options.kills, trials=options.trials, seed=options.seed)
    print(json.dumps(dataclasses.asdict(tally), indent=2))  # noqa: T201
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
