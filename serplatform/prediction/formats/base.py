"""The formats that ``predict --format`` knows, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from serplatform.registry import Registry

ROW_FORMATS: Registry[Callable[..., Iterator[str]]] = Registry(
    "format", "serplatform.prediction.formats"
)
