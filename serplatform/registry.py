"""Registration beside the definition: one file adds one member to a family.

A family (features, corpora, architectures, combiners, figures, …) is a package with a
``base.py`` that holds its :class:`Registry`. Every other module of the package registers
what it defines; the registry imports them all on the first lookup, and then what other
installed packages declare as entry points of the family. See ``plugins`` for members that come
from a file or module of the user's.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from serplatform.errors import BadInputError, unknown_name

T = TypeVar("T")

#: every family whose base was imported
REGISTRIES: list[Registry[Any]] = []
#: module of a plugin to the plugin, whose text names it in messages; kept by ``plugins``
PLUGINS: dict[str, Any] = {}


class Registry(Generic[T]):
    """Names of one family and what they stand for: ``kind`` is what a member is called in messages,
    ``package`` the folder whose modules register members."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self.group = f"serplatform.{'corpora' if kind == 'corpus' else f'{kind}s'}"
        self._members: dict[str, T] = {}
        self._sources: dict[str, str] = {}  # name → module that registered it
        self._loaded = self._entered = False
        REGISTRIES.append(self)

    def register(self, name: str, source: str = "") -> Callable[[T], T]:
        """Return a decorator that registers its argument as ``name``, unless that is taken.

        ``source`` is the module that it is from: the one that calls the decorator by default. A
        class of a family whose members have a ``name`` is given it, unless it says its own.
        """

        def decorate(member: T) -> T:
            where = source or sys._getframe(1).f_globals["__name__"]
            if not self._is_built_in(where):
                self._load_built_in()  # whose names come first
            if self._members.get(name, member) is not member:
                taken = self._sources.get(name, "")
                by = "serplatform itself" if self._is_built_in(taken) else PLUGINS.get(taken, taken)
                raise BadInputError(
                    f"{self.kind} '{name}' is registered already, by {by}; give it another name"
                )
            if isinstance(member, type) and "name" not in vars(member):
                declared = (vars(base).get("__annotations__", {}) for base in member.__mro__)
                if any("name" in names for names in declared):
                    member.name = name  # type: ignore[attr-defined]
            self._members[name] = member
            self._sources[name] = where
            return member

        return decorate

    def _is_built_in(self, module: str) -> bool:
        return module.startswith(f"{self.package}.")

    def _load_built_in(self) -> None:
        if self._loaded:
            return
        package = importlib.import_module(self.package)
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
            if module.name != "base" and not module.name.startswith("_") and not module.ispkg:
                importlib.import_module(f"{self.package}.{module.name}")
        self._loaded = True

    def _load(self) -> None:
        self._load_built_in()
        if not self._entered:
            importlib.import_module("serplatform.plugins").load_entry_points(self.group)
            self._entered = True

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._load()
        return sorted(self._members)

    def get(self, name: str) -> T:
        """Look a member up; the message about an unknown name lists the known ones."""
        self._load()
        if name not in self._members:
            raise BadInputError(unknown_name(self.kind, name, self._members))
        return self._members[name]

    def registered_by(self, is_source: Callable[[str], bool]) -> list[str]:
        """Names that a module registered for which ``is_source`` holds; nothing is imported."""
        return sorted(name for name, module in self._sources.items() if is_source(module))

    def forget(self, is_source: Callable[[str], bool]) -> None:
        """Remove what such modules registered."""
        for name in self.registered_by(is_source):
            del self._members[name], self._sources[name]


def names_in(module: str, registry: str) -> list[str]:
    """Names in a registry of a module that the caller is below, and may not import."""
    found: Registry[Any] = getattr(importlib.import_module(module), registry)
    return found.names()


@contextlib.contextmanager
def temporary() -> Iterator[None]:
    """For tests: what is registered inside, by plugins too, is forgotten at the end.

    Example:
        >>> from serplatform.models.architectures import ARCHITECTURES
        >>> with temporary():
        ...     _ = ARCHITECTURES.register("mine")(ARCHITECTURES.get("moma"))
        ...     found = "mine" in ARCHITECTURES.names()
        >>> found, "mine" in ARCHITECTURES.names()
        (True, False)
    """
    before = {id(registry): set(registry._members) for registry in REGISTRIES}
    plugins = dict(PLUGINS)
    try:
        yield
    finally:
        for registry in REGISTRIES:
            kept = before.get(id(registry), set())
            for name, module in list(registry._sources.items()):
                if name not in kept and not registry._is_built_in(module):
                    del registry._members[name], registry._sources[name]
        for module in PLUGINS.keys() - plugins.keys():
            sys.modules.pop(module, None)
        PLUGINS.clear()
        PLUGINS.update(plugins)
