"""What this machine has and lacks for the work, with the remedy of each finding.

Nothing here imports torch or Ray, unless a GPU is there to be seen or Ray is to be tried.
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import importlib.metadata
import importlib.util
import locale
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import serplatform
from serplatform import environment, plugins
from serplatform.api import doctor_machine
from serplatform.api.finding import Finding
from serplatform.errors import BadInputError, SerplatformError

#: what an extra is for
_EXTRAS = {
    "opensmile": "openSMILE's features (egemaps_v02, compare_2016)",
    "pretrained": "encoders (wav2vec 2.0, WavLM, Whisper, ONNX) and fine-tuning",
    "onnx": "export --onnx",
    "serve": "serve: a system over HTTP",
    "mlflow": "--log mlflow=…",
    "wandb": "--log wandb",
    "dashboard": "optuna-dashboard: trials in a browser",
    "docs": "these pages as a site",
    "test": "serplatform check, and the tests",
}
_GROUPS = ("architectures", "features", "corpora", "combiners", "figures", "protocols")


def examine(*, ray: bool = False, storage: str | None = None) -> list[Finding]:
    """Look at this machine.

    Args:
        ray: start a Ray of one CPU, and end it.
        storage: address of object storage that is to be read.
    """
    probes = [_python, _packages, _extras, *doctor_machine.PROBES, _audio, _text, _plugins]
    found = [finding for probe in probes for finding in _safely(probe)]
    found += _safely(lambda: _storage(storage))
    found += _safely(lambda: _ray(tried=ray))
    return [dataclasses.replace(f, text=discreet(f.text), remedy=discreet(f.remedy)) for f in found]


def discreet(text: str) -> str:
    """A text without the home directory and the user's name, as a bug report may have it."""
    home = os.path.expanduser("~")
    if len(home) > 1:
        text = text.replace(home, "~")
    with contextlib.suppress(OSError, KeyError):
        name = re.escape(getpass.getuser())
        text = re.sub(rf"(?<=[/\\]){name}(?=[/\\\s,;:)]|$)", "USER", text)
    return text


def _safely(probe: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """What a probe finds; what it meets is a finding, too."""
    found: list[Finding] = []
    try:
        found.extend(probe())
    except (SerplatformError, OSError, ImportError, ValueError) as error:
        topic = getattr(probe, "__name__", "").strip("_").replace("<lambda>", "") or "machine"
        found.append(Finding(topic, "note", f"cannot be looked at: {error}"))
    return found


def _python() -> Iterator[Finding]:
    told = f"{platform.python_version()} ({platform.system()} {platform.machine()})"
    commit = environment.checked_out_commit()
    yield Finding(
        "serplatform", "ok", serplatform.__version__ + (f", commit {commit[:12]}" if commit else "")
    )
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        yield Finding("python", "fault", told, "use Python 3.11 or 3.12")
    elif platform.system() != "Linux":
        yield Finding("python", "note", f"{told}; tested on Linux alone")
    else:
        yield Finding("python", "ok", told)


def _requirements() -> Iterator[tuple[str, str, str]]:
    """Extra ("" for none), package, and the versions of it that were declared."""
    for line in importlib.metadata.requires("serplatform") or ():
        needed, _, marker = line.partition(";")
        found = re.fullmatch(r"([\w.-]+)(?:\[.*\])?(.*)", needed.strip())
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        if found:
            yield extra[1] if extra else "", found[1], found[2].strip()


def _installed(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _packages() -> Iterator[Finding]:
    try:
        needed = [(name, versions) for extra, name, versions in _requirements() if not extra]
    except importlib.metadata.PackageNotFoundError:
        remedy = "pip install -c constraints.txt -e ."
        yield Finding("packages", "note", "serplatform runs from a folder, not installed", remedy)
        return
    missing = [name for name, _ in needed if _installed(name) is None]
    if missing:
        yield Finding(
            "packages", "fault", f"missing: {', '.join(missing)}", "pip install serplatform"
        )
    other = [
        f"{name} {version} (not {versions})"
        for name, versions in needed
        if (version := _installed(name)) and not _within(version, versions)
    ]
    if other:
        remedy = "pip install -c constraints.txt -e . in a new environment brings the tested ones"
        yield Finding("packages", "note", f"untested versions: {', '.join(other)}", remedy)
    if not missing and not other:
        told = ", ".join(f"{name} {_installed(name)}" for name in ("torch", "ray", "optuna"))
        yield Finding("packages", "ok", f"{len(needed)} of {len(needed)}; {told}")


def _within(version: str, versions: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(versions).contains(version, prereleases=True)


def _extras() -> Iterator[Finding]:
    lacking: dict[str, list[str]] = {}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for extra, name, _ in _requirements():
            if extra:
                lacking.setdefault(extra, []).extend([] if _installed(name) else [name])
    for extra, names in sorted(lacking.items()):
        use = f": {_EXTRAS[extra]}" if extra in _EXTRAS else ""
        if names:
            remedy = f"only if you want it: pip install 'serplatform[{extra}]'"
            yield Finding("extra", "note", f"{extra}{use}; lacks {', '.join(names)}", remedy)
        else:
            yield Finding("extra", "ok", f"{extra}{use}")


def _audio() -> Iterator[Finding]:
    try:
        import soundfile

        known = soundfile.available_formats()
    except (ImportError, OSError) as error:
        remedy = "pip install --force-reinstall soundfile"
        yield Finding("audio", "fault", f"libsndfile cannot be used: {error}", remedy)
        return
    lacking = [name for name in ("WAV", "FLAC", "OGG", "MP3") if name not in known]
    text = f"libsndfile {soundfile.__libsndfile_version__}, {len(known)} formats"
    if lacking:
        remedy = "pip install --force-reinstall soundfile brings a newer libsndfile"
        yield Finding("audio", "note", f"{text}, without {', '.join(lacking)}", remedy)
    else:
        yield Finding("audio", "ok", f"{text}, MP3 among them")
    if shutil.which("ffmpeg"):
        yield Finding("ffmpeg", "ok", "here, to convert what libsndfile does not read")
    else:
        text = "not here; only you would use it, to convert .m4a, .mp4 or .wma to .wav"
        yield Finding("ffmpeg", "ok", text)


def _text() -> Iterator[Finding]:
    names, output = sys.getfilesystemencoding(), getattr(sys.stdout, "encoding", None) or "utf-8"
    told = f"file names {names}, terminal {output}, locale {locale.getlocale()[0] or 'C'}"
    remedy = "export PYTHONUTF8=1 (or LANG=C.UTF-8)"
    if names.lower().replace("-", "") != "utf8":
        yield Finding("text", "fault", told, remedy)
    elif output.lower().replace("-", "") != "utf8":
        yield Finding("text", "note", told, remedy)
    else:
        yield Finding("text", "ok", told)


def _plugins() -> Iterator[Finding]:
    named = [n for n in os.environ.get(plugins.VARIABLE, "").split(os.pathsep) if n]
    entries = [
        (f"serplatform.{group}", entry.value)
        for group in _GROUPS
        for entry in importlib.metadata.entry_points(group=f"serplatform.{group}")
    ]
    try:
        plugins.load(named)
        for group in dict.fromkeys(group for group, _ in entries):
            plugins.load_entry_points(group)
    except SerplatformError as error:
        yield Finding("plugins", "fault", str(error), f"repair it, or unset {plugins.VARIABLE}")
        return
    told = ", ".join([*(Path(name).name for name in named), *(value for _, value in entries)])
    yield Finding("plugins", "ok", told or "none")


def _storage(address: str | None) -> Iterator[Finding]:
    if address is None:
        yield Finding("storage", "ok", "not tried; --storage s3://BUCKET/FOLDER reads there")
        return
    from serplatform.storage.location import Location, parse
    from serplatform.storage.remote import FIRST_PATIENCE, remote

    begun = time.monotonic()
    try:
        place = parse(address)
        if not isinstance(place, Location):
            raise BadInputError(f"{address} is no address of object storage (s3://, gs://)")
        remote(place).check()
        count = len(remote(place).list(within=FIRST_PATIENCE))
    except SerplatformError as error:
        yield Finding("storage", "fault", str(error))
        return
    seconds = time.monotonic() - begun
    yield Finding("storage", "ok", f"{address} was read in {seconds:.1f} s: {count} files")


def _ray(*, tried: bool) -> Iterator[Finding]:
    if not tried:
        yield Finding("ray", "ok", "not tried; --ray starts it")
        return
    from serplatform.distributed.cluster import connect, disconnect

    begun = time.monotonic()
    try:
        connect(num_cpus=1)
    except SerplatformError as error:
        yield Finding("ray", "fault", str(error))
        return
    finally:
        disconnect()
    yield Finding("ray", "ok", f"started and ended in {time.monotonic() - begun:.0f} s")
