"""Break hosts of a cluster under a search, and check that nothing is lost.

    python tests/faults/host_faults.py [FAULT ...] [--rounds 1] [--seed 0]

Needs what ``tests.support.lab`` needs: root, iproute2, openssh-server. For each fault three
hosts form a Ray cluster, a search runs on all of them as a user would start it, and the fault
strikes while every host trains. The search then finishes, or stops with a message and a run
that ``--resume`` brings to its end once the cluster is whole again. Exit code 1 when it hangs,
when a finished trial is lost or recorded twice, or when saved epochs are trained again.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from kill_driver import Snapshot

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests.support
from serplatform.run_directory import RunDirectory
from serplatform.testing.synthetic import make_dataset
from tests.support.lab import Host, Lab, lacking
from tests.support.lab_cluster import LabCluster
from tests.support.search_checks import run_faults, study_trials, write_tiny_space

TRIALS = 7
#: seconds within which a search must have ended after a fault, one way or the other
PATIENCE = 420.0


@dataclasses.dataclass
class Outcome:
    """What became of a search.

    Attributes:
        fault: that struck it.
        ended_before: trials that had ended by then.
        in_flight: trials that were in training.
        alone: whether the search came to its end without a resumption.
        exit_code: of the search that was struck; None when it was killed with its host.
        seconds: from the fault to the end of that search.
        message: its last line.
        retried: times that it tried a trial again.
        faults: everything that is wrong.
    """

    fault: str
    ended_before: int = 0
    in_flight: int = 0
    alone: bool = False
    exit_code: int | None = None
    seconds: float = 0.0
    message: str = ""
    retried: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)


class Scene:
    """A search on a cluster, and its hosts."""

    def __init__(self, directory: Path, lab: Lab, cluster: LabCluster, seed: int) -> None:
        self.directory = directory
        self.lab = lab
        self.cluster = cluster
        self.run = RunDirectory(directory / "run")
        self.rng = random.Random(seed)  # noqa: S311 - moments, not secrets

    # -- the search

    def search(self, *words: str) -> Path:
        """Start a detached search; the directory of its job."""
        done = self.cluster.submit("--detach", "search", *words)
        if done.returncode != 0:
            raise RuntimeError(f"the search did not start:\n{done.stdout}\n{done.stderr}")
        jobs = (self.cluster.head.home / "serplatform-jobs").glob("*/job.json")
        return max(jobs, key=lambda file: file.stat().st_mtime_ns).parent

    def finished(self, job: Path) -> bool:
        """Whether a job has ended, or gone with its host."""
        return (job / "exit").exists() or not self.cluster.head.find(job.name)

    def wait(self, job: Path, patience: float) -> bool:
        """Wait for the end of a job; False when it does not come."""
        return wait_for(lambda: self.finished(job), patience)

    def trainers(self, host: Host) -> list[psutil.Process]:
        """Processes that train on a host."""
        return [p for p in host.find("ray::") if ".train" in " ".join(p.cmdline())]

    def everyone_trains(self) -> bool:
        """Whether a trial has ended and each host trains one."""
        saved = {p.parent.name for p in self.run.path.glob("state/*/progress.json")}
        return (
            len(saved) >= len(self.lab.hosts)
            and any(self.run.path.glob("trials/trial-*.json"))
            and all(self.trainers(host) for host in self.lab.hosts)
        )

    def repair(self) -> None:
        """Bring every host back, and the cluster as ``ray up`` does."""
        for host in self.lab.hosts:
            with contextlib.suppress(RuntimeError):
                host.reconnect()
            if host.processes():
                host.thaw()
            else:
                host.lose()
                host.start()
        self.lab.wait(self.lab.hosts)
        self.cluster.up()


def wait_for(condition: Callable[[], bool], patience: float) -> bool:
    """Wait until a condition holds; False when it does not in time."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.25)
    return True


# -- faults: each takes the scene and returns when it has struck


def kill_worker(scene: Scene) -> None:
    """SIGKILL to a process that trains."""
    scene.rng.choice(scene.trainers(scene.lab.hosts[1])).kill()


def kill_raylet(scene: Scene) -> None:
    """SIGKILL to a host's raylet."""
    for process in scene.lab.hosts[1].find("raylet/raylet"):
        process.kill()


def lose_host(scene: Scene) -> None:
    """A host is gone for good."""
    scene.lab.hosts[1].lose()


def freeze_host(scene: Scene) -> None:
    """A host stops for a minute, and goes on as if nothing had been."""
    scene.lab.hosts[1].freeze()
    time.sleep(60)
    scene.lab.hosts[1].thaw()


def freeze_host_for_long(scene: Scene) -> None:
    """A host stops for so long that its trial is given away, and goes on with it all the same."""
    scene.lab.hosts[1].freeze()
    time.sleep(150)
    scene.lab.hosts[1].thaw()


def cut_briefly(scene: Scene) -> None:
    """A host's network is gone for 20 s."""
    scene.lab.hosts[1].disconnect()
    time.sleep(20)
    scene.lab.hosts[1].reconnect()


def cut_for_good(scene: Scene) -> None:
    """A host's network is gone; what runs there goes on, and its files are still shared."""
    scene.lab.hosts[1].disconnect()


def kill_head_ray(scene: Scene) -> None:
    """Ray's head processes die; the search's own process lives."""
    for text in ("gcs/gcs_server", "raylet/raylet"):
        for process in scene.cluster.head.find(text):
            process.kill()


def kill_control_store(scene: Scene) -> None:
    """Ray's control store on the head dies; all else lives."""
    for process in scene.cluster.head.find("gcs/gcs_server"):
        process.kill()


def restart_head(scene: Scene) -> None:
    """The head is gone with all that ran there, the search's own process too."""
    scene.cluster.head.lose()


FAULTS: dict[str, Callable[[Scene], None]] = {
    "worker": kill_worker,
    "raylet": kill_raylet,
    "host": lose_host,
    "freeze": freeze_host,
    "freeze-long": freeze_host_for_long,
    "cut": cut_briefly,
    "cut-for-good": cut_for_good,
    "control-store": kill_control_store,
    "head-ray": kill_head_ray,
    "head": restart_head,
}


def strike(scene: Scene, fault: str) -> Outcome:
    """Run a search, strike it, and bring it to its end."""
    outcome = Outcome(fault)
    data = make_dataset(scene.directory / "data", per_speaker=24, seconds=(0.3, 0.8))
    space = write_tiny_space(
        scene.directory / "moma.yaml",
        "moma",
        max_epochs=60,
        fixed={"training.patience": 60},
    )
    job = scene.search(
        *("moma", "--space", str(space), "--data", str(data), "--out", str(scene.run.path)),
        *("--trials", str(TRIALS), "--pruner", "none"),
    )
    if not wait_for(lambda: scene.everyone_trains() or scene.finished(job), 240):
        outcome.faults.append("the search did not come to train on every host")
    time.sleep(scene.rng.uniform(0, 2))
    if scene.finished(job):
        outcome.faults.append(f"the search ended too early: {(job / 'log').read_text()[-2000:]}")
        return outcome
    before = Snapshot.take(scene.run)
    outcome.ended_before, outcome.in_flight = len(before.records), len(before.progress)
    begun = time.monotonic()
    FAULTS[fault](scene)
    if not scene.wait(job, PATIENCE):
        outcome.faults.append(f"the search hangs {PATIENCE:.0f} s after the fault")
        for process in scene.cluster.head.find(str(scene.run.path)):
            process.kill()
        scene.wait(job, 60)
    outcome.seconds = round(time.monotonic() - begun, 1)
    log = (job / "log").read_text(errors="replace")
    lines = [line for line in log.splitlines() if line.strip()]
    outcome.message = lines[-1] if lines else ""
    outcome.retried = log.count("again")
    with contextlib.suppress(FileNotFoundError):
        outcome.exit_code = int((job / "exit").read_text())
    after = Snapshot.take(scene.run)
    outcome.faults += before.faults(after)
    outcome.alone = outcome.exit_code == 0
    if outcome.alone:
        after = before
    else:
        if outcome.exit_code is not None and "--resume" not in log:
            outcome.faults.append(f"the message does not say how to go on: {lines[-8:]}")
        scene.repair()
        again = scene.search("--resume", "--out", str(scene.run.path))
        if not scene.wait(again, PATIENCE):
            outcome.faults.append("the resumed search hangs")
        if not (again / "exit").exists() or (again / "exit").read_text() != "0":
            outcome.faults.append(f"not resumed: {(again / 'log').read_text()[-2000:]}")
    outcome.faults += after.faults(Snapshot.take(scene.run))
    outcome.faults += run_faults(scene.run.path, ended=True)
    records = scene.run.records()
    failed = {n: r["error"] for n, r in records.items() if r["state"] == "failed"}
    outcome.faults += [f"trial {n} failed: {error}" for n, error in failed.items()]
    if len(records) != TRIALS or len(study_trials(scene.run.journal)) != TRIALS:
        outcome.faults.append(f"{len(records)} trials in the end instead of {TRIALS}")
    return outcome


def attack(directory: Path, fault: str, seed: int) -> Outcome:
    """A fresh cluster, and one fault."""
    (directory / "lab").mkdir(parents=True)
    with Lab(directory / "lab") as lab, LabCluster(lab) as cluster:
        return strike(Scene(directory, lab, cluster, seed), fault)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fault", nargs="*", choices=[*FAULTS, []], help="all by default")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dir", type=Path, help="keep everything here")
    options = parser.parse_args()
    if reason := lacking():
        print(f"no lab here: {reason}")  # noqa: T201
        return 1
    bad = 0
    for number in range(options.rounds):
        for fault in options.fault or FAULTS:
            with tempfile.TemporaryDirectory() as temporary:
                directory = (options.dir or Path(temporary)) / f"{fault}-{number}"
                outcome = attack(directory, fault, options.seed + number)
            bad += bool(outcome.faults)
            print(json.dumps(dataclasses.asdict(outcome), indent=2), flush=True)  # noqa: T201
    print(f"{bad} of {options.rounds * len(options.fault or FAULTS)} faults did harm")  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
