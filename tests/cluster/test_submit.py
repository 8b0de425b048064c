"""``cluster/submit.py`` on a machine that stands for the head: run, detach, watch, stop, fetch."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fake_serplatform(tmp_path: Path) -> dict[str, str]:
    """An environment whose only ``serplatform`` prints what it got and exits with 7."""
    command = tmp_path / "bin" / "serplatform"
    command.parent.mkdir()
    command.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "print(json.dumps([sys.argv[1:], os.environ.get('SERPLATFORM_ADDRESS')]))\n"
        "sys.exit(7)\n"
    )
    command.chmod(0o755)
    return {"PATH": str(command.parent)}


def submit(arguments: list[str], environment: dict[str, str], tmp_path: Path):
    """Run submit.py by a Python that has no ``serplatform`` beside it."""
    python = tmp_path / "python"
    python.symlink_to(os.path.realpath(sys.executable))
    return subprocess.run(
        [python, "-S", ROOT / "cluster/submit.py", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_submit_becomes_the_command_with_its_arguments_and_exit_code(fake_serplatform, tmp_path):
    arguments = ["search", "moma", "--set", "model.x=[1, 2]; echo $HOME", "--out", "a b"]
    done = submit(arguments, fake_serplatform, tmp_path)
    assert done.returncode == 7, done.stderr
    assert yaml.safe_load(done.stdout) == [arguments, "auto"]


def test_submit_keeps_an_address_that_is_set(fake_serplatform, tmp_path):
    done = submit(["train"], {**fake_serplatform, "SERPLATFORM_ADDRESS": "ray-head:6379"}, tmp_path)
    assert yaml.safe_load(done.stdout) == [["train"], "ray-head:6379"]


def test_submit_says_when_the_package_is_not_installed(tmp_path):
    done = submit(["search"], {"PATH": str(tmp_path)}, tmp_path)
    assert done.returncode == 1
    assert "no 'serplatform' beside" in done.stderr
    assert "setup_commands" in done.stderr


# -- detached


class Head:
    """A home with a ``serplatform`` that does what its first word says."""

    def __init__(self, path: Path) -> None:
        self.home = path / "home"
        self.environment = {"PATH": f"{path / 'bin'}:/usr/bin:/bin", "HOME": str(self.home)}
        self.home.mkdir()
        command = path / "bin" / "serplatform"
        command.parent.mkdir()
        command.write_text(
            f"#!{sys.executable}\n"
            "import os, signal, sys, time\n"
            "def closed(*_):\n"
            "    print('books closed', flush=True)\n"
            "    sys.exit(130)\n"
            "signal.signal(signal.SIGINT, closed)\n"
            "print(sys.argv[1:], os.environ['SERPLATFORM_ADDRESS'], flush=True)\n"
            "while sys.argv[1] == 'long': time.sleep(0.05)\n"
            "time.sleep(float(sys.argv[2]) if sys.argv[1] == 'sleep' else 0)\n"
            "print('the end')\n"
            "sys.exit(7 if sys.argv[1] == 'fail' else 0)\n"
        )
        command.chmod(0o755)
        self.python = path / "python"
        self.python.symlink_to(os.path.realpath(sys.executable))
        self.script = self.home / "submit.py"
        self.script.write_text((ROOT / "cluster/submit.py").read_text())

    def submit(self, *words: str, **options) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, "-S", self.script, *words],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            **options,
        )

    def detach(self, *words: str) -> str:
        done = self.submit("--detach", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[2].rstrip(";")


@pytest.fixture
def head(tmp_path):
    head = Head(tmp_path)
    yield head
    for file in head.home.glob("serplatform-jobs/*/job.json"):
        job = json.loads(file.read_text())
        for which in ("guard", "command"):
            if psutil.pid_exists(job[which]["pid"]):
                psutil.Process(job[which]["pid"]).kill()


def test_a_detached_command_goes_on_and_is_watched_to_its_end(head):
    name = head.detach("sleep", "1.5", "[1, 2]; echo $HOME")
    assert "running" in head.submit("--jobs").stdout
    watched = head.submit("--watch")
    assert watched.returncode == 0, watched.stderr
    lines = watched.stdout.splitlines()
    assert lines[0].startswith(f"{name}: serplatform sleep 1.5")
    assert lines[1:3] == ["['sleep', '1.5', '[1, 2]; echo $HOME'] auto", "the end"]
    assert lines[-1] == f"{name} ended with exit code 0"


def test_a_watcher_gets_the_commands_exit_code(head):
    name = head.detach("fail")
    other = head.detach("sleep", "0")
    assert head.submit("--watch", name).returncode == 7
    assert head.submit("--watch", other).returncode == 0
    assert [line.split()[3:5] for line in head.submit("--jobs").stdout.splitlines()] == [
        ["exit", "7"],
        ["exit", "0"],
    ]


def test_it_survives_the_death_of_the_connection(head):
    """Whatever ran in the session of the shell that detached it is killed."""
    shell = subprocess.run(
        ["bash", "-c", f'"{head.python}" -S "{head.script}" --detach sleep 1 && kill -9 -- -$$'],
        env=head.environment,
        cwd=head.home,
        start_new_session=True,
        capture_output=True,
        timeout=60,
    )
    assert shell.returncode == -9
    assert head.submit("--watch").stdout.splitlines()[-1].endswith("ended with exit code 0")


def test_stop_is_an_interrupt_that_lets_the_command_close_its_books(head):
    name = head.detach("long")
    stopped = head.submit("--stop", name)
    assert stopped.returncode == 130
    assert "books closed" in stopped.stdout


def test_a_command_that_was_killed_with_its_guard_is_called_so(head):
    name = head.detach("long")
    job = json.loads((head.home / "serplatform-jobs" / name / "job.json").read_text())
    for which in ("guard", "command"):
        psutil.Process(job[which]["pid"]).kill()
    time.sleep(0.2)
    watched = head.submit("--watch", name)
    assert watched.returncode == 1
    assert "was killed" in watched.stdout
    assert "search --resume --out RUN" in watched.stdout
    assert "killed" in head.submit("--jobs").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--watch"], "there are no jobs"),
        (["--detach"], "--detach needs a command"),
        (["--fetch", "runs/mine"], "on your own machine, without `ray submit`"),
    ],
)
def test_what_cannot_be_done_is_said(head, words, message):
    done = head.submit(*words)
    assert done.returncode == 2
    assert message in done.stderr


def test_an_unknown_job_is_refused_with_the_known_ones(head):
    name = head.detach("sleep", "0")
    done = head.submit("--stop", "other")
    assert done.returncode == 2
    assert f"no job 'other'; there are: {name}" in done.stderr


def test_fetch_copies_what_lies_at_a_uri(tmp_path):
    source = tmp_path / "run"
    (source / "trials").mkdir(parents=True)
    (source / "run.json").write_text("{}")
    (source / "trials" / "trial-00000.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, ROOT / "cluster/submit.py", "--fetch", "c.yaml", source.as_uri(), "to"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "to").rglob("*.json")) == [
        "run.json",
        "trial-00000.json",
    ]
