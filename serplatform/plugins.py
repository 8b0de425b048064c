"""Plugins: architectures, features, corpora, combiners, figures and protocols from outside.

The user names a Python file or a module (``--plugin``, ``SERPLATFORM_PLUGINS``), or an installed
package declares it as an entry point of a family (``serplatform.architectures`` …). A file is
imported from its text, under a name made of its stem and its SHA-256; so it travels: to workers
within their task, and into runs, ensembles and bundles as ``plugins/<name>.py``. A module must be
installed wherever it is used. What was recorded is refused when its SHA-256 has changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.abc
import importlib.metadata
import json
import os
import re
import sys
import traceback
import types
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from serplatform.errors import ArtifactError, BadInputError
from serplatform.registry import PLUGINS, REGISTRIES

if TYPE_CHECKING:  # it is imported by every command, and by pytest
    from serplatform.artifacts.records import MadeWith, PluginRecord

VARIABLE = "SERPLATFORM_PLUGINS"
NO_ENTRY_POINTS = "SERPLATFORM_NO_ENTRY_POINTS"
#: where a run, an ensemble or a bundle keeps the files of its plugins
FOLDER = "plugins"
_PREFIX = "serplatform_plugin_"


class PluginError(BadInputError):
    """A worker cannot import what the user's process could."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plugin:
    """What was imported."""

    name: str  # stem of the file, or dotted name of the module
    module: str  # what it is called in sys.modules
    origin: str  # where it is from, for messages
    sha256: str  # of the file, or of all files of the module
    source: bytes | None = None  # content of the file; None of a module
    folder: Path | None = None  # where search spaces may lie beside it; None where it came as text
    named: bool = True  # by the user; not found as an entry point

    def __str__(self) -> str:
        return self.origin

    def owns(self, module: str) -> bool:
        """Whether a module is the plugin or a part of its package."""
        package = self.module if self.source is not None else self.module.partition(".")[0]
        return module == package or module.startswith(f"{package}.")

    def registers(self) -> dict[str, list[str]]:
        """Family to the names that it registered there."""
        found = {registry.kind: registry.registered_by(self.owns) for registry in REGISTRIES}
        return {kind: names for kind, names in found.items() if names}

    def record(self) -> PluginRecord:
        """What files say of it."""
        version = getattr(sys.modules[self.module], "__version__", None)
        if version is None and self.source is None:
            packages = importlib.metadata.packages_distributions()
            for distribution in packages.get(self.module.partition(".")[0], [])[:1]:
                version = importlib.metadata.version(distribution)
        found: PluginRecord = {
            "name": self.name,
            "version": None if version is None else str(version),
            "sha256": self.sha256,
            "registers": self.registers(),
        }
        return found if self.source is None else {**found, "file": f"{self.name}.py"}


class _Text(importlib.abc.SourceLoader):
    """Imports the text of a plugin; tracebacks find its lines."""

    def __init__(self, content: bytes, origin: str) -> None:
        self.content = content
        self.origin = origin

    def get_filename(self, fullname: str) -> str:
        return self.origin

    def get_data(self, path: str | bytes) -> bytes:
        return self.content


class _State:
    trusting = False  # the user said that plugins of others may run


def load(names: Iterable[str], *, trust: bool | None = None) -> None:
    """Import the files or modules that the user names, unless they are imported already.

    ``trust`` says whether what bundles and the runs of others bring may run; None: as it was.
    """
    if trust is not None:
        _State.trusting = trust
    for name in names:
        path = Path(name)
        if not (name.endswith(".py") or os.sep in name or path.is_file()):
            _import_module(name)
            continue
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadInputError(f"--plugin {name}: cannot be read ({error.strerror})") from None
        _import_text(path.stem, content, str(path), path.absolute().parent)


def _import_text(name: str, content: bytes, origin: str, folder: Path | None = None) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    module_name = f"{_PREFIX}{re.sub(r'[^0-9A-Za-z_]', '_', name)}_{sha256[:8]}"
    if module_name in PLUGINS:
        return
    if not re.fullmatch(r"[\w.-]{1,100}", name):
        raise BadInputError(f"--plugin {origin}: name the file with letters, digits, - and _")
    for other in PLUGINS.values():
        if other.name == name:
            raise BadInputError(
                f"--plugin {origin}: another plugin of this name is {other}; rename one file"
            )
    plugin = Plugin(
        name=name, module=module_name, origin=origin, sha256=sha256, source=content, folder=folder
    )
    loader = _Text(content, origin)
    module = types.ModuleType(module_name)
    module.__file__, module.__loader__ = origin, loader
    sys.modules[module_name] = module
    PLUGINS[module_name] = plugin
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout belongs to the command
            loader.exec_module(module)
        _check(plugin)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is a stranger's code
        forget(plugin)
        raise BadInputError(_why_not(origin, error)) from None


def _import_module(name: str, *, sha256: str | None = None, named: bool = True) -> None:
    """Import a module; ``sha256`` is what it must have."""
    have, host = PLUGINS.get(name), os.uname().nodename
    if have is not None and have.named >= named and sha256 in (None, have.sha256):
        return
    try:
        with contextlib.redirect_stdout(sys.stderr):
            module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is a stranger's code
        raise BadInputError(
            f"plugin {name}: this module cannot be imported on {host} ({type(error).__name__}: "
            f"{error}); install it there, or give a file, which travels by itself"
        ) from None
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    files = sorted(f for folder in folders for f in folder.rglob("*.py"))
    files = files or [Path(str(module.__file__))]
    total = hashlib.sha256()
    for file in files:
        total.update(file.name.encode() + b"\0" + file.read_bytes())
    found, folder = total.hexdigest(), files[0].parent
    if sha256 not in (None, found):
        raise BadInputError(
            f"plugin {name}: the module on {host} is not the one that was recorded (SHA-256 "
            f"{found[:12]}, recorded {str(sha256)[:12]}); install the same version"
        )
    plugin = Plugin(name=name, module=name, origin=name, sha256=found, folder=folder, named=named)
    if named:
        _check(plugin)
    PLUGINS[name] = plugin


def _check(plugin: Plugin) -> None:
    if not plugin.registers():
        raise BadInputError(
            f"plugin {plugin}: registers nothing; write @COMBINERS.register(NAME) or the like, as "
            "in what `serplatform new combiner NAME` writes"
        )


def forget(plugin: Plugin) -> None:
    """Undo an import, and what was registered by it."""
    for registry in REGISTRIES:
        registry.forget(plugin.owns)
    sys.modules.pop(plugin.module, None)
    PLUGINS.pop(plugin.module, None)


def _why_not(origin: str, error: BaseException) -> str:
    """One sentence: the file, the line, what happened there, and what to do."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == origin]
    if isinstance(error, SyntaxError) and error.filename == origin:
        lines = [error.lineno]
    where = f"plugin {origin}, line {lines[-1]}" if lines else f"plugin {origin}"
    if isinstance(error, BadInputError):
        return f"{where}: {error}" if lines else str(error)
    listed = origin in os.environ.get(VARIABLE, "").split(os.pathsep)
    leave = f"take it out of {VARIABLE}" if listed else "leave --plugin out"
    remedy = f"correct the file, or {leave}"
    if isinstance(error, ImportError):
        remedy = (
            f"install it on {os.uname().nodename}; a plugin that needs files beside it must be an "
            "installed module"
        )
    what = error.msg if isinstance(error, SyntaxError) else error
    return f"{where}: {type(error).__name__}: {what}; {remedy}"


def load_entry_points(group: str) -> None:
    """Import what installed packages declare for a family; refuse what cannot be imported."""
    if os.environ.get(NO_ENTRY_POINTS):
        return
    for entry in sorted(importlib.metadata.entry_points(group=group), key=lambda e: e.name):
        try:
            with contextlib.redirect_stdout(sys.stderr):
                entry.load()
            _import_module(entry.module, named=False)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is a stranger's code
            for registry in REGISTRIES:
                registry.forget(entry.module.__eq__)
            package = "" if entry.dist is None else f" of package {entry.dist.name}"
            raise BadInputError(
                f"entry point '{entry.name} = {entry.value}'{package} in {group} cannot be loaded "
                f"({type(error).__name__}: {error}); repair or remove the package, or leave out "
                f"all entry points with {NO_ENTRY_POINTS}=1"
            ) from None


def made_with(*, named: bool = False, **used: Collection[str]) -> MadeWith:
    """What files say of the plugins behind a result: the key ``plugins``, or none without any.

    Args:
        named: those that the user named, whatever is used of them.
        **used: family to names; plugins that registered one of them.
    """
    found = []
    for plugin in sorted(PLUGINS.values(), key=lambda plugin: plugin.name):
        registers = plugin.registers()
        is_used = any({*names} & {*registers.get(kind, ())} for kind, names in used.items())
        if is_used or (named and plugin.named):
            found.append(plugin.record())
    return {"plugins": found} if found else {}


def named_architectures() -> set[str]:
    """Those of the plugins that the user named."""
    found = [plugin.registers() for plugin in PLUGINS.values() if plugin.named]
    return {name for registers in found for name in registers.get("architecture", ())}


def space_file(architecture: str) -> Path | None:
    """The search space beside the plugin of an architecture: of its name, or of the plugin's."""
    for plugin in PLUGINS.values():
        if plugin.folder and architecture in plugin.registers().get("architecture", ()):
            for stem in (architecture, plugin.name.rpartition(".")[2]):
                if (file := plugin.folder / f"{stem}.yaml").is_file():
                    return file
    return None


def write(directory: Path, described: MadeWith) -> dict[str, str]:
    """Put the plugin files that a description names into a directory; return path to SHA-256."""
    from serplatform.artifacts.files import write_bytes

    names = {record["name"] for record in described.get("plugins", [])}
    files = {}
    for plugin in PLUGINS.values():
        if plugin.name in names and plugin.source is not None:
            write_bytes(directory / FOLDER / f"{plugin.name}.py", plugin.source)
            files[f"{FOLDER}/{plugin.name}.py"] = plugin.sha256
    return files


def restore(directory: Path, described: MadeWith, *, foreign: bool = False) -> None:
    """Import the plugins that a run, an ensemble or a bundle was made with.

    The code of others runs only when the user says so (``--trust-plugins``) or has named the
    same plugin. A run or ensemble is the user's own when its plugin files are: what it was made
    with then runs again without a question. A bundle is made to be passed on, and always asks.

    Args:
        directory: of the run, ensemble or bundle.
        described: its description, which names them under ``plugins``.
        foreign: it may come from others, whoever owns the files.

    Raises:
        BadInputError: a plugin has changed, cannot be imported, or is not trusted.
        ArtifactError: its file is missing or altered.
    """
    by_name = {plugin.name: plugin for plugin in PLUGINS.values()}
    for record in described.get("plugins", []):
        name, sha256 = record["name"], record["sha256"]
        file = directory / FOLDER / record["file"] if "file" in record else None
        if name in by_name:
            if by_name[name].sha256 != sha256:
                raise BadInputError(
                    f"{directory}: was made with another plugin '{name}' than {by_name[name]} "
                    f"(SHA-256 {sha256[:12]}, now {by_name[name].sha256[:12]}); leave --plugin "
                    "out to use the recorded one, or start anew with another --out"
                )
            continue
        content = b""
        if file is not None:
            content = file.read_bytes() if file.is_file() else b""
            if hashlib.sha256(content).hexdigest() != sha256:
                raise ArtifactError(
                    f"{file}: is missing or was altered; give the original with --plugin"
                )
        own = not foreign and (file is None or file.stat().st_uid == os.getuid())
        if file is None and not (own or _State.trusting):
            raise BadInputError(
                f"{directory}: needs the plugin module {name} (SHA-256 {sha256[:12]}), which it "
                f"does not bring: install it here, then give --plugin {name}"
            )
        if not (own or _State.trusting):
            raise BadInputError(
                f"{directory}: brings code of its own, the plugin {file} (SHA-256 "
                f"{sha256[:12]}); read it, then give --trust-plugins, or your own copy with "
                "--plugin"
            )
        if file is None:
            _import_module(name, sha256=sha256)
        else:
            _import_text(name, content, str(file))


def require(described: MadeWith, where: Path) -> None:
    """Refuse a model or dataset whose plugins are not imported, or others are."""
    loaded = {plugin.name: plugin.sha256 for plugin in PLUGINS.values()}
    for record in described.get("plugins", []):
        if loaded.get(record["name"]) != record["sha256"]:
            what = "has another version" if record["name"] in loaded else "is not given"
            raise BadInputError(
                f"{where}: was made with the plugin '{record['name']}' (SHA-256 "
                f"{record['sha256'][:12]}), which {what}; give that file or module with --plugin"
            )


def packed(described: MadeWith) -> tuple[str, ...]:
    """Plugins of a description as texts, which a task takes to :func:`unpack` in a worker."""
    names = {record["name"] for record in described.get("plugins", [])}
    return tuple(
        json.dumps([p.name, p.sha256, p.source and p.source.decode("utf-8", "surrogateescape")])
        for p in PLUGINS.values()
        if p.name in names
    )


def unpack(texts: Iterable[str]) -> None:
    """Import what :func:`packed` gave; a ``PluginError`` says what this host lacks."""
    for text in texts:
        name, sha256, source = json.loads(text)
        try:
            if source is None:
                _import_module(name, sha256=sha256)
            else:
                _import_text(name, source.encode("utf-8", "surrogateescape"), f"{name}.py")
        except BadInputError as error:
            raise PluginError(str(error)) from None
