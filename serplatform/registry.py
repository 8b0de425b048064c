"""Registration beside the definition: one file adds one member to a family.

A family (features, corpora, architectures, combiners, figures, …) is a package with a
``base.py`` that holds its :class:`Registry`. Every other module of the package registers
what it defines; the registry imports them all on the first lookup.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar

from serplatform.errors import BadInputError, unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one family and what they stand for.

    Args:
        kind: what a member is called in messages, e.g. ``"feature"``.
        package: dotted name of the folder whose modules register members.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._members: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers its argument as ``name``.

        Raises:
            ValueError: the name is taken by another object.
        """

        def decorate(member: T) -> T:
            if name in self._members and self._members[name] is not member:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._members[name] = member
            return member

        return decorate

    def _load(self) -> None:
        if self._loaded:
            return
        package = importlib.import_module(self.package)
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
            if module.name != "base" and not module.name.startswith("_") and not module.ispkg:
                importlib.import_module(f"{self.package}.{module.name}")
        self._loaded = True

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._load()
        return sorted(self._members)

    def get(self, name: str) -> T:
        """Look a member up.

        Raises:
            BadInputError: the name is unknown; the message lists the known ones.
        """
        self._load()
        if name not in self._members:
            raise BadInputError(unknown_name(self.kind, name, self._members))
        return self._members[name]
