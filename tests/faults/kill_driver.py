"""Kill a search's driver at random moments, resume each time, and check that nothing is lost.

    python tests/faults/kill_driver.py --kills 100 --seed 0

Each round starts or resumes one small search, sends SIGKILL to its driver at a seeded random
moment (while it starts, trains, or writes its ensemble), checks that all its processes vanish,
and checks the files. At the end the search is resumed until it is complete. Exit code 1 when a
trial was lost, repeated, or trained an epoch again that had been saved, or when a process stayed.

Starting Python and Ray is most of what a kill costs. So the share ``--own-ray`` of the drivers are
commands with a Ray of their own, and the others are forked from this process, which has imported
all they need, and attach to one Ray cluster that outlives them: there, whatever a dead driver's
trial still does meets the next driver.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests.support
from serplatform.run_directory import RunDirectory
from serplatform.testing.synthetic import make_dataset
from tests.support.search_checks import run_faults, study_trials, write_tiny_space

#: seconds after the driver's death within which its processes must have gone
GRACE = 45.0
TRIAL_EPOCHS = 25
#: faults after which there is no use in going on
MANY = 20


@dataclasses.dataclass
class Tally:
    """What happened over all rounds."""

    kills: int = 0
    with_own_ray: int = 0
    while_starting: int = 0
    while_training: int = 0
    while_ending: int = 0
    already_over: int = 0
    carried_over: int = 0
    epochs_saved: int = 0
    epochs_in_all: int = 0
    seconds: float = 0.0
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


class Driver(Protocol):
    """A running command."""

    @property
    def pid(self) -> int | None: ...

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""

    def kill(self) -> None: ...


class Forked:
    """A command in a copy of this process, which has imported what commands import."""

    def __init__(self, words: list[str], log: Path) -> None:
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=self._run, args=(words, log))
        self._process.start()
        self.pid = self._process.pid

    @staticmethod
    def _run(words: list[str], log: Path) -> None:
        from serplatform.cli.main import run

        os.setsid()
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(target, number)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        os._exit(run(words))

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


class Own:
    """A command as a user starts it."""

    def __init__(self, words: list[str], log: Path) -> None:
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "serplatform", *words], stdout=stream, stderr=stream
            )
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


_HEAD = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(
    initialize_head=True,
    head_node_args={"num_cpus": 2, "include_dashboard": False, "temp_dir": sys.argv[1]},
)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@contextlib.contextmanager
def standing_cluster(directory: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A Ray cluster of 2 CPUs in a process of its own: its address, and that process."""
    # what the forked drivers find imported
    import serplatform.distributed.search
    import serplatform.distributed.tune.adapters
    import serplatform.ensembles.build
    import serplatform.report.build
    import serplatform.training.trial  # noqa: F401

    head = subprocess.Popen(
        [sys.executable, "-c", _HEAD, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert head.stdin is not None
    assert head.stdout is not None
    try:
        yield head.stdout.readline().strip(), psutil.Process(head.pid)
    finally:
        head.stdin.close()
        head.wait()


def search_words(run: Path, dataset: Path, spaces: list[Path], trials: int) -> list[str]:
    """Start the search, or go on with it."""
    if (run / "run.json").exists():
        return ["search", "--resume", "--out", str(run)]
    words = ["search", *(space.stem for space in spaces)]
    for space in spaces:
        words += ["--space", str(space)]
    return [*words, "--data", str(dataset), "--out", str(run), "--trials", str(trials)]


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


def wait_for(condition: Callable[[], bool], process: Driver) -> None:
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
        return title.startswith("ray::") and "Agent" not in title and "IDLE" not in title
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
    words: list[str],
    log: Path,
    rng: random.Random,
    tally: Tally,
    cluster: tuple[str, psutil.Process] | None,
) -> None:
    """Run the command, kill it at a random moment, and wait for its processes to go or not.

    Args:
        words: of the command.
        log: for what it writes.
        rng: for the moment.
        tally: is added to.
        cluster: that it attaches to; None: it starts its own.
    """
    phase = rng.choices(["starting", "training", "ending"], [0.2, 0.7, 0.1])[0]
    log.write_bytes(b"")
    process: Driver = Own(words, log) if cluster is None else Forked(words, log)
    if phase == "starting":
        time.sleep(rng.uniform(0.3, 10.0) if cluster is None else rng.uniform(0.01, 3.0))
    elif phase == "training":
        wait_for(lambda: b"started" in log.read_bytes(), process)
        writes = Writes(RunDirectory(words[words.index("--out") + 1]))
        many = rng.randint(0, 40)
        wait_for(lambda: writes.count() >= many, process)
        time.sleep(rng.uniform(0.0, 0.2))
    else:
        wait_for(lambda: b"Combining" in log.read_bytes(), process)
        time.sleep(rng.uniform(0.0, 1.0))
    code = process.poll()
    if code is not None:
        tally.already_over += 1
        if code != 0:
            tally.faults.append(f"exit {code}: {log.read_text()[-2000:]}")
        return
    family = psutil.Process(process.pid if cluster is None else cluster[1].pid).children(
        recursive=True
    )
    trainers = [member for member in family if trains(member)]
    text = log.read_text()
    process.kill()
    tally.kills += 1
    tally.with_own_ray += cluster is None
    if "Combining" in text:
        tally.while_ending += 1
    elif "started" in text:
        tally.while_training += 1
    else:
        tally.while_starting += 1
    if rng.random() < 0.5:  # the other half resumes at once, beside what is still dying
        seconds, left = vanish(trainers)
        tally.slowest_trainer = max(tally.slowest_trainer, seconds)
        if cluster is None:
            more, left = vanish(family)
            tally.slowest_exit = max(tally.slowest_exit, seconds + more)
        for orphan in left:
            tally.faults.append(f"a process stayed: {' '.join(orphan.cmdline())[:200]}")
            orphan.kill()


def attack(
    directory: Path,
    *,
    kills: int,
    trials: int,
    seed: int,
    own_ray: float,
    cluster: tuple[str, psutil.Process] | None,
) -> Tally:
    """Kill and resume one search after another until ``kills`` drivers are dead."""
    begun = time.monotonic()
    dataset = make_dataset(directory / "dataset", per_speaker=24, seconds=(0.3, 0.8), seed=seed)
    spaces = [
        write_tiny_space(directory / f"{name}.yaml", name, max_epochs=TRIAL_EPOCHS)
        for name in ("csa", "moma")
    ]
    rng = random.Random(seed)  # noqa: S311 - moments, not secrets
    tally = Tally()
    log = directory / "log.txt"
    searches = reported = 0
    while tally.kills < kills and len(tally.faults) < MANY:
        run = RunDirectory(directory / f"run-{searches}")
        searches += 1
        before = Snapshot({}, {})
        while tally.kills < kills and len(tally.faults) < MANY:
            over = tally.already_over
            words = search_words(run.path, dataset, spaces, trials)
            own = rng.random() < own_ray
            if cluster is not None and not own:
                kill_once([*words, "--address", cluster[0]], log, rng, tally, cluster)
            else:
                kill_once(words, log, rng, tally, None)
            tally.seconds = round(time.monotonic() - begun, 1)
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
            print(  # noqa: T201
                f"{tally.seconds:7.1f} s, {tally.kills} kills, search {searches}: "
                f"{len(after.records)} of {trials} trials ended, in flight "
                f"{sorted(after.progress)}, {len(tally.faults)} faults",
                flush=True,
            )
            if tally.already_over > over:
                break
        last = Own(search_words(run.path, dataset, spaces, trials), log)
        wait_for(lambda: False, last)
        if last.poll() != 0:
            tally.faults.append(f"exit {last.poll()}: {log.read_text()[-2000:]}")
        tally.faults += [f"round {tally.kills}: {f}" for f in before.faults(Snapshot.take(run))]
        tally.faults += run_faults(run.path, ended=True)
        records = run.records()
        tally.epochs_in_all += sum(int(record["epochs"]) for record in records.values())
        if len(records) != trials or len(study_trials(run.journal)) != trials:
            tally.faults.append(f"{len(records)} trials in the end instead of {trials}")
        if run.read_run()["status"] != "complete":
            tally.faults.append(f"the status in the end is {run.read_run()['status']}")
    tally.seconds = round(time.monotonic() - begun, 1)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--trials", type=int, default=12, help="of each search")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dir", type=Path, help="keep everything here")
    parser.add_argument(
        "--own-ray", type=float, default=0.25, help="share of drivers that start their own Ray"
    )
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kill-")))
        directory = options.dir or temporary / "runs"
        directory.mkdir(parents=True, exist_ok=True)
        cluster = None
        if options.own_ray < 1:
            cluster = stack.enter_context(standing_cluster(temporary / "ray"))
        tally = attack(
            directory,
            kills=options.kills,
            trials=options.trials,
            seed=options.seed,
            own_ray=options.own_ray,
            cluster=cluster,
        )
    print(json.dumps(dataclasses.asdict(tally), indent=2))  # noqa: T201
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
