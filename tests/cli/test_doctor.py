"""`serplatform doctor` finds what keeps the program from working, and says the remedy."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import pytest

from serplatform.api import doctor, doctor_machine
from serplatform.api.finding import Finding
from serplatform.cli.main import run


def found(topic: str, findings: list[Finding]) -> Finding:
    (finding,) = [f for f in findings if f.topic == topic]
    return finding


def test_a_usable_machine_is_said_to_be_one(capsys):
    assert run(["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["usable"]
    topics = {finding["topic"] for finding in said["findings"]}
    assert topics >= {
        *("serplatform", "python", "packages", "extra", "gpu", "processor", "memory", "limits"),
        *("temporary files", "disk", "cache", "audio", "text", "plugins", "storage", "ray"),
    }


def test_a_fault_has_a_remedy_and_an_exit_code(capsys, monkeypatch):
    monkeypatch.setenv("SERPLATFORM_CACHE", "/proc/none/here")
    assert run(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "FAULT cache" in said
    assert "set SERPLATFORM_CACHE" in said
    assert said.splitlines()[-1].startswith("1 fault(s)")


def test_neither_home_nor_user_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("LOGNAME", "ada")
    assert doctor.discreet("/home/ada/x and /scratch/ada: full") == "~/x and /scratch/USER: full"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SERPLATFORM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert all(str(tmp_path) not in f"{f.text} {f.remedy}" for f in doctor.examine())


def test_missing_and_untested_packages_are_named(monkeypatch):
    def installed(package: str) -> str | None:
        return {"optuna": None, "typer": "9.0"}.get(package, real(package))

    real = doctor._installed
    monkeypatch.setattr(doctor, "_installed", installed)
    missing, untested = doctor._packages()
    assert (missing.level, missing.text) == ("fault", "missing: optuna")
    assert "typer 9.0 (not" in untested.text


def test_an_extra_that_is_not_there_says_what_it_is_for(monkeypatch):
    real = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda n: None if n == "opensmile" else real(n))
    said = [f for f in doctor._extras() if f.text.startswith("opensmile")]
    assert [f.level for f in said] == ["note"]
    assert "compare_2016" in said[0].text
    assert "'serplatform[opensmile]'" in said[0].remedy


def test_every_extra_is_explained():
    extras = {extra for extra, _, _ in doctor._requirements() if extra}
    assert extras <= doctor._EXTRAS.keys() | {"docs"}


def test_few_open_files_are_noted(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    (limits,) = doctor_machine.limits()
    assert limits.level == "note"
    assert limits.remedy.startswith("ulimit -n 4096")


def test_a_broken_plugin_is_a_fault(monkeypatch, tmp_path):
    plugin = tmp_path / "broken.py"
    plugin.write_text("import nothing_of_that_name\n")
    monkeypatch.setenv("SERPLATFORM_PLUGINS", os.pathsep.join([str(plugin)]))
    (said,) = doctor._plugins()
    assert said.level == "fault"
    assert "nothing_of_that_name" in said.text


def test_a_gpu_that_torch_was_not_built_for_is_noted(monkeypatch):
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([Path("/dev/nvidia0")]))
    monkeypatch.setattr(doctor_machine, "_CUDA", __import__("re").compile("never in the file"))
    (said,) = doctor_machine.torch()
    assert said.level == "note"
    assert "CUDA build" in said.remedy


@pytest.mark.parametrize(
    ("address", "reason"), [("runs/here", "is no address"), ("s3://", "bucket")]
)
def test_storage_that_cannot_be_read_is_a_fault(address, reason):
    (said,) = doctor._storage(address)
    assert said.level == "fault"
    assert reason in said.text


def test_full_memory_is_noted(monkeypatch):
    monkeypatch.setattr(doctor_machine, "_LEAST_MEMORY", 1 << 60)
    assert found("memory", doctor.examine()).level == "note"


@pytest.mark.slow
@pytest.mark.ray
def test_ray_is_started_and_ended():
    import ray

    said = found("ray", doctor.examine(ray=True))
    assert said.level == "ok"
    assert "started and ended" in said.text
    assert not ray.is_initialized()
